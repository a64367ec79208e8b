"""`qcore sim run`, `qcore sim draw` and `qcore sim list`, and the group of `qcore sim`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from qcore.cli.exits import ExitCode
from qcore.cli.options import OutputFormat, OutputOption, non_empty_path
from qcore.cli.output import Cell, show
from qcore.cli.sim.diff import diff as diff_command
from qcore.cli.sim.elections import elections as elections_command
from qcore.cli.sim.explore import explore as explore_command
from qcore.cli.sim.replay import replay as replay_command
from qcore.cli.sim.run_argument import ParametersOption, RunSeedOption, read_run
from qcore.cli.sim.shrink import shrink as shrink_command
from qcore.cli.sim.stall_watch import STALL_TIMEOUT_S, StallTimeoutOption, stall_watch
from qcore.cli.sim.sweep import swarm as swarm_command
from qcore.cli.sim.sweep import sweep as sweep_command
from qcore.cli.sim.trace import trace as trace_command
from qcore.errors import ConfigError

if TYPE_CHECKING:
    from qcore.sim.verdict.result import RunResult

app = typer.Typer(
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Run scenarios in the deterministic simulator.",
)


ScenarioArgument: TypeAlias = Annotated[
    str, typer.Argument(metavar="FILE", help="A scenario file, or the name of a shipped scenario.")
]
SeedOption: TypeAlias = Annotated[
    int,
    typer.Option("--seed", envvar="QCORE_SEED", help="Decides every random choice of the run."),
]


@app.callback()
def _group() -> None:
    """Run scenarios in the deterministic simulator."""


@app.command()
def run(
    scenario: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="A scenario file, the name of a shipped scenario, or the directory of an artifact.",
        ),
    ],
    seed: RunSeedOption = None,
    parameters: ParametersOption = [],  # noqa: B006 - typer reads the default and never changes it
    output: OutputOption = OutputFormat.table,
    trace: Annotated[
        Path | None,
        typer.Option(
            "--trace",
            envvar="QCORE_TRACE",
            parser=non_empty_path,
            metavar="PATH",
            help="Write the trace to this file: JSON lines if its suffix is .jsonl, .ndjson or .json, else the "
            "compact format.",
        ),
    ] = None,
    record: Annotated[
        Path | None,
        typer.Option(
            "--record",
            envvar="QCORE_RECORD",
            parser=non_empty_path,
            metavar="PATH",
            help="Record the nodes into this directory, one file for each, for `qcore sim replay`.",
        ),
    ] = None,
    check_determinism: Annotated[
        bool,
        typer.Option(
            "--check-determinism",
            help="Run twice, first in another process with another hash seed, and compare the two runs.",
        ),
    ] = False,
    limit_s: Annotated[
        float,
        typer.Option(
            "--time-limit",
            min=0.1,
            metavar="SECONDS",
            help="With --check-determinism: how long the run in the other process may take.",
        ),
    ] = 300,
    stall_timeout: StallTimeoutOption = STALL_TIMEOUT_S,
) -> None:
    """Run one scenario with one seed and print the verdict.

    Exit code 0: no violation, and every expectation held; 1: otherwise, or a second run differed, or the run stood
    still; 2: the scenario is invalid.
    """
    # A late import: `--help` must not load SimPy and pydantic.
    from qcore.sim.artifacts import Artifact
    from qcore.sim.run import run_scenario

    with stall_watch(stall_timeout):
        given = read_run(scenario, parameters)
        if isinstance(given, Artifact):
            loaded, seed = given.scenario, given.seed if seed is None else seed
        else:
            loaded, seed = given, 1 if seed is None else seed
        if check_determinism:
            if record is not None:
                raise ConfigError("--record: record a run without --check-determinism")
            from qcore.sim.repetition import repeat_run

            repetition = repeat_run(loaded, seed, trace=trace, limit_s=limit_s)
            result = repetition.result
        else:
            repetition = None
            result = run_scenario(loaded, seed, trace=trace, record=record)
    if output is OutputFormat.table:
        from qcore.cli.sim.verdict import print_verdict

        print_verdict(result, loaded.summary)
    else:
        show(output, result.to_json(), indent=2)
    _print_next_steps(result, trace)
    if repetition is not None:
        from qcore.cli.sim.diff import print_repetition

        print_repetition(repetition)
    if not result.ok or (repetition is not None and not repetition.is_same):
        raise typer.Exit(ExitCode.FAILED)


def _print_next_steps(result: RunResult, trace: Path | None) -> None:
    if trace is not None:
        print(f"trace written to {trace}", file=sys.stderr)
    if not result.ok:
        print(f"failed; replay with: {result.replay}", file=sys.stderr)


@app.command()
def draw(
    scenario: ScenarioArgument,
    seed: SeedOption = 1,
) -> None:
    """Print the scenario that a seed draws, with every random fault as an item of the timeline.

    The printed scenario gives the same run without the generator. Keep it as a file, and shorten it.
    """
    from qcore.sim.scenario.load import load_scenario

    print(load_scenario(scenario).drawn(seed).to_yaml(), end="")


@app.command(name="list")
def list_scenarios(
    directory: Annotated[
        Path | None,
        typer.Option(
            "--dir",
            envvar="QCORE_SCENARIOS",
            parser=non_empty_path,
            metavar="PATH",
            help="The directory of the scenario files. Default: scenarios/ if it exists, else the shipped ones.",
        ),
    ] = None,
    output: OutputOption = OutputFormat.table,
) -> None:
    """List the scenarios, each with a summary."""
    from qcore.sim.scenario.catalogue import scenario_files
    from qcore.sim.scenario.load import load_scenario

    rows: list[dict[str, Cell]] = []
    for path in scenario_files(directory):
        scenario = load_scenario(path)
        rows.append(
            {
                "name": scenario.name,
                "file": str(path),
                "summary": scenario.summary,
                "nodes": len(scenario.cluster.nodes),
                "until_ms": scenario.until_ms,
            }
        )
    if output is OutputFormat.table:
        lines = [
            {"scenario": Path(str(row["file"])).stem, "summary": row["summary"]} for row in rows
        ]
        show(output, rows, rows=lines, columns=("scenario", "summary"))
    else:
        show(
            output,
            rows,
            rows=rows,
            columns=("name", "file", "summary", "nodes", "until_ms"),
            indent=2,
        )


app.command(name="trace")(trace_command)
app.command(name="explore")(explore_command)
app.command(name="sweep")(sweep_command)
app.command(name="swarm")(swarm_command)
app.command(name="shrink")(shrink_command)
app.command(name="replay")(replay_command)
app.command(name="elections")(elections_command)
app.command(name="diff")(diff_command)


@app.command()
def schema() -> None:
    """Print the JSON Schema of the scenario format, with which an editor completes and explains the keys."""
    from qcore.sim.scenario.editor_schema import scenario_schema

    print(json.dumps(scenario_schema(), indent=2, ensure_ascii=False))
