"""The course of a trace: nodes at any moment, causality, clocks, and merged traces of real nodes."""

from __future__ import annotations

from pathlib import Path

import pytest

from qcore.analysis.course.causality import cone
from qcore.analysis.course.clock_offsets import corrections
from qcore.analysis.course.course_types import ClockOffset, Course
from qcore.analysis.course.node_tracks import log_at, node_at
from qcore.analysis.course.read_course import read_course
from qcore.errors import ConfigError
from qcore.trace import TraceWriter
from tests.analysis.synthetic import MS, small_trace, trace_with_gap


@pytest.fixture(scope="module")
def course() -> Course:
    return read_course(small_trace(origin_us=5_000))


def test_a_course_has_the_tables_and_the_records(course: Course) -> None:
    assert (course.nodes, course.clients, course.end_us) == ((1, 2, 3), (1, 2), 1_000 * MS)
    assert course.is_simulated
    assert not course.has_details
    assert (course.origin_us, course.begin_us) == (5_000, 0)
    assert len(course.records) == len(small_trace())
    assert course.records[0].kind == "run"


def test_a_node_has_a_state_at_each_moment(course: Course) -> None:
    before = node_at(course, 1, 99 * MS)
    assert (before.role, before.term, before.voted_for, before.commit) == ("candidate", 1, 1, 0)
    leads = node_at(course, 2, 545 * MS)
    assert (leads.role, leads.term, leads.leader, leads.commit) == ("leader", 2, 2, 5)
    assert leads.voted_for is None
    assert leads.durable is None
    assert log_at(course, 3, 900 * MS).last_index == 5
    down = node_at(course, 3, 800 * MS)
    assert (down.role, down.why, down.term) == ("down", "crash", 2)


def test_links_are_cut_while_a_partition_lasts(course: Course) -> None:
    assert course.cut_links(299 * MS) == frozenset()
    assert course.cut_links(300 * MS) == {(1, 2), (2, 1), (1, 3), (3, 1)}
    assert course.cut_links(700 * MS) == frozenset()


def test_a_node_that_starts_from_a_snapshot_has_applied_it() -> None:
    trace = TraceWriter(keep=True)
    trace.run(0, "x", 1, [1])
    trace.up(0, 1, 3, 12, 14)
    trace.apply(4, 1, 11, 3, "command")
    course = read_course(trace)
    assert (node_at(course, 1, 0).applied, node_at(course, 1, 4).applied) == (10, 11)
    assert node_at(course, 1, 0).commit == 12


def test_the_causal_past_and_future_of_an_event() -> None:
    trace = TraceWriter(keep=True)
    trace.run(0, "x", 1, [1, 2, 3])
    trace.send(1, 1, 2, "1-1", "PreVote", 1, "")  # 1
    trace.send(1, 1, 3, "1-2", "PreVote", 1, "")  # 2
    trace.recv(2, 2, 1, "1-1", "PreVote")  # 3
    trace.vote(3, 2, 1, 1)  # 4
    trace.send(3, 2, 3, "2-1", "PreVote", 1, "")  # 5
    trace.recv(4, 3, 1, "1-2", "PreVote")  # 6
    trace.recv(5, 3, 2, "2-1", "PreVote")  # 7
    trace.send(6, 3, 1, "3-1", "PreVoteResponse", 1, "")  # 8
    trace.drop(7, 1, 3, "3-1", "PreVoteResponse", "cut")  # 9
    course = read_course(trace)
    of_vote = cone(course, 4)
    assert of_vote.past == {2: 4, 1: 1}
    assert of_vote.future == {2: 4, 3: 7}
    assert of_vote.past_messages == {0}
    assert of_vote.future_messages == {2}
    of_loss = cone(course, 9)
    assert of_loss.past == {3: 8, 2: 5, 1: 2}
    assert of_loss.future == {}
    assert cone(course, 0).past == {}


def _real_node(node: int, ahead_us: int) -> TraceWriter:
    """Two nodes send each other a message each 10 ms, which takes 2 ms to node 2 and 1 ms back."""
    trace = TraceWriter(keep=True)
    begin = 1_700_000_000_000_000 + ahead_us
    trace.run(begin, f"node {node}", 0, [node])
    trace.up(begin, node, 0, 0, 0)
    trace.role(begin + 900_000, node, "candidate", 1, None)
    for number in range(100):
        now = begin + 1_000_000 + 10 * MS * number
        if node == 1:
            trace.send(now, 1, 2, f"1-{number}", "AppendEntries", 1, "")
            trace.recv(now + 3 * MS, 1, 2, f"1-{number}r", "AppendEntriesResponse")
        else:
            trace.recv(now + 2 * MS, 2, 1, f"1-{number}", "AppendEntries")
            trace.send(now + 2 * MS, 2, 1, f"1-{number}r", "AppendEntriesResponse", 1, "")
    return trace


def test_real_traces_are_merged_and_their_clocks_compared() -> None:
    course = read_course(_real_node(1, 0), _real_node(2, 40 * MS))
    assert not course.is_simulated
    assert course.offsets == [ClockOffset(1, 2, 40_500, 1_500, 200)]
    assert course.begin_us == 400 * MS
    assert {message.outcome for message in course.messages} == {"received"}
    assert {message.end_us - message.sent_us for message in course.messages} == {
        42 * MS,
        -39 * MS,
    }


def test_aligned_traces_have_one_clock() -> None:
    course = read_course(_real_node(1, 0), _real_node(2, 40 * MS), align=True)
    assert [row.offset_us for row in course.offsets] == [0]
    assert {message.end_us - message.sent_us for message in course.messages} == {1_500}
    times = [record.t_us for record in course.records]
    assert times == sorted(times)


def test_clocks_are_corrected_over_the_best_links() -> None:
    offsets = [
        ClockOffset(1, 2, 100, 1, 9),
        ClockOffset(2, 3, 10, 1, 9),
        ClockOffset(1, 3, 900, 50, 9),
    ]
    assert corrections(offsets, [1, 2, 3, 4]) == {1: 100, 2: 0, 3: -10, 4: 0}


def test_gaps_and_paths_are_read(tmp_path: Path) -> None:
    path = tmp_path / "node1.jsonl"
    path.write_text("\n".join(trace_with_gap()) + "\n")
    course = read_course(path)
    assert [(gap.start_us, gap.end_us) for gap in course.tables.gaps] == [(100 * MS, 400 * MS)]
    times = [record.t_us for record in course.records]
    assert times == sorted(times)


def test_bad_sources_are_reported(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no trace to read"):
        read_course()
    with pytest.raises(ConfigError, match="cannot read the trace"):
        read_course(tmp_path / "missing.qtrace")
    with pytest.raises(
        ConfigError, match="trace 1 of the list and trace 3 of the list are the same"
    ):
        read_course(_real_node(1, 0), _real_node(2, 0), _real_node(1, 0))
    with pytest.raises(ConfigError, match="trace 2 of the list is the trace of a simulated run"):
        read_course(_real_node(1, 0), small_trace(origin_us=0))
