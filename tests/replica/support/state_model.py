"""A simple model of the replicated state, computed from the committed log.

It follows the documentation of sessions and registers, not their code. A session is a record that is checked only when
an entry names it, and nothing is ever removed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from qcore.core.entry import Entry
from qcore.errors import QcoreError, SequenceRefused, SessionExpired


@dataclass(slots=True)
class SessionRecord:
    """One session according to the log; times in µs of log time, or of the cluster clock from rules 2 on."""

    lifetime_us: int
    last_used_us: int
    last_used_index: int
    open: bool = True
    acknowledged: int = 0
    results: dict[int, str] = field(default_factory=dict)

    def expired(self, now_us: int) -> bool:
        return now_us - self.last_used_us > self.lifetime_us


@dataclass(slots=True, frozen=True)
class Outcome:
    """The reply to the entry's client: a result, or this kind of error."""

    result: str = ""
    error: type[QcoreError] | None = None


class Model:
    """Integer registers and sessions after each committed entry.

    Attributes:
        entries: the committed log; `entries[0]` has index 1.
        outcomes: the reply to each entry's client, by index.
        registers: the registers after each entry, by index; `registers[0]` is empty.
        runs: how often a command of (session, sequence) took effect.
        rules: the active apply rules.
    """

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.outcomes: dict[int, Outcome] = {}
        self.registers: list[dict[str, int]] = [{}]
        self.sessions: dict[int, SessionRecord] = {}
        self.runs: dict[tuple[int, int], int] = {}
        self.rules = 1

    def apply(self, entry: Entry) -> None:
        """Apply the next committed entry."""
        assert entry.index == len(self.entries) + 1, "the committed log has no gaps"
        self.entries.append(entry)
        self.registers.append(dict(self.registers[-1]))
        outcome = Outcome()
        if entry.kind == "command":
            outcome = Outcome(self._command(entry.data))
        elif entry.kind == "session":
            outcome = self._session(entry)
        elif entry.kind == "version":
            self._raise(json.loads(entry.data)["rules"], entry.clock_us)
        self.outcomes[entry.index] = outcome

    def _command(self, text: str) -> str:
        command, now = json.loads(text), self.registers[-1]
        key = command["key"]
        now[key] = command["value"] if command["op"] == "set" else now.get(key, 0) + 1
        return f'{{"ok":true,"value":{now[key]}}}'

    def _raise(self, rules: int, clock_us: int) -> None:
        """From rules 2 on, lifetimes run by the cluster clock, and every lifetime begins again there."""
        if self.rules < 2 <= rules:
            for session in self.sessions.values():
                session.last_used_us = clock_us
        self.rules = max(self.rules, rules)

    def _session(self, entry: Entry) -> Outcome:
        now = entry.clock_us if self.rules >= 2 else entry.time_us
        if self.rules < 2:  # a session that was dropped before the raise stays dropped
            for held in sorted(self.sessions.values(), key=lambda one: one.last_used_index):
                if held.open and not held.expired(now):
                    break
                held.open = False
        verb, *arguments = json.loads(entry.data)
        if verb == "tick" and self.rules >= 2:
            return Outcome("null")
        if verb == "open":
            self.sessions[entry.index] = SessionRecord(arguments[0] * 1000, now, entry.index)
            return Outcome(str(entry.index))
        session_id = arguments[0]
        session = self.sessions.get(session_id)
        if session is None or not session.open:
            return Outcome(error=SessionExpired)
        if session.expired(now):
            session.open = False
            return Outcome(error=SessionExpired)
        session.last_used_us, session.last_used_index = now, entry.index
        if verb == "run":
            return self._run(session_id, session, *arguments[1:])
        session.open = verb != "close"
        return Outcome("null")

    def _run(
        self, session_id: int, session: SessionRecord, sequence: int, acknowledged: int, text: str
    ) -> Outcome:
        session.acknowledged = max(session.acknowledged, acknowledged)
        if sequence <= session.acknowledged:
            return Outcome(error=SequenceRefused)
        if sequence not in session.results:
            session.results[sequence] = self._command(text)
            self.runs[session_id, sequence] = self.runs.get((session_id, sequence), 0) + 1
        return Outcome(session.results[sequence])
