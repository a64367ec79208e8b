"""`shrink`: the smallest failing run with the same cause as a given one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from qcore.errors import ConfigError
from qcore.sim.artifacts.failure_cause import Cause, headline
from qcore.sim.scenario.model import Scenario
from qcore.sim.shrinking.candidate_values import Values, part, scenario_of
from qcore.sim.shrinking.edits import Case, Edit
from qcore.sim.shrinking.flat_timeline import firings_of, flatten, name_nodes, sort_items
from qcore.sim.shrinking.passes.load_passes import (
    fewer_clients,
    fewer_operations,
    simpler_operations,
)
from qcore.sim.shrinking.passes.move_passes import (
    drop_and_move,
    drop_first_campaign,
    keep_few_link_faults,
)
from qcore.sim.shrinking.passes.node_passes import drop_nodes, renumber_nodes
from qcore.sim.shrinking.passes.setting_passes import (
    constant_times,
    drop_expectations,
    drop_idle_settings,
    drop_settings,
    only_one_cause,
    tidy,
)
from qcore.sim.shrinking.passes.step_passes import (
    drop_pairs,
    drop_single_steps,
    drop_steps,
    join_steps,
    merge_moments,
    simplify_steps,
)
from qcore.sim.shrinking.passes.time_passes import (
    end_at_failure,
    end_earlier,
    end_much_earlier,
    only_last_part,
    round_times,
    start_earlier,
)
from qcore.sim.shrinking.run_size import RunSize
from qcore.sim.shrinking.shrink_search import ShrinkSearch
from qcore.sim.shrinking.trial_run import Conditions, Outcome, Trial, run_trial
from qcore.sim.simulation import World
from qcore.trace import TraceRecord, TraceWriter

#: The most runs of a shrink, unless more are allowed.
DEFAULT_BUDGET: Final = 6000
_MOST_ROUNDS: Final = 60
#: The kinds of records that say what a run did.
_KINDS: Final = ("fault", "role", "vote", "commit", "violation")
#: Seeds that are tried in place of a longer one.
_SHORT_SEEDS: Final = tuple(range(1, 10))

#: The edits that leave no watcher and no client, which come first.
_NO_CLIENTS: Final = 2

Pass = Callable[[Case], list[Edit]]

#: What makes every later run cheaper, after the first steps were removed.
_FIRST_PASSES: Final[tuple[Pass, ...]] = (
    end_much_earlier,
    fewer_clients,
    drop_nodes,
    renumber_nodes,
)
#: The passes in tiers. After a tier that found something, the first one has its turn again: what it removes counts
#: most, and a setting that goes too early may be one without which more steps are needed.
_TIERS: Final[tuple[tuple[Pass, ...], ...]] = (
    (end_earlier,),
    (start_earlier, join_steps),
    (drop_nodes, renumber_nodes, fewer_clients),
    (drop_single_steps,),
    (fewer_operations, simpler_operations),
    (simplify_steps,),
    (drop_settings, constant_times),
    (drop_pairs,),
    (drop_and_move,),
    (drop_first_campaign,),
    (round_times, sort_items),
)
#: A pass that halves something is repeated up to so many times.
_MOST_REPETITIONS: Final = 10
#: A run of more steps than these is searched again, with other draws, up to so many times.
_HANDFUL: Final = 5
_MORE_SEARCHES: Final = 12


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
        records: the trace of the smallest run.
    """

    values: Values
    seed: int
    cause: Cause
    before: RunSize
    after: RunSize
    runs: int
    removed: tuple[str, ...]
    is_minimal: bool
    records: tuple[TraceRecord, ...] = ()


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
        Cause(last.key, headline(last.text)),
        before,
        last.size or before,
        search.runs,
        tuple(search.removed),
        is_minimal,
        tuple(_trace_of(case.trial, conditions)),
    )


def _shrink(search: ShrinkSearch, conditions: Conditions) -> bool:
    """Run all passes until none finds anything. Return whether that was reached."""
    _end_at_failure(search)
    # An expectation that fails is judged together with the others, which show that the run is sound.
    if search.case.is_violation:
        search.attempt(drop_expectations(search.case))
    if not search.is_over:
        firings = firings_of(_trace_of(search.case.trial, conditions))
        search.attempt(name_nodes(search.case, firings))
    search.attempt(flatten(search.case))
    if _last_part(search):
        _end_at_failure(search)
    # Later runs cost less without clients and with fewer nodes. One run of each shows whether that fails, too.
    search.attempt(_with_own_seed(fewer_clients(search.case)[:_NO_CLIENTS]))
    search.attempt(_with_own_seed(drop_nodes(search.case)))
    drop_steps(search)
    for one in _FIRST_PASSES:
        _repeat(search, one)
        _end_at_failure(search)
    _all_tiers(search)
    again = 0
    while again < _MORE_SEARCHES and len(search.case.items) > _HANDFUL and not search.is_over:
        again += 1
        found = search.attempt(drop_and_move(search.case, again))
        if found or search.attempt(keep_few_link_faults(search.case, again)):
            _all_tiers(search)
            again = 0
    _use_short_seed(search)
    search.attempt(drop_expectations(search.case))
    search.attempt(drop_idle_settings(search.case))
    _repeat(search, merge_moments)
    is_minimal = not search.is_over
    # A few runs more than the budget may be needed for a scenario that is pleasant to read.
    search.attempt(tidy(search.case), over_budget=True)
    whole = run_trial(search.case.trial, replace(conditions, to_the_end=True))
    search.attempt(only_one_cause(search.case, whole.failed), over_budget=True)
    return is_minimal


def _all_tiers(search: ShrinkSearch) -> None:
    """Run the passes of all tiers until none finds anything."""
    for _ in range(_MOST_ROUNDS):
        if search.is_over or not (
            drop_steps(search) or any(_tier(search, tier) for tier in _TIERS)
        ):
            break


def _end_at_failure(search: ShrinkSearch) -> None:
    """End the run right after the failure; one or two runs suffice for that."""
    search.attempt(end_at_failure(search.case))


def _with_own_seed(edits: Sequence[Edit]) -> list[Edit]:
    """The edits, each tried with the current seed only."""
    return [replace(edit, seeds=()) for edit in edits]


def _last_part(search: ShrinkSearch) -> bool:
    """Only the last part of a long run, the shortest part first."""
    return search.attempt(only_last_part(search.case))


def _tier(search: ShrinkSearch, tier: Sequence[Pass]) -> bool:
    """Run the passes of a tier. Return whether one found anything."""
    found = False
    for one in tier:
        found = _repeat(search, one) or found
    return found


def _repeat(search: ShrinkSearch, one: Pass) -> bool:
    """Repeat a pass until it finds nothing. Return whether it found anything."""
    for number in range(_MOST_REPETITIONS):
        if not search.attempt(one(search.case)):
            return number > 0
    return True


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
        world.result()
    except Exception:  # noqa: BLE001 - user code may raise anything; the records until then are there
        pass
    finally:
        world.close()
    return writer.trace().records(_KINDS)


def _without_expected_violation(values: Values) -> Values:
    """The values of a scenario whose run fails if a violation is found, also one that the scenario asks for."""
    expect = part(values, "expect")
    kept = {key: one for key, one in expect.items() if key not in ("violation", "safe")}
    return {**values, "expect": kept} if expect else values


def _no_size(scenario: Scenario) -> RunSize:
    """The size of a run that raised an error before anything was counted."""
    return RunSize(len(scenario.all_nodes), 0, 0, 0, 0, scenario.until_ms, 0)
