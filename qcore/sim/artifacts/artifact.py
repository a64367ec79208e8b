"""`Artifact`: a directory that holds one failing run; saving and loading it."""

from __future__ import annotations

import io
import json
import os
import shlex
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from qcore.errors import ConfigError
from qcore.files import read_regular
from qcore.release import __version__
from qcore.sim.artifacts.failure_cause import Cause, cause_of, cause_of_error
from qcore.sim.artifacts.user_files import portable
from qcore.sim.run import run_scenario
from qcore.sim.scenario.load import load_scenario
from qcore.sim.scenario.model import Scenario
from qcore.sim.verdict.result import RunResult

if TYPE_CHECKING:
    from qcore.sim.verdict.result import Json

#: The version of the format of `failure.json`.
FORMAT: Final = 1
SCENARIO_FILE: Final = "scenario.yaml"
FAILURE_FILE: Final = "failure.json"
TRACE_FILE: Final = "trace.qtrace"
#: The most violations that `failure.json` lists.
_MAX_VIOLATIONS: Final = 10
_MAX_FAILURE_BYTES: Final = 16 << 20


@dataclass(slots=True, frozen=True)
class Artifact:
    """A directory that holds one failing run.

    Attributes:
        directory: the directory.
        scenario: the drawn scenario. Its user files are those in the directory.
        seed: the seed of the run.
        cause: why the run failed.
        trace_sha256: the hash of its trace; empty if the run raised an error or did not end.
    """

    directory: Path
    scenario: Scenario
    seed: int
    cause: Cause
    trace_sha256: str

    @property
    def trace(self) -> Path | None:
        """The file of the trace; None if there is none."""
        path = self.directory / TRACE_FILE
        return path if path.is_file() else None

    @property
    def replay(self) -> str:
        """The command that runs it again."""
        return replay_of(self.directory)


def replay_of(directory: Path | str) -> str:
    """The command that runs the artifact in a directory again."""
    return f"qcore sim replay {shlex.quote(str(directory))}"


def artifact_files(
    scenario: Scenario,
    seed: int,
    cause: Cause,
    *,
    result: RunResult | None = None,
    trace: bytes = b"",
    directory: Path | str = "",
) -> dict[str, bytes]:
    """The content of an artifact: file name -> content.

    Args:
        scenario: the scenario of the run, drawn or not.
        seed: its seed.
        cause: why it failed.
        result: its verdict, if it has one.
        trace: its compact trace, if there is one.
        directory: where the artifact will be, for the command in it.

    Raises:
        ConfigError: a file that the scenario names cannot be read, or the seed draws no scenario.
    """
    content = portable(scenario.drawn(seed))
    failure: dict[str, Json] = {
        "format": FORMAT,
        "qcore": __version__,
        "scenario": scenario.name,
        "seed": seed,
        "cause": {"key": cause.key, "text": cause.text},
        "violations": [],
        "failed": [],
        "trace_sha256": "",
        "replay": replay_of(directory),
    }
    if result is not None:
        violations = result.violations[:_MAX_VIOLATIONS]
        failure["violations"] = [asdict(violation) for violation in violations]
        failure["failed"] = [asdict(expectation) for expectation in result.failed()]
        failure["trace_sha256"] = result.trace_sha256
    files = {
        SCENARIO_FILE: content.text.encode(),
        FAILURE_FILE: (json.dumps(failure, indent=2, ensure_ascii=False) + "\n").encode(),
        **content.files,
    }
    return {**files, TRACE_FILE: trace} if trace else files


def write_artifact(directory: Path | str, files: Mapping[str, bytes]) -> None:
    """Write the files of an artifact into a directory. It appears with all of its files, in place of an older one.

    Raises:
        ConfigError: the files cannot be written, or the directory holds something else.
    """
    target = Path(directory)
    if target.exists() and not is_artifact(target) and (target.is_file() or any(target.iterdir())):
        raise ConfigError(
            f"{target} exists and is no artifact; give another directory with --artifacts"
        )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        new = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        try:
            for name, content in files.items():
                (new / name).write_bytes(content)
            new.chmod(0o755)
            if target.exists():
                shutil.rmtree(target)
            os.replace(new, target)
        except BaseException:
            with suppress(OSError):
                shutil.rmtree(new)
            raise
    except OSError as error:
        raise ConfigError(f"cannot write the artifact {target}: {error.strerror}") from None


def save_artifact(
    directory: Path | str,
    scenario: Scenario,
    seed: int,
    result: RunResult | Cause,
    *,
    trace: bytes | None = None,
) -> Artifact:
    """Save one failing run.

    Args:
        directory: the directory of the artifact, which is created. An artifact there is replaced.
        scenario: the scenario of the run, drawn or not.
        seed: its seed.
        result: its verdict; or the cause, if it raised an error.
        trace: its compact trace. Left out, the run is repeated to write it; empty bytes: there is no trace.

    Raises:
        ConfigError: the run passed, the files cannot be read or written, or a repetition of the run gave another trace.
    """
    cause = result if isinstance(result, Cause) else cause_of(result)
    if cause is None:
        raise ConfigError(f"seed {seed} of {scenario.name} passed: an artifact holds a failing run")
    verdict = result if isinstance(result, RunResult) else None
    if trace is None:
        trace, again = traced_run(scenario, seed)
        repeated = again.trace_sha256 if isinstance(again, RunResult) else ""
        if verdict is not None and repeated != verdict.trace_sha256:
            raise ConfigError(
                f"seed {seed} of {scenario.name} gave another trace when it was repeated: the run depends on more "
                "than its seed"
            )
    files = artifact_files(scenario, seed, cause, result=verdict, trace=trace, directory=directory)
    write_artifact(directory, files)
    return load_artifact(directory)


def traced_run(scenario: Scenario, seed: int) -> tuple[bytes, RunResult | Cause]:
    """Run a scenario, whatever it raises.

    Returns:
        The compact trace, and the verdict; or the cause, if the run raised an error.
    """
    buffer = io.BytesIO()
    try:
        result: RunResult | Cause = run_scenario(scenario, seed, trace=buffer)
    except Exception as error:  # noqa: BLE001 - user code may raise anything
        result = cause_of_error(error)
    return buffer.getvalue(), result


def is_artifact(path: Path | str) -> bool:
    """Whether a path is the directory of an artifact."""
    try:
        return (Path(path) / FAILURE_FILE).is_file()
    except (OSError, ValueError):  # a name that no file system accepts
        return False


def load_artifact(path: Path | str) -> Artifact:
    """Read an artifact.

    Args:
        path: its directory, or a file in it.

    Raises:
        ConfigError: there is no artifact, or it is damaged. The error names the file.
    """
    directory = Path(path)
    if not is_artifact(directory) and is_artifact(directory.parent):
        directory = directory.parent
    file = directory / FAILURE_FILE
    try:
        failure = json.loads(read_regular(file, _MAX_FAILURE_BYTES))
        form = failure["format"]
        seed, digest = failure["seed"], failure["trace_sha256"]
        cause = Cause(failure["cause"]["key"], failure["cause"]["text"])
    except OSError as error:
        raise ConfigError(
            f"{path} is no artifact: cannot read {file}: {error.strerror}; `qcore sim sweep` saves artifacts"
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{file} is damaged: {type(error).__name__}: {error}") from None
    if form != FORMAT:
        raise ConfigError(
            f"{file} has the format {form!r}, and this qcore reads {FORMAT}: use the qcore that saved it"
        )
    texts = (digest, cause.key, cause.text)
    if not isinstance(seed, int) or not all(isinstance(text, str) for text in texts):
        raise ConfigError(f"{file} is damaged: the seed or a text has another type")
    return Artifact(directory, load_scenario(directory / SCENARIO_FILE), seed, cause, digest)
