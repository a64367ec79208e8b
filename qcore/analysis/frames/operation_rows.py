"""Operations as a flat table, with the time of each part of their way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from qcore.analysis.course.course_types import Course, OperationCourse
from qcore.analysis.rows import Rows


@dataclass(slots=True, frozen=True)
class OperationTimesRow:
    """One operation. A part of its way that it did not take, or that the trace does not show, is None.

    Attributes:
        SHOWN: the columns that a notebook shows.
        attempts: how many nodes took it, one after the other.
        node: the first node that took it.
        latency_us: what the client saw, from invocation to outcome ok.
        to_leader_us: from the invocation to the arrival at the leader.
        queue_us: from there to the append at the leader.
        disk_us: from the append to durability at the leader.
        replication_us: from the append to durability on a majority.
        commit_latency_us: from the append to the commit at the leader.
        apply_us: from the commit to the apply at the leader.
        response_us: from the apply to the outcome at the client.
    """

    SHOWN: ClassVar = (
        *("client", "op", "outcome", "node", "leader", "latency_us", "to_leader_us", "queue_us"),
        *("disk_us", "replication_us", "commit_latency_us", "apply_us", "response_us"),
    )

    client: int
    op_id: int
    op: str
    key: str
    outcome: str
    note: str
    invoke_us: int
    end_us: int | None
    attempts: int
    node: int | None
    leader: int | None
    term: int
    index: int
    is_forwarded: bool
    latency_us: int | None
    to_leader_us: int | None
    queue_us: int | None
    disk_us: int | None
    replication_us: int | None
    commit_latency_us: int | None
    apply_us: int | None
    response_us: int | None
    is_inferred: bool


def operation_table(course: Course) -> Rows[OperationTimesRow]:
    """The operations of a course with the times of their ways."""
    return Rows(OperationTimesRow, map(_row, course.operations))


def _row(operation: OperationCourse) -> OperationTimesRow:
    return OperationTimesRow(
        client=operation.client,
        op_id=operation.op_id,
        op=operation.op,
        key=operation.key,
        outcome=operation.outcome,
        note=operation.note,
        invoke_us=operation.invoke_us,
        end_us=operation.end_us,
        attempts=len(operation.took),
        node=operation.took[0][0] if operation.took else None,
        leader=operation.leader,
        term=operation.term,
        index=operation.index,
        is_forwarded=operation.is_forwarded,
        latency_us=operation.latency_us,
        to_leader_us=_length(operation.invoke_us, operation.arrived_us),
        queue_us=operation.queue_us,
        disk_us=operation.disk_us,
        replication_us=operation.replication_us,
        commit_latency_us=operation.commit_latency_us,
        apply_us=_length(operation.committed_us, operation.applied_us),
        response_us=_length(operation.applied_us, operation.end_us),
        is_inferred=operation.is_inferred,
    )


def _length(start_us: int | None, end_us: int | None) -> int | None:
    return None if start_us is None or end_us is None else end_us - start_us
