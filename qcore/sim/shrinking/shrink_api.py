"""`shrink`: finds the smallest failing run, and saves it as an artifact."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from qcore.errors import ConfigError
from qcore.machines.interface import StateMachine
from qcore.machines.loader import checked_factory
from qcore.sim.artifacts import Artifact, Cause, is_artifact, load_artifact
from qcore.sim.artifacts.artifact import SCENARIO_FILE, artifact_files, traced_run, write_artifact
from qcore.sim.artifacts.user_files import portable
from qcore.sim.oracles.user_oracles import Oracles
from qcore.sim.scenario.catalogue import is_shipped
from qcore.sim.scenario.load import as_scenario
from qcore.sim.scenario.model import Scenario
from qcore.sim.scenario.values import check_seed
from qcore.sim.shrinking.candidate_values import scenario_of, timeline_of
from qcore.sim.shrinking.parallel_trials import parallel_trials
from qcore.sim.shrinking.pass_order import DEFAULT_BUDGET, shrink_run
from qcore.sim.shrinking.run_size import RunSize
from qcore.sim.shrinking.run_story import story_of, with_comments
from qcore.sim.shrinking.shrink_search import ShrinkSearch
from qcore.sim.shrinking.trial_run import Conditions, GivenCode
from qcore.sim.verdict.result import Json, RunResult
from qcore.sim.workload.custom_machine import CustomMachine, checked_requests
from qcore.sim.workload.operations import RequestSource

if TYPE_CHECKING:
    from qcore.client.programs.program_context import ClientProgram

#: What follows the name of the first artifact or scenario in the name of the smallest run's artifact.
SHRUNK_SUFFIX: Final = "-shrunk"


@dataclass(slots=True, frozen=True)
class ShrinkResult:
    """The smallest failing run that a shrink found.

    Attributes:
        scenario: its scenario, which leaves nothing to the seed but the choices within a run.
        seed: its seed, which may be another one than that of the first run.
        cause: why it fails: the key is that of the first run, the text is of the smallest.
        before, after: the sizes of the first run and of the smallest.
        runs: how many runs were needed.
        removed: what was removed or made simpler, in order.
        is_minimal: whether nothing more could be removed. False if the budget or the time was used before.
        text: the scenario as the text of a file, with comments.
        artifact: the saved run; None if no directory was given.
    """

    scenario: Scenario
    seed: int
    cause: Cause
    before: RunSize
    after: RunSize
    runs: int
    removed: tuple[str, ...]
    is_minimal: bool
    text: str
    artifact: Artifact | None = None

    def __repr__(self) -> str:
        name = self.scenario.name
        return f"ShrinkResult({name!r}, seed {self.seed}, {self.cause.key}: {self.after})"

    def to_json(self) -> dict[str, Json]:
        """The object that `qcore sim shrink -o json` prints."""
        return {
            "scenario": self.scenario.name,
            "seed": self.seed,
            "cause": {"key": self.cause.key, "text": self.cause.text},
            "before": asdict(self.before),
            "after": asdict(self.after),
            "runs": self.runs,
            "is_minimal": self.is_minimal,
            "removed": list(self.removed),
            "text": self.text,
            "artifact": None if self.artifact is None else str(self.artifact.directory),
            "replay": None if self.artifact is None else self.artifact.replay,
        }


def shrink(
    run: Artifact | Scenario | Path | str,
    seed: int | None = None,
    *,
    directory: Path | str | None = None,
    budget_runs: int = DEFAULT_BUDGET,
    seconds: float | None = None,
    jobs: int = 1,
    machine: Callable[[], StateMachine] | None = None,
    requests: RequestSource | None = None,
    program: ClientProgram | None = None,
    oracles: Oracles | None = None,
    progress: Callable[[ShrinkSearch], None] = lambda _search: None,
    stop: Callable[[], bool] = lambda: False,
) -> ShrinkResult:
    """Find the smallest failing run with the same cause as a given one.

    The result is always the same for the same run and budget, whatever `jobs` is, unless `seconds` ends the search.

    Args:
        run: an artifact, its directory, a scenario, its file, or the name of a shipped one.
        seed: the seed of the failing run; that of the artifact if left out, or 1.
        directory: where to save the smallest run as an artifact; nowhere if left out.
        budget_runs: the most runs.
        seconds: the longest time of the search, in seconds; without a limit if left out.
        jobs: how many runs are done at the same time, each in a process. 1: in this process.
        machine, requests, program, oracles: as for `run_scenario`; with one job only.
        progress: is called after each run, with the search.
        stop: is called before each run. If it returns true, the search ends with the smallest run until then.

    Raises:
        ConfigError: the run passes, the scenario or an argument is invalid, or the artifact cannot be written.
    """
    scenario, seed = _given_run(run, seed)
    check_seed(seed)
    given = _given_code(machine, requests, program, oracles)
    _check_limits(budget_runs, seconds, jobs, given)
    conditions = Conditions(given=given)
    end = None if seconds is None else time.monotonic() + seconds
    with ExitStack() as stack:
        pool = stack.enter_context(parallel_trials(jobs)) if jobs > 1 else None
        found = shrink_run(
            scenario,
            seed,
            conditions,
            budget_runs=budget_runs,
            jobs=jobs,
            run_in_pool=pool,
            out_of_time=lambda: stop() or (end is not None and time.monotonic() >= end),
            progress=progress,
        )
    summary = f"Shrunk from {scenario.name}, seed {seed}: {found.cause.key}."
    smallest = scenario_of({**found.values, "summary": summary}, scenario.source)
    items = timeline_of(found.values)
    head = f"# It fails with seed {found.seed}.\n"
    text = with_comments(portable(smallest).text, items, story_of(found.records, items))
    text = f"{head}{text}"
    artifact = None
    if directory is not None:
        artifact = _save(Path(directory), smallest, found.seed, found.cause, text, given)
    return ShrinkResult(
        smallest,
        found.seed,
        found.cause,
        found.before,
        found.after,
        found.runs,
        found.removed,
        found.is_minimal,
        text,
        artifact,
    )


def default_directory(run: Artifact | Scenario, seed: int | None = None) -> Path:
    """Where `qcore sim shrink` saves the smallest run: beside the artifact, or beside the file of the scenario."""
    if isinstance(run, Artifact):
        directory = run.directory
        if directory.name in ("", ".."):
            directory = directory.resolve()
        return directory.with_name(f"{directory.name}{SHRUNK_SUFFIX}")
    source = Path(run.source)
    beside = Path() if is_shipped(source) or not run.source else source.parent
    return beside / f"{run.name}-seed{1 if seed is None else seed}{SHRUNK_SUFFIX}"


def _given_run(run: Artifact | Scenario | Path | str, seed: int | None) -> tuple[Scenario, int]:
    if not isinstance(run, Artifact | Scenario) and is_artifact(run):
        run = load_artifact(run)
    if isinstance(run, Artifact):
        return run.scenario, run.seed if seed is None else seed
    return as_scenario(run), 1 if seed is None else seed


def _given_code(
    machine: Callable[[], StateMachine] | None,
    requests: RequestSource | None,
    program: ClientProgram | None,
    oracles: Oracles | None,
) -> GivenCode:
    if machine is None:
        return GivenCode(None, program, oracles)
    name = getattr(machine, "__qualname__", f"{machine!r:.100}")
    source = None if requests is None else checked_requests(requests)
    return GivenCode(CustomMachine(checked_factory(machine, name), source), program, oracles)


def _check_limits(budget_runs: int, seconds: float | None, jobs: int, given: GivenCode) -> None:
    if budget_runs < 1:
        raise ConfigError(f"budget_runs: {budget_runs} is not at least 1")
    if seconds is not None and not seconds > 0:
        raise ConfigError(f"seconds: {seconds} is not above 0")
    if jobs < 1:
        raise ConfigError(f"jobs: {jobs} is not at least 1")
    if jobs > 1 and not given.is_empty:
        raise ConfigError(
            "jobs: a machine, program or oracle that is given in Python runs in this process: use jobs=1, or name "
            "its file in the scenario"
        )


def _save(
    directory: Path, scenario: Scenario, seed: int, cause: Cause, text: str, given: GivenCode
) -> Artifact:
    result: RunResult | None = None
    trace = b""
    if given.is_empty:
        trace, verdict = traced_run(scenario, seed)
        result = verdict if isinstance(verdict, RunResult) else None
    files = artifact_files(scenario, seed, cause, result=result, trace=trace, directory=directory)
    write_artifact(directory, {**files, SCENARIO_FILE: text.encode()})
    return load_artifact(directory)
