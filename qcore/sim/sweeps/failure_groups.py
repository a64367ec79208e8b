"""Groups the failures of a sweep by cause, and saves artifacts of the first of each group."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from qcore.errors import ConfigError
from qcore.sim.artifacts.artifact import (
    artifact_files,
    is_artifact,
    load_artifact,
    write_artifact,
)
from qcore.sim.artifacts.failure_cause import Cause
from qcore.sim.scenario.model import Scenario
from qcore.sim.sweeps.executors.run_jobs import SCENARIO_FILE, Outcome, RunSource, is_repeatable
from qcore.sim.verdict.result import Json

#: The most seeds of a group that a result lists.
MAX_SEEDS: Final = 10
#: The characters of the key of a source in the name of an artifact.
_KEY_CHARACTERS: Final = 6


@dataclass(slots=True)
class FailureGroup:
    """The failures of one variation of a scenario that have one cause.

    Attributes:
        scenario: the name of the scenario.
        values: the varied values.
        cause: the cause, with the text of the first failure.
        count: how many there are.
        seeds: the first seeds.
        artifacts: the saved runs.
        command: what to type next.
        note: what is remarkable, such as a run that cannot be repeated; usually empty.
    """

    scenario: str
    values: Mapping[str, Json]
    cause: Cause
    command: str
    count: int = 0
    seeds: list[int] = field(default_factory=list)
    artifacts: list[Path] = field(default_factory=list)
    note: str = ""

    def add(self, outcome: Outcome) -> None:
        """Count a failure."""
        self.count += 1
        if len(self.seeds) < MAX_SEEDS:
            self.seeds.append(outcome.seed)

    def to_json(self) -> dict[str, Json]:
        """The group as JSON."""
        return {
            "scenario": self.scenario,
            "values": dict(self.values),
            "cause": self.cause.key,
            "text": self.cause.text,
            "count": self.count,
            "seeds": list(self.seeds),
            "artifacts": [str(path) for path in self.artifacts],
            "command": self.command,
            "note": self.note,
        }


class ArtifactStore:
    """Where the artifacts of a sweep are saved.

    Args:
        directory: holds one directory for each artifact.

    Raises:
        ConfigError: it is a file.
    """

    def __init__(self, directory: Path | str) -> None:
        self._directory = Path(directory)
        if self._directory.exists() and not self._directory.is_dir():
            raise ConfigError(f"--artifacts: {directory} is no directory")

    def path(self, source: RunSource, seed: int) -> Path:
        """The directory of the artifact of a seed."""
        return self._directory / f"{source.name}-{seed}-{source.key[:_KEY_CHARACTERS]}"

    def existing(self, path: Path, outcome: Outcome) -> bool:
        """Whether a path has an artifact of just this run."""
        if not is_artifact(path):
            return False
        try:
            artifact = load_artifact(path)
        except ConfigError:
            return False
        same = artifact.trace_sha256 == outcome.trace_sha256 and artifact.seed == outcome.seed
        return same and outcome.cause is not None and artifact.cause.key == outcome.cause.key

    def save(
        self,
        group: FailureGroup,
        path: Path,
        outcome: Outcome,
        files: Mapping[str, bytes] | None,
        scenario: Scenario,
        again: Outcome | None = None,
    ) -> None:
        """Save an artifact and name it in its group. A failure to save becomes a note: the sweep goes on.

        Args:
            group: the group of the run.
            path: where it is saved.
            outcome: what became of the run.
            files: the content of the artifact; None: the run could not be repeated, so there is no trace.
            scenario: the scenario of the run.
            again: the outcome of the repeated run, if there is one.
        """
        if again is not None and again.trace_sha256 != outcome.trace_sha256:
            group.note = (
                f"seed {outcome.seed} gave another trace when it was repeated: the run depends on more than its "
                "seed"
            )
        try:
            if files is None:
                assert outcome.cause is not None, "it failed"
                files = artifact_files(scenario, outcome.seed, outcome.cause, directory=path)
            write_artifact(path, files)
        except ConfigError as error:
            group.note = str(error)
        else:
            self.add(group, path)

    def _command(self, group: FailureGroup) -> str:
        """What to type next. A run that ends or blocks its process can only be repeated in another process."""
        first = group.artifacts[0]
        if is_repeatable(group.cause):
            return shlex.join(["qcore", "sim", "shrink", str(first)])
        seed = _seed_in(first.name)
        words = ["qcore", "sim", "sweep", str(first / SCENARIO_FILE), "--seeds", f"{seed}..{seed}"]
        return shlex.join(words)

    def add(self, group: FailureGroup, path: Path) -> None:
        """Name an artifact in its group."""
        group.artifacts.append(path)
        group.artifacts.sort(key=lambda each: _seed_in(each.name))
        group.command = self._command(group)


def _seed_in(name: str) -> int:
    """The seed in the name of an artifact, as `ArtifactStore.path` gives it."""
    return int(name.rsplit("-", 2)[1])


def command_of(
    given: str, parameters: Mapping[str, object], values: Mapping[str, Json], seed: int
) -> str:
    """The command that runs a seed of a varied scenario again; empty for a scenario made in Python."""
    if not given:
        return ""
    words = ["qcore", "sim", "sweep" if values else "run", given]
    words += ["--seeds", f"{seed}..{seed}"] if values else ["--seed", str(seed)]
    for name, value in parameters.items():
        words += ["--set", f"{name}={yaml_text(value)}"]
    for name, value in values.items():
        words += ["--vary", f"{name}={yaml_text(value)}"]
    return shlex.join(words)


def yaml_text(value: object) -> str:
    """A value as it is written in a scenario file, on one line."""
    return value if isinstance(value, str) else json.dumps(value)
