"""Searches of a small cluster of real cores: exhaustive ones, and runs under random priorities (PCT)."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final

from benchmarks.exploration.bench_explore import BOUNDS
from benchmarks.potency.planted_faults import NO_FAULT, PlantedFault
from qcore.sim.exploration import Bounds, explore
from qcore.sim.exploration.bounds import PRESETS
from qcore.sim.exploration.search.random_priorities import RandomPriorities
from qcore.sim.exploration.small.small_cluster import SmallCluster

#: What an exhaustive search may visit.
MAX_STATES: Final = 400_000
#: Runs under random priorities end after this many steps, and change a priority this often.
_STEPS: Final = 40
_PRIORITY_CHANGES: Final = 8

#: The bounds in which a fault is searched for. A fault that is missing here needs what a small cluster lacks: clocks,
#: sessions, watches, applied state, or more nodes than an exhaustive search can afford.
SMALL_BOUNDS: Final[Mapping[str, Bounds]] = {
    **BOUNDS,
    "acknowledges_a_snapshot_too_soon": PRESETS["snapshot"].with_changes(sync="free"),
    "keeps_a_truncated_configuration": PRESETS["membership"],
    NO_FAULT.name: Bounds(timeouts=1, writes=1, start="leader"),
}


@dataclass(frozen=True, slots=True)
class Searched:
    """What an exhaustive search of one cluster came to.

    Attributes:
        found: the property that it found broken; empty if none.
        states: the states that it visited.
        steps: how many steps lead to the broken property.
    """

    found: str
    states: int
    steps: int


def search_all(fault: PlantedFault) -> Searched | None:
    """Every state within the bounds of a planted fault, nearest first, until a property is broken.

    None if a small cluster cannot show the fault.
    """
    bounds = SMALL_BOUNDS.get(fault.name)
    if bounds is None:
        return None
    result = explore(bounds, max_states=MAX_STATES)
    broken = result.counterexample
    if broken is None:
        return Searched("", result.states, 0)
    return Searched(broken.broken.check, result.states, len(broken.steps))


def random_priorities(fault: PlantedFault, seed: int) -> str | None:
    """One run under random priorities in the bounds of a planted fault.

    Returns:
        The property that it breaks; empty if none; None if a small cluster cannot show the fault.
    """
    if fault.name not in SMALL_BOUNDS:
        return None
    scheduler = RandomPriorities(_cluster(fault.name), changes=_PRIORITY_CHANGES, max_steps=_STEPS)
    _, broken, _ = scheduler.run(random.Random(f"potency:{seed}"))
    return "" if broken is None else broken.check


@cache
def _cluster(fault: str) -> SmallCluster:
    """A cluster remembers what steps do, so each planted fault has a separate one."""
    return SmallCluster(SMALL_BOUNDS[fault])
