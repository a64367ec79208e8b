"""When the slots of a job are due."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

from qcore.errors import ConfigError

#: From a time, the next time at which a slot is due, later than that; both in seconds since the Unix epoch.
NextTime = Callable[[float], float]
#: A search for the newest slots begins so long ago, ms, and goes back four times as far each time.
_FIRST_SPAN_MS: Final = 60_000


class SlotTimes(Protocol):
    """When slots are due, in milliseconds since the Unix epoch. That is also the number of a slot."""

    def due(self, after: int, until: int, most: int) -> list[int]:
        """The newest slots after a time and not after another one, the oldest of them first."""
        ...

    def next_due(self, after: int) -> int:
        """The first slot after a time."""
        ...


def slot_times(every_s: float | None, schedule: NextTime | None) -> SlotTimes:
    """The slots at the multiples of a time span, or those of a schedule.

    Raises:
        ConfigError: both are given, or none, or the span is out of its range.
    """
    if (every_s is None) == (schedule is None):
        raise ConfigError(
            "give every_s, a number of seconds, or schedule, a function from a time to the next one"
        )
    if schedule is not None:
        if not callable(schedule):
            raise ConfigError(f"schedule: {schedule!r} is no function from a time to the next one")
        return ScheduledSlots(schedule)
    if not isinstance(every_s, int | float) or not 0.001 <= every_s < 1e9:
        raise ConfigError(f"every_s: {every_s!r} is no number of seconds from 0.001 on")
    return RegularSlots(round(1000 * every_s))


class RegularSlots:
    """A slot at each multiple of a time span since the Unix epoch.

    Args:
        every_ms: the span.
    """

    def __init__(self, every_ms: int) -> None:
        self._every_ms = every_ms

    def due(self, after: int, until: int, most: int) -> list[int]:
        """See `SlotTimes`."""
        last = until // self._every_ms
        first = max(after // self._every_ms + 1, last - most + 1)
        return [number * self._every_ms for number in range(first, last + 1)]

    def next_due(self, after: int) -> int:
        """See `SlotTimes`."""
        return (after // self._every_ms + 1) * self._every_ms


class ScheduledSlots:
    """The slots of a function.

    Args:
        schedule: from a time, the next one.
    """

    def __init__(self, schedule: NextTime) -> None:
        self._schedule = schedule

    def due(self, after: int, until: int, most: int) -> list[int]:
        """See `SlotTimes`. It asks for few times, however long ago `after` is.

        Raises:
            ConfigError: the function gives no later time.
        """
        span_ms = _FIRST_SPAN_MS
        while True:
            begin = max(after, until - span_ms)
            found: deque[int] = deque(maxlen=most)
            slot = self.next_due(begin)
            while slot <= until:
                found.append(slot)
                slot = self.next_due(slot)
            if len(found) == most or begin == after:
                return [*found]
            span_ms *= 4

    def next_due(self, after: int) -> int:
        """See `SlotTimes`.

        Raises:
            ConfigError: the function gives no later time.
        """
        time_s: object = self._schedule(after / 1000)
        if (
            not isinstance(time_s, int | float)
            or not math.isfinite(time_s)
            or round(1000 * time_s) <= after
        ):
            raise ConfigError(
                f"schedule({after / 1000!r}) is {time_s!r}: it must be a later time, in seconds since the Unix epoch"
            )
        return round(1000 * time_s)
