"""`shrink`: the smallest failing run with the same cause as a given one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from qcore.errors import ConfigError
from qcore.sim.artifacts.failure_cause import Cause
from qcore.sim.scenario.model import Scenario
from qcore.sim.shrinking.candidate_values import Values, part, scenario_of
from qcore.sim.shrinking.edits import Case, Edit
from qcore.sim.shrinking.flat_timeline import flatten, hit_nodes, join_items, name_nodes
from qcore.sim.shrinking.passes.load_passes import (
    fewer_clients,
    fewer_operations,
    simpler_operations,
)
from qcore.sim.shrinking.passes.node_passes import drop_nodes, renumber_nodes
from qcore.sim.shrinking.passes.setting_passes import (
    constant_times,
    drop_expectations,
    drop_settings,
)
from qcore.sim.shrinking.passes.step_passes import drop_pairs, drop_steps, simplify_steps
from qcore.sim.shrinking.passes.time_passes import end_earlier, round_times, start_earlier
from qcore.sim.shrinking.run_size import RunSize
from qcore.sim.shrinking.shrink_search import ShrinkSearch
from qcore.sim.shrinking.trial_run import Conditions, Outcome, Trial, run_trial
from qcore.sim.simulation import World
from qcore.trace import TraceRecord, TraceWriter

#: The most runs of a shrink, unless more are allowed.
DEFAULT_BUDGET: Final = 1500
_MOST_ROUNDS: Final = 12
#: Seeds that are tried in place of a longer one.
_SHORT_SEEDS: Final = tuple(range(1, 10))

_PASSES: Final[tuple[Callable[[Case], list[Edit]], ...]] = (
    end_earlier,
    drop_expectations,
    drop_nodes,
    fewer_clients,
    fewer_operations,
    simpler_operations,
    drop_settings,
    constant_times,
    simplify_steps,
    end_earlier,
)
_LAST_PASSES: Final[tuple[Callable[[Case], list[Edit]], ...]] = (
    drop_pairs,
    start_earlier,
    round_times,
    end_earlier,
    join_items,
    renumber_nodes,
)


@dataclass(slots=True, frozen=True)
class Shrunk:
    """What a search found.

    Attributes:
        values, seed: the smallest failing run.
        cause: why it fails; its key is that of the first run.
        before, after: the sizes of the first run and of the smallest.
        runs: how many runs were needed.
        removed: what was removed, in order.
        is_minimal: whether no pass found anything more; False if the budget ended the search.
    """

    values: Values
    seed: int
    cause: Cause
    before: RunSize
    after: RunSize
    runs: int
    removed: tuple[str, ...]
    is_minimal: bool


def shrink_run(
    scenario: Scenario,
    seed: int,
    conditions: Conditions,
    *,
    budget_runs: int = DEFAULT_BUDGET,
    jobs: int = 1,
    run_in_pool: Callable[[Sequence[Trial], Conditions], Sequence[Outcome]] | None = None,
    out_of_time: Callable[[], bool] = lambda: False,
    progress: Callable[[ShrinkSearch], None] = lambda _search: None,
) -> Shrunk:
    """Search for the smallest failing run with the cause of a given one.

    Args:
        scenario: the scenario, drawn or not.
        seed: its seed.
        conditions: what all runs share.
        budget_runs: the most runs.
        jobs: how many runs `run_in_pool` does at the same time.
        run_in_pool: runs trials; they run in this process if it is left out.
        out_of_time: whether to stop now.
        progress: is called after each run.

    Raises:
        ConfigError: the run passes, or the scenario is invalid.
    """
    first = Trial(_without_expected_violation(scenario.drawn(seed).to_dict()), seed)
    conditions = replace(conditions, source=scenario.source)
    whole = run_trial(first, replace(conditions, to_the_end=True))
    if not whole.key:
        raise ConfigError(
            f"seed {seed} of {scenario.name} passes, so there is no failure to keep; find a seed that fails with: "
            f"qcore sim sweep {scenario.source or scenario.name} --until-failure"
        )
    before = whole.size or _no_size(scenario)
    conditions = replace(conditions, most_messages=3 * before.messages + 10_000)

    def run_all(trials: Sequence[Trial]) -> Sequence[Outcome]:
        if run_in_pool is not None:
            return run_in_pool(trials, conditions)
        return [run_trial(trial, conditions) for trial in trials]

    search = ShrinkSearch(
        Case(first, whole, whole.is_violation),
        run_all,
        budget_runs,
        jobs,
        out_of_time,
        progress,
    )
    is_minimal = _shrink(search, conditions)
    case = search.case
    last = run_trial(case.trial, replace(conditions, to_the_end=True))
    return Shrunk(
        case.values,
        case.trial.seed,
        Cause(last.key, last.text),
        before,
        last.size or before,
        search.runs,
        tuple(search.removed),
        is_minimal,
    )


def _shrink(search: ShrinkSearch, conditions: Conditions) -> bool:
    """Run all passes until none finds anything. Return whether that was reached."""
    search.attempt(end_earlier(search.case))
    search.attempt(drop_expectations(search.case))
    hit = hit_nodes(_trace_of(search.case.trial, conditions))
    search.attempt(name_nodes(search.case, hit))
    search.attempt(flatten(search.case))
    for _ in range(_MOST_ROUNDS):
        found = drop_steps(search)
        for one in _PASSES:
            found = search.attempt(one(search.case)) or found
        if not found:
            for one in _LAST_PASSES:
                found = search.attempt(one(search.case)) or found
        if search.is_over:
            return False
        if not found:
            break
    _use_short_seed(search)
    return not search.is_over


def _use_short_seed(search: ShrinkSearch) -> None:
    seeds = tuple(seed for seed in _SHORT_SEEDS if seed < search.case.trial.seed)
    search.attempt([Edit("the seed", lambda _values: True, seeds)])


def _trace_of(trial: Trial, conditions: Conditions) -> list[TraceRecord]:
    """The records of a run."""
    given = conditions.given
    writer = TraceWriter(keep=True, hashed=False)
    scenario = scenario_of(trial.values, conditions.source)
    world = World(scenario, trial.seed, writer, given.machine, given.oracles, given.program)
    try:
        world.run()
    except Exception:  # noqa: BLE001 - user code may raise anything; the records until then are there
        pass
    finally:
        world.close()
    return writer.trace().records({"fault"})


def _without_expected_violation(values: Values) -> Values:
    """The values of a scenario whose run fails if a violation is found, also one that the scenario asks for."""
    expect = part(values, "expect")
    kept = {key: one for key, one in expect.items() if key not in ("violation", "safe")}
    return {**values, "expect": kept} if expect else values


def _no_size(scenario: Scenario) -> RunSize:
    """The size of a run that raised an error before anything was counted."""
    return RunSize(len(scenario.all_nodes), 0, 0, 0, 0, scenario.until_ms, 0)
