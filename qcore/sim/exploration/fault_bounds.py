"""Bounds that suffice to find each missing safeguard of elections, commits and reads, and how many runs that takes.

A bug in the code is searched for in the same way: plant it, and call the functions here with suitable bounds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from statistics import median
from typing import Final

from qcore.sim.exploration.bounds import Bounds
from qcore.sim.exploration.explorer import Exploration, explore
from qcore.sim.exploration.search.random_priorities import RandomPriorities
from qcore.sim.exploration.small.small_cluster import SmallCluster

#: Safeguard -> bounds within which its absence shows. The others of `Safeguards` concern clocks, which stand still,
#: or are unsafe only together with another one (`noop_on_election`).
FAULT_BOUNDS: Final[Mapping[str, Bounds]] = {
    "one_vote_per_term": Bounds(timeouts=2),
    "vote_durable_before_reply": Bounds(timeouts=2, crashes=1, sync="free"),
    "log_freshness_check": Bounds(timeouts=2, writes=1, start="leader"),
    "append_durable_before_ack": Bounds(
        timeouts=1, writes=1, crashes=1, sync="free", start="leader"
    ),
    "commit_own_term_only": Bounds(timeouts=3, writes=1, start="leader", late_messages=False),
    "read_confirmation": Bounds(timeouts=1, reads=1, start="leader"),
}


def find_exhaustively(fault: str | Bounds, *, max_states: int | None = 1_000_000) -> Exploration:
    """Search every state for a fault.

    Args:
        fault: a safeguard of `FAULT_BOUNDS`, which is switched off; or bounds for the code as it is.
        max_states: stop after this many distinct states.
    """
    return explore(_bounds(fault), max_states=max_states)


def find_with_pct(
    fault: str | Bounds,
    seeds: Iterable[int],
    *,
    runs: int = 10_000,
    changes: int = 8,
    max_steps: int = 40,
) -> list[int | None]:
    """How many runs under random priorities each seed needs to find a fault; None if `runs` do not suffice.

    Args:
        fault: as for `find_exhaustively`.
        seeds: each is an independent search.
        runs: the most runs for each seed.
        changes: changes of priority in a run.
        max_steps: steps of a run, at most.
    """
    cluster = SmallCluster(_bounds(fault))
    search = RandomPriorities(cluster, changes=changes, max_steps=max_steps)
    results = [search.search(seed, runs) for seed in seeds]
    return [None if result.broken is None else result.runs for result in results]


def median_runs(found: Iterable[int | None], runs: int) -> float:
    """The median of what `find_with_pct` returns, where an unsuccessful search counts as more than `runs`."""
    return median([runs + 1 if count is None else count for count in found])


def _bounds(fault: str | Bounds) -> Bounds:
    if isinstance(fault, Bounds):
        return fault
    return FAULT_BOUNDS[fault].with_changes(without=(fault,))
