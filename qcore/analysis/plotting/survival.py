"""The distribution of durations, some of which are censored: the run ended before they did.

Without censored values this is the empirical distribution with the band of Dvoretzky, Kiefer, Wolfowitz and Massart
(1990). With them it is the estimate of Kaplan and Meier (1958), with Greenwood's variance on the scale of
log(-log S), which keeps the band between 0 and 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from math import exp, log, sqrt
from typing import Final

from qcore.analysis.spans import Span
from qcore.analysis.style import MS
from qcore.errors import ConfigError

_Z: Final = (
    1.959964  # a normal variable lies within this many standard deviations with probability 95 %
)
_LEFT_OUT: Final = 0.05


@dataclass(slots=True, frozen=True)
class Distribution:
    """The share of durations that ended by a time, with a band that holds 95 %.

    Attributes:
        times: the times at which the share rises.
        shares, low, high: the share from each of these times on, and the limits of its band; 0 to 1. The band of a
            distribution with censored values holds at each time for itself, the other one holds everywhere together.
        censored: the censored values.
        count: how many values there are, censored ones included.
        longest: the longest value; up to there the distribution is known.
    """

    times: tuple[float, ...]
    shares: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    censored: tuple[float, ...]
    count: int
    longest: float

    def quantile(self, share: float) -> float | None:
        """The first time by which this share has ended (0 to 1); None if too many values are censored.

        Without censored values, this is the nearest rank.
        """
        reached = (
            t for t, seen in zip(self.times, self.shares, strict=True) if seen >= share - 1e-12
        )
        return next(reached, None)

    def share_at(self, time: float) -> float:
        """The share that ended by a time."""
        return max(
            (seen for t, seen in zip(self.times, self.shares, strict=True) if t <= time),
            default=0.0,
        )


def distribution(values: Sequence[float | Span], is_censored: Sequence[bool] = ()) -> Distribution:
    """Estimate the distribution of durations.

    Args:
        values: the durations in any unit, or spans, whose lengths count in milliseconds.
        is_censored: for each value, whether the duration is only known to be longer. Spans say it themselves.

    Raises:
        ConfigError: `is_censored` has another length than `values`.
    """
    flags = list(is_censored) or [False] * len(values)
    if len(flags) != len(values):
        raise ConfigError(
            f"there are {len(values)} durations, but {len(flags)} marks of whether they are censored"
        )
    ordered = sorted(
        # At equal times, what ended counts before what is censored: that one was still going on.
        (value.length_us / MS, value.is_censored or flag)
        if isinstance(value, Span)
        else (float(value), flag)
        for value, flag in zip(values, flags, strict=True)
    )
    left = count = len(ordered)
    censored = tuple(value for value, flag in ordered if flag)
    margin = sqrt(log(2 / _LEFT_OUT) / (2 * count)) if count else 0.0
    times, shares, low, high = [], [], [], []
    survival, ended, variance = 1.0, 0, 0.0
    for time, group in groupby(ordered, key=lambda pair: pair[0]):
        flags_here = [flag for _, flag in group]
        ends = flags_here.count(False)
        if ends:
            survival *= 1 - ends / left
            ended += ends
            if left > ends:
                variance += ends / (left * (left - ends))
            share = 1 - survival if censored else ended / count
            a, b = (
                _greenwood(survival, variance)
                if censored
                else (max(0.0, share - margin), min(1.0, share + margin))
            )
            times.append(time)
            shares.append(share)
            low.append(a)
            high.append(b)
        left -= len(flags_here)
    return Distribution(
        tuple(times),
        tuple(shares),
        tuple(low),
        tuple(high),
        censored,
        count,
        ordered[-1][0] if ordered else 0.0,
    )


def _greenwood(survival: float, variance: float) -> tuple[float, float]:
    """The limits of the share that ended."""
    if not 0.0 < survival < 1.0:
        return 1 - survival, 1 - survival
    width = _Z * sqrt(variance) / abs(log(survival))
    most, least = survival ** exp(-width), survival ** exp(width)
    return 1 - most, 1 - least
