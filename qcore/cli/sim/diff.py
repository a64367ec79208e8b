"""`qcore sim diff`: the first record at which two traces part, in context."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qcore.cli.exits import ExitCode
from qcore.cli.options import OutputFormat, OutputOption, non_empty_path
from qcore.cli.output import Cell, show
from qcore.display import escape_unprintable
from qcore.errors import ConfigError

if TYPE_CHECKING:
    from qcore.sim.repetition import RunRepetition
    from qcore.sim.verdict.result import Json
    from qcore.trace import TraceDifference, TraceRecord

TraceArgument = Annotated[
    Path,
    typer.Argument(
        parser=non_empty_path,
        metavar="TRACE",
        help="A trace file, of either format, or the directory of an artifact.",
    ),
]


def diff(
    first: TraceArgument,
    second: TraceArgument,
    records: Annotated[
        int,
        typer.Option(
            "--records",
            min=0,
            help="How many records to print before the difference, and of each trace after it.",
        ),
    ] = 5,
    output: OutputOption = OutputFormat.table,
) -> None:
    """Print the first record at which two traces part, with what came before and after it.

    Both files are read record by record. Traces whose headers differ, because the seeds do, are compared all the same.
    Exit code 0: the traces have the same records; 1: they part; 2: a file is no trace, or is damaged.
    """
    from qcore.trace import diff_traces

    found = diff_traces(_trace_of(first), _trace_of(second), context=records)
    show(
        output,
        body_of(found),
        rows=list(_rows(found)),
        columns=("side", "t_us", "kind", "node", "fields"),
        text="\n".join(difference_lines(found, str(first), str(second))),
        indent=2,
    )
    if found is not None:
        raise typer.Exit(ExitCode.FAILED)


def _trace_of(path: Path) -> Path:
    """The trace itself: a directory is an artifact that holds one.

    Raises:
        ConfigError: the directory is no artifact, or the artifact has no trace.
    """
    if not path.is_dir():
        return path
    from qcore.sim.artifacts import load_artifact

    trace = load_artifact(path).trace
    if trace is None:
        raise ConfigError(
            f"the artifact {path} has no trace: its run never ended, or the file was deleted"
        )
    return trace


def print_repetition(repetition: RunRepetition) -> None:
    """Report on standard error whether the run was the same in another process."""
    from qcore.sim.repetition.repeated_run import USUAL_CAUSES

    if repetition.is_same:
        print("the run was the same in another process with another hash seed", file=sys.stderr)
        return
    lines = [f"the run was not the same in another process: {repetition.problem}"]
    if repetition.difference is not None:
        lines += difference_lines(repetition.difference, "this process", "the other process")
    lines += ["", USUAL_CAUSES]
    print("\n".join(map(escape_unprintable, lines)), file=sys.stderr)


def difference_lines(found: TraceDifference | None, first: str, second: str) -> Iterator[str]:
    """The difference for people, line by line.

    Args:
        found: the difference; None if the traces are equal.
        first, second: the names of the two traces.
    """
    if found is None:
        yield "the traces have the same records"
        return
    if found.headers is not None:
        one, other = (header.fields for header in found.headers)
        yield (
            f"the headers differ: {one['name']} with seed {one['seed']}, {other['name']} with seed {other['seed']}"
        )
    if not found.first and not found.second:
        yield "all other records are the same"
        return
    yield f"the traces part after {found.index} records, at {found.t_us / 1000:.3f} ms"
    yield ""
    yield "the nodes until then"
    yield from (f"  {node}" for node in found.nodes)
    yield ""
    yield "the last common records"
    yield from _lines(found.before)
    for name, records in ((first, found.first), (second, found.second)):
        yield ""
        yield name if records else f"{name} ends here"
        yield from _lines(records)


def _lines(records: Iterable[TraceRecord]) -> Iterator[str]:
    for record in records:
        where = f"node {record.node}" if record.node else "-"
        fields = ", ".join(f"{key} {value}" for key, value in record.fields.items() if value != "")
        yield f"  {record.t_us / 1000:12.3f} ms  {where:8} {record.kind:9} {fields}"


def body_of(found: TraceDifference | None) -> dict[str, Json]:
    """The object that `-o json` prints."""
    from qcore.trace import as_line

    if found is None:
        return {"equal": True}
    return {
        "equal": False,
        "index": found.index,
        "t_us": found.t_us,
        "headers_differ": found.headers is not None,
        "nodes": [str(node) for node in found.nodes],
        "before": [as_line(record) for record in found.before],
        "first": [as_line(record) for record in found.first],
        "second": [as_line(record) for record in found.second],
    }


def _rows(found: TraceDifference | None) -> Iterator[dict[str, Cell]]:
    if found is None:
        return
    sides = (("both", found.before), ("first", found.first), ("second", found.second))
    for side, records in sides:
        for record in records:
            fields = ", ".join(f"{key}={value}" for key, value in record.fields.items())
            yield {
                "side": side,
                "t_us": record.t_us,
                "kind": record.kind,
                "node": record.node,
                "fields": fields,
            }
