"""Searches of a small cluster of real cores: exhaustive ones, and runs under random priorities (PCT)."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from benchmarks.potency.planted_faults import PlantedFault
from qcore.sim.exploration.bounds import Bounds, preset
from qcore.sim.exploration.search.breadth_first import BreadthFirst
from qcore.sim.exploration.search.random_priorities import RandomPriorities
from qcore.sim.exploration.small.small_cluster import SmallCluster

#: What an exhaustive search may visit: enough for each preset within a few seconds to a minute.
MAX_STATES: Final = 100_000
#: Runs under random priorities end after this many steps, and change a priority this often.
_STEPS: Final = 80
_PRIORITY_CHANGES: Final = 4

#: The clusters for random priorities, in turn: together they offer everything that may happen. None fits one fault.
_RANDOM: Final = (
    Bounds(timeouts=3, heartbeats=1, crashes=2, writes=2, sync="free"),
    Bounds(timeouts=3, heartbeats=2, crashes=2, writes=3, reads=2, sync="free", start="leader"),
    Bounds(nodes=5, timeouts=3, heartbeats=2, crashes=1, writes=2, reads=2, start="leader"),
    Bounds(timeouts=3, heartbeats=2, writes=2, changes=1, spares=1, start="leader"),
    Bounds(timeouts=3, writes=3, snapshots=2, crashes=2, sync="free", start="leader"),
    Bounds(timeouts=4, heartbeats=2, writes=2, reads=1, crashes=1, transfers=1, start="leader"),
)
#: The presets of `qcore sim explore`, and bounds like theirs for what no preset has.
EXPLORED: Final[Mapping[str, Bounds]] = {
    "election": preset("election"),
    "commit": preset("commit"),
    "membership": preset("membership"),
    "snapshot": preset("snapshot"),
    "durability": Bounds(timeouts=1, writes=1, crashes=1, sync="free", start="leader"),
    "reads": Bounds(timeouts=1, writes=1, reads=1, start="leader"),
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


@lru_cache(maxsize=len(_RANDOM))
def small_cluster(fault: PlantedFault, bounds: Bounds) -> SmallCluster:
    """A cluster with these bounds and the fault's safeguard switched off. It remembers steps, so it goes with the fault."""
    return SmallCluster(bounds.with_changes(without=(fault.safeguard,) if fault.safeguard else ()))


def search_all(fault: PlantedFault) -> Searched:
    """Every state of the bounds that are for the fault, nearest first, until a property is broken."""
    search = BreadthFirst(small_cluster(fault, EXPLORED[fault.explored]))
    result = search.run(max_states=MAX_STATES)
    return Searched(
        "" if result.broken is None else result.broken.check, result.states, len(result.path)
    )


def random_priorities(fault: PlantedFault, seed: int) -> str:
    """One run under random priorities: the property that it breaks; empty if none."""
    cluster = small_cluster(fault, _RANDOM[seed % len(_RANDOM)])
    scheduler = RandomPriorities(cluster, changes=_PRIORITY_CHANGES, max_steps=_STEPS)
    _, broken, _ = scheduler.run(random.Random(f"potency:{seed}"))
    return "" if broken is None else broken.check
