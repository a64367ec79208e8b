"""`qcore sim trace`: what a trace file holds, whether it is complete and unchanged, and its records as JSON lines."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qcore.cli.exits import ExitCode
from qcore.cli.options import OutputFormat, OutputOption, non_empty_path
from qcore.cli.output import show
from qcore.errors import ConfigError

if TYPE_CHECKING:
    from qcore.trace import CompactTrace, TraceRecord

#: How many lines are printed together.
_LINES = 1000


def trace(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            parser=non_empty_path,
            help="A trace that `--trace` of a simulated run or a node wrote, in either format.",
        ),
    ],
    json_lines: Annotated[
        bool, typer.Option("--json-lines", help="Print the records as JSON lines, and no summary.")
    ] = False,
    kinds: Annotated[
        str | None,
        typer.Option(
            "--of-kinds",
            metavar="KINDS",
            help="With --json-lines: only records and details of these kinds, separated by commas.",
        ),
    ] = None,
    nodes: Annotated[
        str | None,
        typer.Option(
            "--of-nodes",
            metavar="IDS",
            help="With --json-lines: only records of these nodes, separated by commas. 0: of no single node.",
        ),
    ] = None,
    details: Annotated[
        bool,
        typer.Option(
            "--details",
            help="With --json-lines: the details too: the kinds log, request and clock.",
        ),
    ] = False,
    output: OutputOption = OutputFormat.table,
) -> None:
    """Show what a trace file holds, and check it; or print its records as JSON lines.

    The hash is that of the records, as `qcore sim run` prints it. Of JSON lines, which have no end and no checksum,
    only a line that was cut is found. Exit code 0: the trace is complete and unchanged; 1: otherwise; 2: the file is
    no trace, is damaged, or has a version that this qcore does not read.
    """
    if json_lines:
        _print_lines(file, _kinds(kinds, details=details), _nodes(nodes))
        return
    if kinds is not None or nodes is not None or details:
        raise ConfigError(
            "--of-kinds, --of-nodes and --details choose records: give them with --json-lines"
        )
    body, problem = _summary(file)
    text = "\n".join(f"{key:14}  {_shown(value)}" for key, value in body.items())
    show(output, body, text=text, indent=2)
    if problem:
        print(f"{file}: {problem}", file=sys.stderr)
        raise typer.Exit(ExitCode.FAILED)


def _print_lines(file: Path, kinds: Collection[str], nodes: Collection[int] | None) -> None:
    from qcore.trace import open_trace

    with open_trace(file) as content:
        lines = _lines(
            record
            for record in _records(content, file, kinds)
            if record.kind in kinds and (nodes is None or record.node in nodes)
        )
        while some := list(islice(lines, _LINES)):
            print("\n".join(some))


def _lines(records: Iterable[TraceRecord]) -> Iterator[str]:
    """The lines of records, with the mark before the first detail that a reader of details needs."""
    from qcore.trace import DETAIL_FIELDS, as_line
    from qcore.trace.json_lines import details_mark

    is_marked = False
    for record in records:
        if not is_marked and record.kind in DETAIL_FIELDS:
            is_marked = True
            yield details_mark(record.t_us)
        yield as_line(record)


def _records(
    content: CompactTrace | Iterable[str], file: Path, kinds: Collection[str] | None
) -> Iterator[TraceRecord]:
    from qcore.trace import DETAIL_FIELDS, CompactTrace, parse_trace

    if isinstance(content, CompactTrace):
        yield from content.iterate(kinds)
        return
    try:
        details = kinds is not None and not DETAIL_FIELDS.keys().isdisjoint(kinds)
        yield from parse_trace(content, details=details)
    except ConfigError as error:
        raise ConfigError(f"{file}: {error}") from None


@dataclass(slots=True)
class _Outline:
    """What a trace holds."""

    counts: Mapping[str, int]
    headers: list[dict[str, Any]]
    first_us: int | None
    last_us: int | None
    sha256: str
    is_complete: bool


def _outline_of_compact(trace: CompactTrace) -> _Outline:
    times = [
        time
        for kind in trace.counts
        for (column,) in trace.columns(kind, "t_us")
        for time in (min(column), max(column))
    ]
    return _Outline(
        trace.counts,
        [record.fields for record in trace.records({"run"})],
        min(times, default=None),
        max(times, default=None),
        trace.compute_sha256(),
        trace.is_complete,
    )


def _outline_of_lines(records: Iterable[TraceRecord]) -> _Outline:
    from qcore.trace import TRUNCATED_NOTE, TraceWriter

    counts: Counter[str] = Counter()
    found = _Outline(counts, [], None, None, "", is_complete=True)
    writer = TraceWriter()
    for record in records:
        if record.kind == "fault" and record.fields["note"] == TRUNCATED_NOTE:
            found.is_complete = False
            continue
        counts[record.kind] += 1
        if record.kind == "run":
            found.headers.append(record.fields)
        t_us = record.t_us
        found.first_us = t_us if found.first_us is None else min(found.first_us, t_us)
        found.last_us = t_us if found.last_us is None else max(found.last_us, t_us)
        writer.record(record)
    found.is_complete &= bool(counts)
    found.sha256 = writer.sha256()
    return found


def _summary(file: Path) -> tuple[dict[str, Any], str]:
    """What a trace holds, and what is wrong with it, if anything is."""
    from qcore.trace import SCHEMA_VERSION, CompactTrace, open_trace

    stored, version = None, None
    with open_trace(file) as content:
        if isinstance(content, CompactTrace):
            version, stored = content.format_version, content.stored_sha256
            found = _outline_of_compact(content)
        else:
            found = _outline_of_lines(_records(content, file, None))
    kinds = {kind: number for kind, number in sorted(found.counts.items()) if number}
    body = {
        "file": str(file),
        "format": "JSON lines" if version is None else "compact",
        "format_version": version,
        "schema": SCHEMA_VERSION,
        "name": ", ".join(sorted({header["name"] for header in found.headers})),
        "seed": found.headers[0]["seed"] if found.headers else None,
        "nodes": sorted({node for header in found.headers for node in header["nodes"]}),
        "first_us": found.first_us,
        "last_us": found.last_us,
        "records": sum(kinds.values()),
        "kinds": kinds,
        "complete": found.is_complete,
        "trace_sha256": found.sha256,
    }
    if stored not in (None, found.sha256):
        return body, f"the records have another hash than the file says, which is {stored}"
    if not kinds:
        return body, "it holds no record"
    if not found.is_complete:
        return body, "records are missing: the writer was stopped, or the disk was full"
    return body, ""


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {number}" for name, number in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None else str(value)


def _kinds(text: str | None, *, details: bool) -> Collection[str]:
    from qcore.trace import ALL_FIELDS, RECORD_FIELDS

    if text is None:
        return ALL_FIELDS.keys() if details else RECORD_FIELDS.keys()
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in ALL_FIELDS:
            raise ConfigError(
                f"--of-kinds: there is no kind {name!r}; the kinds are {', '.join(ALL_FIELDS)}"
            )
    return names


def _nodes(text: str | None) -> list[int] | None:
    if text is None:
        return None
    try:
        return [int(number) for number in text.split(",")]
    except ValueError:
        raise ConfigError(f"--of-nodes: {text!r} is not a list of node ids, such as 1,2") from None
