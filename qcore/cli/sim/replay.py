"""`qcore sim replay`: runs an artifact, a trace or a recording again, and stops where you want to look."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qcore.cli.exits import ExitCode
from qcore.cli.options import OutputFormat, OutputOption, non_empty_path
from qcore.cli.output import Cell, show, shown, table
from qcore.cli.sim.stall_watch import STALL_TIMEOUT_S, StallTimeoutOption, stall_watch
from qcore.errors import ConfigError

if TYPE_CHECKING:
    from qcore.sim.replay.recording_report import RecordingReport
    from qcore.sim.replay.run_replay import RunReplay
    from qcore.sim.simulation import NodeState

#: How many characters of a state hash a table shows.
_HASH_CHARS = 12


def replay(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            parser=non_empty_path,
            help="An artifact, a trace, a recording of a node, or the directory of the recordings of a run.",
        ),
    ],
    until_ms: Annotated[
        float | None,
        typer.Option(
            "--until-ms",
            metavar="T",
            min=0,
            help="Stop at this time: simulated milliseconds; or, in a recording, those since the start of a life.",
        ),
    ] = None,
    until_event: Annotated[
        int | None,
        typer.Option(
            "--until-event",
            metavar="N",
            min=1,
            help="Stop once the trace has this many records; or after this step of a recording.",
        ),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(
            "--at",
            metavar="QUERY",
            help="Stop at the first record with these values, such as 'kind=role node=2 role=leader'. In a recording, "
            "the kind may also be the name of an event, a message or an effect.",
        ),
    ] = None,
    node: Annotated[
        int | None,
        typer.Option(
            "--node", metavar="ID", help="Step through this node, instead of the whole cluster."
        ),
    ] = None,
    life: Annotated[
        int | None,
        typer.Option(
            "--life",
            metavar="N",
            help="The life of a recorded node, from 1 on. Default: all, one after the other.",
        ),
    ] = None,
    scenario: Annotated[
        str | None,
        typer.Option(
            "--scenario",
            metavar="FILE",
            help="The scenario of a trace that does not hold it: a file, or the name of a shipped one.",
        ),
    ] = None,
    machine: Annotated[
        str | None,
        typer.Option(
            "--with-machine",
            metavar="NAME",
            help="The state machine of a recording, in place of the recorded one: entity, kv, register, FILE.py:CLASS "
            "or MODULE:CLASS.",
        ),
    ] = None,
    stall_timeout: StallTimeoutOption = STALL_TIMEOUT_S,
    output: OutputOption = OutputFormat.table,
) -> None:
    """Run an artifact, a trace or a recording again, and compare everything until the end or the place to stop.

    Shows the state there: roles, terms, logs, messages in flight, and what happened last.

    Exit code 0: everything is as it was; 1: something differs, or the recording has a gap; 2: bad input.
    """
    if sum(place is not None for place in (until_ms, until_event, at)) > 1:
        raise ConfigError(
            "--until-ms, --until-event and --at each say where to stop: give one of them"
        )
    from qcore.recording import is_recording

    recordings = sorted(file.glob("*.qrec")) if file.is_dir() else []
    if node is None and not recordings and not is_recording(file):
        if life is not None or machine is not None:
            raise ConfigError(
                "--life and --with-machine are for recordings: give a recording, or --node"
            )
        with stall_watch(stall_timeout):
            _replay_run(file, until_ms, until_event, at, scenario, output)
        return
    if scenario is not None:
        raise ConfigError("--scenario is for a trace, without --node")
    with stall_watch(stall_timeout):
        reports = _recording_reports(
            recordings or [file], node, life, machine, (until_ms, until_event, at)
        )
    _show_recordings(reports, output)


# -- runs ------------------------------------------------------------------------------------------


def _replay_run(
    file: Path,
    until_ms: float | None,
    until_event: int | None,
    at: str | None,
    scenario: str | None,
    output: OutputFormat,
) -> None:
    from qcore.sim.replay.run_replay import replay_run
    from qcore.sim.replay.stored_run import load_stored_run

    stored = load_stored_run(file, scenario)
    found = replay_run(stored, until_ms=until_ms, until_event=until_event, at=at)
    nodes = [_node_row(state) for state in found.state.nodes]
    show(output, found.to_json(), rows=nodes, text=_run_text(found), indent=2)
    if not found.equal:
        print(f"the replay differs: {found.advice}", file=sys.stderr)
        raise typer.Exit(ExitCode.FAILED)


def _run_text(found: RunReplay) -> str:
    stored, state = found.stored, found.state
    lines = [
        f"scenario   {stored.scenario.name}, seed {stored.seed}",
        f"stopped    at {state.now_ms:.3f} ms, after record {state.records}"
        + (f" of {len(stored.records)}" if stored.records else ""),
        f"equal      {found.verdict}",
    ]
    if stored.cause:
        lines.append(f"cause      {stored.cause}")
    if found.error:
        lines.append(f"error      {found.error}")
    lines += ["", _table_of([_node_row(node) for node in state.nodes])]
    lines += ["", f"operations without an outcome: {state.open_operations}"]
    lines.append(f"messages in flight: {len(state.in_flight)}")
    if state.in_flight:
        lines.append(_table_of([asdict(message) for message in state.in_flight]))
    lines += ["", "last records"]
    for record in state.last:
        values = " ".join(f"{key}={shown(_cell(value))}" for key, value in record.fields.items())
        values = values.replace("\n", f"\n{'':27}")
        place = f"node {record.node}" if record.node else ""
        lines.append(
            f"{record.t_us / 1000:12.3f} ms  {place:8}  {record.kind:6}  {values}".rstrip()
        )
    return "\n".join(lines)


# -- recordings --------------------------------------------------------------------------------------


def _recording_reports(
    files: Sequence[Path],
    node: int | None,
    life: int | None,
    machine: str | None,
    stop: tuple[float | None, int | None, str | None],
) -> list[RecordingReport]:
    from qcore.recording import read_lives
    from qcore.sim.replay.recorded_machine import machine_named
    from qcore.sim.replay.recording_report import replay_recording

    if len(files) > 1 and node is not None:
        files = [each for each in files if read_lives(each)[0].start.node_id == node]
        if not files:
            raise ConfigError(f"--node {node}: the directory has no recording of node {node}")
    if len(files) > 1 and any(place is not None for place in stop):
        raise ConfigError("these are the recordings of several nodes: give --node to stop in one")
    make = None
    if machine is not None:
        make = machine_named(machine)
    until_ms, until_step, at = stop
    return [
        replay_recording(
            each,
            node=node,
            life=life,
            machine=make,
            until_ms=until_ms,
            until_step=until_step,
            at=at,
        )
        for each in files
    ]


def _show_recordings(reports: Sequence[RecordingReport], output: OutputFormat) -> None:
    rows: list[dict[str, Cell]] = [
        {
            "file": str(report.path),
            "node": report.node,
            "life": report.life,
            "step": report.step,
            "now_ms": report.now_ms,
            "equal": report.difference is None,
            "end": report.end,
        }
        for report in reports
    ]
    if len(reports) == 1:
        (report,) = reports
        show(output, report.to_json(), rows=rows, text=_recording_text(report), indent=2)
    else:
        show(output, [report.to_json() for report in reports], rows=rows, indent=2)
    problems = [(report, problem) for report in reports for problem in report.problems]
    for report, problem in problems:
        print(f"{report.path}: {problem}", file=sys.stderr)
    if problems:
        raise typer.Exit(ExitCode.FAILED)


def _recording_text(report: RecordingReport) -> str:
    equal = "every step until here has the recorded effects"
    lines = [
        f"node       {report.node}, machine {report.machine or '(of a program)'}, {report.origin}",
        f"stopped    in life {report.life} of {report.lives}, after step {report.step}, {report.now_ms:.3f} ms after "
        f"its start, {report.wall}",
        f"equal      {equal if report.difference is None else f'no: {report.difference}'}",
    ]
    if report.end:
        lines.append(f"end        {report.end}")
    if report.error:
        lines.append(f"error      {report.error}")
    if report.state is not None:
        lines += ["", _table_of([_node_row(report.state)])]
    lines += ["", "events of the step", *(f"  {text}" for text in report.events)]
    lines += ["effects", *(f"  {text}" for text in report.effects)]
    return "\n".join(lines)


def _node_row(state: NodeState) -> dict[str, Cell]:
    return {
        "node": state.node,
        "process": "paused" if state.paused else "up" if state.up else "down",
        "role": state.role,
        "term": state.term,
        "leader": state.leader,
        "commit": state.commit,
        "applied": state.applied,
        "log_end": state.log_length,
        "state_hash": state.state_hash[:_HASH_CHARS],
    }


def _table_of(rows: Sequence[dict[str, Any]]) -> str:
    titles = [name.replace("_", " ").upper() for name in rows[0]]
    return table([titles, *([shown(_cell(value)) for value in row.values()] for row in rows)])


def _cell(value: object) -> Cell:
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)
