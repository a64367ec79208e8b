"""What a failed scenario in a test reports: values, violations, the files that it keeps, and what to type next."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from qcore.errors import ConfigError
from qcore.sim.artifacts import Artifact, Cause, cause_of, load_artifact, save_artifact
from qcore.sim.scenario.model import Scenario
from qcore.sim.verdict.result import RunResult

#: The picture of a run, in its directory.
PICTURE: Final = "run.png"
#: The most violations that a report lists for one run.
_SHOWN_VIOLATIONS: Final = 5
_INDENT: Final = "             "


class ScenarioFailed(AssertionError):
    """A scenario failed in a test. Its text is the whole report."""


@dataclass(slots=True, frozen=True)
class KeptRun:
    """A failed run, and where it is kept.

    Attributes:
        name: the name of the scenario.
        seed: the seed.
        key, text: why it failed: see `Cause`.
        expectations: the failed ones, as in the JSON of a result.
        violations: the violated safety properties, as in the JSON of a result.
        directory: where the run is kept; None if it could not be.
        problem: why it could not be kept, or not as a whole.
        replay: what to type to see it again.
    """

    name: str
    seed: int
    key: str
    text: str
    expectations: Sequence[dict[str, Any]]
    violations: Sequence[dict[str, Any]]
    directory: Path | None
    problem: str
    replay: str

    def lines(self) -> Iterator[str]:
        """The report on this run."""
        cause = self.key if self.expectations else f"{self.key}: {self.text}"
        yield f"scenario {self.name}, seed {self.seed}: {cause}"
        for each in self.expectations:
            yield f"  FAIL       {each['name']}: expected {each['expected']}; seen {_indented(each['seen'])}"
        for each in self.violations[:_SHOWN_VIOLATIONS]:
            where = f"node {each['node']}, " if each["node"] else ""
            yield (
                f"  violation  {each['check']}: {where}{each['t_us'] / 1000:.3f} ms: {_indented(each['note'])}"
            )
        more = len(self.violations) - _SHOWN_VIOLATIONS
        if more > 0:
            yield f"{_INDENT}and {more} more"
        if self.directory is not None:
            names = ", ".join(sorted(path.name for path in self.directory.iterdir()))
            yield f"  kept       {self.directory}: {names}"
        if self.problem:
            yield f"  note       {self.problem}"
        yield f"  replay     {self.replay}"


def keep_run(
    directory: Path,
    scenario: Scenario,
    seed: int,
    result: RunResult | Cause,
    *,
    trace: bytes | None = None,
    stands_alone: bool = True,
) -> KeptRun:
    """Keep a failed run: an artifact with a picture.

    Args:
        directory: where.
        scenario, seed: what ran.
        result: its verdict; or the cause, if it raised an error or a test was not content with it.
        trace: its compact trace; None to run it again.
        stands_alone: whether the scenario names all that the run needs. If not, only trace and picture are kept.
    """
    problem = ""
    kept: Path | None = directory
    try:
        if stands_alone:
            save_artifact(directory, scenario, seed, result, trace=trace)
        else:
            directory.mkdir(parents=True, exist_ok=True)
            (directory / "trace.qtrace").write_bytes(trace or b"")
            problem = (
                "the test gives the run more than the scenario names: only the test can repeat it"
            )
    except (ConfigError, OSError) as error:
        kept, problem = None, f"the run could not be kept: {error}"
    if kept is not None:
        problem = _draw(kept) or problem
    replay = f"qcore sim replay {shlex.quote(str(directory))}"
    if kept is None or not stands_alone:
        replay = "run the test again"
    found = cause_of(result) if isinstance(result, RunResult) else result
    verdict = result.to_json() if isinstance(result, RunResult) else {}
    failed: Any = [each for each in _listed(verdict, "expectations") if not each["ok"]]
    return KeptRun(
        scenario.name,
        seed,
        "" if found is None else found.key,
        "" if found is None else found.text,
        failed,
        _listed(verdict, "violations"),
        kept,
        problem,
        replay,
    )


def kept_artifact(path: Path) -> KeptRun:
    """The report on an artifact that a sweep has saved, to which this adds the picture.

    Raises:
        ConfigError: it is no artifact.
    """
    artifact: Artifact = load_artifact(path)
    failure = json.loads((artifact.directory / "failure.json").read_text(encoding="utf-8"))
    return KeptRun(
        artifact.scenario.name,
        artifact.seed,
        artifact.cause.key,
        artifact.cause.text,
        failure["failed"],
        failure["violations"],
        artifact.directory,
        _draw(artifact.directory),
        f"qcore sim replay {shlex.quote(str(artifact.directory))}",
    )


def _listed(verdict: dict[str, Any], name: str) -> list[dict[str, Any]]:
    found = verdict.get(name, [])
    return found if isinstance(found, list) else []


def _draw(directory: Path) -> str:
    """Draw the picture beside the trace. Returns why there is none; empty if there is one."""
    trace = directory / "trace.qtrace"
    if not trace.is_file():
        return "there is no trace, so there is no picture"
    try:
        from qcore.analysis import save_run_figure

        save_run_figure(trace, directory / PICTURE)
    except (ConfigError, ImportError) as error:
        return f"there is no picture: {error}"
    return ""


def _indented(text: str) -> str:
    return text.replace("\n", f"\n{_INDENT}")
