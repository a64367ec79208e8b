"""True time, and what the clocks of one node show of it."""

from __future__ import annotations

from dataclasses import dataclass

from qcore.core.raft_server import NEVER

#: What a correct wall clock shows when true time is 0, µs since the Unix epoch.
WALL_US = 1_700_000_000_000_000


@dataclass(slots=True)
class Time:
    """True time in µs, which the clocks of all nodes share."""

    now: int = 0


class Clock:
    """A monotonic clock, which may be fast or slow or jump, and a wall clock, which may be wrong.

    Args:
        time: true time.
        wall_us: what the wall clock shows now; 0 if the node has none.
        speed: local µs for each 1000 true µs. The wall clock always runs at the right speed.
    """

    def __init__(self, time: Time, *, wall_us: int = 0, speed: int = 1000) -> None:
        self._time = time
        self._speed = speed
        self._shown, self._since = time.now, time.now
        self._wall_offset: int | None = None
        self.wall_us = wall_us

    @property
    def now(self) -> int:
        """What the monotonic clock shows, µs. A test may set it: the clock jumps, and then runs on."""
        return self._shown + (self._time.now - self._since) * self._speed // 1000

    @now.setter
    def now(self, local_us: int) -> None:
        self._shown, self._since = local_us, self._time.now

    @property
    def wall_us(self) -> int:
        """What the wall clock shows, µs since the Unix epoch; 0 if there is none. A test may set it."""
        return 0 if self._wall_offset is None else self._time.now + self._wall_offset

    @wall_us.setter
    def wall_us(self, wall_us: int) -> None:
        self._wall_offset = wall_us - self._time.now if wall_us else None

    @property
    def speed(self) -> int:
        """Local µs for each 1000 true µs, from now on if a test sets it."""
        return self._speed

    @speed.setter
    def speed(self, speed: int) -> None:
        self.now = self.now
        self._speed = speed

    def true_time(self, local_us: int) -> int:
        """The true time at which the monotonic clock shows `local_us`, rounded up."""
        if local_us >= NEVER:
            return local_us
        return self._since - (self._shown - local_us) * 1000 // self._speed
