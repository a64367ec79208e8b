"""Compares the replies to clients with what was committed: outcomes, reads, sessions, changes."""

from __future__ import annotations

import json
from bisect import bisect_right
from dataclasses import dataclass

from qcore.core.entry import Entry, Membership
from qcore.errors import (
    ChangeRefused,
    DeadlineExceeded,
    NotCaughtUp,
    NotLeader,
    OutcomeUnknown,
    Overloaded,
    ProposalDropped,
    QcoreError,
    SequenceRefused,
    SessionExpired,
    TooStale,
    TransferFailed,
    TransferUnknown,
)
from qcore.replica.events import Reply
from qcore.replica.messages import RequestKind
from tests.core.support.safety_checks import require
from tests.replica.support.state_model import Model

AskKind = RequestKind | str

#: The errors in which each kind of request may end.
_READ_ERRORS: tuple[type[QcoreError], ...] = (NotLeader, DeadlineExceeded, Overloaded)
_WRITE_ERRORS: tuple[type[QcoreError], ...] = (
    NotLeader,
    Overloaded,
    ProposalDropped,
    OutcomeUnknown,
)
ERRORS: dict[AskKind, tuple[type[QcoreError], ...]] = {
    "write": _WRITE_ERRORS,
    "session": (*_WRITE_ERRORS, SessionExpired, SequenceRefused),
    "read": _READ_ERRORS,
    "lease_read": _READ_ERRORS,
    "follower_read": _READ_ERRORS,
    "stale_read": (TooStale, DeadlineExceeded),
    "init": (OutcomeUnknown, ProposalDropped),
    "change": (ChangeRefused, NotLeader, OutcomeUnknown, Overloaded),
    "learner": (ChangeRefused, NotLeader, NotCaughtUp, OutcomeUnknown, Overloaded),
    "transfer": (ChangeRefused, NotLeader, TransferFailed, TransferUnknown, Overloaded),
}


@dataclass(slots=True)
class ClientOperation:
    """A request without an outcome.

    Attributes:
        kind, payload: what was requested.
        floor: the log index that a linearizable read must see: the newest one that a reply revealed before the request.
        stale_from: a stale read must see everything acknowledged by this time, true µs.
        wanted: the voters and learners of a membership change.
    """

    kind: AskKind
    payload: str
    floor: int
    stale_from: int = 0
    wanted: tuple[tuple[int, ...], tuple[int, ...]] | None = None


class ClientChecker:
    """Receives every request, outcome and applied entry, and raises `SafetyViolation` if they contradict each other."""

    def __init__(self) -> None:
        self.model = Model()
        self.asks: dict[tuple[int, int, int], ClientOperation] = {}  # (node, life, request id)
        self._floors: list[tuple[int, int]] = [(-(1 << 60), 0)]  # (true µs, index)
        self._without_effect: set[str] = set()
        self._state_at: dict[int, str] = {}
        self.replies: dict[tuple[int, int], str] = {}  # (session, sequence) -> the one result
        self.acknowledged_sessions: list[int] = []
        self.counts: dict[str, int] = {}

    # -- the log ---------------------------------------------------------------------------------

    def applied(self, node_id: int, entry: Entry) -> None:
        """A node applied this entry."""
        entries = self.model.entries
        if entry.index <= len(entries):
            known = entries[entry.index - 1]
            require(known == entry, f"state machine safety: {node_id} applies {entry}, not {known}")
            return
        if entries:
            before = entries[-1].time_us
            require(
                entry.time_us >= before,
                f"log time: entry {entry.index} is of {entry.time_us}, the one before of {before}",
            )
            clock = entries[-1].clock_us
            require(
                entry.clock_us >= clock,
                f"cluster clock: entry {entry.index} is of {entry.clock_us}, the one before of {clock}",
            )
        refused = entry.kind == "command" and entry.data in self._without_effect
        require(
            not refused, f"retryable: {entry.data} was refused as without effect and is applied"
        )
        self.model.apply(entry)

    def state(self, node_id: int, index: int, digest: str, registers: dict[str, int]) -> None:
        """A node's whole state at `index`, sessions included, and its registers as clients see them."""
        known = self._state_at.setdefault(index, digest)
        require(known == digest, f"state machine safety: node {node_id} differs at index {index}")
        expected = self.model.registers[index]
        held = {key: registers.get(key, 0) for key in expected}
        require(
            held == expected,
            f"exactly once: node {node_id} holds {held} at index {index}, the log makes it {expected}",
        )

    # -- requests --------------------------------------------------------------------------------

    def asked(
        self,
        key: tuple[int, int, int],
        kind: AskKind,
        payload: str,
        stale_from: int = 0,
        wanted: tuple[tuple[int, ...], tuple[int, ...]] | None = None,
    ) -> None:
        self.asks[key] = ClientOperation(kind, payload, self.floor, stale_from, wanted)

    @property
    def floor(self) -> int:
        """The newest index that a reply has revealed."""
        return self._floors[-1][1]

    def crashed(self, node_id: int) -> None:
        """The node's clients get no more replies."""
        self.asks = {key: ask for key, ask in self.asks.items() if key[0] != node_id}

    def replied(self, key: tuple[int, int, int], reply: Reply, now: int) -> None:
        """A request's outcome."""
        ask = self.asks.pop(key, None)
        if ask is None:
            require(False, f"one outcome: {reply} at node {key[0]} answers no open request")
            return
        if reply.error is not None:
            self._failed(ask, reply.error)
            return
        self.counts[ask.kind] = self.counts.get(ask.kind, 0) + 1
        result = reply.result or ""
        match ask.kind:
            case "write" | "session":
                self._written(ask, result, reply.index, now)
            case "read" | "lease_read" | "follower_read":
                self._read(ask, result, ask.floor, now)
            case "stale_read":
                position = bisect_right(self._floors, (ask.stale_from, 1 << 60)) - 1
                self._read(ask, result, self._floors[position][1], None)
            case "change":
                self._changed(ask)
            case _:
                pass

    def _failed(self, ask: ClientOperation, error: QcoreError) -> None:
        allowed = ERRORS[ask.kind]
        name = f"{ask.kind} {error.code}"
        self.counts[name] = self.counts.get(name, 0) + 1
        require(isinstance(error, allowed), f"outcome: a {ask.kind} ends in {error!r}")
        if isinstance(error, SessionExpired | SequenceRefused):
            recorded = [self.model.outcomes[i].error for i in self._indexes_of(ask)]
            require(
                type(error) in recorded,
                f"session: {ask.payload} ends in {error!r}, the log says {recorded}",
            )
        elif error.retryable and ask.kind == "write":
            require(
                not self._indexes_of(ask),
                f"retryable: {ask.payload} is applied and refused as without effect: {error!r}",
            )
            self._without_effect.add(ask.payload)

    def _written(self, ask: ClientOperation, result: str, index: int, now: int) -> None:
        outcome = self.model.outcomes.get(index)
        if outcome is None or outcome.error or self.model.entries[index - 1].data != ask.payload:
            require(
                False, f"outcome: {ask.payload} succeeds at index {index}, which holds {outcome}"
            )
            return
        require(
            outcome.result == result,
            f"outcome: {ask.payload} gets {result} at index {index}, it should be {outcome.result}",
        )
        require(index > ask.floor, f"order: {ask.payload} is at {index}, asked after {ask.floor}")
        self._revealed(index, now)
        if ask.kind == "session":
            self._in_session(ask.payload, result)

    def _in_session(self, payload: str, result: str) -> None:
        match json.loads(payload):
            case ["open", _]:
                self.acknowledged_sessions.append(int(result))
            case ["run", session_id, sequence, *_]:
                first = self.replies.setdefault((session_id, sequence), result)
                require(first == result, f"exactly once: {payload} got {first}, and now {result}")
            case _:
                pass

    def _read(self, ask: ClientOperation, result: str, least: int, now: int | None) -> None:
        key, value = json.loads(ask.payload)["key"], json.loads(result)["value"] or 0
        registers = self.model.registers
        seen = [at for at in range(least, len(registers)) if registers[at].get(key, 0) == value]
        require(
            bool(seen),
            f"stale read: a {ask.kind} of {key} gives {value}, at index {least} it was "
            f"{registers[least].get(key, 0)} and it never was {value} since",
        )
        if now is not None:
            self._revealed(seen[0], now)

    def _revealed(self, index: int, now: int) -> None:
        if index > self.floor:
            self._floors.append((now, index))

    def _changed(self, ask: ClientOperation) -> None:
        """A successful change is a simple configuration in the committed log, newer than the request."""
        assert ask.wanted is not None
        newer = [
            Membership.from_json(entry.data)
            for entry in self.model.entries[ask.floor :]
            if entry.kind == "membership"
        ]
        require(
            any((m.voters, m.learners) == ask.wanted for m in newer if not m.is_joint),
            f"change: {ask.wanted} is reported as done, committed since was {newer}",
        )

    def _indexes_of(self, ask: ClientOperation) -> list[int]:
        return [entry.index for entry in self.model.entries if entry.data == ask.payload]

    def finish(self) -> None:
        """At the end, after all deadlines: no request is open, and every increment counts once."""
        require(not self.asks, f"one outcome: {len(self.asks)} requests never got one: {self.asks}")
        twice = {key: times for key, times in self.model.runs.items() if times != 1}
        require(not twice, f"exactly once: {twice}")
        missing = [key for key in self.replies if key not in self.model.runs]
        require(not missing, f"exactly once: {missing} were acknowledged and never applied")
