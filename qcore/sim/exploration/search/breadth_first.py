"""Breadth-first search: every state within a number of steps, so a counterexample is as short as possible.

Three reductions keep it small. None hides a state, up to the ids of nodes:

| reduction | saves | idea |
|---|---|---|
| no-op deliveries | states | a message that would change nothing may as well stay in flight |
| symmetry | states | states that differ only in the ids of nodes have the same futures (`NodeSymmetry`) |
| sleep sets | steps | steps of different nodes commute, so one order of them is enough (Godefroid 1996, chapter 5) |

**Sleep sets in a breadth-first search.** All choices have one fixed order. The sleep set of a state holds choices that
need not be tried there, because the same steps in another order lead to the same state. A state that several steps of
one depth reach keeps the intersection of their sleep sets. Every state is still reached at its smallest depth. Of the
shortest paths to it take the first one in the fixed order. If a choice on it were asleep, it could be made earlier, and
the path would not be the first. If a step reaches a state by another node naming, its sleep set does not apply to the
known one, and that one's becomes empty.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from qcore.sim.exploration.small.choices import BUDGET_OF, Choice
from qcore.sim.exploration.small.global_history import Broken
from qcore.sim.exploration.small.node_symmetry import NodeSymmetry
from qcore.sim.exploration.small.small_cluster import SmallCluster, State

_NONE: Final[frozenset[int]] = frozenset()
#: How many states are expanded between two questions whether to stop.
_STRIDE: Final = 256


@dataclass(slots=True)
class SearchResult:
    """What a search found.

    Attributes:
        states: distinct states, up to the ids of nodes if symmetry was used.
        steps: choices that were made.
        pruned: choices that sleep sets made unnecessary.
        depth: every state within this many steps was visited.
        complete: no state is left to visit within the bounds, at any depth.
        path: the choices that lead to the broken property; empty if there is none.
        broken: the property that does not hold.
        widths: distinct states first reached at each depth.
    """

    states: int = 1
    steps: int = 0
    pruned: int = 0
    depth: int = 0
    complete: bool = False
    path: list[Choice] = field(default_factory=list)
    broken: Broken | None = None
    widths: list[int] = field(default_factory=list)


class BreadthFirst:
    """One search of a cluster.

    Args:
        cluster: the cluster.
        sleep_sets, symmetry: use these reductions. Symmetry is not used if the bounds treat nodes differently.
    """

    def __init__(
        self, cluster: SmallCluster, *, sleep_sets: bool = True, symmetry: bool = True
    ) -> None:
        self._cluster = cluster
        self._sleep_sets = sleep_sets
        bounds = cluster.bounds
        alike = symmetry and not (bounds.spares or bounds.changes)
        self._name: Callable[[State], tuple[int, ...]] | None = (
            NodeSymmetry(cluster).name if alike else None
        )
        self._result = SearchResult()
        # Parallel: for each state the one before it, and the choice between them.
        self._parents = array("q", [-1])
        self._choices = array("q", [-1])
        first = cluster.initial
        #: Name of each known state -> its number.
        self._seen = {first if self._name is None else self._name(first): 0}
        #: The states first reached in the next step, by number, and the sleep set of each.
        self._following: dict[int, State] = {0: first}
        self._asleep: dict[int, frozenset[int]] = {0: _NONE}

    def run(
        self,
        *,
        max_depth: int | None = None,
        max_states: int | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> SearchResult:
        """Search until a property is broken, a limit is reached, or nothing is left."""
        result = self._result
        while self._following and (max_depth is None or result.depth < max_depth):
            layer, asleep = self._following, self._asleep
            result.widths.append(len(layer))
            self._following, self._asleep = {}, {}
            for position, (number, state) in enumerate(layer.items()):
                if position % _STRIDE == 0 and (
                    (max_states is not None and len(self._seen) >= max_states)
                    or (should_stop is not None and should_stop())
                ):
                    return result
                self._expand(number, state, asleep[number])
                if result.broken is not None:
                    return result
            result.depth += 1
        result.complete = not self._following
        return result

    def _expand(self, number: int, state: State, asleep: frozenset[int]) -> None:
        """Make every choice of a state that is not asleep, until a property is broken."""
        cluster, name, seen, result = self._cluster, self._name, self._seen, self._result
        following, next_asleep = self._following, self._asleep
        tried = sorted(asleep)
        for choice in cluster.choices(state):
            if choice in asleep:
                result.pruned += 1
                continue
            after = cluster.take(state, choice)
            result.steps += 1
            if isinstance(after, Broken):
                result.broken = after
                result.path = self._path(number, choice)
                return
            key = after if name is None else name(after)
            known = seen.get(key)
            if known is None:
                known = seen[key] = len(seen)
                result.states = len(seen)
                self._parents.append(number)
                self._choices.append(choice)
                following[known] = after
                next_asleep[known] = self._asleep_after(state, choice, tried)
            elif next_asleep.get(known):
                if following[known] == after:
                    next_asleep[known] &= self._asleep_after(state, choice, tried)
                else:
                    next_asleep[known] = _NONE
            tried.append(choice)

    def _asleep_after(self, state: State, choice: int, tried: list[int]) -> frozenset[int]:
        if not self._sleep_sets or not tried:
            return _NONE
        choices = self._cluster.steps.choices
        kind, node, _ = choices[choice]
        if kind == "read":
            return _NONE
        found: list[int] = []
        for other in tried:
            its_kind, its_node, _ = choices[other]
            if its_node != node and its_kind != "read" and not self._compete(state, kind, its_kind):
                found.append(other)
        return frozenset(found)

    def _compete(self, state: State, kind: str, other: str) -> bool:
        """Whether a choice of one kind may prevent or change one of the other kind, at another node."""
        budget = BUDGET_OF[kind]
        if budget is None or budget != BUDGET_OF[other]:
            return False
        return kind == "write" or self._cluster.budget_left(state, kind) < 2

    def _path(self, number: int, last: int) -> list[Choice]:
        choices = self._cluster.steps.choices
        path = [choices[last]]
        while number > 0:
            path.append(choices[self._choices[number]])
            number = self._parents[number]
        return path[::-1]
