"""Turns traces into tables and pictures. It needs nothing but the traces, of simulated or of real nodes.

    from qcore.analysis import plot_timeline, read_tables, save_run_figure

    table = read_tables("run.qtrace")           # leaders over time, commits, operations, faults, ...
    ax = plot_timeline(table)                   # every plot takes and returns axes
    save_run_figure("run.qtrace", "run.png")    # one picture of a run

    course = read_course("run.qtrace")          # the run as states over time
    for election in course.elections:
        print(explain(course, election))        # why it took that long, in sentences
    course.operations.to_pandas()               # every table gives data frames

`merge` merges the traces of several real nodes into one. matplotlib and networkx are imported only when a
plot is drawn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qcore.lazy_names import lazy_names

if TYPE_CHECKING:
    from qcore.analysis.course.causality import Cone, cone
    from qcore.analysis.course.course_types import Course
    from qcore.analysis.course.node_tracks import log_at, node_at
    from qcore.analysis.course.read_course import read_course
    from qcore.analysis.explanations.explain import explain
    from qcore.analysis.explanations.explained_text import Explanation
    from qcore.analysis.exports.perfetto_trace import perfetto
    from qcore.analysis.exports.shiviz_log import shiviz
    from qcore.analysis.figure import run_figure, save_run_figure
    from qcore.analysis.frames.election_rows import election_table
    from qcore.analysis.frames.operation_rows import operation_table
    from qcore.analysis.measured_latencies import measure_latencies
    from qcore.analysis.network_plot import draw_network, network_at
    from qcore.analysis.plots import (
        plot_commits,
        plot_terms,
        plot_timeline,
        plot_watches,
    )
    from qcore.analysis.plotting.comparison_plot import compare
    from qcore.analysis.plotting.distribution_plot import plot_leaderless_distribution, plot_times
    from qcore.analysis.plotting.lag_plot import plot_lag
    from qcore.analysis.plotting.latency_plot import plot_commit_latency
    from qcore.analysis.plotting.message_plot import plot_messages
    from qcore.analysis.plotting.outcome_plot import plot_outcomes
    from qcore.analysis.plotting.paper_style import paper_style
    from qcore.analysis.plotting.spacetime_plot import plot_spacetime
    from qcore.analysis.plotting.time_window import Window, window_of, worst_fault
    from qcore.analysis.records import LEADERSHIP_KINDS, TraceSource, load, merge
    from qcore.analysis.tables import TraceTables, read_tables
    from qcore.percentiles import percentile
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "qcore.analysis.course.causality": ("Cone", "cone"),
            "qcore.analysis.course.course_types": ("Course",),
            "qcore.analysis.course.node_tracks": ("log_at", "node_at"),
            "qcore.analysis.course.read_course": ("read_course",),
            "qcore.analysis.explanations.explain": ("explain",),
            "qcore.analysis.explanations.explained_text": ("Explanation",),
            "qcore.analysis.exports.perfetto_trace": ("perfetto",),
            "qcore.analysis.exports.shiviz_log": ("shiviz",),
            "qcore.analysis.figure": (
                "run_figure",
                "save_run_figure",
            ),
            "qcore.analysis.frames.election_rows": ("election_table",),
            "qcore.analysis.frames.operation_rows": ("operation_table",),
            "qcore.analysis.measured_latencies": ("measure_latencies",),
            "qcore.analysis.network_plot": (
                "draw_network",
                "network_at",
            ),
            "qcore.analysis.plots": (
                "plot_commits",
                "plot_terms",
                "plot_timeline",
                "plot_watches",
            ),
            "qcore.analysis.plotting.comparison_plot": ("compare",),
            "qcore.analysis.plotting.distribution_plot": (
                "plot_leaderless_distribution",
                "plot_times",
            ),
            "qcore.analysis.plotting.lag_plot": ("plot_lag",),
            "qcore.analysis.plotting.latency_plot": ("plot_commit_latency",),
            "qcore.analysis.plotting.message_plot": ("plot_messages",),
            "qcore.analysis.plotting.outcome_plot": ("plot_outcomes",),
            "qcore.analysis.plotting.paper_style": ("paper_style",),
            "qcore.analysis.plotting.spacetime_plot": ("plot_spacetime",),
            "qcore.analysis.plotting.time_window": (
                "Window",
                "window_of",
                "worst_fault",
            ),
            "qcore.analysis.records": (
                "LEADERSHIP_KINDS",
                "TraceSource",
                "load",
                "merge",
            ),
            "qcore.analysis.tables": (
                "TraceTables",
                "read_tables",
            ),
            "qcore.percentiles": ("percentile",),
        },
    )

__all__ = [
    "LEADERSHIP_KINDS",
    "Cone",
    "Course",
    "Explanation",
    "TraceSource",
    "TraceTables",
    "Window",
    "compare",
    "cone",
    "draw_network",
    "election_table",
    "explain",
    "load",
    "log_at",
    "measure_latencies",
    "merge",
    "network_at",
    "node_at",
    "operation_table",
    "paper_style",
    "percentile",
    "perfetto",
    "plot_commit_latency",
    "plot_commits",
    "plot_lag",
    "plot_leaderless_distribution",
    "plot_messages",
    "plot_outcomes",
    "plot_spacetime",
    "plot_terms",
    "plot_timeline",
    "plot_times",
    "plot_watches",
    "read_course",
    "read_tables",
    "run_figure",
    "save_run_figure",
    "shiviz",
    "window_of",
    "worst_fault",
]
