"""The operations of a course: their way through the cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
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
        blank = _blank(row, notes[name], asked.get(name))
        if attempts:
            blank = _with_path(blank, attempts.get(name, ()), times)
        rows.append(blank)
    return Rows(OperationCourse, sorted(rows, key=lambda row: (row.invoke_us, row.client)))


def _blank(row: OperationRow, note: str, asked: tuple[int, int] | None) -> OperationCourse:
    """What every trace shows of an operation."""
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
        took=() if asked is None else (asked,),
        leader=None,
        term=0,
        index=0,
        is_forwarded=False,
        forwarded_us=None,
        arrived_us=None,
        appended_us=None,
        durable_us=None,
        quorum_us=None,
        committed_us=None,
        applied_us=None,
        replied_us=None,
        is_inferred=True,
    )


def _expected(note: str) -> str | None:
    """The value that a comparison expects, from the note on its begin; None for no value."""
    text = note.removeprefix(_EXPECTS)
    return None if text == "None" else text


def _with_path(
    row: OperationCourse, attempts: Sequence[Attempt], times: EntryTimes
) -> OperationCourse:
    """The operation with its way: that of the attempt that got its entry, or of the last one."""
    if not attempts:
        return replace(row, took=(), is_inferred=False)
    chosen = next((each for each in reversed(attempts) if each.index), attempts[-1])
    leader, arrived_us = chosen.leader, chosen.arrived_us
    if leader is None and chosen.index:
        leader, arrived_us = chosen.node, chosen.took_us  # it waited until it led
    found = replace(
        row,
        took=tuple((each.node, each.took_us) for each in attempts),
        leader=leader,
        is_forwarded=chosen.forwarded_us is not None,
        forwarded_us=chosen.forwarded_us,
        arrived_us=arrived_us,
        replied_us=chosen.ended_us,
        is_inferred=False,
    )
    index = chosen.index
    if not index or leader is None or arrived_us is None or row.op in _READS:
        return found
    appended = times.appended(leader, index, chosen.term, arrived_us)
    if appended is None:
        return replace(found, index=index, term=chosen.term)
    term, since_us = appended.term, appended.t_us
    committed_us = times.committed(leader, index, since_us)
    if committed_us is not None and not times.holds(leader, index, term, committed_us):
        committed_us = None  # another entry of this index replaced it
    return replace(
        found,
        index=index,
        term=term,
        appended_us=since_us,
        durable_us=times.durable(leader, index, since_us),
        quorum_us=times.quorum(leader, index, term, since_us),
        committed_us=committed_us,
        applied_us=None if committed_us is None else times.applied(leader, index, since_us),
    )
