"""Plots draw the right things on the given axes, and save to real files."""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.collections import Collection
from matplotlib.colors import to_hex
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, FancyArrowPatch

from qcore.analysis.figure import run_figure, save_run_figure
from qcore.analysis.network_plot import draw_network, network_at
from qcore.analysis.plots import (
    WATCHES_GID,
    plot_commits,
    plot_terms,
    plot_timeline,
    plot_watches,
)
from qcore.analysis.plotting.distribution_plot import plot_leaderless_distribution
from qcore.analysis.plotting.lag_plot import plot_lag
from qcore.analysis.plotting.latency_plot import plot_commit_latency
from qcore.analysis.plotting.message_plot import plot_messages
from qcore.analysis.plotting.outcome_plot import plot_outcomes
from qcore.analysis.style import FAULT_GID, GAP_GID, ROLE_COLOURS, shade_faults
from qcore.analysis.tables import TraceTables, read_tables
from qcore.errors import ConfigError
from qcore.percentiles import percentile
from qcore.trace import TraceWriter, parse_trace
from tests.analysis.pictures import check_all_figures, check_figure, check_limits, check_watches
from tests.analysis.synthetic import small_trace, trace_with_gap

mpl.use("Agg")


@pytest.fixture(scope="module")
def tables() -> TraceTables:
    return read_tables(small_trace())


@pytest.fixture
def ax() -> Iterator[Axes]:
    figure, axes = pyplot.subplots()
    yield axes
    pyplot.close(figure)


def xs(line: Line2D) -> list[float]:
    return [float(x) for x in np.asarray(line.get_xdata())]


def ys(line: Line2D) -> list[float]:
    return [float(y) for y in np.asarray(line.get_ydata())]


def colour(collection: Collection) -> str:
    red, green, blue, _ = np.asarray(collection.get_facecolor())[0]
    return to_hex((red, green, blue)).upper()


def texts(ax: Axes) -> list[str]:
    return [text.get_text() for text in ax.texts]


PLOTS: list[Callable[[TraceTables, Axes | None], Axes]] = [
    plot_timeline,
    plot_terms,
    plot_commits,
    plot_commit_latency,
    plot_lag,
    plot_messages,
    plot_outcomes,
    plot_watches,
    lambda table, ax: plot_leaderless_distribution([100.0, 220.0], ax),
    lambda table, ax: draw_network(table, 400, ax),
]


@pytest.mark.parametrize("plot", PLOTS)
def test_a_plot_returns_the_axes_it_was_given_or_makes_some(
    plot: Callable[[TraceTables, Axes | None], Axes], tables: TraceTables, ax: Axes
) -> None:
    assert plot(tables, ax) is ax
    new = plot(tables, None)
    assert new is not ax
    pyplot.close(new.get_figure(root=True))


def test_the_timeline_shows_each_span_terms_faults_and_crashes(
    tables: TraceTables, ax: Axes
) -> None:
    plot_timeline(tables, ax)
    bars = [c for c in ax.collections if c.get_gid() in ROLE_COLOURS]
    assert sum(len(bar.get_paths()) for bar in bars) == len(tables.role_spans)
    drawn = {colour(collection) for collection in bars}
    roles = {span.role for span in tables.role_spans}
    assert drawn == {ROLE_COLOURS[role] for role in roles}
    assert [label.get_text() for label in ax.get_yticklabels()] == [
        *("node 1", "node 2", "node 3"),
        "no leader",
    ]
    assert "term 1" in texts(ax)
    assert "term 2" in texts(ax)
    assert "partition 1 | 2,3" in texts(ax)
    assert "crash node 3" not in texts(ax)  # the server is drawn as down
    (crosses,) = [line for line in ax.lines if line.get_marker() == "x"]
    assert xs(crosses) == [0.75]
    assert ys(crosses) == [2]
    assert ax.get_xlabel() == "time, s"


def test_the_terms_are_steps(tables: TraceTables, ax: Axes) -> None:
    plot_terms(tables, ax)
    line = ax.lines[0]
    assert xs(line) == [0.0, 0.09, 0.5, 1.0]
    assert ys(line) == [0, 1, 2, 2]


def test_commits_are_drawn_as_one_line_per_node(tables: TraceTables, ax: Axes) -> None:
    plot_commits(tables, ax)
    by_name = {line.get_label(): line for line in ax.lines}
    assert ys(by_name["node 2"]) == [0, 2, 5, 5]
    assert xs(by_name["node 3"]) == [0.0, 0.54, 1.0]


def watched_trace() -> list[str]:
    """Watcher 8 moves from node 1 to node 2 and learns that changes are compacted; watcher 9 loses node 2."""
    trace = TraceWriter(keep=True)
    trace.run(0, "watched", 1, [1, 2])
    for node in (1, 2):
        trace.up(0, node, 0, 0, 0)
    for t_ms, node, phase, watcher, index, note in (
        (100, 1, "invoke", 8, 0, ""),
        (110, 1, "ok", 8, 3, ""),
        (150, 2, "invoke", 9, 0, ""),
        (160, 2, "ok", 9, 3, ""),
        (200, 1, "notice", 8, 4, "{}"),
        (300, 1, "ended", 8, 4, "moves"),
        (310, 2, "invoke", 8, 4, ""),
        (320, 2, "ok", 8, 4, ""),
        (400, 2, "ended", 8, 4, "WatchCompacted"),
        (500, 2, "ended", 9, 3, "connection lost"),
        (510, 1, "invoke", 9, 3, ""),
    ):
        topic = "$price$ of the thing" if watcher == 8 else "b"
        trace.watch(t_ms * 1000, node, phase, watcher, topic, index, 0, note)
    trace.commit(600_000, 1, 5)
    return trace.lines()


def test_watches_are_lines_with_their_beginnings_and_ends(ax: Axes) -> None:
    tables = read_tables(watched_trace())
    plot_watches(tables, ax)
    check_watches(ax, tables)
    assert [(span.watcher, span.resumed, span.notices, span.end) for span in tables.watches] == [
        (8, False, 1, "moves"),
        (9, False, 0, "connection lost"),
        (8, True, 0, "WatchCompacted"),
        (9, True, 0, "open"),
    ]
    marks = {line.get_marker(): (xs(line), ys(line)) for line in ax.lines}
    assert marks == {
        "o": ([0.11, 0.16], [0, 1]),
        "|": ([0.5], [1]),
        "x": ([0.4], [0]),
    }
    assert [label.get_text() for label in ax.get_yticklabels()] == ["$price$ of ...", "b"]
    colours = {line.get_label(): str(line.get_color()) for line in plot_commits(tables).lines}
    pyplot.close()
    lines = [c for c in ax.collections if c.get_gid() == WATCHES_GID]
    seen = [to_hex(tuple(np.asarray(c.get_edgecolor())[0][:3])) for c in lines]
    assert seen == [to_hex(colours[f"node {node}"]) for node in (1, 2)]


@pytest.mark.parametrize("watchers", [1, 70])
def test_a_run_with_few_or_many_watchers_is_drawn(watchers: int) -> None:
    trace = TraceWriter(keep=True)
    trace.run(0, "watched", 1, [1])
    trace.up(0, 1, 0, 0, 0)
    for number in range(watchers):
        trace.watch(10_000, 1, "invoke", number, f"topic {number}", 0, 0, "")
        trace.watch(20_000, 1, "ok", number, f"topic {number}", 0, 0, "")
    trace.commit(1_000_000, 1, 5)
    check_all_figures(trace.lines())


def test_the_distribution_is_complete_and_marks_the_median(ax: Axes) -> None:
    plot_leaderless_distribution([400.0, 100.0, 200.0, 300.0], ax)
    line = ax.lines[0]
    assert xs(line) == [100, 100, 200, 300, 400, 400]
    assert ys(line) == [0, 25, 50, 75, 100, 100]
    assert "median: 200 ms" in texts(ax)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("time without a leader, ms", "runs, %")


def test_distributions_can_be_compared(ax: Axes) -> None:
    plot_leaderless_distribution([100.0, 200.0], ax, label="narrow")
    plot_leaderless_distribution([100.0, 300.0], ax, label="wide")
    colours = {line.get_color() for line in ax.lines}
    assert len(colours) == 2
    legend = ax.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == [
        "narrow, 2 runs",
        "wide, 2 runs",
    ]


def test_a_wider_second_curve_is_drawn_whole(ax: Axes) -> None:
    plot_leaderless_distribution([100.0, 200.0], ax, label="narrow")
    plot_leaderless_distribution([100.0, 3000.0], ax, label="wide")
    check_limits(ax)


def test_an_empty_distribution_gives_empty_axes(ax: Axes) -> None:
    assert plot_leaderless_distribution([], ax) is ax


@pytest.mark.parametrize(("share", "expected"), [(0, 1), (50, 2), (75, 3), (76, 4), (100, 4)])
def test_a_percentile_is_the_nearest_rank(share: float, expected: float) -> None:
    assert percentile([1, 2, 3, 4], share) == expected


def test_no_values_have_no_percentile() -> None:
    with pytest.raises(ConfigError, match="no percentile of no values"):
        percentile([], 50)


def test_latencies_are_drawn_as_one_dot_per_operation(tables: TraceTables, ax: Axes) -> None:
    plot_commit_latency(tables, ax)
    drawn = {str(line.get_label()): (xs(line), ys(line)) for line in ax.lines}
    assert drawn == {
        "ok (1)": ([0.15], [12.0]),
        "refused (0)": ([], []),
        "unknown (1)": ([0.31], [290.0]),
    }
    assert len({line.get_marker() for line in ax.lines}) == 3
    assert ax.get_yscale() == "log"
    assert ax.get_ylabel() == "write latency, ms"


def test_the_network_is_drawn_at_a_given_moment(tables: TraceTables, ax: Axes) -> None:
    before, during = network_at(tables, 200), network_at(tables, 400)
    assert before.groups() == [(1, 2, 3)]
    assert during.groups() == [(1,), (2, 3)]
    assert during.cut == {(1, 2), (2, 1), (1, 3), (3, 1)}
    assert not network_at(tables, 800).is_up(3)
    draw_network(tables, 400, ax)
    circles = [patch for patch in ax.patches if isinstance(patch, Circle)]
    assert [to_hex(c.get_facecolor()).upper() for c in circles].count(ROLE_COLOURS["leader"]) == 1
    assert "1\nterm 1" in texts(ax)
    assert ax.get_title() == "network at 0.4 s"


def test_a_network_cut_one_way_has_an_arrow_each_way(ax: Axes) -> None:
    trace = TraceWriter(keep=True)
    trace.run(0, "x", 1, [1, 2])
    trace.fault(0, "begin", "cut", [1, 2], [(1, 2)], "one way")
    trace.violation(1_000, 0, "x", "")
    draw_network(list(parse_trace(trace.lines())), 0.5, ax)
    arrows = [patch for patch in ax.patches if isinstance(patch, FancyArrowPatch)]
    assert len(arrows) == 2
    assert len({to_hex(arrow.get_edgecolor()) for arrow in arrows}) == 2
    assert "1\nabsent" in texts(ax)  # never started


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_a_run_becomes_a_picture_file(ending: str, tmp_path: Path) -> None:
    path = save_run_figure(small_trace(), tmp_path / f"run.{ending}")
    content = path.read_bytes()
    assert len(content) > 10_000
    assert content.startswith(b"\x89PNG" if ending == "png" else b"<?xml")


def test_drawing_and_writing_errors_name_their_cause(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="names no node"):
        save_run_figure([], tmp_path / "run.png")
    with pytest.raises(ConfigError, match="cannot write the picture"):
        save_run_figure(small_trace(), tmp_path / "no" / "run.png")
    with pytest.raises(ConfigError, match="cannot write the picture"):
        save_run_figure(small_trace(), tmp_path / "run.nonsense")


def trace_of(nodes: list[int], *, up: bool = True, until_us: int = 0) -> list[str]:
    trace = TraceWriter(keep=True)
    trace.run(0, "x", 1, nodes)
    for node in nodes if up else ():
        trace.up(0, node, 0, 0, 0)
    if until_us:
        trace.role(until_us, nodes[0], "leader", 1, nodes[0])
        trace.violation(2 * until_us, 0, "x", "")
    return trace.lines()


@pytest.mark.parametrize(
    "lines",
    [
        [],
        trace_of([1, 2, 3], up=False),
        trace_of([1, 2, 3]),
        trace_of([1], until_us=500_000),
        trace_of([1, 2], until_us=3_600_000_000),
        trace_of([1000, 20_000, 123_456_789], until_us=500_000),
        trace_of(list(range(1, 41)), until_us=500_000),
    ],
    ids=["empty", "header only", "no time", "one node", "hours", "large ids", "40 nodes"],
)
def test_a_nearly_empty_run_is_drawn(lines: list[str]) -> None:
    tables = read_tables(lines)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for figure in (run_figure(tables), plot_timeline(tables).get_figure(root=True)):
            assert figure is not None
            figure.draw_without_rendering()
            check_figure(figure)
    pyplot.close("all")


def test_many_fault_names_are_cut_to_a_few_lines_and_a_count(ax: Axes) -> None:
    trace = TraceWriter(keep=True)
    trace.run(0, "x", 1, [1, 2])
    for number in range(12):
        trace.fault(100 * number, "begin", f"timeline[{number}] failure number {number}", [1])
        trace.fault(100 * number + 50, "end", f"timeline[{number}] failure number {number}")
    for start in (200, 400, 600):
        trace.fault(start, "begin", "timeline[12] again", [2])
        trace.fault(start + 10, "end", "timeline[12] again")
    trace.violation(100_000, 0, "x", "")
    plot_terms(read_tables(trace.lines()), ax)
    assert texts(ax) == [
        "failure number 0 node 1",
        "failure number 1 node 1",
        "again node 2 (3 times)",
        "and 10 more faults",
    ]
    figure = ax.get_figure(root=True)
    assert figure is not None
    figure.draw_without_rendering()
    check_figure(figure)
    other = pyplot.figure().add_subplot()
    shade_faults(other, [(0.2, 0.3, "cut"), (0.5, 0.6, "cut"), (0.7, 0.8, "deaf")])
    assert texts(other) == ["cut (2 times)", "deaf"]


def test_missing_records_are_shaded_and_named_in_every_plot(ax: Axes) -> None:
    table = read_tables(trace_with_gap())
    figure, many = pyplot.subplots(4)
    plots: list[Callable[[TraceTables, Axes], Axes]] = [
        plot_timeline,
        plot_terms,
        plot_commits,
        plot_commit_latency,
    ]
    for plot, one in zip(plots, many, strict=True):
        plot(table, one)
        assert texts(one)[-1] == "records missing, node 1"
        assert FAULT_GID not in {collection.get_gid() for collection in one.collections}
        (shade,) = [c for c in one.collections if c.get_gid() == GAP_GID]
        (path,) = shade.get_paths()
        assert {float(x) for x in np.asarray(path.vertices)[:, 0]} == {0.1, 0.4}
    pyplot.close(figure)
    draw_network(table, 250, ax)
    assert ax.get_title() == "network at 0.25 s, records missing"


def test_a_moment_outside_the_run_has_no_network(tables: TraceTables) -> None:
    for at_ms in (-1, 1_001, float("nan")):
        with pytest.raises(ConfigError, match="lasts from 0 to 1000 ms"):
            network_at(tables, at_ms)


def test_tables_do_not_import_matplotlib() -> None:
    code = "import qcore.analysis.figure, sys; print('matplotlib' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"
