"""`RepeatLimiter`: passes the first log lines of a kind, then one a minute that gives the number of the others."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

K = TypeVar("K", bound=Hashable)

#: The lines of one kind that are written before any is left out.
BURST: Final = 20
#: The time after which one more line may be written, seconds.
INTERVAL_S: Final = 60.0
#: The most kinds that are remembered. Beyond it the one not seen for the longest time is dropped.
MAX_KINDS: Final = 256


@dataclass(slots=True)
class _Kind:
    """How many lines may still be written (at time `at`), and how many were left out since the last one."""

    left: float
    at: float
    written_at: float
    suppressed: int = 0


class RepeatLimiter(Generic[K]):
    """Decides which lines are written. Times are seconds of a monotonic clock."""

    def __init__(self) -> None:
        self._kinds: dict[K, _Kind] = {}
        self._forgotten: list[tuple[K, int]] = []

    def admit(self, key: K, now: float) -> int | None:
        """How many lines of this kind were left out before this one; None if this one must be left out, too."""
        kind = self._kinds.pop(key, None)
        if kind is None:
            kind = _Kind(BURST, now, now)
            if len(self._kinds) >= MAX_KINDS:
                self._forget()
        self._kinds[key] = kind  # the newest is last
        kind.left = min(float(BURST), kind.left + (now - kind.at) / INTERVAL_S)
        kind.at = now
        if kind.left < 1:
            kind.suppressed += 1
            return None
        kind.left -= 1
        kind.written_at = now
        suppressed, kind.suppressed = kind.suppressed, 0
        return suppressed

    def ended_kinds(self, now: float) -> list[tuple[K, int]]:
        """The kinds that have ended, with the number of lines left out: no line came for longer than the interval."""
        reported, self._forgotten = self._forgotten, []
        for key, kind in self._kinds.items():
            if kind.suppressed and now - kind.written_at >= INTERVAL_S + 1:
                reported.append((key, kind.suppressed))
                kind.suppressed, kind.written_at = 0, now
        return reported

    def all_suppressed(self) -> list[tuple[K, int]]:
        """All kinds with lines left out and not reported, and their number; for the end of the process."""
        reported = self._forgotten + [
            (key, kind.suppressed) for key, kind in self._kinds.items() if kind.suppressed
        ]
        self._kinds.clear()
        self._forgotten = []
        return reported

    def _forget(self) -> None:
        oldest = next(iter(self._kinds))
        suppressed = self._kinds.pop(oldest).suppressed
        if suppressed:
            self._forgotten.append((oldest, suppressed))
