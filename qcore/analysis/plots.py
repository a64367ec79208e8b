"""Plots of one run or of many. Each takes axes (or makes some) and returns them.

matplotlib is imported when a plot is drawn, not before, so that tables stay cheap.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from qcore.analysis.spans import PAUSE, STOPPED, RoleSpan
from qcore.analysis.style import (
    FAINT,
    INK,
    MS,
    ROLE_COLOURS,
    ROLE_LABELS,
    SECOND,
    SERIES,
    axes,
    shade_faults,
)
from qcore.analysis.tables import TraceTables

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BAR = 0.62  # height of a row's bar


def plot_timeline(table: TraceTables, ax: Axes | None = None, *, legend: bool = True) -> Axes:
    """Who led when: a row a node, coloured by role; terms written on leaders; faults shaded; crashes marked.

    The x axis is time in seconds since the beginning.
    """
    ax = axes(ax, height=0.9 + 0.5 * len(table.nodes))
    rows = {node: row for row, node in enumerate(table.nodes)}
    ax.set_xlim(0, max(table.end_us, 1) / SECOND)
    for role in ROLE_COLOURS:
        _draw_role(ax, [span for span in table.role_spans if span.role == role], rows)
    for leadership in table.leaderships:
        length = leadership.end_us - leadership.start_us
        if length > 0.035 * table.end_us:
            ax.text(
                (leadership.start_us + length / 2) / SECOND,
                rows[leadership.node],
                f"term {leadership.term}" if length > 0.08 * table.end_us else f"{leadership.term}",
                ha="center",
                va="center",
                color="white",
                fontsize=8,
                clip_on=True,
            )
    orderly = (PAUSE, STOPPED)
    stops = [s for s in table.role_spans if s.role == "down" and s.why not in orderly]
    ax.plot(
        [span.start_us / SECOND for span in stops],
        [rows[span.node] for span in stops],
        linestyle="none",
        marker="x",
        markersize=7,
        markeredgewidth=2,
        color=INK,
        label="crash",
    )
    shade_faults(ax, _windows(table))
    ax.set_yticks(range(len(rows)), [f"node {node}" for node in rows])
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.set_xlabel("time, s")
    if legend:
        _role_legend(ax, table)
    return ax


def _draw_role(ax: Axes, spans: Sequence[RoleSpan], rows: dict[int, int]) -> None:
    for span in spans:
        down = span.role == "down"
        ax.broken_barh(
            [(span.start_us / SECOND, (span.end_us - span.start_us) / SECOND)],
            (rows[span.node] - _BAR / 2, _BAR),
            facecolor=ROLE_COLOURS[span.role],
            edgecolor=FAINT if down else "none",
            hatch="////" if down else None,
            linewidth=0.5 if down else 0,
            zorder=2,
        )


def _role_legend(ax: Axes, table: TraceTables) -> None:
    from matplotlib.patches import Patch

    present = {span.role for span in table.role_spans}
    handles = [
        Patch(
            facecolor=colour,
            edgecolor=FAINT,
            linewidth=0.5,
            hatch="////" if role == "down" else None,
            label=ROLE_LABELS[role],
        )
        for role, colour in ROLE_COLOURS.items()
        if role in present
    ]
    ax.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(1.0, 1.0),
        frameon=False,
        fontsize=8,
        handlelength=1.2,
    )


def plot_terms(table: TraceTables, ax: Axes | None = None) -> Axes:
    """The highest term in the cluster over time, as steps; every step is an election that someone began."""
    from matplotlib.ticker import MaxNLocator

    ax = axes(ax, height=2.2)
    ax.set_xlim(0, max(table.end_us, 1) / SECOND)
    times = [0.0, *(row.t_us / SECOND for row in table.terms), table.end_us / SECOND]
    terms = [0, *(row.term for row in table.terms)]
    ax.step(times, [*terms, terms[-1]], where="post", color=SERIES[0], linewidth=1.6)
    shade_faults(ax, _windows(table))
    ax.set_ylim(0, max(terms) + 1)
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_ylabel("highest term")
    ax.set_xlabel("time, s")
    return ax


def plot_commits(table: TraceTables, ax: Axes | None = None) -> Axes:
    """The commit index of each node over time: where a line is flat, that node learns of no commit.

    Lines that coincide stay visible, because each is thinner than the one below it.
    """
    from matplotlib.ticker import MaxNLocator

    ax = axes(ax)
    ax.set_xlim(0, max(table.end_us, 1) / SECOND)
    for number, node in enumerate(table.nodes):
        own = [row for row in table.commits if row.node == node]
        times = [0.0, *(row.t_us / SECOND for row in own), table.end_us / SECOND]
        indexes = [0, *(row.index for row in own)]
        ax.step(
            times,
            [*indexes, indexes[-1]],
            where="post",
            color=SERIES[number % len(SERIES)],
            linewidth=max(1.0, 1.0 + 1.1 * (len(table.nodes) - 1 - number)),
            solid_capstyle="butt",
            label=f"node {node}",
        )
    shade_faults(ax, _windows(table))
    ax.set_ylim(bottom=0)
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_ylabel("commit index")
    ax.set_xlabel("time, s")
    ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=8)
    return ax


def plot_leaderless_distribution(
    values_ms: Sequence[float], ax: Axes | None = None, *, label: str | None = None
) -> Axes:
    """How long clusters were without a leader: the share of runs (%) in which it took at most x milliseconds.

    Args:
        values_ms: one duration a run, in milliseconds.
        label: names the curve, to compare several on the same axes.

    The median and the 99th percentile are marked on a lone curve.
    """
    ax = axes(ax, width=6.0, height=3.4)
    ordered = sorted(values_ms)
    count = len(ordered)
    first = not ax.lines
    shares = [100 * (rank + 1) / count for rank in range(count)]
    begin, end = ordered[:1], ordered[-1:]
    colour = SERIES[len([line for line in ax.lines if line.get_gid() == "ecdf"]) % len(SERIES)]
    ax.step(
        [*begin, *ordered, *end],
        [0.0, *shares, 100.0] if ordered else [],
        where="post",
        color=colour,
        linewidth=1.8,
        label=label,
        gid="ecdf",
    )
    if first and label is None and ordered:
        for share, name in ((50, "median"), (99, "99 %")):
            value = percentile(ordered, share)
            ax.plot(
                [value, value, 0],
                [0, share, share],
                color=FAINT,
                linewidth=0.8,
                linestyle=":",
                zorder=0,
            )
            ax.annotate(
                f"{name}: {value:.0f} ms",
                (value, share),
                xytext=(6, -11),
                textcoords="offset points",
                fontsize=8,
                color=INK,
            )
    ax.set_xlim(left=0)
    ax.set_ylim(0, 101)
    ax.set_xlabel("time without a leader, ms")
    ax.set_ylabel("runs, %")
    if label is not None:
        ax.legend(frameon=False, fontsize=8, loc="lower right")
    return ax


def plot_commit_latency(
    table: TraceTables | Sequence[TraceTables], ax: Axes | None = None, *, op: str = "write"
) -> Axes:
    """How long clients waited for a committed answer, over time: a dot an operation, on a logarithmic scale.

    Operations without a good answer are drawn as crosses at the time that passed before the client
    gave up or was refused. Several tables are laid over each other; faults are those of the first.
    """
    ax = axes(ax)
    tables = [table] if isinstance(table, TraceTables) else list(table)
    operations = [row for t in tables for row in t.operations if row.op == op]
    good = [row for row in operations if row.outcome == "ok"]
    bad = [row for row in operations if row.outcome in ("refused", "unknown")]
    faint = 0.8 if len(good) < 1_000 else 0.25
    for rows, marker, colour, name in (
        (good, ".", SERIES[0], "answered"),
        (bad, "x", SERIES[5], "refused or unknown"),
    ):
        ax.plot(
            [row.invoke_us / SECOND for row in rows],
            [max(1, (row.end_us or 0) - row.invoke_us) / MS for row in rows],
            linestyle="none",
            marker=marker,
            markersize=4,
            color=colour,
            alpha=faint,
            label=f"{name} ({len(rows)})",
        )
    ax.set_yscale("log")
    if tables:
        ax.set_xlim(0, max(max(t.end_us for t in tables), 1) / SECOND)
        shade_faults(ax, _windows(tables[0]))
    ax.yaxis.set_major_formatter(lambda value, _position: f"{value:g}")
    ax.set_xlabel(f"time when the {op} was asked, s")
    ax.set_ylabel(f"{op} latency, ms")
    legend = ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=8)
    for handle in legend.legend_handles:
        if handle is not None:
            handle.set_alpha(1)
    return ax


def percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` percent of the sorted values do not exceed."""
    rank = -(-len(ordered) * share // 100)
    return ordered[max(0, int(rank) - 1)]


def _windows(table: TraceTables) -> list[tuple[float, float, str]]:
    """The faults to shade. Servers that are down are drawn as such, so those faults need no shade."""
    stopped = {(span.node, span.start_us) for span in table.role_spans if span.role == "down"}
    return [
        (window.start_us / SECOND, window.end_us / SECOND, window.label)
        for window in table.faults
        if window.links or not {(node, window.start_us) for node in window.nodes} & stopped
    ]
