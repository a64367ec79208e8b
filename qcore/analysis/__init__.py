"""Turns traces into tables and pictures. It needs nothing but the traces, of simulated or of real nodes.

    from qcore.analysis import plot_timeline, read_tables, save_run_figure

    table = read_tables("run.qtrace")           # leaders over time, commits, operations, faults, ...
    ax = plot_timeline(table)                   # every plot takes and returns axes
    save_run_figure("run.qtrace", "run.png")    # one picture of a run

`merge` merges the traces of several real nodes into one. matplotlib and networkx are imported only when a
plot is drawn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qcore.lazy_names import lazy_names

if TYPE_CHECKING:
    from qcore.analysis.figure import run_figure, save_run_figure
    from qcore.analysis.network_plot import draw_network, network_at
    from qcore.analysis.plots import (
        plot_commit_latency,
        plot_commits,
        plot_leaderless_distribution,
        plot_terms,
        plot_timeline,
        plot_watches,
    )
    from qcore.analysis.records import LEADERSHIP_KINDS, TraceSource, load, merge
    from qcore.analysis.tables import TraceTables, read_tables
    from qcore.percentiles import percentile
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "qcore.analysis.figure": (
                "run_figure",
                "save_run_figure",
            ),
            "qcore.analysis.network_plot": (
                "draw_network",
                "network_at",
            ),
            "qcore.analysis.plots": (
                "plot_commit_latency",
                "plot_commits",
                "plot_leaderless_distribution",
                "plot_terms",
                "plot_timeline",
                "plot_watches",
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
    "TraceSource",
    "TraceTables",
    "draw_network",
    "load",
    "merge",
    "network_at",
    "percentile",
    "plot_commit_latency",
    "plot_commits",
    "plot_leaderless_distribution",
    "plot_terms",
    "plot_timeline",
    "plot_watches",
    "read_tables",
    "run_figure",
    "save_run_figure",
]
