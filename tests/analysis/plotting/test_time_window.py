"""Pictures of a part of a run: by time, fault, gap, violation or election; the worst fault is the default."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.patches import Circle

from qcore.analysis.course.read_course import read_course
from qcore.analysis.figure import run_figure
from qcore.analysis.network_plot import RING_GID, draw_network
from qcore.analysis.plots import plot_commits, plot_timeline
from qcore.analysis.plotting.time_window import (
    Window,
    WindowChoice,
    default_moment_us,
    window_of,
    worst_fault,
)
from qcore.analysis.spans import Span
from qcore.analysis.tables import TraceTables, read_tables
from qcore.errors import ConfigError
from qcore.trace import TraceWriter
from tests.analysis.pictures import check_figure
from tests.analysis.synthetic import MS, small_trace

mpl.use("Agg")


@pytest.fixture(scope="module")
def tables() -> TraceTables:
    return read_tables(small_trace())


@pytest.mark.parametrize(
    ("choice", "start_ms", "end_ms"),
    [
        (None, 0, 1_000),
        ((200, 5_000), 200, 1_000),
        (Span(300 * MS, 520 * MS), 300, 520),
        ("fault:1", 220, 780),
        ("fault:2", 730, 870),
        ("fault:worst", 220, 780),
        ("leaderless:2", 256, 564),
        ("violation:1", 650, 1_000),
    ],
)
def test_a_window_is_chosen_by_time_or_by_event(
    choice: WindowChoice, start_ms: int, end_ms: int, tables: TraceTables
) -> None:
    assert window_of(tables, choice) == Window(start_ms * MS, end_ms * MS)


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ("fault:3", "no fault:3: it has only 2"),
        ("election:1", "pass the course"),
        ("thing:1", "no window is named 'thing:1': write election:N"),
        ("fault:x", "no window is named"),
        ((900, 100), "from 900 to 100 ms is not in this run, which lasts from 0 to 1000 ms"),
        ((2_000, 3_000), "is not in this run"),
    ],
)
def test_a_window_outside_the_run_is_an_error(
    choice: WindowChoice, message: str, tables: TraceTables
) -> None:
    with pytest.raises(ConfigError, match=message):
        window_of(tables, choice)


def test_an_election_of_a_course_is_a_window() -> None:
    course = read_course(small_trace())
    window = window_of(course, "election:2")
    assert window.start_us < 500 * MS < 520 * MS < window.end_us


def crashes_only() -> TraceTables:
    """A follower is down for long, a leader only for 100 ms; the loss of one message in 200 lasts all the time."""
    trace = TraceWriter(keep=True)
    trace.run(0, "crashes", 1, [1, 2, 3])
    for node in (1, 2, 3):
        trace.up(0, node, 0, 0, 0)
        trace.config(0, node, 0, [1, 2, 3], [], [])
    trace.fault(0, "begin", "network loss", [], [(1, 2), (2, 1)], "loss 0.005")
    trace.role(50 * MS, 1, "leader", 1, 1)
    trace.fault(100 * MS, "begin", "timeline[0] crash", [3])
    trace.down(100 * MS, 3, "crash")
    trace.fault(600 * MS, "end", "timeline[0] crash", [3])
    trace.up(600 * MS, 3, 1, 0, 0)
    trace.fault(800 * MS, "begin", "timeline[1] crash", [1])
    trace.down(800 * MS, 1, "crash")
    trace.role(900 * MS, 2, "leader", 2, 2)
    trace.fault(900 * MS, "end", "timeline[1] crash", [1])
    trace.up(900 * MS, 1, 1, 0, 0)
    trace.violation(2_000 * MS, 0, "x", "")
    return read_tables(trace.lines())


def test_the_worst_fault_cost_the_longest_time_without_leader() -> None:
    tables = crashes_only()
    worst = worst_fault(tables)
    assert worst is not None
    assert worst.fault == "timeline[1] crash"
    assert default_moment_us(tables, window_of(tables)) == 850 * MS
    assert default_moment_us(tables, Window(0, 500 * MS)) == 250 * MS
    ax = draw_network(tables)
    assert ax.get_title() == "network at 0.85 s"
    pyplot.close()


def test_a_run_without_faults_has_no_worst_one() -> None:
    trace = TraceWriter(keep=True)
    trace.run(0, "x", 1, [1, 2])
    trace.violation(400 * MS, 0, "x", "")
    tables = read_tables(trace.lines())
    assert worst_fault(tables) is None
    assert default_moment_us(tables, window_of(tables)) == 200 * MS


def test_all_panels_of_a_figure_show_the_window(tables: TraceTables) -> None:
    figure = run_figure(tables, window="fault:1")
    figure.draw_without_rendering()
    panels = [ax for ax in figure.axes if ax.axison and ax.get_ylabel() != "operations, %"]
    assert len(panels) == 5
    assert {ax.get_xlim() for ax in panels} == {(0.22, 0.78)}
    for ax in panels:
        marks = [line for line in ax.lines if line.get_marker() not in ("", "None")]
        assert all(0.22 <= x <= 0.78 for line in marks for x in np.asarray(line.get_xdata()))


def test_a_window_of_a_long_run_shows_only_its_own_indexes() -> None:
    trace = TraceWriter(keep=True)
    trace.run(0, "x", 1, [1, 2])
    trace.up(0, 1, 0, 0, 0)
    for number in range(1, 1_001):
        trace.commit(number * MS, 1, number)
        trace.commit(number * MS, 2, number)
    ax = plot_commits(read_tables(trace.lines()), window=(900, 950))
    low, high = ax.get_ylim()
    assert 890 < low < 900 < 950 < high < 960
    pyplot.close()


def test_a_network_keeps_its_places_from_moment_to_moment(tables: TraceTables) -> None:
    """The cut moves no node, changes no size, and leaves the title and the legend where they are."""
    figure, axes = pyplot.subplots(1, 3, figsize=(12, 4.2), layout="constrained")
    seen = []
    for ax, at_ms in zip(axes, (200, 400, 800), strict=True):
        draw_network(tables, at_ms, ax)
    figure.draw_without_rendering()
    for ax in axes:
        nodes = [p for p in ax.patches if isinstance(p, Circle) and p.get_gid() != RING_GID]
        box = ax.bbox
        seen.append(
            (
                [tuple(round(value, 6) for value in node.center) for node in nodes],
                {node.radius for node in nodes},
                (round(box.width), round(box.y0), round(box.height)),
                round(ax.title.get_window_extent().y0),
                [text.get_text() for text in ax.get_legend().get_texts()],
            )
        )
    assert seen[0] == seen[1] == seen[2]
    rings = [[patch for patch in ax.patches if patch.get_gid() == RING_GID] for ax in axes]
    assert [len(drawn) for drawn in rings] == [0, 3, 0]
    assert len({ring.get_edgecolor() for ring in rings[1]}) == 2
    assert len({str(ring.get_linestyle()) for ring in rings[1]}) == 2
    assert "parts 1 | 2,3" in [text.get_text() for text in axes[1].texts]
    check_figure(figure)
    pyplot.close(figure)


def test_idle_nodes_before_the_cluster_begins_are_left_out() -> None:
    trace = TraceWriter(keep=True)
    trace.run(0, "node 1", 0, [1])
    trace.up(0, 1, 0, 0, 0)
    trace.role(78_000 * MS, 1, "leader", 1, 1)
    trace.commit(80_000 * MS, 1, 1)
    ax = plot_timeline(read_tables(trace.lines()))
    assert ax.get_xlim() == (77.5, 80.0)
    pyplot.close()
