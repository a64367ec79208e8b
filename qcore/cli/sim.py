"""`qcore sim run` and `qcore sim list`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qcore.cli.exits import ExitCode
from qcore.cli.options import OutputFormat, OutputOption, non_empty_path

if TYPE_CHECKING:
    from qcore.sim.verdict.result import RunResult

app = typer.Typer(
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Run scenarios in the deterministic simulator.",
)


@app.callback()
def _group() -> None:
    """Run scenarios in the deterministic simulator."""


@app.command()
def run(
    scenario: Annotated[
        str, typer.Argument(metavar="FILE", help="A scenario file, or the name of a shipped one.")
    ],
    seed: Annotated[
        int,
        typer.Option(
            "--seed", envvar="QCORE_SEED", help="Where all randomness of the run comes from."
        ),
    ] = 1,
    output: OutputOption = OutputFormat.table,
    trace: Annotated[
        Path | None,
        typer.Option(
            "--trace",
            envvar="QCORE_TRACE",
            parser=non_empty_path,
            metavar="PATH",
            help="Write the trace (JSON lines) to this file.",
        ),
    ] = None,
) -> None:
    """Simulate one scenario with one seed and judge the run.

    Exits with 0 if every expectation holds, with 1 if not, with 2 if the scenario is unusable.
    """
    # Imported late: `qcore version` must not pay for SimPy and pydantic.
    from qcore.sim.run import run_scenario
    from qcore.sim.scenario.load import load_scenario

    loaded = load_scenario(scenario)
    result = run_scenario(loaded, seed, trace=trace)
    if output is OutputFormat.json:
        print(json.dumps(result.to_json(), indent=2))
    else:
        from qcore.cli.verdict import print_verdict

        print_verdict(result, loaded.summary)
    _print_next_steps(result, trace)
    if not result.ok:
        raise typer.Exit(ExitCode.FAILED)


def _print_next_steps(result: RunResult, trace: Path | None) -> None:
    if trace is not None:
        print(f"trace written to {trace}", file=sys.stderr)
    if not result.ok:
        print(f"failed; replay with: {result.replay}", file=sys.stderr)


@app.command(name="list")
def list_scenarios(
    directory: Annotated[
        Path | None,
        typer.Option(
            "--dir",
            envvar="QCORE_SCENARIOS",
            parser=non_empty_path,
            metavar="PATH",
            help="Where the scenario files are (scenarios/).",
        ),
    ] = None,
    output: OutputOption = OutputFormat.table,
) -> None:
    """List the scenarios, with what each shows."""
    from qcore.sim.scenario.catalogue import scenario_files
    from qcore.sim.scenario.load import load_scenario

    scenarios = [(path, load_scenario(path)) for path in scenario_files(directory)]
    if output is OutputFormat.json:
        rows = [
            {
                "name": scenario.name,
                "file": str(path),
                "summary": scenario.summary,
                "nodes": len(scenario.cluster.nodes),
                "until_ms": scenario.until_ms,
            }
            for path, scenario in scenarios
        ]
        print(json.dumps(rows, indent=2))
        return
    width = max((len(path.stem) for path, _ in scenarios), default=0)
    for path, scenario in scenarios:
        print(f"{path.stem:{width}}  {scenario.summary}")
