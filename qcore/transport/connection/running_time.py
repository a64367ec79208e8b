"""How long another process was waited for, without the moments in which this one stood still."""

from __future__ import annotations

from typing import Final

#: A look that comes so much later than the one before shows that this process itself stood still.
STALL_THRESHOLD_S: Final = 0.25


class RunningTime:
    """Counts seconds by looks at the clock. A long pause between two looks is this process's own, and counts little.

    Args:
        most_s: what a pause between two looks counts at most.
    """

    def __init__(self, most_s: float = STALL_THRESHOLD_S) -> None:
        self._most_s = most_s
        self._counted_s = 0.0
        self._looked_at = 0.0

    def begin(self, now: float) -> None:
        """Count from now on; nobody looked before."""
        self._looked_at = now

    def look(self, now: float) -> float:
        """The seconds counted so far. Call it every few milliseconds."""
        self._counted_s = self.at(now)
        self._looked_at = now
        return self._counted_s

    def at(self, now: float) -> float:
        """The seconds counted so far, between two looks."""
        return self._counted_s + min(now - self._looked_at, self._most_s)
