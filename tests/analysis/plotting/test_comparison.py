"""A real cluster beside a simulation: the same percentiles and axes, and the latencies that were measured."""

from __future__ import annotations

from array import array
from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pytest

from qcore.analysis.course.course_types import Course, LogChange, Steps
from qcore.analysis.course.read_course import read_course
from qcore.analysis.measured_latencies import measure_latencies
from qcore.analysis.plotting.comparison_plot import compare
from qcore.analysis.plotting.distribution_plot import CURVE_GID
from qcore.analysis.plotting.latency_plot import plot_commit_latency
from qcore.analysis.tables import TraceTables, read_tables
from qcore.errors import ConfigError
from qcore.sim import load_scenario, run_scenario
from qcore.trace import TraceWriter, parse_trace
from tests.analysis.pictures import check_figure
from tests.analysis.synthetic import MS, small_trace

mpl.use("Agg")


def run_with(latencies_ms: list[int]) -> TraceTables:
    trace = TraceWriter(keep=True)
    trace.run(0, "x", 1, [1, 2])
    for number, took_ms in enumerate(latencies_ms, start=1):
        trace.op(number * 100 * MS, 1, "invoke", 1, number, "write", "x", number)
        trace.op((number * 100 + took_ms) * MS, 1, "ok", 1, number, "write", "x", None)
    trace.op(90 * MS, 1, "invoke", 2, 1, "write", "x", 0)
    trace.op(95 * MS, 1, "refused", 2, 1, "write", "x", None)
    return read_tables(trace.lines())


def test_both_sides_have_percentiles_and_one_axis() -> None:
    comparison = compare(run_with([4, 2, 8]), [run_with([3, 5]), run_with([9])], op="write")
    real, simulated = comparison.table
    assert (real.source, real.runs, real.operations, real.failed) == ("real", 1, 3, 1)
    assert (real.median_ms, real.p99_ms, real.longest_ms) == (4, 8, 8)
    assert (simulated.runs, simulated.operations, simulated.median_ms) == (2, 3, 5)
    figure = comparison.figure()
    (ax,) = figure.axes
    curves = [line for line in ax.lines if line.get_gid() == CURVE_GID]
    assert [max(np.asarray(curve.get_xdata())) for curve in curves] == [8, 9]
    figure.draw_without_rendering()
    check_figure(figure)
    html = comparison._repr_html_()
    assert "<td>real</td>" in html
    assert "4.0 ms" in html


def test_a_side_without_a_success_cannot_be_compared() -> None:
    with pytest.raises(ConfigError, match="the simulated side has no read that succeeded"):
        compare(read_tables(small_trace()), run_with([1]), op="read")


def run_of_node(took_ms: list[int]) -> Course:
    trace = TraceWriter(keep=True)
    trace.run(0, "node 1", 0, [1])
    for number, each_ms in enumerate(took_ms, start=1):
        trace.op(number * 100 * MS, 1, "invoke", 1, number, "write", "", None)
        trace.op((number * 100 + each_ms) * MS, 1, "ok", 1, number, "write", "", None)
    return read_course(trace.lines())


def test_real_and_simulated_nodes_are_compared_at_the_node() -> None:
    trace = TraceWriter(keep=True)
    workload = {"start_ms": 0, "wait_for_leader": True}
    run_scenario(load_scenario("steady_state").with_(workload=workload, until_ms=1000), trace=trace)
    simulated = read_course(trace)
    comparison = compare(run_of_node([4, 6]), simulated, op="write")
    rows = {(row.source, row.what): row for row in comparison.table}
    assert rows["real", "node"].median_ms == 4
    assert ("real", "client") not in rows
    medians = [rows["simulated", what].median_ms or 0 for what in ("commit", "node", "client")]
    assert 0 < medians[0] < medians[1] < medians[2]
    assert len(comparison.figure().axes) == 1
    measured = compare(run_of_node([4, 6]), simulated, op="write", clients_ms=[9, 7, 8])
    assert [*measured.samples_ms["real", "client"]] == [7, 8, 9]
    assert len(measured.figure().axes) == 2
    with pytest.raises(ConfigError, match="no latency that is known of both"):
        compare(run_of_node([4, 6]).tables, simulated.tables)


def test_tables_have_no_commit_latency() -> None:
    with pytest.raises(ConfigError, match="pass the course"):
        plot_commit_latency(read_tables(small_trace()), what="commit")


def two_nodes(*, ahead_us: int, is_real: bool) -> Course:
    """Each message takes 3 ms one way and 5 ms back; the clock of node 2 is ahead."""
    traces = [TraceWriter(keep=True), TraceWriter(keep=True)]
    for node, trace in enumerate(traces, start=1):
        name, nodes = (f"node {node}", [node]) if is_real else ("x", [1, 2])
        trace.run((node - 1) * ahead_us, name, 0, nodes)
    one, two = traces
    for number in range(20):
        t_us = 1_000 * MS + number * 50 * MS
        one.send(t_us, 1, 2, f"1-{number}", "AppendEntries", 1, "")
        two.recv(t_us + 3 * MS + ahead_us, 2, 1, f"1-{number}", "AppendEntries")
        two.send(t_us + 7 * MS + ahead_us, 2, 1, f"2-{number}", "AppendEntriesResponse", 1, "")
        one.recv(t_us + 12 * MS, 1, 2, f"2-{number}", "AppendEntriesResponse")
    if is_real:
        return read_course(one.lines(), two.lines())
    records = sorted(parse_trace([*one.lines(), *two.lines()]), key=lambda record: record.t_us)
    return read_course(records)


def test_half_of_a_round_trip_does_not_depend_on_the_clocks() -> None:
    measured = measure_latencies(two_nodes(ahead_us=1_700, is_real=True))
    assert set(measured.link_ms) == {(1, 2)}
    assert set(measured.all_links_ms) == {4.0}
    simulated = measure_latencies(two_nodes(ahead_us=0, is_real=False))
    assert set(simulated.all_links_ms) == {3.0, 5.0}


def test_a_sync_is_measured_alone_and_not_across_a_crash() -> None:
    trace = TraceWriter(keep=True)
    trace.run(0, "node 1", 0, [1])
    for t_ms, phase, index in (
        (10, "append", 1),
        (12, "append", 2),  # waits for the first sync
        (15, "durable", 1),
        (19, "durable", 2),
        (30, "append", 3),
        (31, "append", 4),
        (37, "durable", 4),  # one sync of both
        (50, "append", 5),  # the node is killed
    ):
        trace.log(t_ms * MS, 1, phase, index, 1, int(phase == "append"))
    trace.up(9_000 * MS, 1, 1, 0, 5)
    course = read_course(trace)
    assert measure_latencies(course).disk_ms == (4, 5, 7)
    assert measure_latencies(course, window=(0, 20)).disk_ms == (4, 5)


def test_measured_latencies_are_settings_of_a_scenario() -> None:
    course = two_nodes(ahead_us=0, is_real=False)
    track = replace(
        course.tracks[1],
        log=tuple(LogChange(n * MS, "append", n, n, 1) for n in range(1, 2_001)),
        durable=Steps(
            array("q", [n * MS + 500 for n in range(1, 2_001)]), array("q", range(1, 2_001))
        ),
    )
    measured = measure_latencies(replace(course, tracks={**course.tracks, 1: track}))
    assert set(measured.disk_ms) == {0.5}
    settings = measured.as_settings()
    scenario = load_scenario("leader_isolated").with_(settings)
    assert scenario.network.latency_ms.samples == measured.all_links_ms
    assert len(scenario.cluster.disk.latency_ms.samples) == 1_000
