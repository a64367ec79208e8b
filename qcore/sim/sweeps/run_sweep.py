"""`sweep` and `swarm`: many runs in parallel, from Python."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final, Literal, TypeVar

from qcore.errors import ConfigError
from qcore.sim.scenario.load import as_scenario
from qcore.sim.scenario.model import Scenario
from qcore.sim.scenario.values import check_seed
from qcore.sim.sweeps.executors.local_executor import LocalExecutor
from qcore.sim.sweeps.executors.run_jobs import Executor, LoadedScenario, RunSource
from qcore.sim.sweeps.failure_groups import ArtifactStore, command_of
from qcore.sim.sweeps.outcome_cache import OutcomeCache
from qcore.sim.sweeps.progress_report import ProgressCallback, ProgressLine
from qcore.sim.sweeps.sweep_loop import Cell, Limits, SweepLoop
from qcore.sim.sweeps.sweep_result import SweepResult, SweepRow
from qcore.sim.sweeps.variations import Variation, variations
from qcore.sim.verdict.result import Json

#: Where artifacts are saved by default.
ARTIFACTS: Final = Path("out", "failures")
#: The longest that one run may take by default, in seconds.
TIMEOUT_S: Final = 300.0
#: How many artifacts are kept of each group of failures by default.
KEPT: Final = 3
_MINUTE_S: Final = 60.0

#: Where runs happen.
ExecutorName = Literal["process", "dask"]
_Executor = ExecutorName | Executor
_Scenario = Scenario | Path | str
_T = TypeVar("_T")


def sweep(
    scenario: _Scenario | Sequence[_Scenario],
    seeds: Iterable[int],
    *,
    vary: Mapping[str, Sequence[Json]] | None = None,
    parameters: Mapping[str, str | bool | int | float | None] | None = None,
    jobs: int | None = None,
    executor: _Executor = "process",
    scheduler: str | None = None,
    until_failure: bool = False,
    timeout_s: float = TIMEOUT_S,
    artifacts: Path | str | None = ARTIFACTS,
    keep: int = KEPT,
    cache: Path | str | None = None,
    progress: bool | ProgressCallback = False,
) -> SweepResult:
    """Run scenarios with many seeds, in parallel.

    Runs happen in other processes, so a script needs no `if __name__ == "__main__":`. The user's files that a scenario
    names are copied; modules that it names must be importable.

    Args:
        scenario: a scenario, its path, or the name of a shipped one; or several of them.
        seeds: the seeds.
        vary: path of a key, such as `cluster.nodes`, or name of a parameter -> values. Several of them make a grid.
        parameters: values for the `parameters` of the scenarios.
        jobs: how many processes; by default one for each processor. Without effect on a Dask cluster.
        executor: `process`: processes of this computer. `dask`: a Dask cluster, see `scheduler`. Or an executor that
            the caller made and closes: its processes stay warm from one sweep to the next.
        scheduler: the address of the scheduler of the Dask cluster, such as `tcp://10.0.0.1:8786`.
        until_failure: whether to end with the first failure.
        timeout_s: the longest that one run may take, in seconds. A longer one is ended, and is a failure.
        artifacts: the directory for artifacts of failures; None for no artifacts.
        keep: the most artifacts for each cause.
        cache: a directory that remembers outcomes. They are valid as long as scenario, user's files and qcore are the
            same.
        progress: True to show the progress, on stderr or as an output of the cell; or a function that gets it.

    Returns:
        The result. Ctrl-C ends the sweep early, and it holds what was found until then.

    Raises:
        ConfigError: a scenario, value or seed is unusable, or the executor cannot be used.
    """
    if isinstance(scenario, Scenario | Path | str):
        scenarios = [scenario]
    else:
        scenarios = _listed(scenario, "scenario: give one scenario, or a list of them")
    chosen = tuple(dict.fromkeys(_listed(seeds, "seeds: give several, such as range(1, 101)")))
    for seed in chosen:
        check_seed(seed)
    if not scenarios or not chosen:
        raise ConfigError("give at least one scenario and one seed")
    varied = list(variations(scenarios, vary or {}, parameters or {}))
    cells = [_cell(each, chosen) for each in varied]
    limits = Limits(len(chosen) * len(cells), until_failure=until_failure, kept=keep)
    return _run(cells, limits, jobs, executor, scheduler, timeout_s, artifacts, cache, progress)


def swarm(
    minutes: float | None = None,
    *,
    seconds: float | None = None,
    runs: int | None = None,
    base: _Scenario | None = None,
    fidelity: str = "replica",
    first_seed: int = 1,
    jobs: int | None = None,
    executor: _Executor = "process",
    scheduler: str | None = None,
    until_failure: bool = False,
    timeout_s: float = TIMEOUT_S,
    artifacts: Path | str | None = ARTIFACTS,
    keep: int = KEPT,
    progress: bool | ProgressCallback = False,
) -> SweepResult:
    """Run random scenarios until time is up: each seed draws cluster, settings, network, load and faults.

    Args:
        minutes, seconds: the time after which no further run begins.
        runs: the number of runs, instead of or in addition to a time.
        base: a scenario. What it sets stays, and the rest is drawn.
        fidelity: `replica`, or `node` for whole nodes.
        first_seed: the first seed. The others follow it.
        jobs, executor, scheduler, until_failure, timeout_s, artifacts, keep, progress: as for `sweep`.

    Raises:
        ConfigError: as for `sweep`; or there is neither a time nor a number of runs.
    """
    check_seed(first_seed)
    limit_s = (minutes or 0) * _MINUTE_S + (seconds or 0)
    if math.isnan(limit_s) or limit_s < 0:
        raise ConfigError(f"a swarm cannot take {limit_s:g} s: give minutes or seconds above 0")
    if runs is not None and runs < 1:
        raise ConfigError(f"runs: {runs} is not at least 1")
    if limit_s == 0 and runs is None:
        raise ConfigError("a swarm needs a time or a number of runs")
    scenario = Scenario() if base is None else as_scenario(base)
    if fidelity != "replica":
        scenario = scenario.with_({"fidelity": fidelity})
    source = RunSource.of(scenario, random=True)
    seeds = itertools.islice(itertools.count(first_seed), runs)
    name = "swarm" if base is None else scenario.name
    cell = Cell(
        source, LoadedScenario(scenario, random=True), SweepRow(name, {}), seeds, lambda seed: ""
    )
    limits = Limits(runs, limit_s or math.inf, until_failure, keep)
    return _run([cell], limits, jobs, executor, scheduler, timeout_s, artifacts, None, progress)


def _listed(given: Iterable[_T], what: str) -> list[_T]:
    try:
        return list(given)
    except TypeError:
        raise ConfigError(f"{what}, not {given!r:.100}") from None


def _cell(variation: Variation, seeds: Sequence[int]) -> Cell:
    scenario = variation.scenario
    command = partial(command_of, variation.given, variation.parameters, variation.values)
    row = SweepRow(scenario.name, variation.values)
    return Cell(
        RunSource.of(scenario), LoadedScenario(scenario, random=False), row, iter(seeds), command
    )


def _run(
    cells: Sequence[Cell],
    limits: Limits,
    jobs: int | None,
    executor: _Executor,
    scheduler: str | None,
    timeout_s: float,
    artifacts: Path | str | None,
    cache: Path | str | None,
    progress: bool | ProgressCallback,
) -> SweepResult:
    store = None if artifacts is None or limits.kept < 1 else ArtifactStore(artifacts)
    known = None if cache is None else OutcomeCache(cache)
    report = ProgressLine().show_sweep if progress is True else progress or None
    if not isinstance(executor, str):
        return SweepLoop(cells, executor, limits, store, known, report).run()
    made = _executor(executor, scheduler, jobs, timeout_s)
    try:
        return SweepLoop(cells, made, limits, store, known, report).run()
    finally:
        made.close()


def _executor(
    name: ExecutorName, scheduler: str | None, jobs: int | None, timeout_s: float
) -> Executor:
    if not timeout_s > 0:  # also true of NaN
        raise ConfigError(f"timeout: {timeout_s:g} s is no time for a run")
    if name == "dask":
        from qcore.sim.sweeps.executors.dask_executor import DaskExecutor

        if scheduler is None:
            raise ConfigError(
                "the executor dask needs the address of a scheduler, such as tcp://127.0.0.1:8786; "
                "`dask scheduler` prints it"
            )
        return DaskExecutor(scheduler, timeout_s)
    if name != "process":
        raise ConfigError(f"there is no executor {name!r}: give process or dask")
    if scheduler is not None:
        raise ConfigError("a scheduler goes with the executor dask")
    workers = (os.cpu_count() or 1) if jobs is None else jobs
    if workers < 1:
        raise ConfigError(f"jobs: {jobs} is not at least 1")
    return LocalExecutor(workers, timeout_s)
