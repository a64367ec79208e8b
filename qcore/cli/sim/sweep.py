"""`qcore sim sweep` and `qcore sim swarm`: many runs in parallel, and one table as the result."""

from __future__ import annotations

import random
import re
import sys
import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from qcore.cli.exits import ExitCode
from qcore.cli.options import JobsOption, OutputFormat, OutputOption, non_empty_path
from qcore.cli.output import show
from qcore.cli.sim.run_argument import ParametersOption
from qcore.errors import ConfigError

if TYPE_CHECKING:
    from qcore.sim.sweeps.progress_report import SweepProgress
    from qcore.sim.sweeps.sweep_result import SweepResult

_SEEDS = re.compile(r"(-?\d+)\.\.(-?\d+)")
#: The most seeds of one sweep.
_MAX_SEEDS = 100_000_000
#: Without a terminal, the progress is a line in this time, seconds.
_LINE_S = 5.0
#: The first seeds of swarms are multiples of this, so that two swarms rarely have a seed in common.
_SEEDS_OF_A_SWARM = 100_000


class ExecutorChoice(StrEnum):
    """Where runs happen."""

    process = "process"
    dask = "dask"


class Fidelity(StrEnum):
    """How much of a node is simulated."""

    replica = "replica"
    node = "node"


ExecutorOption: TypeAlias = Annotated[
    ExecutorChoice,
    typer.Option(
        "--executor",
        help="Where runs happen: in processes here, or on a Dask cluster (the extra `dask`).",
    ),
]
SchedulerOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--scheduler", metavar="ADDRESS", help="The scheduler of the Dask cluster: tcp://host:port."
    ),
]
UntilFailureOption: TypeAlias = Annotated[
    bool, typer.Option("--until-failure", help="End with the first failure.")
]
RunTimeoutOption: TypeAlias = Annotated[
    float,
    typer.Option(
        "--run-timeout",
        metavar="S",
        min=0.1,
        help="The longest that one run may take, in seconds. A longer one fails.",
    ),
]
ArtifactsOption: TypeAlias = Annotated[
    Path,
    typer.Option(
        "--artifacts",
        envvar="QCORE_ARTIFACTS",
        parser=non_empty_path,
        metavar="DIR",
        help="Where failing runs are saved.",
    ),
]
KeepOption: TypeAlias = Annotated[
    int, typer.Option("--keep", min=0, help="The most artifacts for each cause.")
]


def sweep(
    files: Annotated[
        list[str],
        typer.Argument(metavar="FILE...", help="Scenario files, or names of shipped scenarios."),
    ],
    seeds: Annotated[
        str, typer.Option("--seeds", metavar="A..B", help="The first and the last seed.")
    ] = "1..100",
    jobs: JobsOption = None,
    executor: ExecutorOption = ExecutorChoice.process,
    scheduler: SchedulerOption = None,
    until_failure: UntilFailureOption = False,
    vary: Annotated[
        list[str],
        typer.Option(
            "--vary",
            metavar="KEY=VALUES",
            help="Values for a key, such as cluster.nodes=3,5,7, or for a parameter. Several give a grid.",
        ),
    ] = [],  # noqa: B006 - typer reads the default and never changes it
    parameters: ParametersOption = [],  # noqa: B006 - as above
    timeout: RunTimeoutOption = 300.0,
    artifacts: ArtifactsOption = Path("out", "failures"),
    keep: KeepOption = 3,
    cache: Annotated[
        Path | None,
        typer.Option(
            "--cache",
            envvar="QCORE_CACHE",
            parser=non_empty_path,
            metavar="DIR",
            help="Remember outcomes here, so that a repeated sweep takes no time.",
        ),
    ] = None,
    output: OutputOption = OutputFormat.table,
) -> None:
    """Run scenarios with many seeds in parallel, and group what failed by its cause.

    Exit code 0: every run passed; 1: a run failed; 2: a scenario or option is invalid; 130: interrupted.
    """
    from qcore.sim.scenario.load import read_parameters
    from qcore.sim.sweeps.run_sweep import sweep as run
    from qcore.sim.sweeps.variations import read_variation

    chosen = [read_variation(text) for text in vary]
    varied = dict(chosen)
    if len(varied) < len(chosen):
        raise ConfigError("--vary: a key is given twice; give all its values together")
    result = run(
        files,
        _seeds(seeds),
        vary=varied,
        parameters=read_parameters(parameters),
        jobs=jobs,
        executor=executor.value,
        scheduler=scheduler,
        until_failure=until_failure,
        timeout_s=timeout,
        artifacts=artifacts,
        keep=keep,
        cache=cache,
        progress=_Progress(),
    )
    _show(result, output)


def swarm(
    minutes: Annotated[
        float, typer.Option("--minutes", min=0, help="How long to run, in minutes.")
    ] = 0.0,
    seconds: Annotated[
        float, typer.Option("--seconds", min=0, help="How long to run, in seconds more.")
    ] = 0.0,
    runs: Annotated[
        int | None, typer.Option("--runs", min=1, help="The number of runs, instead of a time.")
    ] = None,
    jobs: JobsOption = None,
    base: Annotated[
        str | None,
        typer.Option(
            "--base",
            metavar="FILE",
            help="A scenario. What it sets stays, such as a state machine, and the rest is drawn.",
        ),
    ] = None,
    fidelity: Annotated[
        Fidelity, typer.Option("--fidelity", help="Simulate replicas, or whole nodes.")
    ] = Fidelity.replica,
    first_seed: Annotated[
        int | None,
        typer.Option("--first-seed", help="The first seed. Default: each swarm has others."),
    ] = None,
    executor: ExecutorOption = ExecutorChoice.process,
    scheduler: SchedulerOption = None,
    until_failure: UntilFailureOption = False,
    timeout: RunTimeoutOption = 300.0,
    artifacts: ArtifactsOption = Path("out", "failures"),
    keep: KeepOption = 3,
    output: OutputOption = OutputFormat.table,
) -> None:
    """Run random scenarios until time is up: each seed draws cluster, settings, network, load and faults.

    A failing seed becomes an artifact. Exit code 0: every run passed; 1: a run failed; 2: an option is invalid; 130:
    interrupted.
    """
    from qcore.sim.sweeps.run_sweep import swarm as run

    if first_seed is None:
        first_seed = random.SystemRandom().randrange(1, 100_000) * _SEEDS_OF_A_SWARM
        print(f"the first seed is {first_seed}", file=sys.stderr)
    result = run(
        minutes,
        seconds=seconds,
        runs=runs,
        base=base,
        fidelity=fidelity.value,
        first_seed=first_seed,
        jobs=jobs,
        executor=executor.value,
        scheduler=scheduler,
        until_failure=until_failure,
        timeout_s=timeout,
        artifacts=artifacts,
        keep=keep,
        progress=_Progress(),
    )
    _show(result, output)


def _seeds(text: str) -> range:
    match = _SEEDS.fullmatch(text.strip())
    if match is None:
        raise ConfigError(f"--seeds {text!r}: write the first and the last seed, such as 1..200")
    first, last = int(match[1]), int(match[2])
    if not first <= last < first + _MAX_SEEDS:
        raise ConfigError(
            f"--seeds {text}: the last seed is below the first, or there are more than {_MAX_SEEDS} of them"
        )
    return range(first, last + 1)


def _show(result: SweepResult, output: OutputFormat) -> None:
    rows = result.flat_rows()
    show(output, result.to_json(), rows=rows, text=result.table(), indent=2)
    if result.interrupted:
        raise typer.Exit(ExitCode.INTERRUPTED)
    if not result.ok:
        raise typer.Exit(ExitCode.FAILED)


class _Progress:
    """Shows the progress on stderr: one line that changes on a terminal, else a line every few seconds."""

    def __init__(self) -> None:
        self._printed_s = time.monotonic()
        self._on_terminal = sys.stderr.isatty()

    def __call__(self, progress: SweepProgress) -> None:
        if self._on_terminal:
            print(
                f"\r{progress}\033[K",
                end="\n" if progress.is_over else "",
                file=sys.stderr,
                flush=True,
            )
            return
        now = time.monotonic()
        if now - self._printed_s >= _LINE_S and not progress.is_over:
            self._printed_s = now
            print(progress, file=sys.stderr, flush=True)
