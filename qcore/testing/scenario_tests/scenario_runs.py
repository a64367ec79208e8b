"""`ScenarioRuns`: what the fixture `simulate` gives to a test."""

from __future__ import annotations

import io
import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from qcore.display import truncate
from qcore.errors import ConfigError
from qcore.machines.interface import StateMachine
from qcore.sim.artifacts import Cause
from qcore.sim.oracles.user_oracles import Oracles
from qcore.sim.run import run_scenario
from qcore.sim.scenario.load import load_scenario
from qcore.sim.scenario.model import Scenario
from qcore.sim.sweeps.run_sweep import TIMEOUT_S, sweep
from qcore.sim.sweeps.variations import variations
from qcore.sim.verdict.result import Json, RunResult
from qcore.sim.workload.operations import RequestSource
from qcore.testing.scenario_tests.failure_report import (
    KeptRun,
    ScenarioFailed,
    keep_run,
    kept_artifact,
)

if TYPE_CHECKING:
    from qcore.client.programs.program_context import ClientProgram

#: A value for a parameter of a scenario.
Parameter = str | bool | int | float | None
#: A check of one run by a test.
RunCheck = Callable[[RunResult], object]
#: The most runs that a report describes.
_MAX_REPORTED: Final = 5


class ScenarioRuns:
    """Runs scenarios in a test. A failed run fails the test with a report, and is kept.

    Args:
        folder: where a relative file of a scenario is looked up first: the folder of the test.
        artifacts: where failed runs are kept.
    """

    def __init__(self, folder: Path, artifacts: Path) -> None:
        self._folder = folder
        self._artifacts = artifacts

    def __call__(
        self,
        scenario: Scenario | Path | str,
        seed: int = 1,
        *,
        parameters: Mapping[str, Parameter] | None = None,
        machine: Callable[[], StateMachine] | None = None,
        requests: RequestSource | None = None,
        program: ClientProgram | None = None,
        oracles: Oracles | None = None,
    ) -> RunResult:
        """Run a scenario, and assert that it passes.

        Args:
            scenario: a scenario; its file, beside the test or in the working directory; or the name of a shipped one.
            seed: decides every random choice.
            parameters: values for the `parameters` of the scenario.
            machine, requests, program, oracles: as for `run_scenario`.

        Returns:
            The verdict, for further assertions.

        Raises:
            ScenarioFailed: the run failed.
            ConfigError: the scenario is unusable.
        """
        __tracebackhide__ = True  # pytest shows the line of the test
        loaded = self._load(scenario, parameters)
        trace = io.BytesIO()
        result = run_scenario(
            loaded,
            seed,
            trace=trace,
            machine=machine,
            requests=requests,
            program=program,
            oracles=oracles,
        )
        if not result.ok:
            given = (machine, requests, program, oracles)
            alone = all(each is None for each in given)
            kept = keep_run(
                self._artifacts / f"{loaded.name}-{seed}",
                loaded,
                seed,
                result,
                trace=trace.getvalue(),
                stands_alone=alone,
            )
            raise ScenarioFailed("\n".join(kept.lines()))
        return result

    def sweep(
        self,
        scenario: Scenario | Path | str,
        seeds: Iterable[int],
        *,
        jobs: int | None = None,
        vary: Mapping[str, Sequence[Json]] | None = None,
        parameters: Mapping[str, Parameter] | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        """Run a scenario with many seeds in other processes, and assert that every run passes.

        Args:
            scenario: as for a call.
            seeds: the seeds.
            jobs, vary, parameters, timeout_s: as for `qcore.sim.sweep`.

        Raises:
            ScenarioFailed: a run failed. The report groups the failures by cause.
            ConfigError: a scenario, value or seed is unusable.
        """
        __tracebackhide__ = True
        try:
            found = sweep(
                self._found(scenario),
                seeds,
                jobs=jobs,
                vary=vary,
                parameters=parameters,
                timeout_s=timeout_s,
                artifacts=self._artifacts,
                keep=1,
            )
        except ConfigError as error:
            raise error.with_traceback(None) from None  # the text says it all
        if found.interrupted:
            raise KeyboardInterrupt
        if found.ok:
            return
        lines = [found.table()]
        for group in found.failures[:_MAX_REPORTED]:
            for path in group.artifacts[:1]:
                lines += ["", *kept_artifact(path).lines()]
        raise ScenarioFailed("\n".join(lines))

    def check_runs(
        self,
        check: RunCheck,
        scenario: Scenario | Path | str,
        seeds: Sequence[int],
        *,
        jobs: int | None = None,
        vary: Mapping[str, Sequence[Json]] | None = None,
        parameters: Mapping[str, Parameter] | None = None,
    ) -> None:
        """Run a scenario with many seeds, and let a function check the verdict of each run that passes.

        Args:
            check: called in this process, in the order of the seeds. It fails by raising an error.
            scenario, seeds, vary, parameters: as for `sweep`.
            jobs: how many processes run the scenario; 1: only this one. By default one for each processor.

        Raises:
            ScenarioFailed: a run failed, or `check` raised an error.
            ConfigError: a scenario, value or seed is unusable.
        """
        __tracebackhide__ = True
        kept: list[KeptRun] = []
        failed = 0
        first: BaseException | None = None
        try:
            varied = list(variations([self._found(scenario)], vary or {}, parameters or {}))
        except ConfigError as error:
            raise error.with_traceback(None) from None  # the text says it all
        tasks = [(each.scenario, seed) for each in varied for seed in seeds]
        for (loaded, seed), result in zip(tasks, _results(tasks, jobs), strict=True):
            problem: RunResult | Cause | None = None
            if not result.ok:
                problem = result
            else:
                try:
                    check(result)
                # `pytest.fail` raises an error that is no `Exception`.
                except (Exception, pytest.fail.Exception) as error:  # noqa: BLE001 - a test may raise anything
                    problem = _cause_of_test(error)
                    first = first or error
            if problem is not None:
                failed += 1
                if len(kept) < _MAX_REPORTED:
                    place = self._artifacts / f"{loaded.name}-{len(kept) + 1}-{seed}"
                    kept.append(keep_run(place, loaded, seed, problem))
        if failed:
            lines = [f"{failed} of {len(tasks)} runs failed"]
            for each in kept:
                lines += ["", *each.lines()]
            if failed > len(kept):
                lines += ["", f"and {failed - len(kept)} more"]
            raise ScenarioFailed("\n".join(lines)) from first

    def _found(self, scenario: Scenario | Path | str) -> Scenario | Path | str:
        """A file beside the test, or what was given."""
        if isinstance(scenario, Scenario):
            return scenario
        beside = self._folder / scenario
        return beside if beside.is_file() else scenario

    def _load(
        self, scenario: Scenario | Path | str, parameters: Mapping[str, Parameter] | None
    ) -> Scenario:
        __tracebackhide__ = True
        found = self._found(scenario)
        if isinstance(found, Scenario):
            if parameters:
                raise ConfigError("parameters: a Scenario has none any more: give its file")
            return found
        try:
            return load_scenario(found, parameters=parameters)
        except ConfigError as error:
            raise error.with_traceback(None) from None  # the text says it all


def _results(tasks: Sequence[tuple[Scenario, int]], jobs: int | None) -> Iterator[RunResult]:
    """The verdicts of the runs, in order."""
    workers = min(jobs or len(os.sched_getaffinity(0)), len(tasks))
    if workers < 2:
        for task in tasks:
            yield _run(task)
        return
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(_run, tasks)


def _run(task: tuple[Scenario, int]) -> RunResult:
    scenario, seed = task
    return run_scenario(scenario, seed)


def _cause_of_test(error: BaseException) -> Cause:
    text = str(error).partition("\n")[0] or type(error).__name__
    return Cause(f"test:{type(error).__name__}", truncate(text))
