"""`SyncPace`: decides from the times of recent writes whether an event loop may wait for the next one."""

from __future__ import annotations

from typing import Final

#: An event loop waits only while the mean time of recent writes is below this, seconds.
FAST_MEAN_S: Final = 0.002
#: One write that takes longer than this ends the waiting for `PAUSE_S`, seconds. It is far below a heartbeat interval.
SLOW_WRITE_S: Final = 0.01
PAUSE_S: Final = 1.0
#: The share of the newest write in the mean.
_NEWEST_SHARE: Final = 1 / 8


class SyncPace:
    """The mean time of recent writes, and when one was slow.

    At first the disk counts as slow, so some writes must show that it is fast.

    Args:
        fast_mean_s, slow_write_s, pause_s: see the constants.
    """

    def __init__(
        self,
        fast_mean_s: float = FAST_MEAN_S,
        slow_write_s: float = SLOW_WRITE_S,
        pause_s: float = PAUSE_S,
    ) -> None:
        self._fast_mean_s = fast_mean_s
        self._slow_write_s = slow_write_s
        self._pause_s = pause_s
        self._mean_s = 2 * fast_mean_s
        self._slow_until = 0.0

    def took(self, seconds: float, now: float) -> None:
        """A write has taken this long, and ended now (seconds of a monotonic clock)."""
        if seconds > self._slow_write_s:
            self._slow_until = now + self._pause_s
            seconds = self._slow_write_s  # one stall does not count for many writes after the pause
        self._mean_s += _NEWEST_SHARE * (seconds - self._mean_s)

    def is_fast(self, now: float) -> bool:
        """Whether an event loop may wait for the next write."""
        return self._mean_s < self._fast_mean_s and now >= self._slow_until
