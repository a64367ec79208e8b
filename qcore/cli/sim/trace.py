"""`qcore sim trace`: what a trace file holds, whether it is complete and unchanged, and its records as JSON lines."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
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
            help="With --json-lines: only records of these kinds, separated by commas.",
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
    output: OutputOption = OutputFormat.table,
) -> None:
    """Show what a trace file holds, and check it; or print its records as JSON lines.

    The hash is that of the records, as `qcore sim run` prints it. Exit code 0: the trace is complete and unchanged; 1:
    otherwise; 2: the file is no trace, is damaged, or has a version that this qcore does not read.
    """
    if json_lines:
        _print_lines(file, _kinds(kinds), _nodes(nodes))
        return
    if kinds is not None or nodes is not None:
        raise ConfigError("--of-kinds and --of-nodes choose records: give them with --json-lines")
    body, problem = _summary(file)
    text = "\n".join(f"{key:14}  {_shown(value)}" for key, value in body.items())
    show(output, body, text=text, indent=2)
    if problem:
        print(f"{file}: {problem}", file=sys.stderr)
        raise typer.Exit(ExitCode.FAILED)


def _print_lines(file: Path, kinds: Collection[str] | None, nodes: Collection[int] | None) -> None:
    from qcore.trace import as_line, open_trace

    with open_trace(file) as content:
        chosen = (
            as_line(record)
            for record in _records(content, file, kinds)
            if (kinds is None or record.kind in kinds) and (nodes is None or record.node in nodes)
        )
        while some := list(islice(chosen, _LINES)):
            print("\n".join(some))


def _records(
    content: CompactTrace | Iterable[str], file: Path, kinds: Collection[str] | None
) -> Iterator[TraceRecord]:
    from qcore.trace import CompactTrace, parse_trace

    if isinstance(content, CompactTrace):
        yield from content.iterate(kinds)
        return
    try:
        yield from parse_trace(content)
    except ConfigError as error:
        raise ConfigError(f"{file}: {error}") from None


def _summary(file: Path) -> tuple[dict[str, Any], str]:
    """What a trace holds, and what is wrong with it, if anything is."""
    from qcore.trace import (
        SCHEMA_VERSION,
        TRUNCATED_NOTE,
        CompactTrace,
        TraceWriter,
        open_trace,
    )

    counts: Counter[str] = Counter()
    headers: list[dict[str, Any]] = []
    times: list[int] = []
    writer = TraceWriter()
    is_complete, stored, version = True, None, None
    with open_trace(file) as content:
        if isinstance(content, CompactTrace):
            version, stored = content.format_version, content.stored_sha256
        for record in _records(content, file, None):
            if record.kind == "fault" and record.fields["note"] == TRUNCATED_NOTE:
                is_complete = False
                continue
            counts[record.kind] += 1
            times = [*times[:1], record.t_us]
            if record.kind == "run":
                headers.append(record.fields)
            writer.record(record)
        if isinstance(content, CompactTrace):
            is_complete = content.is_complete
    computed = writer.sha256()
    body = {
        "file": str(file),
        "format": "JSON lines" if version is None else "compact",
        "format_version": version,
        "schema": SCHEMA_VERSION,
        "name": ", ".join(sorted({header["name"] for header in headers})),
        "seed": headers[0]["seed"] if headers else None,
        "nodes": sorted({node for header in headers for node in header["nodes"]}),
        "first_us": times[0] if times else None,
        "last_us": times[-1] if times else None,
        "records": counts.total(),
        "kinds": dict(sorted(counts.items())),
        "complete": is_complete,
        "trace_sha256": computed,
    }
    if stored not in (None, computed):
        return body, f"the records have another hash than the file says, which is {stored}"
    if not is_complete:
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


def _kinds(text: str | None) -> list[str] | None:
    from qcore.trace import RECORD_FIELDS

    if text is None:
        return None
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in RECORD_FIELDS:
            raise ConfigError(
                f"--of-kinds: there is no kind {name!r}; the kinds are {', '.join(RECORD_FIELDS)}"
            )
    return names


def _nodes(text: str | None) -> list[int] | None:
    if text is None:
        return None
    try:
        return [int(number) for number in text.split(",")]
    except ValueError:
        raise ConfigError(f"--of-nodes: {text!r} is not a list of node ids, such as 1,2") from None
