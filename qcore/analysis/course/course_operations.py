"""The operations of a course: their way through the cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from qcore.analysis.course.course_records import events_of
from qcore.analysis.course.course_types import Messages, NodeTrack, OperationCourse
from qcore.analysis.rows import Rows
from qcore.analysis.tables import TraceTables
from qcore.trace import TraceRecord

_EXPECTS: Final = "expects "


def course_operations(
    records: Sequence[TraceRecord],
    tracks: Mapping[int, NodeTrack],
    messages: Messages,
    tables: TraceTables,
) -> Rows[OperationCourse]:
    """The operations of a course, in the order of their begin."""
    took: dict[tuple[int, int], list[tuple[int, int]]] = {}
    notes: dict[tuple[int, int], str] = {}
    for _, record in events_of(records, {"op"}):
        fields = record.fields
        name = (fields["client"], fields["op_id"])
        if fields["phase"] == "invoke":
            notes[name] = fields["note"]
            if record.node:
                took.setdefault(name, []).append((record.node, record.t_us - tables.origin_us))
    rows: list[OperationCourse] = []
    for row in tables.operations:
        name = (row.client, row.op_id)
        expected = notes[name].removeprefix(_EXPECTS) if row.op == "cas" else None
        rows.append(
            OperationCourse(
                client=row.client,
                op_id=row.op_id,
                op=row.op,
                key=row.key,
                value=row.value,
                expected=expected,
                output=row.output,
                outcome=row.outcome,
                note=row.note,
                invoke_us=row.invoke_us,
                end_us=row.end_us,
                took=tuple(took.get(name, ())),
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
        )
    return Rows(OperationCourse, sorted(rows, key=lambda row: (row.invoke_us, row.client)))
