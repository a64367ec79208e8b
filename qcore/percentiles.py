"""`percentile`, by nearest rank, for runs, plots and benchmarks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from qcore.errors import ConfigError

_Number = TypeVar("_Number", int, float)


def percentile(ordered: Sequence[_Number], percent: float) -> _Number:
    """The smallest of the sorted values that at least `percent` percent of them do not exceed.

    Raises:
        ConfigError: there are no values.
    """
    if not ordered:
        raise ConfigError("no percentile of no values: give the values of at least one run")
    rank = -(-len(ordered) * percent // 100)
    return ordered[max(0, int(rank) - 1)]


def percentile_of_counts(counts: Mapping[_Number, int], percent: float) -> _Number:
    """The same, given how often each value occurs.

    Raises:
        ConfigError: there are no values.
    """
    rank = -(-sum(counts.values()) * percent // 100)
    ordered = sorted(counts)
    for value in ordered:
        rank -= counts[value]
        if rank <= 0:
            return value
    return percentile(ordered, 100)
