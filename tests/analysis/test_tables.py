"""The tables of a hand-written trace have the exact values."""

from __future__ import annotations

import pickle
from collections.abc import Collection
from pathlib import Path

import pytest

from qcore.analysis.records import LEADERSHIP_KINDS, load, merge
from qcore.analysis.spans import RoleSpan, Span
from qcore.analysis.tables import (
    CommitRow,
    GapRow,
    Leadership,
    MessageBinRow,
    MessageRow,
    OperationRow,
    TermRow,
    TraceTables,
    ViolationRow,
    VoteRow,
    columns,
    read_tables,
)
from qcore.errors import ConfigError
from qcore.trace import TRUNCATED_NOTE, TraceWriter, parse_trace
from tests.analysis.synthetic import MS, cut_off, small_trace, trace_with_gap


@pytest.fixture(scope="module")
def tables() -> TraceTables:
    return read_tables(small_trace())


def test_the_tables_have_the_header_and_the_time_range(tables: TraceTables) -> None:
    assert (tables.name, tables.seed, tables.nodes) == ("small", 7, (1, 2, 3))
    assert (tables.origin_us, tables.end_us) == (0, 1_000 * MS)


def test_times_count_from_the_first_record(tables: TraceTables) -> None:
    shifted = read_tables(small_trace(origin_us=1_700_000_000_000_000))
    assert shifted.origin_us == 1_700_000_000_000_000
    assert shifted.role_spans == tables.role_spans
    assert shifted.operations == tables.operations
    assert shifted.faults == tables.faults


def test_role_spans_cover_each_role_of_a_server(tables: TraceTables) -> None:
    assert [span for span in tables.role_spans if span.node == 1] == [
        RoleSpan(1, 0, 90 * MS, "follower", 0, None),
        RoleSpan(1, 90 * MS, 100 * MS, "candidate", 1, None),
        RoleSpan(1, 100 * MS, 560 * MS, "leader", 1, 1),
        RoleSpan(1, 560 * MS, 710 * MS, "follower", 1, None),
        RoleSpan(1, 710 * MS, 1_000 * MS, "follower", 2, 2),
    ]
    assert [(s.role, s.start_us // MS, s.why) for s in tables.role_spans if s.node == 3][-3:] == [
        ("down", 750, "crash"),
        ("follower", 850, ""),
        ("follower", 860, ""),
    ]


def test_leaderships_are_listed_with_their_spans(tables: TraceTables) -> None:
    assert tables.leaderships == [
        Leadership(1, 1, 100 * MS, 560 * MS),
        Leadership(2, 2, 520 * MS, 1_000 * MS),
    ]


def test_a_leader_cut_off_from_the_majority_does_not_count(tables: TraceTables) -> None:
    assert tables.leaderless == [Span(0, 100 * MS), Span(300 * MS, 520 * MS)]
    assert tables.leaderless_after(300 * MS) == Span(300 * MS, 520 * MS)
    assert tables.leaderless_after(520 * MS) is None
    assert tables.leaderless[1].length_us == 220 * MS


def test_one_way_cuts_and_crashes_leave_the_cluster_leaderless() -> None:
    trace = TraceWriter(keep=True)
    trace.run(0, "x", 1, [1, 2, 3])
    for node in (1, 2, 3):
        trace.up(0, node, 0, 0, 0)
    trace.role(0, 1, "leader", 1, 1)
    trace.fault(100, "begin", "deaf", [1], [(2, 1), (3, 1)], "receives nothing")
    trace.fault(200, "end", "deaf")
    trace.fault(300, "begin", "cut", [1, 2], cut_off(1, (2,)), "both ways")
    trace.down(400, 3, "crash")
    trace.up(500, 3, 1, 0, 0)
    trace.violation(600, 0, "x", "")
    assert read_tables(trace.lines()).leaderless == [Span(100, 200), Span(400, 500)]


def test_a_stretch_that_the_trace_does_not_see_end_is_censored() -> None:
    trace = TraceWriter(keep=True)
    trace.run(0, "x", 1, [1])
    trace.up(0, 1, 0, 0, 0)
    trace.role(100, 1, "leader", 1, 1)
    trace.role(300, 1, "follower", 1, None)
    trace.violation(600, 0, "x", "")
    first, last = read_tables(trace.lines()).leaderless
    assert (first, last) == (Span(0, 100), Span(300, 600, is_censored=True))


def test_votes_and_messages_over_time_have_rows(tables: TraceTables) -> None:
    assert tables.votes == [VoteRow(90 * MS, 1, 1, 1)]
    assert tables.message_bins == [MessageBinRow(90 * MS, 100 * MS, "RequestVote", 2, 1)]


def test_many_bins_of_messages_are_joined() -> None:
    trace = TraceWriter(keep=True)
    trace.run(0, "x", 1, [1, 2])
    for number in range(9_000):
        trace.send(number * 10_000, 1, 2, f"1-{number}", "AppendEntries", 1, "")
    rows = read_tables(trace.lines()).message_bins
    assert {row.end_us - row.start_us for row in rows[:-1]} == {
        30_000
    }  # the last one ends with the trace
    assert sum(row.sent for row in rows) == 9_000


def test_the_time_of_a_real_cluster_begins_with_its_first_voters() -> None:
    """Two nodes wait 78 s for the third; in a simulation nothing is left out."""

    def trace_of(node: int, nodes: list[int]) -> list[str]:
        trace = TraceWriter(keep=True)
        trace.run(0, f"node {node}", 0, nodes)
        trace.up(0, node, 0, 0, 0)
        trace.config(0, node, 0, [], [], [])
        trace.role(1_000, node, "learner", 0, None)
        trace.config(78_000 * MS, node, 1, [1, 2], [], [])
        trace.commit(80_000 * MS, node, 1)
        return trace.lines()

    assert read_tables(merge(trace_of(1, [1]), trace_of(2, [2]))).begin_us == 77_500 * MS
    assert read_tables(trace_of(1, [1, 2])).begin_us == 0


def test_links_that_only_got_worse_are_not_cut() -> None:
    trace = TraceWriter(keep=True)
    trace.run(0, "x", 1, [1, 2, 3])
    for node in (1, 2, 3):
        trace.up(0, node, 0, 0, 0)
    trace.role(0, 1, "leader", 1, 1)
    trace.fault(100, "begin", "timeline[0] links", [], cut_off(1, (2, 3)), "loss 0.5")
    trace.fault(200, "end", "timeline[0] links")
    tables = read_tables(trace.lines())
    assert tables.leaderless == []
    assert not tables.faults[0].cuts
    assert tables.faults[0].label == "50 % lost"


def test_a_paused_leader_resumes_as_leader() -> None:
    trace = TraceWriter(keep=True)
    trace.run(0, "x", 1, [1])
    trace.up(0, 1, 0, 0, 0)
    trace.role(10, 1, "leader", 3, 1)
    trace.down(20, 1, "pause")
    trace.up(30, 1, 3, 0, 0)
    trace.down(40, 1, "crash")
    trace.up(50, 1, 3, 0, 0)
    trace.violation(60, 0, "x", "")
    tables = read_tables(trace.lines())
    assert [(s.role, s.start_us, s.term) for s in tables.role_spans] == [
        ("follower", 0, 0),
        ("leader", 10, 3),
        ("down", 20, 3),
        ("leader", 30, 3),
        ("down", 40, 3),
        ("follower", 50, 3),
    ]
    assert tables.leaderships == [Leadership(1, 3, 10, 20), Leadership(1, 3, 30, 40)]


def real_node_trace(node: int, *, until_ms: int, restart_ms: int | None = None) -> list[str]:
    """The trace of a real node: its header, heartbeats every 50 ms, and no record when it is killed."""
    trace = TraceWriter(keep=True)
    for begin, end in [(0, until_ms)] + ([(restart_ms, 3_000)] if restart_ms is not None else []):
        trace.run(begin * MS, f"node {node}", 0, [node])
        trace.up(begin * MS, node, 1, 0, 0)
        if begin == 0:
            trace.role(MS, node, "leader" if node == 1 else "follower", 1, 1)
        for at_ms in range(begin + 50, end + 1, 50):
            trace.send(at_ms * MS, node, 3 - node, f"{node}-{at_ms}", "AppendEntries", 1, "")
    return trace.lines()


def test_a_killed_process_is_down_from_its_last_record() -> None:
    silent = merge(real_node_trace(1, until_ms=1_000), real_node_trace(2, until_ms=3_000))
    tables = read_tables(silent)
    assert (tables.name, tables.nodes) == ("node 1, node 2", (1, 2))
    assert tables.leaderships == [Leadership(1, 1, MS, 1_000 * MS)]
    assert [s.why for s in tables.role_spans if s.role == "down"] == ["silent"]
    heard = TraceWriter(keep=True)
    heard.recv(
        1_120 * MS, 2, 1, "1-1100", "AppendEntries"
    )  # node 1 had not written that it sent this
    assert read_tables(merge(silent, heard.lines())).leaderships[0].end_us == 1_120 * MS
    restarted = merge(
        real_node_trace(1, until_ms=1_000, restart_ms=1_400), real_node_trace(2, until_ms=3_000)
    )
    assert [
        (s.role, s.start_us // MS, s.end_us // MS)
        for s in read_tables(restarted).role_spans
        if s.node == 1
    ] == [
        ("follower", 0, 1),
        ("leader", 1, 1_000),
        ("down", 1_000, 1_400),
        ("follower", 1_400, 3_000),
    ]


def test_a_term_row_names_the_first_node_in_the_term(tables: TraceTables) -> None:
    assert tables.terms == [TermRow(90 * MS, 1, 1), TermRow(500 * MS, 2, 2)]


def test_an_operation_row_has_its_outcome_and_latency(tables: TraceTables) -> None:
    assert tables.operations == [
        OperationRow(1, 1, "write", "x", "a", 150 * MS, 162 * MS, "ok", None, "", 1),
        OperationRow(1, 2, "write", "x", "b", 310 * MS, 600 * MS, "unknown", None, "timeout", 1),
        OperationRow(2, 1, "read", "x", None, 900 * MS, 903 * MS, "ok", "a", "", 2),
        OperationRow(2, 2, "read", "x", None, 950 * MS, None, "open", None, ""),
    ]


def test_messages_are_counted_by_kind(tables: TraceTables) -> None:
    assert tables.messages == [MessageRow("RequestVote", 2, 1, 1)]


def test_a_fault_window_has_its_range_nodes_links_and_label(tables: TraceTables) -> None:
    partition, crash = tables.faults
    assert (partition.start_us, partition.end_us) == (300 * MS, 700 * MS)
    assert (partition.nodes, partition.acts, partition.cuts) == ((1,), 1, True)
    assert set(partition.links) == {(1, 2), (2, 1), (1, 3), (3, 1)}
    assert partition.label == "partition 1 | 2,3"
    assert (crash.start_us, crash.end_us, crash.cuts) == (750 * MS, 850 * MS, False)
    assert crash.label == "crash node 3"


def test_faults_of_one_name_end_per_node_or_at_the_end() -> None:
    trace = TraceWriter(keep=True)
    trace.run(0, "x", 1, [1, 2])
    trace.fault(10, "begin", "crash", [1])
    trace.fault(20, "begin", "crash", [2])
    trace.fault(30, "end", "crash", [2])
    trace.violation(50, 0, "x", "")
    windows = read_tables(trace.lines()).faults
    assert [(w.nodes, w.start_us, w.end_us) for w in windows] == [((1,), 10, 50), ((2,), 20, 30)]


def test_a_violation_row_names_its_check_and_node(tables: TraceTables) -> None:
    assert tables.violations == [ViolationRow(1_000 * MS, 2, "linearizability", "key 'x'")]


def test_columns_are_ready_for_a_data_frame(tables: TraceTables) -> None:
    assert columns(tables.terms) == {"t_us": [90 * MS, 500 * MS], "node": [1, 2], "term": [1, 2]}
    empty = read_tables([])
    assert columns(empty.terms) == {"t_us": [], "node": [], "term": []}
    assert list(columns(empty.operations)) == list(columns(tables.operations))
    assert columns([], TermRow) == columns(empty.terms)
    assert columns(empty.terms[:3]) == columns(empty.terms)
    with pytest.raises(ConfigError, match="does not show which columns it has"):
        columns([])


def test_a_path_lines_and_records_give_the_same_tables(tables: TraceTables, tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    path.write_text("\n".join(small_trace()) + "\n")
    assert read_tables(path) == read_tables(str(path)) == tables
    assert read_tables(list(parse_trace(small_trace()))) == tables


def test_reading_only_some_kinds_keeps_their_tables(tables: TraceTables) -> None:
    quick = read_tables(small_trace(), kinds=LEADERSHIP_KINDS)
    assert quick.leaderships == tables.leaderships
    assert quick.leaderless == tables.leaderless
    assert quick.faults == tables.faults
    assert (quick.messages, quick.operations) == ([], [])
    records = list(parse_trace(small_trace()))
    assert load(records, kinds={"role"}) == [r for r in records if r.kind == "role"]


def test_traces_of_several_nodes_are_merged_by_time() -> None:
    lines = small_trace()
    merged = merge(lines[1::2], lines[0::2])
    times = [record.t_us for record in merged]
    assert len(merged) == len(lines)
    assert times == sorted(times)


@pytest.mark.parametrize("kinds", [None, LEADERSHIP_KINDS])
def test_dropped_records_are_a_gap_and_no_fault(kinds: Collection[str] | None) -> None:
    read = read_tables(trace_with_gap(), kinds=kinds)
    assert read.gaps == [
        GapRow(
            100 * MS, 400 * MS, (1,), "7 records are missing here: the file took them too slowly"
        )
    ]
    assert read.gaps[0].label == "records missing, node 1"
    assert read.faults == []
    assert read_tables(list(parse_trace(trace_with_gap()))).gaps == read.gaps
    both = read_tables(merge(trace_with_gap(), trace_with_gap(2), kinds=kinds)).gaps
    assert [(gap.start_us, gap.end_us, gap.nodes) for gap in both] == [
        (100 * MS, 400 * MS, (1,)),
        (100 * MS, 400 * MS, (2,)),
    ]


def test_a_gap_without_a_node_belongs_to_the_writer_of_the_trace() -> None:
    lines = [line.replace('"nodes":[1],"links"', '"nodes":[],"links"') for line in trace_with_gap()]
    assert read_tables(lines).gaps[0].nodes == (1,)


@pytest.mark.parametrize("kinds", [None, LEADERSHIP_KINDS])
@pytest.mark.parametrize(
    "torn",
    [
        '{"t_u',
        '{"t_us":120000,"kind":"commit","node":1,"in',
        "\0\0\0",
        '{"t_us":120000,"kind":"op","node":1,"phase":"invoke","client":1,"note":"{}',
    ],
)
def test_a_line_that_was_cut_short_is_a_gap(
    torn: str, kinds: Collection[str] | None, tmp_path: Path
) -> None:
    """At the end of a trace, before a restart, and where qcore 0.1.0 appended to the line at a restart."""
    life, later = trace_with_gap()[:4], trace_with_gap(origin_us=1000 * MS)[:4]
    path = tmp_path / "trace.jsonl"
    path.write_text("\n".join([*life, torn]))
    assert read_tables(path, kinds=kinds).gaps == [GapRow(100 * MS, 100 * MS, (1,), TRUNCATED_NOTE)]
    for between in ("\n", "") if torn.startswith('{"t_us":') else ("\n",):
        path.write_text("\n".join([*life, torn + between + later[0], *later[1:]]))
        assert read_tables(path, kinds=kinds).gaps == [
            GapRow(100 * MS, 1000 * MS, (1,), TRUNCATED_NOTE)
        ]
        assert [record.kind for record in load(path, kinds=kinds)].count("run") == 2


def test_a_bad_trace_or_kind_is_named_in_the_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read the trace .*missing"):
        read_tables(tmp_path / "missing.jsonl")
    path = tmp_path / "bad.jsonl"
    path.write_text(small_trace()[0] + "\nnonsense\n")
    with pytest.raises(ConfigError, match=r"bad.jsonl: trace line 2 is not JSON"):
        read_tables(path)
    with pytest.raises(ConfigError, match=r"bad.jsonl: trace line 2 is not JSON"):
        read_tables(path, kinds={"role"})
    with pytest.raises(ConfigError, match="no such kind of trace record: rolle"):
        read_tables(path, kinds={"rolle"})


def test_an_empty_trace_gives_empty_tables() -> None:
    tables = read_tables([])
    assert tables.nodes == ()
    assert not tables.role_spans
    assert not tables.leaderless
    assert not tables.operations


def test_only_nodes_that_were_started_are_listed() -> None:
    trace = TraceWriter(keep=True)
    trace.run(0, "x", 1, [1, 2])
    trace.up(500, 4, 0, 0, 0)
    trace.drop(600, 9, 1, "1-1", "AppendEntries", "no such node")
    assert read_tables(trace.lines()).nodes == (1, 2, 4)


def test_a_simulated_node_that_falls_silent_still_runs() -> None:
    """For example because it was removed. A real process, in contrast, cannot record that it was killed."""
    for nodes, role in (([1, 2], "follower"), ([1], "down")):
        trace = TraceWriter(keep=True)
        trace.run(0, "x", 1, nodes)
        for node in (1, 2):
            trace.up(0, node, 0, 0, 0)
            trace.send(10, node, 3 - node, f"{node}-1", "RequestVote", 1, "")
        trace.commit(3_000_000, 2, 7)
        spans = [span for span in read_tables(trace.lines()).role_spans if span.node == 1]
        assert spans[-1].role == role


def test_tables_have_a_short_repr(tables: TraceTables) -> None:
    assert repr(tables.terms) == f"Rows(TermRow, {', '.join(map(repr, list(tables.terms)))})"
    trace = TraceWriter(keep=True)
    trace.run(0, "x", 1, [1, 2, 3])
    for index in range(5_000):
        trace.commit(index, 1, index)
        trace.op(index, 1, "invoke", 1, index, "write", "k", "v")
    large = read_tables(trace.lines())
    assert repr(large.commits).endswith("... 5000 rows)")
    assert len(repr(large)) < 3_000
    assert large.commits[:2] == [CommitRow(0, 1, 0), CommitRow(1, 1, 1)]
    again = pickle.loads(pickle.dumps(large.commits))
    assert (again, again.row_type) == (large.commits, CommitRow)
