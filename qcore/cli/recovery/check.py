"""`qcore check`: checks a data directory, and changes nothing in it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qcore.cli.exits import ExitCode
from qcore.cli.options import OutputFormat, OutputOption, non_empty_path
from qcore.cli.output import show

if TYPE_CHECKING:
    from qcore.recovery.checks.findings import CheckReport

app = typer.Typer(rich_markup_mode=None)

DataDirArgument = Annotated[
    Path,
    typer.Argument(parser=non_empty_path, metavar="DATA_DIR", help="A node's data directory."),
]


@app.command()
def check(data_dir: DataDirArgument, output: OutputOption = OutputFormat.table) -> None:
    """Check everything in a data directory, and change nothing in it.

    It verifies the checksum of every entry, of the snapshot and of the files beside them, whether
    they fit each other, and that no acknowledged write is missing. A copy of the database goes to the
    directory for temporary files (TMPDIR) for a moment. If a node runs on the directory, the structure
    of the database is not checked.

    Exit code 1: there is a fault; 5: the directory cannot be read.
    """
    from qcore.recovery.checks.data_dir_check import check_data_dir

    report = check_data_dir(data_dir)
    rows = [found.as_json() for found in report.findings]
    columns = ("severity", "where", "what", "advice")
    if output is OutputFormat.csv:
        show(output, rows, rows=rows, columns=columns)
    else:
        show(output, report.as_json(), text="\n".join(_lines(report)))
    if report.faults:
        raise typer.Exit(ExitCode.FAILED)


def _lines(report: CheckReport) -> list[str]:
    lines: list[str] = []
    if report.process is not None:
        lines.append(
            f"a node runs on {report.directory} (process {report.process}): the structure of the database was not "
            "checked; stop the node to check everything"
        )
    log = report.log
    if log is not None:
        cluster = log.identity.cluster_id
        lines.append(
            f"node {log.identity.node_id}"
            + (f" of cluster {cluster}" if cluster else ", which belongs to no cluster yet")
        )
        covered = 0 if log.snapshot is None else log.snapshot.meta.last_included_index
        lines.append(
            f"term {log.state.term}, {_entries(report, log.state.first_index, log.state.last_index)}, commit index at "
            f"least {log.state.commit}, "
            + (f"snapshot through entry {covered}" if covered else "no snapshot")
        )
    for found in report.findings:
        lines.append(f"{found.severity}: {found.where}: {found.what}")
        lines.append(f"  {found.advice}")
    count = len(report.faults)
    verdict = "sound" if not count else f"not sound: {count} fault{'s' if count > 1 else ''}"
    lines.append(f"{report.directory} is {verdict}")
    return lines


def _entries(report: CheckReport, first: int, last: int) -> str:
    if first > last:
        return "no entries"
    return f"entries {first} to {last} ({report.entries} are sound)"
