"""`explore`: search the states of a small cluster of real cores for a broken property."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Literal, get_args

from qcore.compiled_build import BUILD
from qcore.errors import ConfigError
from qcore.sim.exploration.bounds import Bounds, preset
from qcore.sim.exploration.counterexample import Counterexample, counterexample
from qcore.sim.exploration.search.breadth_first import BreadthFirst
from qcore.sim.exploration.search.random_priorities import RandomPriorities
from qcore.sim.exploration.small.small_cluster import SmallCluster

Strategy = Literal["exhaustive", "pct"]


@dataclass(slots=True, frozen=True)
class Exploration:
    """What an exploration found. `print` it, or read its fields.

    Attributes:
        bounds: what was possible.
        strategy: how it was searched.
        states: distinct states that were visited.
        steps: steps that were taken.
        pruned: steps that the reduction made unnecessary.
        depth: of an exhaustive search: all states within this many steps were visited. Of PCT: the longest run.
        complete: of an exhaustive search: no state within the bounds is left.
        runs: of PCT: the runs that were made.
        core_steps: steps of a real core; the others were look-ups.
        seconds: how long it took.
        counterexample: the steps to the broken property, or None.
    """

    bounds: Bounds
    strategy: Strategy
    states: int
    steps: int
    pruned: int
    depth: int
    complete: bool
    runs: int
    core_steps: int
    seconds: float
    counterexample: Counterexample | None

    @property
    def ok(self) -> bool:
        """Whether no property is broken."""
        return self.counterexample is None

    @property
    def states_per_second(self) -> float:
        return self.states / self.seconds if self.seconds > 0 else 0.0

    @property
    def pruned_share(self) -> float:
        """The share of all steps that the reduction made unnecessary."""
        every = self.steps + self.pruned
        return self.pruned / every if every else 0.0

    def to_json(self) -> dict[str, Any]:
        """The result as JSON values."""
        found = self.counterexample
        return {
            "ok": self.ok,
            "strategy": self.strategy,
            "states": self.states,
            "steps": self.steps,
            "pruned": self.pruned,
            "pruned_share": round(self.pruned_share, 3),
            "depth": self.depth,
            "complete": self.complete,
            "runs": self.runs,
            "core_steps": self.core_steps,
            "seconds": round(self.seconds, 2),
            "states_per_second": round(self.states_per_second),
            "counterexample": None if found is None else found.to_json(),
            "bounds": self.bounds.to_json(),
        }

    def text(self) -> str:
        """The result for people."""
        rate = f"{self.states_per_second:,.0f} states/s"
        lines = []
        if self.strategy == "exhaustive":
            covered = "every state" if self.complete else f"every state within {self.depth} steps"
            lines.append(
                f"{self.states:,} distinct states, {self.steps:,} steps, {self.seconds:.1f} s, {rate}; "
                f"the reduction saved {self.pruned_share:.0%} of the steps"
            )
            if self.ok:
                lines.append(f"no property is broken: {covered} was visited")
        else:
            counts = f"{self.runs:,} runs, {self.states:,} distinct states, {self.steps:,} steps"
            lines.append(f"{counts}, {self.seconds:.1f} s, {rate}")
            if self.ok:
                lines.append("no run broke a property")
        if self.counterexample is not None:
            steps = len(self.counterexample.steps)
            lines.append(f"{self.counterexample.broken.check} is broken after {steps} steps:")
            lines.append(self.counterexample.text())
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.text()


def explore(
    bounds: Bounds | str = "election",
    *,
    strategy: Strategy = "exhaustive",
    depth: int | None = None,
    max_states: int | None = 200_000,
    seconds: float | None = None,
    seed: int = 1,
    changes_of_priority: int = 8,
    runs: int = 1000,
    reduction: bool = True,
    clock: Callable[[], float] = perf_counter,
    **bound_changes: int | str | bool | Sequence[str],
) -> Exploration:
    """Search the states of a small cluster for a broken property.

    `explore("election", without=["one_vote_per_term"])` explores the bounds of a preset with one change.

    Args:
        bounds: what is possible: `Bounds`, or the name of a preset.
        strategy: `exhaustive` visits every state, nearest first; `pct` makes random runs.
        depth: steps from the first state. None: no limit for `exhaustive`, 40 for `pct`.
        max_states: stop after this many distinct states; None for no limit.
        seconds: stop after this time. What is found before does not depend on it.
        seed: decides the runs of `pct`.
        changes_of_priority: in a run of `pct`.
        runs: runs of `pct`, at most.
        reduction: use sleep sets and symmetry.
        clock: measures `seconds`, s.
        bound_changes: other values for fields of the bounds.

    Raises:
        ConfigError: an argument is out of range, or the core is compiled: the explorer copies cores.
    """
    if BUILD == "compiled":
        raise ConfigError(
            "the explorer copies cores, which compiled ones do not allow: set QCORE_PURE=1 in the environment"
        )
    found = preset(bounds) if isinstance(bounds, str) else bounds
    if bound_changes:
        if "without" in bound_changes:
            bound_changes["without"] = tuple(_texts(bound_changes["without"]))
        found = found.with_changes(**bound_changes)
    if strategy not in get_args(Strategy):
        raise ConfigError(f"strategy: {strategy!r} is not one of {', '.join(get_args(Strategy))}")
    began = clock()
    cluster = SmallCluster(found)

    def is_late() -> bool:
        return seconds is not None and clock() - began >= seconds

    if strategy == "exhaustive":
        search = BreadthFirst(cluster, sleep_sets=reduction, symmetry=reduction)
        result = search.run(max_depth=depth, max_states=max_states, should_stop=is_late)
        broken, path = result.broken, result.path
        states, steps, pruned = result.states, result.steps, result.pruned
        reached, complete, made = result.depth, result.complete, 0
    else:
        runner = RandomPriorities(cluster, changes=changes_of_priority, max_steps=depth or 40)
        random_result = runner.search(seed, runs, max_states=max_states, should_stop=is_late)
        broken, path = random_result.broken, random_result.path
        states, steps, pruned = random_result.states, random_result.steps, 0
        reached, complete, made = random_result.longest, False, random_result.runs
    return Exploration(
        bounds=found,
        strategy=strategy,
        states=states,
        steps=steps,
        pruned=pruned,
        depth=reached,
        complete=complete,
        runs=made,
        core_steps=cluster.steps.core_steps,
        seconds=clock() - began,
        counterexample=None if broken is None else counterexample(cluster, path, broken),
    )


def _texts(value: int | str | bool | Sequence[str]) -> Sequence[str]:
    if isinstance(value, str):
        return (value,)
    if isinstance(value, int):
        raise ConfigError(f"without: {value!r} is not a list of safeguards")
    return value
