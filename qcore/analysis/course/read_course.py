"""`read_course`: reads the course of a run from its trace, or from the traces of real nodes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import attrgetter
from pathlib import Path

from qcore.analysis.course.clock_offsets import aligned, clock_offsets
from qcore.analysis.course.course_operations import course_operations
from qcore.analysis.course.course_records import CourseRecords, events_of
from qcore.analysis.course.course_types import ClockOffset, Course, Messages
from qcore.analysis.course.election_spans import elections
from qcore.analysis.course.message_pairs import pair_messages
from qcore.analysis.course.node_tracks import node_tracks
from qcore.analysis.records import TraceSource, compact_records, opened
from qcore.analysis.rows import Rows
from qcore.analysis.spans import SILENT
from qcore.analysis.tables import TraceTables, is_of_real_node, read_tables
from qcore.errors import ConfigError
from qcore.trace import DETAIL_FIELDS, CompactTrace, TraceRecord, pause_collection
from qcore.trace.trace_origin import TraceOrigin


def read_course(*sources: TraceSource, align: bool = False) -> Course:
    """Read the course of a run.

    Args:
        sources: the trace of a run, or the traces of real nodes, which are merged. Each is a path, lines, records, a
            compact trace, or a writer that keeps its records.
        align: correct the times of real nodes by the offsets of their clocks.

    Raises:
        ConfigError: a trace cannot be read, holds an invalid line, is not that of one node where one is necessary, or
            is given twice; or one of several is that of a simulated run.
    """
    if not sources:
        raise ConfigError("no trace to read: give a file, or one for each node")
    with pause_collection():
        contents = [opened(source, None, details=True) for source in sources]
        traces = [
            compact_records(content, None, details=True)
            if isinstance(content, CompactTrace)
            else content
            for content in contents
        ]
        if len(traces) > 1:
            _check_that_they_belong_together(sources, traces)
        origins = [content.origin for content in contents if isinstance(content, CompactTrace)]
        origin = origins[0] if len(contents) == 1 and origins else None
        is_simulated = any(map(_is_simulated, traces))
        if align and not is_simulated:
            return _course(_align(traces), origin, is_simulated=False)
        records = traces[0] if len(traces) == 1 else [r for trace in traces for r in trace]
        return _course(sorted(records, key=attrgetter("t_us")), origin, is_simulated=is_simulated)


def _check_that_they_belong_together(
    sources: Sequence[TraceSource], traces: Sequence[Sequence[TraceRecord]]
) -> None:
    """Check that several traces are those of real nodes, and all different."""
    seen: dict[tuple[int, str], str] = {}
    for number, (source, trace) in enumerate(zip(sources, traces, strict=True), 1):
        header = next((record for _, record in events_of(trace, {"run"})), None)
        if header is None:
            continue
        name = str(source) if isinstance(source, str | Path) else f"trace {number} of the list"
        if not is_of_real_node(header.fields):
            raise ConfigError(
                f"{name} is the trace of a simulated run: only traces of real nodes can be merged, so give it alone"
            )
        begin = (header.t_us, header.fields["name"])
        if begin in seen:
            raise ConfigError(
                f"{seen[begin]} and {name} are the same trace, of {header.fields['name']}: give each trace once"
            )
        seen[begin] = name


def _course(
    sorted_records: Iterable[TraceRecord], origin: TraceOrigin | None, *, is_simulated: bool
) -> Course:
    records = CourseRecords(sorted_records)
    tables = read_tables(records)
    records = _with_ends(records, tables)
    messages = pair_messages(
        records,
        tables.origin_us,
        tables.end_us,
        is_simulated=is_simulated,
        spans=tables.role_spans,
    )
    tracks = node_tracks(records, tables, messages)
    return Course(
        tables=tables,
        nodes=tables.nodes,
        clients=tuple(sorted({operation.client for operation in tables.operations})),
        is_simulated=is_simulated,
        has_details=next(events_of(records, DETAIL_FIELDS.keys()), None) is not None,
        origin_us=tables.origin_us,
        begin_us=tables.begin_us,
        end_us=tables.end_us,
        tracks=tracks,
        messages=messages,
        operations=course_operations(records, tracks, messages, tables),
        elections=elections(records, tracks, messages, tables),
        offsets=Rows(ClockOffset) if is_simulated else clock_offsets(messages, tables.nodes),
        records=records,
        origin=origin,
    )


def _with_ends(records: CourseRecords, tables: TraceTables) -> CourseRecords:
    """The records, and one for each process that ended without a record: `down`, with `silent` as `why`."""
    ends = [
        TraceRecord(tables.origin_us + span.start_us, "down", span.node, {"why": SILENT})
        for span in tables.role_spans
        if span.why == SILENT
    ]
    return CourseRecords(sorted([*records, *ends], key=attrgetter("t_us"))) if ends else records


def _is_simulated(records: Sequence[TraceRecord]) -> bool:
    """Whether the records come from the simulator."""
    for _, record in events_of(records, {"run"}):
        return not is_of_real_node(record.fields)
    return True


def _align(traces: Sequence[Sequence[TraceRecord]]) -> list[TraceRecord]:
    by_node: dict[int, list[TraceRecord]] = {}
    for number, trace in enumerate(traces):
        by_node.setdefault(_writer_of(trace, number), []).extend(trace)
    records = sorted(
        (record for trace in by_node.values() for record in trace), key=attrgetter("t_us")
    )
    messages: Messages = pair_messages(
        records, 0, records[-1].t_us if records else 0, is_simulated=False
    )
    return aligned(by_node, clock_offsets(messages, by_node))


def _writer_of(trace: Sequence[TraceRecord], number: int) -> int:
    for _, record in events_of(trace, {"run"}):
        return int(record.fields["nodes"][0])
    raise ConfigError(
        f"trace {number + 1} of the list has no header, which names its node: without it, clocks cannot be aligned"
    )
