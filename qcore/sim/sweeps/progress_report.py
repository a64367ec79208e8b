"""`SweepProgress`: how far a sweep is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

_MINUTE_S = 60


@dataclass(slots=True, frozen=True)
class SweepProgress:
    """How far a sweep is.

    Attributes:
        done: how many runs have ended, also those of the cache.
        total: how many there will be; None if that is not known.
        failures: how many of them failed.
        rate: runs per second, without those of the cache.
        left_s: the expected time that is left, in seconds; None if it is not known.
        is_over: whether this is the last report.
    """

    done: int
    total: int | None
    failures: int
    rate: float
    left_s: float | None
    is_over: bool = False

    def __str__(self) -> str:
        of = "" if self.total is None else f" of {self.total}"
        parts = [f"{self.done}{of} runs", f"{self.failures} failed", f"{self.rate:.1f} runs/s"]
        if self.left_s is not None and not self.is_over:
            parts.append(f"{_duration(self.left_s)} left")
        return ", ".join(parts)


#: Is called with the progress, a few times in a second.
ProgressCallback: TypeAlias = Callable[[SweepProgress], None]


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), _MINUTE_S)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
