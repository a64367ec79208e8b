"""`LifeRecorder`: writes one life of a replica, step by step. It never waits, and does no I/O itself."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

from qcore.errors import Refused, StateMachineFailed
from qcore.machines.interface import StateMachine
from qcore.recording.effect_digest import digest_of_effects
from qcore.recording.event_codec import write_event
from qcore.recording.line_checksum import with_checksum
from qcore.recording.secret_texts import event_without_secrets
from qcore.recording.start_of_life import StartOfLife
from qcore.replica.access.access_table import AccessTable
from qcore.replica.apply.state_digests import StateDigests, replicated_digest
from qcore.replica.events import ReplicaEffect, ReplicaEvent
from qcore.replica.machine_results import digest_of

#: At most about this many bytes wait for `flush`.
_WAITING_BYTES: Final = 64 * 1024

#: What the codec raises for a value that it does not know.
_BUGS: Final = (KeyError, TypeError, ValueError, AttributeError)

_encode: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class ByteSink(Protocol):
    """Takes whole lines of a recording, and never blocks."""

    def __call__(self, lines: bytes, /) -> object:
        """Take one or several lines, each with its newline."""
        ...


class SteppedReplica(Protocol):
    """What a recorder needs from a `Replica`."""

    @property
    def digests(self) -> StateDigests:
        """The digests of the state at fixed indexes."""
        ...

    @property
    def machine(self) -> StateMachine:
        """The state machine."""
        ...

    @property
    def access(self) -> AccessTable:
        """Users and roles."""
        ...

    @property
    def applied_index(self) -> int:
        """The index of the last applied entry."""
        ...

    @property
    def restoring(self) -> bool:
        """Whether the machine must not be asked."""
        ...

    def step(self, events: Sequence[ReplicaEvent], now: int, wall_us: int) -> list[ReplicaEffect]:
        """Take the events."""
        ...


def state_digest(replica: SteppedReplica) -> tuple[int, str] | tuple[int, str, str] | None:
    """The state at the end of a life; None if there is none at the moment.

    Returns:
        the index of the last applied entry, and the digest of the state machine there; once there are users, roles or
        join tokens, also the digest that members compare.
    """
    if replica.restoring:
        return None
    try:
        found = replica.applied_index, digest_of(replica.machine)
        if not replica.access.digest:
            return found
        return *found, replicated_digest(replica.machine, replica.access)
    except StateMachineFailed:
        return None


class LifeRecorder:
    """Records the steps of one life of a replica: let it take every step through `step`.

    Args:
        start: what the replica starts from.
        sink: takes the lines.
        limit_bytes: about how many bytes the steps may have; 0: any number. Then the recording ends.
        start_is_written: whether the file has the lines of `start` already.
    """

    def __init__(
        self,
        start: StartOfLife,
        sink: ByteSink,
        *,
        limit_bytes: int = 0,
        start_is_written: bool = False,
    ) -> None:
        self._sink: ByteSink | None = sink
        self._limit = limit_bytes
        self._written = 0
        self._now = start.now
        self._wall_us = start.wall_us
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._step: tuple[int, int, list[tuple[Any, ...]]] | None = None
        self._answers: list[tuple[int, str | None]] = []
        self._replica: SteppedReplica | None = None
        self._digest_index = 0
        if not start_is_written:
            for line in start.lines():
                self._put(line)

    @property
    def ended(self) -> bool:
        """Whether nothing more is recorded: the life has ended, or the limit is reached."""
        return self._sink is None

    def step(
        self,
        replica: SteppedReplica,
        events: Sequence[ReplicaEvent],
        now: int,
        wall_us: int,
    ) -> list[ReplicaEffect]:
        """Take a step and record it.

        Args:
            replica: the replica, always the same.
            events, now, wall_us: the arguments of `Replica.step`.

        Raises:
            Exception: whatever the step raises, which is recorded too.
        """
        self._taken(events, now, wall_us)
        try:
            effects = replica.step(events, now, wall_us)
        except Exception as error:
            self._replica = None
            self._end_step("", 0, failed=f"{type(error).__name__}: {error}")
            self.flush()
            raise
        self._replica = replica
        self._done(effects)
        return effects

    def _taken(self, events: Sequence[ReplicaEvent], now: int, wall_us: int) -> None:
        if self._sink is None:
            return
        try:
            self._step = (
                now,
                wall_us,
                [write_event(event_without_secrets(event)) for event in events],
            )
        except (*_BUGS, Refused) as error:
            self._abandon(error)

    def _done(self, effects: Sequence[ReplicaEffect]) -> None:
        if self._step is None:
            return
        try:
            found = digest_of_effects(effects)
            self._end_step(found.kinds, found.checksum, digest=self._new_digest())
        except _BUGS as error:
            self._abandon(error)

    def answering(self, ask: Callable[[int], str | None]) -> Callable[[int], str | None]:
        """Record the answers of the function that says why a peer is not connected: errors of a step quote them."""

        def answer(peer_id: int) -> str | None:
            found = ask(peer_id)
            if self._step is not None:
                self._answers.append((peer_id, found))
            return found

        return answer

    def end(self, why: str) -> None:
        """The life ended. If the replica still works, its state is recorded, too."""
        digest = None if self._replica is None else state_digest(self._replica)
        self._replica = None
        self._put(_encode(["end", why, digest]))
        self.flush()
        self._sink = None

    def flush(self) -> None:
        """Pass on the lines that wait."""
        if self._waiting and self._sink is not None:
            self._waiting.append(b"")
            data = b"\n".join(self._waiting)
            self._sink(data)
            self._written += len(data)
        self._waiting, self._waiting_bytes = [], 0

    def _abandon(self, error: Exception) -> None:
        """End the recording, but not the node."""
        self._step = None
        self._put(_encode(["unrecorded", f"{type(error).__name__}: {error}"]))
        self.flush()
        self._sink = None

    def _new_digest(self) -> tuple[int, str] | None:
        """The newest digest of the state that the replica has made at a fixed index, if it is another one."""
        kept = self._replica.digests.kept if self._replica is not None else None
        if not kept:
            return None
        index = list(kept)[-1]
        if index == self._digest_index:
            return None
        self._digest_index = index
        return index, kept[index]

    def _end_step(
        self,
        kinds: str,
        checksum: int,
        *,
        digest: tuple[int, str] | None = None,
        failed: str = "",
    ) -> None:
        step, self._step = self._step, None
        if step is None:
            return
        now, wall_us, events = step
        line: list[Any] = [now - self._now, wall_us - self._wall_us, events, kinds, checksum]
        self._now, self._wall_us = now, wall_us
        if self._answers or failed or digest is not None:
            more: dict[str, Any] = {}
            if self._answers:
                more["answers"], self._answers = self._answers, []
            if digest is not None:
                more["digest"] = digest
            if failed:
                more["failed"] = failed
            line.append(more)
        self._put(_encode(line))
        if self._limit and self._written + self._waiting_bytes > self._limit:
            self._put(_encode(["limit", self._limit]))
            self.flush()
            self._sink = None

    def _put(self, line: str) -> None:
        data = with_checksum(line)
        self._waiting.append(data)
        self._waiting_bytes += len(data) + 1
        if self._waiting_bytes >= _WAITING_BYTES:
            self.flush()
