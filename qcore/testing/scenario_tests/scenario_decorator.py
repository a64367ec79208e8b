"""`@qcore.scenario`: makes a test of a scenario file."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from qcore.errors import ConfigError

if TYPE_CHECKING:
    from qcore.sim.scenario.model import Scenario
    from qcore.sim.verdict.result import Json, RunResult
    from qcore.testing.scenario_tests.scenario_runs import Parameter, ScenarioRuns

#: The parameter of a test function that gets the verdict of each run.
_RUN: Final = "run"
#: The fixture that runs scenarios.
_FIXTURE: Final = "simulate"


def scenario(
    file: Scenario | Path | str,
    *,
    seeds: int | Iterable[int] = 1,
    jobs: int | None = None,
    vary: Mapping[str, Sequence[Json]] | None = None,
    parameters: Mapping[str, Parameter] | None = None,
) -> Callable[[Callable[..., object]], Callable[..., None]]:
    """Make a test function a test of a scenario. It is one test, whatever the number of seeds.

        @qcore.scenario("partition.yaml", seeds=200)
        def test_partitions():
            pass

        @qcore.scenario("partition.yaml", seeds=range(1, 21), vary={"cluster.nodes": [3, 5]})
        def test_elections(run):
            assert run.metrics["elections"] < 10

    The test fails if a run does not pass. The function is called once all runs have passed. If it has a parameter
    `run`, it is called for each run instead, with its `RunResult`, and may assert more. It may use fixtures.

    A failure reports values, violations and the command that replays the run. Each run that it describes is kept, with
    its trace and a picture: see `--qcore-artifacts`.

    The plugin `qcore.testing.pytest_plugin` must be loaded.

    Args:
        file: the file, beside the test or in the working directory; the name of a shipped scenario; or a `Scenario`.
        seeds: how many seeds, from 1 on; or the seeds themselves.
        jobs: how many processes; by default one for each processor.
        vary: path of a key, or name of a parameter -> values. Several of them make a grid.
        parameters: values for the `parameters` of the scenario.

    Raises:
        ConfigError: the seeds are unusable, there is no scenario, or the function cannot be a test of one.
    """
    if callable(file):
        raise ConfigError('@qcore.scenario needs a scenario: write @qcore.scenario("file.yaml")')
    chosen = _chosen_seeds(seeds)

    def decorate(function: Callable[..., object]) -> Callable[..., None]:
        _check_test_function(function)
        signature = inspect.signature(function)
        gets_runs = _RUN in signature.parameters
        passes_fixture = _FIXTURE in signature.parameters

        @functools.wraps(function)
        def test(*given: Any, **fixtures: Any) -> None:  # what pytest gives
            __tracebackhide__ = True
            runs: ScenarioRuns = fixtures[_FIXTURE] if passes_fixture else fixtures.pop(_FIXTURE)
            if not gets_runs:
                runs.sweep(file, chosen, jobs=jobs, vary=vary, parameters=parameters)
                function(*given, **fixtures)
                return

            def check(result: RunResult) -> None:
                function(*given, **fixtures, run=result)

            runs.check_runs(check, file, chosen, jobs=jobs, vary=vary, parameters=parameters)

        others = [each for name, each in signature.parameters.items() if name != _RUN]
        if not passes_fixture:
            others.append(inspect.Parameter(_FIXTURE, inspect.Parameter.KEYWORD_ONLY))
        # pytest reads the names of the fixtures here.
        test.__signature__ = signature.replace(parameters=others)  # type: ignore[attr-defined]  # of any function
        return test

    return decorate


def _chosen_seeds(seeds: object) -> tuple[int, ...]:
    """The seeds that `seeds` names.

    Raises:
        ConfigError: there are none, or one is not an integer.
    """
    fault = f"@qcore.scenario: seeds is {seeds!r:.100}: give"
    if isinstance(seeds, bool | str) or not isinstance(seeds, int | Iterable):
        raise ConfigError(f"{fault} their number, such as 200, or the seeds, such as range(1, 201)")
    chosen: tuple[object, ...] = (
        tuple(range(1, seeds + 1)) if isinstance(seeds, int) else tuple(seeds)
    )
    if not chosen:
        raise ConfigError(f"{fault} at least one seed")
    checked: list[int] = []
    for seed in chosen:
        if not isinstance(seed, int) or isinstance(seed, bool):
            raise ConfigError(f"{fault} integers, not {seed!r:.100}")
        checked.append(seed)
    return tuple(checked)


def _check_test_function(function: Callable[..., object]) -> None:
    """Reject a function whose call runs nothing of its body: its test would always pass.

    Raises:
        ConfigError: it is such a function.
    """
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise ConfigError(
            f"@qcore.scenario: {function.__name__} is an async function, which nothing would await: write def, and "
            "use asyncio.run for what must be awaited"
        )
    if inspect.isgeneratorfunction(function):
        raise ConfigError(
            f"@qcore.scenario: {function.__name__} has a yield, so a call would run nothing of it: write it without"
        )
