"""Plots of one run or of many. Each takes axes (or makes some) and returns them.

matplotlib is imported when a plot is drawn, not before, so that tables stay cheap.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from qcore.analysis.spans import PAUSE, STOPPED, RoleSpan
from qcore.analysis.style import (
    MS,
    MUTED_COLOUR,
    ROLE_COLOURS,
    ROLE_LABELS,
    SECOND,
    SERIES_COLOURS,
    TEXT_COLOUR,
    axes,
    points,
    shade_faults,
)
from qcore.analysis.tables import TraceTables
from qcore.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.legend import Legend

_BAR = 0.62  # height of a row's bar
_MIN_FONT_SIZE = 4.5  # points
_LAYERS = {
    "follower": 2.0,
    "down": 2.02,
    "learner": 2.04,
    "leader": 2.06,
    "pre_candidate": 2.08,
    "candidate": 2.1,
}
_STOPS = ("] crash", "] power_loss", "] wipe", "] pause")
#: When there are more nodes than colours, the next ones are dashed.
_DASHES = ("-", (0, (4, 1)), (0, (1, 1)))


def plot_timeline(table: TraceTables, ax: Axes | None = None, *, legend: bool = True) -> Axes:
    """Who led when: a row a node, coloured by role; terms written on leaders; faults shaded; crashes marked.

    Where records are missing in the trace the shade is grey, in all plots.

    The x axis is time in seconds since the beginning.
    """
    count = len(table.nodes)
    ax = axes(ax, height=1.2 + min(0.5 * count, 3 + 0.2 * count))
    rows = {node: row for row, node in enumerate(table.nodes)}
    ax.set_xlim(0, _span_s(table))
    for role in ROLE_COLOURS:
        for node, row in rows.items():
            _draw_role(ax, row, [s for s in table.role_spans if (s.role, s.node) == (role, node)])
    _write_terms(table, ax, rows)
    orderly = (PAUSE, STOPPED)
    stops = [s for s in table.role_spans if s.role == "down" and s.why not in orderly]
    if stops:
        ax.plot(
            [span.start_us / SECOND for span in stops],
            [rows[span.node] for span in stops],
            linestyle="none",
            marker="x",
            markersize=7,
            markeredgewidth=2,
            color=TEXT_COLOUR,
            label="crash",
            clip_on=False,  # also at the very end of a run
            zorder=2.5,
        )
    _shade(ax, table)
    height = points(ax)[1] / max(1, count)
    ax.set_yticks(range(count), [f"node {node}" for node in rows], fontsize=min(10.0, 0.8 * height))
    ax.set_ylim(max(count, 1) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.set_xlabel("time, s")
    if legend and table.role_spans:
        _role_legend(ax, table)
    return ax


def _draw_role(ax: Axes, row: int, spans: Sequence[RoleSpan]) -> None:
    """The stretches in which one node had one role. A thin edge shows also those that are shorter than a pixel."""
    if not spans:
        return
    role = spans[0].role
    down, quiet = role == "down", role == "follower"
    ax.broken_barh(
        [(span.start_us / SECOND, (span.end_us - span.start_us) / SECOND) for span in spans],
        (row - _BAR / 2, _BAR),
        facecolor=ROLE_COLOURS[role],
        edgecolor=MUTED_COLOUR if down else "none" if quiet else ROLE_COLOURS[role],
        hatch="////" if down else None,
        linewidth=0.5 if down else 0 if quiet else 0.8,
        zorder=_LAYERS[role],  # the shorter a role lasts, the further in front
        gid=role,
    )


def _write_terms(table: TraceTables, ax: Axes, rows: dict[int, int]) -> None:
    """The term of each leader on its bar, in as many words as fit."""
    width, height = points(ax)
    size = min(8.0, 0.7 * _BAR * height / max(1, len(rows)))
    if size < _MIN_FONT_SIZE:
        return
    for leadership in table.leaderships:
        length = (leadership.end_us - leadership.start_us) / SECOND
        room = width * length / _span_s(table)
        long, short = f"term {leadership.term}", f"{leadership.term}"
        fits = next((text for text in (long, short) if len(text) * 0.75 * size < room), None)
        if fits is not None:
            ax.text(
                leadership.start_us / SECOND + length / 2,
                rows[leadership.node],
                fits,
                ha="center",
                va="center",
                color="white",
                fontsize=size,
                clip_on=True,
                zorder=2.2,
            )


def _role_legend(ax: Axes, table: TraceTables) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    present = {span.role for span in table.role_spans}
    handles: list[Patch | Line2D] = [
        Patch(
            facecolor=colour,
            edgecolor=MUTED_COLOUR,
            linewidth=0.5,
            hatch="////" if role == "down" else None,
            label=ROLE_LABELS[role],
        )
        for role, colour in ROLE_COLOURS.items()
        if role in present
    ]
    handles += [line for line in ax.get_lines() if line.get_label() == "crash"]
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
    ax.set_xlim(0, _span_s(table))
    times = [0.0, *(row.t_us / SECOND for row in table.terms), table.end_us / SECOND]
    terms = [0, *(row.term for row in table.terms)]
    ax.step(times, [*terms, terms[-1]], where="post", color=SERIES_COLOURS[0], linewidth=1.6)
    _shade(ax, table)
    ax.set_ylim(0, max(terms) + 1)
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_ylabel("highest term")
    ax.set_xlabel("time, s")
    return ax


def plot_commits(table: TraceTables, ax: Axes | None = None, *, name_faults: bool = True) -> Axes:
    """The commit index of each node over time: where a line is flat, that node learns of no commit.

    Lines that coincide stay visible, because each is thinner than the one below it.

    Args:
        name_faults: write what the shaded faults are above the axes; False where another plot above says it.
    """
    from matplotlib.ticker import MaxNLocator

    ax = axes(ax)
    ax.set_xlim(0, _span_s(table))
    thinner = min(1.1, 4.4 / max(1, len(table.nodes) - 1))
    top = 1
    for number, node in enumerate(table.nodes):
        own = [row for row in table.commits if row.node == node]
        begin = next((span.start_us for span in table.role_spans if span.node == node), 0)
        times = [begin / SECOND, *(row.t_us / SECOND for row in own), table.end_us / SECOND]
        indexes = [0, *(row.index for row in own)]
        top = max(top, *indexes)
        ax.step(
            times,
            [*indexes, indexes[-1]],
            where="post",
            color=SERIES_COLOURS[number % len(SERIES_COLOURS)],
            linestyle=_DASHES[number // len(SERIES_COLOURS) % len(_DASHES)],
            linewidth=1.0 + thinner * (len(table.nodes) - 1 - number),
            solid_capstyle="butt",
            label=f"node {node}",
        )
    _shade(ax, table, label=name_faults)
    ax.set_ylim(0, 1.05 * top)
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_ylabel("commit index")
    ax.set_xlabel("time, s")
    if table.nodes:
        rows = max(1, int(points(ax)[1] / 13))
        _legend(ax, columns=-(-len(table.nodes) // rows))
    return ax


def _legend(ax: Axes, columns: int = 1) -> Legend:
    """Right of the axes, where it covers nothing."""
    return ax.legend(
        loc="upper left",
        bbox_to_anchor=(1.0, 1.0),
        frameon=False,
        fontsize=8,
        ncols=columns,
        columnspacing=1.0,
        borderaxespad=0.2,
    )


def plot_leaderless_distribution(
    values_ms: Sequence[float], ax: Axes | None = None, *, label: str | None = None
) -> Axes:
    """How long clusters were without a leader: the share of runs (%) in which it took at most x milliseconds.

    Several curves may be drawn on the same axes; the x axis shows all of them whole.

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
    colour = SERIES_COLOURS[
        len([line for line in ax.lines if line.get_gid() == "ecdf"]) % len(SERIES_COLOURS)
    ]
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
                color=MUTED_COLOUR,
                linewidth=0.8,
                linestyle=":",
                zorder=0,
            )
            far = value > 0.4 * ordered[-1]  # beside the curve there is room on its longer side
            ax.annotate(
                f"{name}: {value:.0f} ms",
                (0 if far else value, share),
                xytext=(6, -11),
                textcoords="offset points",
                fontsize=8,
                color=TEXT_COLOUR,
            )
    # All curves, also those that were there before: setting the left limit alone would freeze the right one.
    ax.set_xlim(0, 1.05 * ax.dataLim.x1 if ax.dataLim.x1 > 0 else 1.0)
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
    from matplotlib.ticker import LogLocator, NullFormatter

    ax = axes(ax)
    tables = [table] if isinstance(table, TraceTables) else list(table)
    operations = [row for t in tables for row in t.operations if row.op == op]
    good = [row for row in operations if row.outcome == "ok"]
    bad = [row for row in operations if row.outcome in ("refused", "unknown")]
    faint = 0.8 if len(good) < 1_000 else 0.25
    for rows, marker, colour, name in (
        (good, ".", SERIES_COLOURS[0], "answered"),
        (bad, "x", SERIES_COLOURS[5], "refused or unknown"),
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
        ax.set_xlim(0, max(_span_s(t) for t in tables))
        _shade(ax, tables[0])
    shortest, longest = ax.dataLim.y0, ax.dataLim.y1
    low, high = (shortest / 1.3, longest * 1.3) if longest > 0 else (1.0, 1000.0)
    middle = (low * high) ** 0.5  # at least a decade: fewer have no ticks
    ax.set_ylim(min(low, middle / 10**0.5), max(high, middle * 10**0.5))
    ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high < 30 * low else (1.0,)))
    ax.yaxis.set_major_formatter(lambda value, _position: f"{value:g}")
    ax.yaxis.set_minor_formatter(NullFormatter())
    ax.set_xlabel(f"time when the {op} was asked, s")
    ax.set_ylabel(f"{op} latency, ms")
    for handle in _legend(ax).legend_handles:
        if handle is not None:
            handle.set_alpha(1)
    return ax


def percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` percent of the sorted values do not exceed.

    Raises:
        ConfigError: there are no values.
    """
    if not ordered:
        raise ConfigError("there is no percentile of no values: were there any runs?")
    rank = -(-len(ordered) * share // 100)
    return ordered[max(0, int(rank) - 1)]


def _span_s(table: TraceTables) -> float:
    """How much time an axis shows, seconds; a trace of a single moment gets a second."""
    return (table.end_us or SECOND) / SECOND


def _shade(ax: Axes, table: TraceTables, *, label: bool = True) -> None:
    """Faults, and where records are missing: what is drawn there is only what was known before."""
    gaps = [(gap.start_us / SECOND, gap.end_us / SECOND, gap.label) for gap in table.gaps]
    shade_faults(ax, _windows(table), gaps=gaps, label=label)


def _windows(table: TraceTables) -> list[tuple[float, float, str]]:
    """The faults to shade. Servers that are down are drawn as such, so faults that only stop servers need no shade.

    A fault may strike a server that is down already: it is known by its name then.
    """
    stopped = {(span.node, span.start_us) for span in table.role_spans if span.role == "down"}
    return [
        (window.start_us / SECOND, window.end_us / SECOND, window.label)
        for window in table.faults
        if window.links
        or not (
            window.fault.endswith(_STOPS)
            or {(node, window.start_us) for node in window.nodes} & stopped
        )
    ]
