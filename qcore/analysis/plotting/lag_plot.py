"""Plots how far each node's commit index is behind."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import log1p
from typing import TYPE_CHECKING, Final

from qcore.analysis.plotting.node_lines import Change, commits_of, node_colour, steps_in
from qcore.analysis.plotting.time_window import (
    Run,
    Window,
    WindowChoice,
    shade_run,
    tables_of,
    time_axis,
    window_of,
)
from qcore.analysis.style import SECOND, TEXT_COLOUR, axes, label_size, points
from qcore.analysis.tables import TraceTables

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: The id of the areas among the collections of axes.
LAG_GID: Final = "lag"
_HEIGHT: Final = 0.84  # of the greatest lag, in rows
#: More corners than this are thinned: for each stretch of the window, the greatest lag is kept.
_MOST_CORNERS: Final = 1_500
_MOST_ROWS: Final = 16


def plot_lag(
    table: Run, ax: Axes | None = None, *, name_faults: bool = True, window: WindowChoice = None
) -> Axes:
    """Plot how many entries each node's commit index is behind the highest of all nodes: one row for each node.

    The height of an area is the number of entries on a logarithmic scale, the same for all rows. The greatest number of
    each node stands beside its row. Of more than 16 nodes, only those that are furthest behind are drawn.

    After an election, the highest commit index is that of the new leader as soon as it commits an entry of its term;
    before, it may be that of another node. A node that is down stays behind.

    Args:
        table: the tables or the course of the run.
        ax: the axes; new ones if left out.
        name_faults: whether to write the names of the faults above the axes. False if another plot above does.
        window: the stretch to show, as in `window_of`.
    """
    shown, table = window_of(table, window), tables_of(table)
    ax = axes(ax, height=lag_height(table))
    time_axis(ax, shown, table.begin_us)
    changes = commits_of(table)
    highest = _highest([change for one in changes.values() for change in one])
    lags: dict[int, tuple[list[float], list[int]]] = {}
    for node in table.nodes:
        begin_us = next((span.start_us for span in table.role_spans if span.node == node), 0)
        lag = _lag(changes[node], highest)
        lags[node] = _thinned(*steps_in(lag, shown, begin_us, table.end_us), shown)
    chosen = _furthest_behind(lags)
    lags = {node: lags[node] for node in chosen}
    count = len(lags)
    greatest = {node: max(values, default=0) for node, (_, values) in lags.items()}
    top = max([*greatest.values(), 1])
    for row, (node, (times, values)) in enumerate(lags.items()):
        heights = [row + 0.5 - _HEIGHT * log1p(value) / log1p(top) for value in values]
        ax.fill_between(
            times,
            heights,
            row + 0.5,
            step="post",
            facecolor=node_colour(table, node),
            edgecolor=node_colour(table, node),
            linewidth=0.4,
            zorder=2,
            gid=LAG_GID,
        )
        ax.axhline(row + 0.5, color="#C9CED2", linewidth=0.5, zorder=1)
    height = points(ax)[1] / max(1, count)
    size = min(8.0, 0.8 * height)
    for row, node in enumerate(lags):
        ax.annotate(
            f"most: {greatest[node]}",
            (1.0, row),
            xycoords=ax.get_yaxis_transform(),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=size,
            color=TEXT_COLOUR,
            annotation_clip=False,
        )
    shade_run(ax, table, label=name_faults)
    names = [f"node {node}" for node in lags]
    ax.set_yticks(range(count), names, fontsize=min(label_size(), 0.8 * height))
    ax.set_ylim(max(count, 1) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.set_ylabel("commits behind")
    if count < len(table.nodes):
        ax.set_ylabel(f"commits behind\n({count} of {len(table.nodes)} nodes)")
    return ax


def lag_height(table: TraceTables) -> float:
    """The height of a plot of the lags of a run, inches."""
    return 0.7 + 0.2 * min(max(len(table.nodes), 3), _MOST_ROWS)


def _furthest_behind(lags: Mapping[int, tuple[list[float], list[int]]]) -> list[int]:
    """The nodes to draw, in order: of many nodes, those with the greatest sum of lag and time."""

    def area(node: int) -> float:
        times, values = lags[node]
        return sum((b - a) * value for (a, b), value in zip(pairwise(times), values, strict=False))

    return sorted(sorted(lags, key=area, reverse=True)[:_MOST_ROWS])


def _highest(changes: Sequence[Change]) -> list[Change]:
    """The highest commit index of all nodes over time."""
    steps: list[Change] = []
    top = 0
    for t_us, index in sorted(changes):
        if index > top:
            top = index
            steps.append((t_us, top))
    return steps


def _lag(own: Sequence[Change], highest: Sequence[Change]) -> list[Change]:
    """How far a node is behind, at each moment at which its commit index or the highest one changes."""
    lag: list[Change] = []
    now = top = 0
    at = above = 0
    for t_us in sorted({t_us for t_us, _ in own} | {t_us for t_us, _ in highest}):
        while at < len(own) and own[at][0] <= t_us:
            now = own[at][1]
            at += 1
        while above < len(highest) and highest[above][0] <= t_us:
            top = highest[above][1]
            above += 1
        lag.append((t_us, max(0, top - now)))
    return lag


def _thinned(times: list[float], values: list[int], shown: Window) -> tuple[list[float], list[int]]:
    """At most `_MOST_CORNERS` corners: of each equal part of the window, the greatest value."""
    if len(times) <= _MOST_CORNERS:
        return times, values
    width = shown.length_us / SECOND / _MOST_CORNERS
    edges = [shown.start_s + width * number for number in range(_MOST_CORNERS + 1)]
    kept_times, kept = [], []
    for start, end in pairwise(edges):
        first, last = bisect_right(times, start), bisect_right(times, end)
        if last == 0 or start > times[-1]:
            continue
        kept_times.append(max(start, times[0]))
        kept.append(max(values[max(0, first - 1) : max(last, first)]))
    return [*kept_times, times[-1]], [*kept, values[-1]]
