"""The operations of a course: their way through the cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from qcore.analysis.course.course_records import events_of
from qcore.analysis.course.course_types import Messages, NodeTrack, OperationCourse
from qcore.analysis.course.paths.entry_times import EntryTimes
from qcore.analysis.course.paths.request_attempts import Attempt, request_attempts
from qcore.analysis.rows import Rows
from qcore.analysis.tables import OperationRow, TraceTables
from qcore.trace import TraceRecord

_EXPECTS: Final = "expects "
#: The operations that change nothing and have no entry.
_READS: Final = frozenset({"read"})


def course_operations(
    records: Sequence[TraceRecord],
    tracks: Mapping[int, NodeTrack],
    messages: Messages,
    tables: TraceTables,
) -> Rows[OperationCourse]:
    """The operations of a course, in the order of their begin.

    Without the details of a trace, only the first node that a client asked is known.
    """
    asked: dict[tuple[int, int], tuple[int, int]] = {}
    notes: dict[tuple[int, int], str] = {}
    for _, record in events_of(records, {"op"}):
        phase, client, op_id, _, _, _, note = record.values
        if phase == "invoke":
            notes[client, op_id] = note
            if record.node:
                asked[client, op_id] = (record.node, record.t_us - tables.origin_us)
    times = EntryTimes(tracks, tables.voters)
    attempts = request_attempts(records, tracks, messages, times, tables.origin_us)
    rows: list[OperationCourse] = []
    for row in tables.operations:
        name = (row.client, row.op_id)
        path = _Path(is_inferred=not attempts, took=(asked[name],) if name in asked else ())
        if attempts:
            path = _path(row, attempts.get(name, ()), times)
        rows.append(_operation_course(row, notes[name], path))
    return Rows(OperationCourse, sorted(rows, key=lambda row: (row.invoke_us, row.client)))


@dataclass(slots=True)
class _Path:
    """The way of an operation: fields of `OperationCourse`."""

    is_inferred: bool
    took: tuple[tuple[int, int], ...] = ()
    leader: int | None = None
    term: int = 0
    index: int = 0
    is_forwarded: bool = False
    forwarded_us: int | None = None
    arrived_us: int | None = None
    appended_us: int | None = None
    durable_us: int | None = None
    quorum_us: int | None = None
    committed_us: int | None = None
    applied_us: int | None = None
    replied_us: int | None = None


def _operation_course(row: OperationRow, note: str, path: _Path) -> OperationCourse:
    return OperationCourse(
        client=row.client,
        op_id=row.op_id,
        op=row.op,
        key=row.key,
        value=row.value,
        expected=_expected(note) if row.op == "cas" else None,
        output=row.output,
        outcome=row.outcome,
        note=row.note,
        invoke_us=row.invoke_us,
        end_us=row.end_us,
        took=path.took,
        leader=path.leader,
        term=path.term,
        index=path.index,
        is_forwarded=path.is_forwarded,
        forwarded_us=path.forwarded_us,
        arrived_us=path.arrived_us,
        appended_us=path.appended_us,
        durable_us=path.durable_us,
        quorum_us=path.quorum_us,
        committed_us=path.committed_us,
        applied_us=path.applied_us,
        replied_us=path.replied_us,
        is_inferred=path.is_inferred,
    )


def _expected(note: str) -> str | None:
    """The value that a comparison expects, from the note on its begin; None for no value."""
    text = note.removeprefix(_EXPECTS)
    return None if text == "None" else text


def _path(row: OperationRow, attempts: Sequence[Attempt], times: EntryTimes) -> _Path:
    """The way of an operation: that of the attempt that got its entry, or of the last one."""
    path = _Path(is_inferred=False)
    if not attempts:
        return path
    chosen = next((each for each in reversed(attempts) if each.index), attempts[-1])
    path.leader, path.arrived_us = chosen.leader, chosen.arrived_us
    if chosen.leader is None and chosen.index:
        path.leader, path.arrived_us = chosen.node, chosen.took_us  # it waited until it led
    path.took = tuple((each.node, each.took_us) for each in attempts)
    path.is_forwarded = chosen.forwarded_us is not None
    path.forwarded_us, path.replied_us = chosen.forwarded_us, chosen.ended_us
    leader, index = path.leader, chosen.index
    if not index or leader is None or path.arrived_us is None or row.op in _READS:
        return path
    path.index, path.term = index, chosen.term
    appended = times.appended(leader, index, chosen.term, path.arrived_us)
    if appended is None:
        return path
    since_us = path.appended_us = appended.t_us
    path.term = appended.term
    path.durable_us = times.durable(leader, index, since_us)
    path.quorum_us = times.quorum(leader, index, appended.term, since_us)
    committed_us = times.committed(leader, index, since_us)
    if committed_us is not None and times.holds(leader, index, appended, committed_us):
        path.committed_us = committed_us  # otherwise another entry of this index replaced it
        path.applied_us = times.applied(leader, index, since_us)
    return path
