"""Panels over time: outcomes and violations, lags, messages, votes, latencies; and the style for papers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.text import Text

from qcore.analysis.course.course_types import OperationCourse
from qcore.analysis.course.read_course import read_course
from qcore.analysis.plots import LEADERLESS_GID, plot_commits, plot_timeline
from qcore.analysis.plotting.lag_plot import LAG_GID, plot_lag
from qcore.analysis.plotting.latency_plot import plot_commit_latency
from qcore.analysis.plotting.message_plot import MESSAGE_CLASSES, class_of, plot_messages
from qcore.analysis.plotting.outcome_plot import plot_outcomes
from qcore.analysis.plotting.paper_style import paper_style
from qcore.analysis.rows import Rows
from qcore.analysis.tables import TraceTables, read_tables
from qcore.trace import TraceWriter
from tests.analysis.pictures import check_figure
from tests.analysis.synthetic import MS, small_trace

mpl.use("Agg")


@pytest.fixture(scope="module")
def tables() -> TraceTables:
    return read_tables(small_trace())


def texts(ax: Axes) -> list[str]:
    return [text.get_text() for text in ax.texts]


def labels(found: list[Text]) -> list[str]:
    return [text.get_text() for text in found]


def test_outcomes_and_violations_have_rows_marks_and_counts(tables: TraceTables) -> None:
    ax = plot_outcomes(tables)
    names = labels(ax.get_yticklabels())
    assert names == ["ok (2)", "unknown (1)", "open (1)", "violations (1)"]
    marks = {
        (str(line.get_marker()), round(float(np.asarray(line.get_xdata())[-1]), 3))
        for line in ax.lines
    }
    assert marks == {("|", 0.903), ("^", 0.6), (">", 1.0), ("v", 1.0)}
    assert "linearizability" in texts(ax)
    pyplot.close()


def test_names_of_near_violations_do_not_overlap() -> None:
    trace = TraceWriter(keep=True)
    trace.run(0, "x", 1, [1])
    for t_ms in (100, 110, 120, 500, 990, 1_000):
        trace.violation(t_ms * MS, 1, "state_machine_safety", "")
    ax = plot_outcomes(read_tables(trace.lines()))
    assert 2 <= len(texts(ax)) < 6
    figure = ax.get_figure(root=True)
    assert figure is not None
    figure.draw_without_rendering()
    check_figure(figure)
    pyplot.close()


def test_the_lag_is_that_behind_the_highest_commit_index(tables: TraceTables) -> None:
    ax = plot_lag(tables)
    assert [text for text in texts(ax) if text.startswith("most")] == [
        "most: 3",  # node 1 is cut off with index 2
        "most: 2",
        "most: 5",  # node 3 learns of no commit before
    ]
    assert len([c for c in ax.collections if c.get_gid() == LAG_GID]) == 3
    pyplot.close()


def test_of_many_nodes_those_furthest_behind_are_drawn() -> None:
    trace = TraceWriter(keep=True)
    trace.run(0, "x", 1, list(range(1, 31)))
    for node in range(1, 31):
        trace.commit((node + 10) * MS, node, 100 - node)
    trace.commit(500 * MS, 1, 101)
    ax = plot_lag(read_tables(trace.lines()))
    drawn = labels(ax.get_yticklabels())
    assert len(drawn) == 16
    assert "node 30" in drawn
    assert "node 1" not in drawn
    pyplot.close()


def test_messages_are_counted_by_class(tables: TraceTables) -> None:
    course = read_course(small_trace())
    for run in (tables, course):
        ax = plot_messages(run)
        legend = ax.get_legend()
        assert legend is not None
        assert labels(legend.get_texts()) == ["elections (2)", "lost (1)"]
        assert ax.get_ylim()[0] < 0  # what is lost lies below the axis
        pyplot.close()
    names = ["AppendEntries", "AppendEntriesResponse", "PreVoteResponse", "Forward", "StateDigests"]
    assert [class_of(name) for name in names] == [
        *("appends", "responses", "elections", "client requests", "others"),
    ]
    assert len({hatch or colour for _, _, colour, hatch in MESSAGE_CLASSES}) == len(MESSAGE_CLASSES)


def test_the_timeline_marks_votes_and_gaps_that_did_not_end() -> None:
    trace = TraceWriter(keep=True)
    trace.run(0, "x", 1, [1, 2])
    for node in (1, 2):
        trace.up(0, node, 0, 0, 0)
    trace.vote(100 * MS, 1, 1, 1)
    trace.vote(110 * MS, 2, 1, 1)
    trace.violation(400 * MS, 0, "x", "")
    ax = plot_timeline(read_tables(trace.lines()))
    by_name = {str(line.get_label()): line for line in ax.lines}
    assert list(np.asarray(by_name["vote for itself"].get_xdata())) == [0.1]
    assert list(np.asarray(by_name["vote for another"].get_xdata())) == [0.11]
    assert list(np.asarray(by_name["not finished"].get_xdata())) == [0.4]
    (bars,) = [c for c in ax.collections if c.get_gid() == LEADERLESS_GID]
    assert len(bars.get_paths()) == 1
    pyplot.close()


def test_commit_latency_stands_beside_what_the_client_saw() -> None:
    """The client waits 12 ms; from the append to the commit it takes 4 ms."""
    course = read_course(small_trace())
    row = course.tables.operations[0]
    one = OperationCourse(
        *(row.client, row.op_id, row.op, row.key, row.value, None, row.output, row.outcome, ""),
        invoke_us=row.invoke_us,
        end_us=row.end_us,
        took=((1, row.invoke_us),),
        leader=1,
        term=1,
        index=2,
        is_forwarded=False,
        forwarded_us=None,
        arrived_us=None,
        appended_us=156 * MS,
        durable_us=None,
        quorum_us=None,
        committed_us=160 * MS,
        applied_us=None,
        replied_us=None,
        is_inferred=True,
    )
    course = replace(course, operations=Rows(OperationCourse, [one]))
    ax = plot_commit_latency(course)
    drawn = {
        str(line.get_label()): [float(y) for y in np.asarray(line.get_ydata())] for line in ax.lines
    }
    assert drawn["ok, seen by the client (1)"] == [12.0]
    assert drawn["commit at the leader (1)"] == [4.0]
    only = plot_commit_latency(course, what="commit")
    assert [str(line.get_label()) for line in only.lines] == ["commit at the leader (1)"]
    assert only.get_ylabel().startswith("commit latency, ms")
    pyplot.close("all")


def test_a_picture_for_a_paper_is_as_wide_as_its_column(
    tables: TraceTables, tmp_path: Path
) -> None:
    with paper_style("single") as width:
        ax = plot_commits(tables)
        figure = ax.get_figure(root=True)
        assert figure is not None
        figure.savefig(tmp_path / "commits.pdf")
        figure.savefig(tmp_path / "commits.svg")
    assert width == figure.get_size_inches()[0] == 3.35
    assert ax.yaxis.label.get_fontsize() == 8
    figure.draw_without_rendering()
    check_figure(figure)
    pdf = (tmp_path / "commits.pdf").read_bytes()
    assert b"/Type3" not in pdf
    assert b"/FontFile2" in pdf
    assert ">commit index</text>" in (tmp_path / "commits.svg").read_text()
    assert plot_commits(tables).get_figure(root=True).get_size_inches()[0] == 9  # type: ignore[union-attr]  # axes have a figure
    pyplot.close("all")


def test_legends_below_a_narrow_picture_are_whole() -> None:
    course = read_course(small_trace())
    with paper_style("single"):
        drawn = [plot_timeline(course), plot_messages(course), plot_commit_latency(course)]
    for ax in drawn:
        figure, legend = ax.get_figure(root=True), ax.get_legend()
        assert figure is not None
        assert legend is not None
        figure.draw_without_rendering()
        texts = [ax.yaxis.label] if ax.get_ylabel() else []
        for box in (each.get_window_extent() for each in (legend, *texts)):
            assert figure.bbox.x0 <= box.x0
            assert box.x1 <= figure.bbox.x1
            assert figure.bbox.y0 <= box.y0
            assert box.y1 <= figure.bbox.y1
        assert ax.bbox.width > 0.6 * figure.bbox.width
    pyplot.close("all")
