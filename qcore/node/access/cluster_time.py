"""`ClusterTime`: the cluster clock as a node estimates it between two entries."""

from __future__ import annotations

from collections.abc import Callable


class ClusterTime:
    """The clock of the newest entry, and the time that has passed here since this node saw it.

    Without the second part, a token would not expire while nothing is written.

    Args:
        last_clock_us: returns the clock of the newest entry.
        monotonic_us: the node's clock.
    """

    def __init__(self, last_clock_us: Callable[[], int], monotonic_us: Callable[[], int]) -> None:
        self._last_clock_us = last_clock_us
        self._monotonic_us = monotonic_us
        self._seen_us = -1
        self._seen_at_us = 0
        self._newest_us = 0

    def now_us(self) -> int:
        """The estimate, which never goes back. Call it often, so that it notices new entries in time."""
        local_us, clock_us = self._monotonic_us(), self._last_clock_us()
        if clock_us != self._seen_us:
            self._seen_us, self._seen_at_us = clock_us, local_us
        self._newest_us = max(self._newest_us, clock_us + local_us - self._seen_at_us)
        return self._newest_us
