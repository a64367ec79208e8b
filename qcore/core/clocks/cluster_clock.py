"""The cluster clock: the time during which there was a leader (dissertation 6.3; LogCabin's cluster time).

Sessions expire by this clock. No wall clock moves it. Its value is in the log: every entry carries it
(`Entry.clock_us`). A new leader starts with the newest value in its log or snapshot and adds the time since its
election, measured by its monotonic clock. So the clock stands still while there is no leader, and even a long outage
expires no session.

| situation | what the clock counts |
|---|---|
| a leader works | the time between its steps |
| there is no leader | nothing |
| the leader's process was paused between two steps | at most one election timeout of the pause |
| the leader has lost contact with a quorum | at most one election timeout after the last contact |
| entries wait, and none is committed | at most one election timeout after the last commit |
| a leader dies some time after its last append | nothing since its last entry (`qcore.replica.sessions.ticks`) |

"Election timeout" is `election_timeout_max_ms` here. Under apply rules 1 the clock does not exist, and entries carry 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

#: A leader's clock advances in steps of at least this, µs: a busy leader takes many steps in that time.
CLOCK_GRANULARITY_US: Final = 1000


class ClusterClock:
    """A leader's cluster clock. A follower needs only the newest value in its log.

    Args:
        limit_us: the longest time that counts without a step, or without a quorum that follows.

    Attributes:
        value_us: the clock's value at `updated_at`.
        updated_at: the leader's monotonic time of the last update, µs. It is within `CLOCK_GRANULARITY_US` of its last
            step.
    """

    __slots__ = ("_limit_us", "_trusted_until", "updated_at", "value_us")

    def __init__(self, limit_us: int) -> None:
        self._limit_us = limit_us
        self._trusted_until = 0
        self.value_us = 0
        self.updated_at = 0

    def begin(self, value_us: int, now: int) -> None:
        """Begin a term: a quorum has voted at `now`, and `value_us` is the newest value in the log."""
        self.value_us = value_us
        self.updated_at = now
        self._trusted_until = now + self._limit_us

    def skip_to(self, now: int) -> None:
        """Skip the time until `now`: it does not count."""
        self.updated_at = max(self.updated_at, now)

    def advance(self, now: int, quorum_active_at: Callable[[], int]) -> None:
        """Advance to `now`. Call this at the start of each step, before its event changes anything.

        Args:
            now: µs on the leader's monotonic clock.
            quorum_active_at: returns when a quorum was last known to follow this leader. It is called only if an
                earlier result does not suffice, because `advance` runs in every step.
        """
        end = min(now, self.updated_at + self._limit_us)
        if end > self._trusted_until:
            self._trusted_until = quorum_active_at() + self._limit_us
            end = min(end, self._trusted_until)
        if end > self.updated_at:
            self.value_us += end - self.updated_at
        self.skip_to(now)

    def time_when(self, value_us: int) -> int:
        """When the clock will have this value if the leader continues to lead, µs on its monotonic clock.

        The clock reaches a future value only at its next update: an entry appended earlier would carry the old value.
        """
        missing = value_us - self.value_us
        return (
            self.updated_at + max(CLOCK_GRANULARITY_US, missing) if missing > 0 else self.updated_at
        )
