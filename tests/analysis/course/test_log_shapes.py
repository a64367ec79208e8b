"""The log of a node over time, and what a trace without details shows of it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from qcore.analysis.course.course_types import LogChange, LogShape
from qcore.analysis.course.log_shapes import LogHistory, LogState, shape_of
from qcore.analysis.course.read_course import read_course
from qcore.trace import TraceWriter


def _change(phase: str, first: int, last: int = 0, term: int = 0, t_us: int = 0) -> LogChange:
    return LogChange(t_us, phase, first, last, term)  # type: ignore[arg-type]  # a phase


def _log(*changes: LogChange) -> LogShape:
    return shape_of(changes, 0)


def test_appended_entries_of_one_term_are_one_run() -> None:
    log = _log(_change("append", 1, 2, 1), _change("append", 3, 3, 1), _change("append", 4, 9, 2))
    assert log.runs == ((1, 3, 1), (4, 9, 2))
    assert (log.last_index, log.last_term) == (9, 2)
    assert (log.term_of(3), log.term_of(4), log.term_of(10)) == (1, 2, None)


def test_a_cut_removes_entries_and_an_append_replaces_them() -> None:
    begun = (_change("append", 1, 5, 1), _change("append", 6, 8, 2))
    assert _log(*begun, _change("cut", 4)).runs == ((1, 3, 1),)
    assert _log(*begun, _change("append", 7, 7, 3)).runs == ((1, 5, 1), (6, 6, 2), (7, 7, 3))


def test_a_snapshot_replaces_the_entries_before_those_that_stay() -> None:
    log = _log(_change("append", 1, 9, 1), _change("snapshot", 5, 7, 1))
    assert (log.snapshot_index, log.snapshot_term, log.runs) == (7, 1, ((5, 9, 1),))
    alone = _log(_change("append", 1, 9, 1), _change("snapshot", 10, 9, 1))
    assert (alone.runs, alone.last_index, alone.term_of(9)) == ((), 9, 1)
    blank = _log(_change("append", 1, 9, 1), _change("snapshot", 10, 9, 1), _change("cut", 1))
    assert blank == LogShape(0, 0, ())


@given(
    st.lists(
        st.tuples(st.sampled_from(["append", "append", "append", "cut"]), st.integers(1, 9)),
        max_size=600,
    )
)
def test_a_shape_from_a_kept_one_is_that_from_the_begin(steps: list[tuple[str, int]]) -> None:
    state, changes, expected = LogState(), [], []
    for t_us, (phase, number) in enumerate(steps):
        first = state.last_index + 1
        change = (
            _change("append", first, first + number, number % 4, t_us)
            if phase == "append"
            else _change("cut", max(1, first - number), t_us=t_us)
        )
        changes.append(change)
        state.change(change)
        expected.append(state.shape())
    history = LogHistory(changes)
    for t_us in (len(steps) - 1, len(steps) // 2, len(steps) // 3):
        if t_us >= 0:
            assert shape_of(history, t_us) == (expected[t_us] if expected else LogShape(0, 0, ()))


def test_logs_are_inferred_from_messages() -> None:
    """Node 1 leads term 1 and appends three entries. Node 2 gets two, then leads term 2 and replaces the third."""
    trace = TraceWriter(keep=True)
    trace.run(0, "x", 1, [1, 2])
    for node in (1, 2):
        trace.up(0, node, 0, 0, 0)
    trace.role(1, 1, "leader", 1, 1)
    trace.send(2, 1, 2, "1-1", "AppendEntries", 1, "prev 0.0 entries 2 commit 0")
    trace.recv(3, 2, 1, "1-1", "AppendEntries")
    trace.send(4, 1, 2, "1-2", "AppendEntries", 1, "prev 2.1 entries 1 commit 0")
    trace.drop(5, 2, 1, "1-2", "AppendEntries", "cut")
    trace.role(6, 2, "leader", 2, 2)
    trace.send(7, 2, 1, "2-1", "AppendEntries", 2, "prev 3.2 entries 0 commit 0")
    trace.recv(8, 1, 2, "2-1", "AppendEntries")
    trace.send(9, 2, 1, "2-2", "AppendEntries", 2, "prev 2.1 entries 1 commit 0")
    trace.recv(10, 1, 2, "2-2", "AppendEntries")
    course = read_course(trace)
    first, second = course.tracks[1], course.tracks[2]
    assert first.is_inferred
    assert shape_of(first.log, 4).runs == ((1, 3, 1),)
    assert shape_of(second.log, 6).runs == ((1, 2, 1),)
    assert shape_of(second.log, 7).runs == ((1, 2, 1), (3, 3, 2))
    assert shape_of(first.log, 9).runs == ((1, 3, 1),)  # it rejects 3.2: it holds 3.1
    assert shape_of(first.log, 10).runs == ((1, 2, 1), (3, 3, 2))
    assert [first.last.at(t_us) for t_us in (1, 2, 4, 10)] == [0, 2, 3, 3]


def test_starts_and_snapshots_change_the_log() -> None:
    trace = TraceWriter(keep=True)
    trace.run(0, "x", 1, [1, 2])
    trace.up(0, 1, 1, 3, 8)
    trace.apply(0, 1, 7, 2, "command")
    trace.apply(0, 1, 8, 2, "command")
    trace.down(1, 1, "crash")
    trace.up(2, 1, 2, 3, 7)
    trace.recv(3, 1, 2, "2-1", "AppendEntries")
    trace.send(4, 2, 1, "2-2", "InstallSnapshot", 3, "through 20.3 at 0 of 9")
    trace.recv(5, 1, 2, "2-2", "InstallSnapshot")
    trace.send(6, 1, 2, "1-1", "InstallSnapshotResponse", 3, "match 20 next 9")
    course = read_course(trace)
    log = course.tracks[1].log
    assert shape_of(log, 0).runs == ((1, 6, 0), (7, 8, 2))
    assert shape_of(log, 2).runs == ((1, 6, 0), (7, 7, 2))
    assert shape_of(log, 6) == LogShape(20, 3, ())
