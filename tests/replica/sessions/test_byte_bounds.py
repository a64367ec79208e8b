"""Recorded replies are bounded in bytes, and so are the messages that wait for the disk."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from qcore.core.effects import Send
from qcore.core.entry import Entry
from qcore.core.messages import AppendEntriesResponse
from qcore.errors import SequenceRefused, SessionExpired
from qcore.machines.interface import ApplyContext
from qcore.replica import durability_gate
from qcore.replica.durability_gate import DurabilityGate
from qcore.replica.sessions import session_table
from qcore.replica.sessions.session_table import (
    SessionTable,
    open_session_payload,
    session_command_payload,
)
from tests.replica.support.client_sessions import apply, restored, text_of


class Echo:
    """A machine whose result is the command."""

    name = "echo"
    versions = (1, 1)

    def apply(self, command: str, context: ApplyContext) -> str:
        return command

    def query(self, query: str) -> str:
        return ""

    def snapshot(self) -> Iterable[str]:
        return [""]

    def restore(self, chunks: Iterable[str]) -> None:
        pass

    def state_hash(self) -> str:
        return ""


class Log:
    """Feeds a session table with entries."""

    def __init__(self) -> None:
        self.table = SessionTable()
        self.index = 0

    def apply(self, data: str) -> session_table.ApplyOutcome:
        self.index += 1
        return apply(self.table, Entry(self.index, 1, "session", data, self.index), Echo())

    def open(self) -> int:
        result, _ = self.apply(open_session_payload(60_000))
        assert result is not None
        return int(result)


def test_recorded_replies_of_all_sessions_are_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(session_table, "MAX_REPLY_BYTES", 1000)
    log = Log()
    names = [log.open() for _ in range(20)]
    for name in names:
        assert log.apply(session_command_payload(name, 1, 0, "r" * 300)) == ("r" * 300, None)
    assert len(log.table) == 3, "three replies of 300 bytes fit"
    assert isinstance(log.apply(session_command_payload(names[0], 1, 0, "r"))[1], SessionExpired)
    assert log.apply(session_command_payload(names[-1], 1, 0, "r" * 300)) == ("r" * 300, None), (
        "recorded"
    )
    other = restored(text_of(log.table, 1), 1)
    apply(
        other,
        Entry(99, 1, "session", session_command_payload(names[-1], 2, 0, "s" * 300), 99),
        Echo(),
    )
    apply(
        log.table,
        Entry(99, 1, "session", session_command_payload(names[-1], 2, 0, "s" * 300), 99),
        Echo(),
    )
    assert text_of(other) == text_of(log.table), "a replica that restored a snapshot drops the same"


def test_one_session_must_acknowledge_large_replies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_table, "MAX_SESSION_REPLY_BYTES", 500)
    log = Log()
    name = log.open()
    assert log.apply(session_command_payload(name, 1, 0, "r" * 300))[1] is None
    assert log.apply(session_command_payload(name, 2, 0, "r" * 300))[1] is None
    refused = log.apply(session_command_payload(name, 3, 0, "r"))[1]
    assert isinstance(refused, SequenceRefused)
    assert "600 bytes" in str(refused)
    assert log.apply(session_command_payload(name, 3, 2, "r")) == ("r", None), (
        "after it acknowledged"
    )


def test_sends_that_wait_for_a_hanging_disk_are_bounded() -> None:
    held = DurabilityGate()
    response = AppendEntriesResponse(1, True, 1, 0, 0, 0, 0)
    for _ in range(durability_gate.MAX_HELD + 100):
        assert not held.admit(Send(2, response, 1))
    assert (len(held), held.dropped) == (durability_gate.MAX_HELD, 100)
    assert len(held.release(1)) == durability_gate.MAX_HELD
    assert held.admit(Send(2, response, 1))
