"""What a sweep and its executors exchange: sources of runs, jobs, and outcomes. All of it can be pickled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final, Protocol

from qcore.sim.artifacts.failure_cause import Cause
from qcore.sim.artifacts.user_files import portable
from qcore.sim.scenario.generated.random_scenario import random_scenario
from qcore.sim.scenario.load import load_scenario
from qcore.sim.scenario.model import Scenario

#: The file that holds the scenario of a source, beside the user's files.
SCENARIO_FILE: Final = "scenario.yaml"
#: What `Cause.key` is for a run whose process ended, and for a run that did not end.
DIED: Final = "ProcessDied"
HUNG: Final = "Timeout"


@dataclass(slots=True, frozen=True)
class RunSource:
    """A scenario whose seeds are run. Another computer needs nothing else but qcore.

    Attributes:
        name: the name of the scenario.
        text: the scenario; of a swarm, what the random scenarios have in common.
        files: the user's files that it names: name -> content.
        random: whether each seed draws a random scenario from it.
        key: the digest of all of this.
    """

    name: str
    text: str
    files: Mapping[str, bytes]
    random: bool
    key: str

    @classmethod
    def of(cls, scenario: Scenario, *, random: bool = False) -> RunSource:
        """The source for a scenario.

        Raises:
            ConfigError: a file that it names cannot be read.
        """
        content = portable(scenario)
        digest = sha256(f"{random}\n{content.text}".encode())
        for name, data in sorted(content.files.items()):
            digest.update(f"\n{name} {len(data)}\n".encode() + data)
        return cls(scenario.name, content.text, content.files, random, digest.hexdigest())

    def write(self, directory: Path) -> None:
        """Write the scenario and its files into a directory, from which `LoadedSource` reads them."""
        directory.mkdir(parents=True, exist_ok=True)
        for name, data in {SCENARIO_FILE: self.text.encode(), **self.files}.items():
            (directory / name).write_bytes(data)


@dataclass(slots=True, frozen=True)
class LoadedScenario:
    """A scenario whose seeds are run, or from which each seed draws a random one."""

    base: Scenario
    random: bool

    @classmethod
    def read(cls, directory: Path, random: bool) -> LoadedScenario:
        """What `RunSource.write` wrote into a directory.

        Raises:
            ConfigError: the scenario is unusable here.
        """
        return cls(load_scenario(directory / SCENARIO_FILE), random)

    def scenario(self, seed: int) -> Scenario:
        """The scenario that this seed runs."""
        return random_scenario(self.base, seed) if self.random else self.base


def is_repeatable(cause: Cause) -> bool:
    """Whether a run that failed because of this ends neither its process nor blocks it."""
    return cause.key not in (f"error:{DIED}", f"error:{HUNG}")


@dataclass(slots=True, frozen=True)
class Outcome:
    """What became of one seed.

    Attributes:
        seed: the seed.
        cause: why it failed; None if it passed.
        trace_sha256: the hash of its trace; empty if it raised an error or did not end.
        seconds: how long the run took.
        cpu_s: the processor time that it took.
    """

    seed: int
    cause: Cause | None
    trace_sha256: str = ""
    seconds: float = 0.0
    cpu_s: float = 0.0

    @property
    def repeatable(self) -> bool:
        """Whether the run can be repeated without harm to the process that does it."""
        return self.cause is None or is_repeatable(self.cause)


@dataclass(slots=True, frozen=True)
class Job:
    """Seeds of one source, to be run one after the other.

    Attributes:
        number: identifies the job.
        source: whose seeds they are.
        seeds: the seeds.
        saved_as: the directory of the artifact that is to be made from the only seed; empty for none.
    """

    number: int
    source: RunSource
    seeds: tuple[int, ...]
    saved_as: str = ""


@dataclass(slots=True, frozen=True)
class Report:
    """What an executor reports of a job.

    Attributes:
        job: the number of the job.
        outcomes: those of its next seeds.
        files: the content of the artifact; None without one.
    """

    job: int
    outcomes: Sequence[Outcome]
    files: Mapping[str, bytes] | None = None


class Executor(Protocol):
    """Runs jobs somewhere."""

    @property
    def chunk_s(self) -> float:
        """How many seconds of work a job should have."""

    @property
    def workers(self) -> int:
        """How many jobs run at the same time."""

    @property
    def wants_more(self) -> bool:
        """Whether another job should be submitted now."""

    def submit(self, job: Job) -> None:
        """Accept a job. Each of its seeds is reported once, whatever becomes of its run."""

    def wait(self, timeout_s: float) -> list[Report]:
        """What has been reported; empty if there is nothing new within the time.

        Raises:
            ConfigError: no process can be started, or the cluster is lost.
        """

    def cancel(self) -> None:
        """Forget all jobs, and end their runs."""

    def close(self) -> None:
        """End everything. The executor accepts no job any more."""
