"""`repeat_run`: runs a scenario here and in another process with another hash seed, and compares the traces.

This module is an exception to the ban on I/O in `qcore.sim`: no simulated node runs it.
"""

from __future__ import annotations

import os
import pickle
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from qcore.errors import ConfigError
from qcore.sim.repetition.repeat_messages import (
    ANSWER_FILE,
    REQUEST_FILE,
    STACK_FILE,
    TRACE_FILE,
    RepeatAnswer,
    RepeatRequest,
)
from qcore.sim.run import run_scenario
from qcore.sim.scenario.load import as_scenario
from qcore.sim.scenario.model import Scenario
from qcore.sim.scenario.values import check_seed
from qcore.sim.verdict.result import Json, RunResult
from qcore.trace import TraceDifference, diff_traces

#: How long the run in the second process may take, in seconds.
DEFAULT_LIMIT_S: Final = 300.0
#: How much longer than its limit the second process may need to start and to end, in seconds.
_START_S: Final = 60.0
#: A process that sees this variable is a second process.
_VARIABLE: Final = "QCORE_REPEATED_RUN"
_FRAME: Final = re.compile(r'File "(?P<file>[^"]*)", line (?P<line>\d+) in (?P<name>.*)')
_ROOT: Final = Path(__file__).resolve().parents[3]
#: Where the code of qcore is.
_QCORE: Final = str(_ROOT / "qcore")
#: What usually makes two runs differ.
USUAL_CAUSES: Final = (
    "usual causes in code of a user: the module random in place of the given generator, the time of the computer, "
    "the order of a set, id() or hash() of an object, a variable of a module that outlives the run"
)


@dataclass(slots=True, frozen=True, repr=False)
class RunRepetition:
    """Two runs of one scenario and seed in two processes.

    Attributes:
        result: the verdict of the run in this process.
        problem: how the two runs differ, in one line; empty if they are the same.
        difference: the first record at which the traces part; None if they are the same, or one run raised an error.
    """

    result: RunResult
    problem: str
    difference: TraceDifference | None

    @property
    def is_same(self) -> bool:
        """Whether both runs had the same trace and the same verdict."""
        return not self.problem

    def __repr__(self) -> str:
        return f"RunRepetition({self.result!r}, {self.problem or 'the same in another process'})"


def repeat_run(
    scenario: Scenario | Path | str,
    seed: int = 1,
    *,
    limit_s: float = DEFAULT_LIMIT_S,
    trace: Path | str | None = None,
) -> RunRepetition:
    """Run a scenario twice, the first time in another process with another hash seed, and compare the runs.

    A run that does not end is found in the other process, which has a time limit.

    Args:
        scenario, seed: the run; see `run_scenario`. A user's machine and program must be named by the scenario.
        limit_s: how long the run in the other process may take, in seconds.
        trace: where to write the trace of the run in this process.

    Raises:
        ConfigError: the scenario is unusable, as for `run_scenario`; or the run in the other process did not end in
            time. The error names the place in the user's code at which it was.
    """
    if _VARIABLE in os.environ:
        raise ConfigError(
            "the file repeats a run while it is imported; put what it runs under "
            '`if __name__ == "__main__":`, then it can be imported in a second process'
        )
    check_seed(seed)
    scenario = as_scenario(scenario)
    with tempfile.TemporaryDirectory(prefix="qcore-repeat-") as folder:
        directory = Path(folder)
        path = tuple(str(Path(entry).resolve()) for entry in sys.path)
        answer = _run_elsewhere(directory, RepeatRequest(scenario, seed, path, limit_s))
        here = directory / "first.qtrace" if trace is None else Path(trace)
        result = run_scenario(scenario, seed, trace=here)
        second = answer.result
        if second is None:
            problem = f"the run in the second process raised an error: {answer.error}"
            return RunRepetition(result, problem, None)
        if result.trace_sha256 == second.trace_sha256:
            return RunRepetition(result, _other_verdict(result, second), None)
        difference = diff_traces(here, directory / TRACE_FILE)
    assert difference is not None, "traces with two hashes differ"
    at_ms = difference.t_us / 1000
    problem = f"the traces part after {difference.index} records, at {at_ms:.3f} ms"
    return RunRepetition(result, problem, difference)


def _run_elsewhere(directory: Path, request: RepeatRequest) -> RepeatAnswer:
    """Run in another process.

    Raises:
        ConfigError: the run did not end in time, or the process ended without an answer.
    """
    (directory / REQUEST_FILE).write_bytes(pickle.dumps(request))
    other_seed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    environ = {**os.environ, "PYTHONHASHSEED": other_seed, _VARIABLE: "1"}
    paths = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environ["PYTHONPATH"] = os.pathsep.join(paths)
    command = [sys.executable, "-P", "-m", "qcore.sim.repetition.repeat_worker", str(directory)]
    try:
        done = subprocess.run(
            command,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=request.limit_s + _START_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise _not_ended(directory, request) from None
    answer_file = directory / ANSWER_FILE
    if not answer_file.exists():
        if (directory / STACK_FILE).exists() and (directory / STACK_FILE).stat().st_size:
            raise _not_ended(directory, request)
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise ConfigError(
            f"the second process ended with code {done.returncode} before its verdict: {''.join(last)}"
        )
    answer = pickle.loads(answer_file.read_bytes())
    assert isinstance(answer, RepeatAnswer), "the second process writes nothing else"
    return answer


def _not_ended(directory: Path, request: RepeatRequest) -> ConfigError:
    """The error for a run that was stopped, with the place at which it was."""
    place = _place_in(directory / STACK_FILE)
    return ConfigError(
        f"the run of {request.scenario.name} with seed {request.seed} did not end within {request.limit_s:g} s"
        f"{f'; it was at {place}' if place else ''}. A loop without an `await` never lets the simulated time go on; "
        "give a longer limit if the run is just long"
    )


def _place_in(stack: Path) -> str:
    """The innermost line of a user's code in a stack of `faulthandler`; else the innermost line."""
    try:
        text = stack.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    frames = list(_FRAME.finditer(text))
    library = str(Path(os.__file__).parent)
    of_user = [one for one in frames if not one["file"].startswith((_QCORE, library, "<"))]
    chosen = (of_user or frames)[:1]
    return "".join(f"{Path(one['file']).name}:{one['line']} in {one['name']}" for one in chosen)


def _other_verdict(first: RunResult, second: RunResult) -> str:
    """How the verdicts on two equal traces differ; empty if they do not."""
    one, other = _judged(first), _judged(second)
    parts = [name for name, value in one.items() if other[name] != value]
    if not parts:
        return ""
    what = ", ".join(parts)
    return f"the traces are the same, but the verdicts differ in {what}: a check depends on more than the run"


def _judged(result: RunResult) -> dict[str, Json]:
    return {name: value for name, value in result.to_json().items() if name != "replay"}
