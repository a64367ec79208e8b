"""`RecentSyncs`: how slow this server's disk was recently.

A server with a slow disk can follow, but it cannot lead for long: `RaftServer.disk_stalled` deposes it. So a server
does not take over by priority while it remembers a slow sync (see `qcore.core.leadership.takeover`).
"""

from __future__ import annotations

from typing import Final

#: A sync is remembered for at least this many of the longest election timeouts, and for at most twice as many.
REMEMBERED_TIMEOUTS: Final = 15


class RecentSyncs:
    """The slowest sync of the recent past, in constant space.

    Args:
        election_timeout_us: the longest election timeout.
    """

    __slots__ = ("_began", "_current_us", "_previous_us", "_span_us")

    def __init__(self, election_timeout_us: int) -> None:
        self._span_us = REMEMBERED_TIMEOUTS * election_timeout_us
        self._began = 0
        self._current_us = 0  # the slowest since `_began`
        self._previous_us = 0  # the slowest of the span before that

    def record(self, took_us: int, now: int) -> None:
        """A write became durable `took_us` after it was issued."""
        self._rotate(now)
        if took_us > self._current_us:
            self._current_us = took_us

    def slowest_us(self, now: int) -> int:
        """How long the slowest remembered sync took, µs; 0 if there was none."""
        self._rotate(now)
        return max(self._current_us, self._previous_us)

    def _rotate(self, now: int) -> None:
        elapsed = now - self._began
        if elapsed >= self._span_us:
            self._previous_us = self._current_us if elapsed < 2 * self._span_us else 0
            self._current_us = 0
            self._began = now
