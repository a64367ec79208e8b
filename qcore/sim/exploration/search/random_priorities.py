"""`RandomPriorities`: probabilistic concurrency testing (PCT) of a small cluster, for runs of many steps.

Source: Burckhardt, Kothari, Musuvathi, Nagarakatti, "A randomized scheduler with probabilistic guarantees of finding
bugs" (ASPLOS 2010).

The scheduler sees the cluster as threads: each link that carries messages in order, and for each node its timer, its
disk, its clients, its operator and its crashes. Each thread gets a random priority. The thread of the highest priority
that can take a step takes it. At `changes` steps, drawn at random before the run, the thread that is about to run gets
a priority below all others.

**Guarantee.** A fault that shows in every schedule with d ordered constraints between steps is found by one run with
probability at least 1 / (n * k^(d - 1)), where n is the number of threads, k the number of steps, and d - 1 the
number of changes. The bound holds for threads that do the same steps in every schedule up to those constraints. Here
the number of threads is bounded by the links and nodes, and k by `max_steps`.

Timeouts, writes and faults are bounded by budgets. A thread that has used a budget gets a new random priority.
Otherwise the timer of the highest priority would use all timeouts of the run in its first steps.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from qcore.sim.exploration.small.choices import BUDGET_OF, Choice
from qcore.sim.exploration.small.global_history import Broken
from qcore.sim.exploration.small.small_cluster import SmallCluster, State

#: Which thread takes a choice: (kind of thread, node, other end of the link).
_Thread = tuple[str, int, int]

_KINDS: Final = {
    "timeout": "timer",
    "heartbeat": "timer",
    "sync": "disk",
    "write": "client",
    "read": "client",
    "crash": "power",
    "transfer": "operator",
    "change": "operator",
    "snapshot": "disk",
}


@dataclass(slots=True)
class PctResult:
    """What the runs of a PCT search found.

    Attributes:
        runs: runs that were made, the failing one included.
        steps: choices that were made in all runs.
        states: distinct states that all runs visited.
        longest: steps of the longest run.
        path: the choices that lead to the broken property; empty if there is none.
        broken: the property that does not hold.
    """

    runs: int = 0
    steps: int = 0
    states: int = 0
    longest: int = 0
    path: list[Choice] = field(default_factory=list)
    broken: Broken | None = None


class RandomPriorities:
    """Runs of one cluster under random priorities.

    Args:
        cluster: the cluster; its tables of steps are shared by all runs.
        changes: how often in a run a priority drops (d - 1).
        max_steps: a run ends after this many steps.
    """

    def __init__(self, cluster: SmallCluster, *, changes: int = 8, max_steps: int = 40) -> None:
        self._cluster = cluster
        self._changes = changes
        self._max_steps = max_steps

    def run(self, rng: random.Random) -> tuple[list[Choice], Broken | None, list[State]]:
        """One run. Returns its choices, the broken property, and the states it visited."""
        cluster, choices_by_number = self._cluster, self._cluster.steps.choices
        state = cluster.initial
        priorities: dict[_Thread, float] = {}
        drops = frozenset(rng.sample(range(self._max_steps), min(self._changes, self._max_steps)))
        lowest = 0.0
        path: list[Choice] = []
        visited = [state]
        for step in range(self._max_steps):
            threads: dict[_Thread, list[int]] = {}
            for number in cluster.choices(state):
                threads.setdefault(self._thread(choices_by_number[number]), []).append(number)
            if not threads:
                break
            for thread in threads:
                if thread not in priorities:
                    priorities[thread] = 1.0 + rng.random()
            best = max(threads, key=priorities.__getitem__)
            if step in drops:
                lowest -= 1.0
                priorities[best] = lowest
                best = max(threads, key=priorities.__getitem__)
            offered = threads[best]
            number = offered[0] if best[0] == "link" else offered[rng.randrange(len(offered))]
            choice = choices_by_number[number]
            if BUDGET_OF[choice.kind] is not None:
                priorities[best] = 1.0 + rng.random()  # see the module's text
            path.append(choice)
            after = cluster.take(state, number)
            if isinstance(after, Broken):
                return path, after, visited
            state = after
            visited.append(state)
        return path, None, visited

    def search(
        self,
        seed: int,
        runs: int,
        *,
        max_states: int | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> PctResult:
        """Run until a property is broken or a limit is reached, at most `runs` times."""
        result = PctResult()
        states: dict[State, None] = {}
        for number in range(runs):
            full = max_states is not None and len(states) >= max_states
            if full or (should_stop is not None and should_stop()):
                break
            rng = random.Random(f"{seed}:{number}")
            path, broken, visited = self.run(rng)
            result.runs += 1
            result.steps += len(path)
            result.longest = max(result.longest, len(path))
            states.update(dict.fromkeys(visited))
            if broken is not None:
                result.path, result.broken = path, broken
                break
        result.states = len(states)
        return result

    def _thread(self, choice: Choice) -> _Thread:
        if choice.kind in _KINDS:
            return _KINDS[choice.kind], choice.node, 0
        sender = self._cluster.steps.messages[choice.argument].sender
        return "link", sender, choice.node
