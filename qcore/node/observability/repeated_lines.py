"""Lines of one kind that come again and again: some at once, then one a minute with the number of the others."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

K = TypeVar("K", bound=Hashable)

#: Lines of one kind that are written at once.
BURST: Final = 20
#: After so many seconds one more may be written.
INTERVAL_S: Final = 60.0
#: Kinds that are remembered; the one not seen for longest gives way.
MAX_KINDS: Final = 256


@dataclass(slots=True)
class _Kind:
    """How many lines may still come at once (as of `at`), and how many were left out since the last one."""

    left: float
    at: float
    written_at: float
    left_out: int = 0


class Repeats(Generic[K]):
    """Decides which lines are written. Times are seconds of a clock that never goes back."""

    def __init__(self) -> None:
        self._kinds: dict[K, _Kind] = {}
        self._forgotten: list[tuple[K, int]] = []

    def admit(self, key: K, now: float) -> int | None:
        """How many lines of this kind were left out before this one, which is written; None: it is left out too."""
        kind = self._kinds.pop(key, None)
        if kind is None:
            kind = _Kind(BURST, now, now)
            if len(self._kinds) >= MAX_KINDS:
                self._forget()
        self._kinds[key] = kind  # the newest stands last
        kind.left = min(float(BURST), kind.left + (now - kind.at) / INTERVAL_S)
        kind.at = now
        if kind.left < 1:
            kind.left_out += 1
            return None
        kind.left -= 1
        kind.written_at = now
        left_out, kind.left_out = kind.left_out, 0
        return left_out

    def overdue(self, now: float) -> list[tuple[K, int]]:
        """Kinds of which lines were left out, and none written for longer than the interval: those have ended."""
        said, self._forgotten = self._forgotten, []
        for key, kind in self._kinds.items():
            if kind.left_out and now - kind.written_at >= INTERVAL_S + 1:
                said.append((key, kind.left_out))
                kind.left_out, kind.written_at = 0, now
        return said

    def rest(self) -> list[tuple[K, int]]:
        """All that was left out and not said: for the end."""
        said = self._forgotten + [
            (key, kind.left_out) for key, kind in self._kinds.items() if kind.left_out
        ]
        self._kinds.clear()
        self._forgotten = []
        return said

    def _forget(self) -> None:
        oldest = next(iter(self._kinds))
        left_out = self._kinds.pop(oldest).left_out
        if left_out:
            self._forgotten.append((oldest, left_out))
