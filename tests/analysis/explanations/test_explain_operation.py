"""Explanations of operations: of a simulated run, and of small traces with details, written by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from qcore.analysis.course.course_types import Course, OperationCourse
from qcore.analysis.course.read_course import read_course
from qcore.analysis.explanations.explain import explain
from qcore.trace import TraceWriter

EXPECTED = Path(__file__).parent / "expected" / "operations.txt"


def test_the_operations_of_a_run_are_explained(
    course_of: Callable[[str], Course], pytestconfig: pytest.Config
) -> None:
    course = course_of("split_3_2_leader_major")
    chosen: dict[tuple[object, ...], OperationCourse] = {}
    for row in course.operations:
        chosen.setdefault((row.op, row.outcome, row.note, row.is_forwarded, len(row.took) > 1), row)
    text = "\n\n".join(str(explain(course, row)) for row in chosen.values()) + "\n"
    if pytestconfig.getoption("--rewrite-explanations", default=False):
        EXPECTED.write_text(text)
    assert text == EXPECTED.read_text()


def test_the_parts_of_the_way_follow_each_other(course_of: Callable[[str], Course]) -> None:
    course = course_of("split_3_2_leader_major")
    writes = [row for row in course.operations if row.outcome == "ok" and row.op != "read"]
    assert len(writes) > 200
    for row in writes:
        times = [
            row.invoke_us,
            row.took[-1][1],
            row.arrived_us,
            row.appended_us,
            row.quorum_us,
            row.committed_us,
            row.applied_us,
            row.replied_us,
            row.end_us,
        ]
        known = [t_us for t_us in times if t_us is not None]
        assert len(known) == len(times)
        assert known == sorted(known)
        assert (row.term, row.leader, row.is_inferred) == (2, 4, False)
        assert row.is_forwarded == (row.took[-1][0] != 4)
    indexes = [row.index for row in writes]
    assert len(set(indexes)) == len(indexes)


def _trace() -> TraceWriter:
    """Three nodes; node 1 leads term 1. A client sends node 2 a write, which node 2 forwards at 20 µs."""
    trace = TraceWriter(keep=True)
    trace.run(0, "small", 1, [1, 2, 3])
    for node in (1, 2, 3):
        trace.up(0, node, 1, 0, 0)
    trace.role(0, 1, "leader", 1, 1)
    trace.op(10, 2, "invoke", 7, 1, "write", "x", 5)
    trace.request(20, 2, "take", 7, 1, 100)
    trace.send(20, 2, 1, "2-1", "Forward", 0, "write")
    trace.request(20, 2, "forward", 7, 1, 900, message="2-1")
    return trace


def _explained(trace: TraceWriter) -> list[str]:
    course = read_course(trace)
    (row,) = course.operations
    return list(explain(course, row).sentences)


def test_a_lost_forward_had_no_effect() -> None:
    trace = _trace()
    trace.drop(21, 1, 2, "2-1", "Forward", "cut")
    trace.op(1_000_000, 2, "unknown", 7, 1, "write", "x", 5, "timeout")
    assert _explained(trace)[1:] == [
        "Node 2 forwarded it to leader 1, but the message was lost (the link was cut).",
        "Client 7 stopped waiting at 1.000 s, without a response, so it could not know whether the write had an "
        "effect.",
        "The trace shows that the write had no effect: it reached no leader.",
    ]


def test_a_write_may_take_effect_without_a_response() -> None:
    trace = _trace()
    trace.recv(30, 1, 2, "2-1", "Forward")
    trace.log(30, 1, "append", 1, 1, 1)
    trace.log(40, 1, "durable", 1)
    trace.log(35, 3, "append", 1, 1, 1)
    trace.log(50, 3, "durable", 1)
    trace.commit(60, 1, 1)
    trace.apply(60, 1, 1, 1, "command")
    trace.op(1_000_000, 2, "unknown", 7, 1, "write", "x", 5, "timeout")
    course = read_course(trace)
    (row,) = course.operations
    assert (row.index, row.durable_us, row.quorum_us, row.committed_us) == (1, 40, 50, 60)
    assert (
        explain(course, row).sentences[-1]
        == "The trace shows that the write had an effect: its entry was committed."
    )


def test_a_replaced_entry_is_not_committed() -> None:
    trace = _trace()
    trace.recv(30, 1, 2, "2-1", "Forward")
    trace.log(30, 1, "append", 1, 1, 1)
    trace.role(40, 2, "leader", 2, 2)
    trace.role(50, 1, "follower", 2, 2)
    trace.log(50, 1, "cut", 1)
    trace.log(50, 1, "append", 1, 2, 1)
    trace.commit(60, 1, 1)
    trace.op(70, 2, "unknown", 7, 1, "write", "x", 5, "OutcomeUnknown")
    course = read_course(trace)
    (row,) = course.operations
    assert (row.index, row.term, row.committed_us) == (1, 1, None)
    assert explain(course, row).sentences[-2:] == (
        "Client 7 got the answer that the outcome is unknown at 0.000 s, so it could not know whether the write had "
        "an effect.",
        "The trace shows that the write had no effect: an entry of term 2 replaced its entry.",
    )


def test_without_details_only_the_node_is_known() -> None:
    trace = TraceWriter(keep=True)
    trace.run(0, "small", 1, [1, 2])
    trace.op(10, 2, "invoke", 7, 1, "cas", "x", 5, "expects 4")
    trace.op(30, 2, "ok", 7, 1, "cas", "x", 5, "did not match")
    course = read_course(trace)
    (row,) = course.operations
    assert (row.is_inferred, row.took, row.leader) == (True, ((2, 10),), None)
    assert str(explain(course, row)).splitlines() == [
        "Client 7, operation 1: set x from 4 to 5: ok after 20 µs",
        "- Client 7 asked node 2 at 0.000 s.",
        "- Client 7 had the response at 0.000 s (did not match).",
        "- This trace has no details of requests, so it does not show more.",
    ]
