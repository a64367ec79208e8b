"""`RunningTime`: a clock for timeouts that hardly counts the pauses of this process."""

from __future__ import annotations

from typing import Final

#: A longer time between two looks at the clock shows that this process was paused, seconds.
STALL_THRESHOLD_S: Final = 0.25


class RunningTime:
    """Counts seconds by regular looks at the clock. A long time between two looks is a pause of this process.

    Args:
        most_s: the most that the time between two looks counts, seconds.
    """

    def __init__(self, most_s: float = STALL_THRESHOLD_S) -> None:
        self._most_s = most_s
        self._counted_s = 0.0
        self._looked_at = 0.0

    def begin(self, now: float) -> None:
        """Count from now on, as if this was the first look."""
        self._looked_at = now

    def look(self, now: float) -> float:
        """The seconds counted until now. Call it every few milliseconds."""
        self._counted_s = self.at(now)
        self._looked_at = now
        return self._counted_s

    def at(self, now: float) -> float:
        """The seconds counted until `now`, without a look."""
        return self._counted_s + min(now - self._looked_at, self._most_s)
