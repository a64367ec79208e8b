"""Clients with sessions: what they have sent, and what they may retry and acknowledge."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from qcore.core.entry import Entry
from qcore.core.version import LATEST_RULES
from qcore.machines.interface import ApplyContext, StateMachine
from qcore.replica.sessions.session_table import ApplyOutcome, SessionTable, session_command_payload
from tests.replica.support.checker import ClientChecker


@dataclass(slots=True)
class ClientSession:
    """An open session, and the sequence number of its newest increment (0: none yet)."""

    session_id: int
    last_sequence: int = 0

    def increment(self, sequence: int, acknowledged: int) -> str:
        """The command with this sequence number. Only the acknowledged number differs between retries."""
        command = json.dumps({"op": "add", "key": f"n{self.session_id}", "amount": 1})
        return session_command_payload(self.session_id, sequence, acknowledged, command)

    def acknowledgeable(self, checker: ClientChecker) -> int:
        """The sequence number up to which the client has every reply."""
        number = 0
        while (self.session_id, number + 1) in checker.replies:
            number += 1
        return number


def opened(checker: ClientChecker, known: list[ClientSession]) -> list[ClientSession]:
    """The `known` sessions, and one for each session that a reply has opened since."""
    ids = {session.session_id for session in known}
    new = [number for number in checker.acknowledged_sessions if number not in ids]
    return [*known, *[ClientSession(number) for number in new]]


def text_of(table: SessionTable, rules: int = LATEST_RULES) -> str:
    """The text of the table in a snapshot of these rules."""
    return "".join(table.dump(rules))


def restored(text: str, rules: int = LATEST_RULES) -> SessionTable:
    """The table from a snapshot of these rules that holds only the table."""
    table = SessionTable()
    ends: list[int] = []

    def load() -> Iterator[None]:
        ends.append((yield from table.load(text)))

    for _ in load():
        pass
    assert ends == [len(text)], "no text is left for the machine"
    table.on_restored(rules)
    return table


def apply(
    table: SessionTable, entry: Entry, machine: StateMachine, *, rules: int = 1
) -> ApplyOutcome:
    """Apply an entry of kind `session` under these rules, as a replica would."""
    context = ApplyContext(entry.index, entry.time_us, clock_us=entry.clock_us, rules=rules)
    return table.apply(entry, machine, context)
