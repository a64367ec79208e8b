"""The cluster clock: how much time has passed while there was a leader (dissertation 6.3; LogCabin's cluster time).

Sessions expire by this clock, and no wall clock moves it. Its value is in the log: every entry carries it
(`Entry.clock_us`). A new leader begins with the newest value in its log or snapshot, and adds the time that passes on
its own monotonic clock from its election on. So the clock stands still while nobody leads, and an outage of any length
costs no session its lifetime.

| what happens | what the clock counts |
|---|---|
| a leader works | the time between its steps |
| nobody leads | nothing |
| the leader's process was paused between two steps | at most one election timeout of the pause |
| the leader has lost touch with a quorum | one election timeout after the last contact, and no more |
| entries wait, and nothing is committed | one election timeout after the last commit, and no more |
| a leader dies that has appended nothing for a while | nothing since its last entry: see
`qcore.replica.sessions.ticks` |

"Election timeout" is `election_timeout_max_ms` here. Under rules 1 the clock does not exist: entries carry 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

#: A leader's clock goes on once that much time has passed, µs: a busy leader takes many steps in that time.
CLOCK_GRANULARITY_US: Final = 1000


class ClusterClock:
    """A leader's cluster clock. A follower needs only the newest value in its log.

    Args:
        limit_us: the longest time without a step, or without a quorum that follows, that counts.

    Attributes:
        value_us: the clock as of `updated_at`.
        updated_at: up to when the leader's monotonic clock has been looked at, µs: within `CLOCK_GRANULARITY_US` of
        its last step.
    """

    __slots__ = ("_limit_us", "_trusted_until", "updated_at", "value_us")

    def __init__(self, limit_us: int) -> None:
        self._limit_us = limit_us
        self._trusted_until = 0
        self.value_us = 0
        self.updated_at = 0

    def begin(self, value_us: int, now: int) -> None:
        """A term begins, with a quorum's votes at `now`; the log's newest value is `value_us`."""
        self.value_us = value_us
        self.updated_at = now
        self._trusted_until = now + self._limit_us

    def skip_to(self, now: int) -> None:
        """Time passes that does not count."""
        self.updated_at = max(self.updated_at, now)

    def advance(self, now: int, quorum_active_at: Callable[[], int]) -> None:
        """A step of the leader begins. Call it before the step's event changes anything.

        Args:
            now: µs on the leader's monotonic clock.
            quorum_active_at: when a quorum was last known to follow this leader. It is asked for only where an
                earlier answer does not suffice, because this is done at every step.
        """
        end = min(now, self.updated_at + self._limit_us)
        if end > self._trusted_until:
            self._trusted_until = quorum_active_at() + self._limit_us
            end = min(end, self._trusted_until)
        if end > self.updated_at:
            self.value_us += end - self.updated_at
        self.skip_to(now)

    def time_when(self, value_us: int) -> int:
        """When the clock will have this value if the leader goes on in office, µs on its monotonic clock.

        A value to come is not reached before the clock is next looked at: an entry that is appended earlier would
        carry the old one.
        """
        missing = value_us - self.value_us
        return (
            self.updated_at + max(CLOCK_GRANULARITY_US, missing) if missing > 0 else self.updated_at
        )
