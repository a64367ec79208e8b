"""`LifeRecorder`: writes one life of a replica, step by step. It never waits, and does no I/O itself."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

from qcore.recording.effect_digest import digest_of_effects
from qcore.recording.event_codec import write_event
from qcore.recording.start_of_life import StartOfLife
from qcore.replica.events import ReplicaEffect, ReplicaEvent

#: At most about this many characters wait for `flush`.
_WAITING_CHARS: Final = 64 * 1024

#: What the codec raises for a value that it does not know.
_BUGS: Final = (KeyError, TypeError, ValueError, AttributeError)

_encode: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class ByteSink(Protocol):
    """Takes whole lines of a recording, and never blocks."""

    def __call__(self, lines: bytes, /) -> object:
        """Take one or several lines, each with its newline."""
        ...


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
        self._waiting: list[str] = []
        self._waiting_chars = 0
        self._step: tuple[int, int, list[tuple[Any, ...]]] | None = None
        self._answers: list[tuple[int, str | None]] = []
        if not start_is_written:
            for line in start.lines():
                self._put(line)

    @property
    def ended(self) -> bool:
        """Whether nothing more is recorded: the life has ended, or the limit is reached."""
        return self._sink is None

    def step(
        self,
        step: Callable[[Sequence[ReplicaEvent], int, int], list[ReplicaEffect]],
        events: Sequence[ReplicaEvent],
        now: int,
        wall_us: int,
    ) -> list[ReplicaEffect]:
        """Take a step and record it.

        Args:
            step: `Replica.step`.
            events, now, wall_us: its arguments.

        Raises:
            Exception: whatever the step raises, which is recorded too.
        """
        self._taken(events, now, wall_us)
        try:
            effects = step(events, now, wall_us)
        except Exception as error:
            self._end_step("", 0, failed=f"{type(error).__name__}: {error}")
            self.flush()
            raise
        self._done(effects)
        return effects

    def _taken(self, events: Sequence[ReplicaEvent], now: int, wall_us: int) -> None:
        if self._sink is None:
            return
        try:
            self._step = now, wall_us, [write_event(event) for event in events]
        except _BUGS as error:
            self._abandon(error)

    def _done(self, effects: Sequence[ReplicaEffect]) -> None:
        if self._step is None:
            return
        try:
            found = digest_of_effects(effects)
            self._end_step(found.kinds, found.checksum)
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
        """The life ended."""
        self._put(_encode(["end", why]))
        self.flush()
        self._sink = None

    def flush(self) -> None:
        """Pass on the lines that wait."""
        if self._waiting and self._sink is not None:
            self._waiting.append("")
            # surrogatepass: a lone surrogate in a command must not end the recording.
            data = "\n".join(self._waiting).encode("utf-8", "surrogatepass")
            self._sink(data)
            self._written += len(data)
        self._waiting, self._waiting_chars = [], 0

    def _abandon(self, error: Exception) -> None:
        """End the recording, but not the node."""
        self._step = None
        self._put(_encode(["unrecorded", f"{type(error).__name__}: {error}"]))
        self.flush()
        self._sink = None

    def _end_step(self, kinds: str, checksum: int, *, failed: str = "") -> None:
        step, self._step = self._step, None
        if step is None:
            return
        now, wall_us, events = step
        line: list[Any] = [now - self._now, wall_us - self._wall_us, events, kinds, checksum]
        self._now, self._wall_us = now, wall_us
        if self._answers or failed:
            more: dict[str, Any] = {}
            if self._answers:
                more["answers"], self._answers = self._answers, []
            if failed:
                more["failed"] = failed
            line.append(more)
        self._put(_encode(line))
        if self._limit and self._written + self._waiting_chars > self._limit:
            self._put(_encode(["limit", self._limit]))
            self.flush()
            self._sink = None

    def _put(self, line: str) -> None:
        self._waiting.append(line)
        self._waiting_chars += len(line)
        if self._waiting_chars >= _WAITING_CHARS:
            self.flush()
