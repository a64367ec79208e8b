"""The plots over time, of one run or of many. Each function draws on the given axes or new ones, and returns them.

matplotlib is imported only when a plot is drawn, because programs that only read tables do not need it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from qcore.analysis.spans import PAUSE, STOPPED, RoleSpan
from qcore.analysis.style import (
    CUT_COLOUR,
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
from qcore.analysis.watch_spans import COMPACTED, MOVED, OPEN
from qcore.display import escape_unprintable
from qcore.percentiles import percentile

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.legend import Legend

#: The id of the lines of watches among the collections of axes.
WATCHES_GID = "watches"
_TOPIC_CHARS = 14  # the longest topic that is written whole
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
    """Plot roles over time: one row for each node, coloured by role, with the terms of leaders.

    Faults are shaded and crashes are marked. In all plots, a grey shade shows where the trace lacks records. The x
    axis is time in seconds since the beginning of the trace.
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
            clip_on=False,  # shows the mark also at the end of a run
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
    """Draw the stretches in which a node had one role. A thin edge also shows those that are shorter than a pixel."""
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
        zorder=_LAYERS[role],  # roles that usually last a shorter time are further in front
        gid=role,
    )


def _write_terms(table: TraceTables, ax: Axes, rows: dict[int, int]) -> None:
    """Write the term of each leader on its bar, in the longest form that fits."""
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

    shown = {span.role for span in table.role_spans}
    handles: list[Patch | Line2D] = [
        Patch(
            facecolor=colour,
            edgecolor=MUTED_COLOUR,
            linewidth=0.5,
            hatch="////" if role == "down" else None,
            label=ROLE_LABELS[role],
        )
        for role, colour in ROLE_COLOURS.items()
        if role in shown
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
    """Plot the highest term of the cluster over time. Every step is the start of an election."""
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
    """Plot the commit index of each node over time. While a line is flat, the node learns of no commit.

    Lines that coincide stay visible, because each is thinner than the one below it.

    Args:
        table: the tables of the run.
        ax: the axes; new ones if left out.
        name_faults: whether to write the names of the faults above the axes. False if another plot above does.
    """
    from matplotlib.ticker import MaxNLocator

    ax = axes(ax)
    ax.set_xlim(0, _span_s(table))
    thinner = min(1.1, 4.4 / max(1, len(table.nodes) - 1))
    top = 1
    for number, node in enumerate(table.nodes):
        rows_of_node = [row for row in table.commits if row.node == node]
        begin = next((span.start_us for span in table.role_spans if span.node == node), 0)
        times = [
            begin / SECOND,
            *(row.t_us / SECOND for row in rows_of_node),
            table.end_us / SECOND,
        ]
        indexes = [0, *(row.index for row in rows_of_node)]
        top = max(top, *indexes)
        ax.step(
            times,
            [*indexes, indexes[-1]],
            where="post",
            color=_node_colour(table, node),
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
    """Draw a legend right of the axes, where it covers nothing."""
    return ax.legend(
        loc="upper left",
        bbox_to_anchor=(1.0, 1.0),
        frameon=False,
        fontsize=8,
        ncols=columns,
        columnspacing=1.0,
        borderaxespad=0.2,
    )


def plot_watches(table: TraceTables, ax: Axes | None = None, *, name_faults: bool = True) -> Axes:
    """Plot the watches of a run: one line for each watcher, in the colour of the node that serves it.

    The line is empty while the watcher has no watch. A circle shows a watch from now on; the others resume. A tick
    shows that the watcher lost its watch; after an end without a tick it moved by itself. A cross shows
    `WatchCompacted`.

    Args:
        table: the tables of the run.
        ax: the axes; new ones if left out.
        name_faults: see `plot_commits`.
    """
    ax = axes(ax, height=watches_height(table))
    ax.set_xlim(0, _span_s(table))
    watchers = sorted({(span.topic, span.watcher) for span in table.watches})
    rows = {watcher: row for row, (_, watcher) in enumerate(watchers)}
    room = points(ax)[1] / max(1, len(rows))  # for one line
    begun = [span for span in table.watches if span.start_us is not None]
    for node in table.nodes:
        spans = [span for span in begun if span.node == node]
        ax.hlines(
            [rows[span.watcher] for span in spans],
            [(span.start_us or 0) / SECOND for span in spans],
            [span.end_us / SECOND for span in spans],
            color=_node_colour(table, node),
            linewidth=min(4.0, 0.5 * room),
            label=f"node {node}",
            gid=WATCHES_GID,
        )
    first = [span for span in begun if not span.resumed]
    lost = [span for span in begun if span.end not in (MOVED, OPEN, COMPACTED)]
    compacted = [span for span in table.watches if span.end == COMPACTED]
    for spans, times, marker, name, colour in (
        (first, [span.start_us or 0 for span in first], "o", "from now on", TEXT_COLOUR),
        (lost, [span.end_us for span in lost], "|", "connection lost", TEXT_COLOUR),
        (compacted, [span.end_us for span in compacted], "x", "compacted", CUT_COLOUR),
    ):
        if spans:
            ax.plot(
                [t_us / SECOND for t_us in times],
                [rows[span.watcher] for span in spans],
                linestyle="none",
                marker=marker,
                markersize=max(2.0, min(5.0, 0.7 * room)),
                markerfacecolor="white",
                color=colour,
                label=f"{name} ({len(spans)})",
                clip_on=False,
                zorder=3,
            )
    _shade(ax, table, label=name_faults)
    _name_topics(ax, [topic for topic, _ in watchers], room)
    ax.set_ylim(max(len(rows), 1) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.set_ylabel("watchers")
    ax.set_xlabel("time, s")
    if begun or compacted:
        lines = max(1, int(points(ax)[1] / 13))
        _legend(ax, columns=-(-(len(table.nodes) + 3) // lines))
    return ax


def watches_height(table: TraceTables) -> float:
    """The height of a plot of the watches of a run, inches."""
    return 1.2 + min(0.11 * len({span.watcher for span in table.watches}), 2.6)


def _name_topics(ax: Axes, topics: Sequence[str], room: float) -> None:
    """Write each topic beside the middle of its lines; as many topics as have room.

    Args:
        ax: the axes.
        topics: the topic of each line, equal ones together.
        room: the height of a line, points.
    """
    size = 8.0
    places: list[float] = []
    names: list[str] = []
    for topic in dict.fromkeys(topics):
        middle = topics.index(topic) + (topics.count(topic) - 1) / 2
        if not places or (middle - places[-1]) * room > 1.3 * size:
            places.append(middle)
            shown = escape_unprintable(topic)
            is_long = len(shown) > _TOPIC_CHARS
            names.append(f"{shown[: _TOPIC_CHARS - 3]}..." if is_long else shown)
    ax.set_yticks(places, names, fontsize=size, parse_math=False)


def _node_colour(table: TraceTables, node: int) -> str:
    return SERIES_COLOURS[table.nodes.index(node) % len(SERIES_COLOURS)]


def plot_leaderless_distribution(
    values_ms: Sequence[float], ax: Axes | None = None, *, label: str | None = None
) -> Axes:
    """Plot the distribution of the time without a leader: the share of runs (%) with at most x milliseconds.

    A single curve shows the median and the 99th percentile. To compare several curves, draw them on the same axes
    with labels; the x axis covers all of them.

    Args:
        values_ms: one duration for each run, in milliseconds.
        ax: the axes; new ones if left out.
        label: the name of the curve.
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
            far = (
                value > 0.4 * ordered[-1]
            )  # write on the longer side of the curve, where there is room
            ax.annotate(
                f"{name}: {value:.0f} ms",
                (0 if far else value, share),
                xytext=(6, -11),
                textcoords="offset points",
                fontsize=8,
                color=TEXT_COLOUR,
            )
    # Cover all curves, also earlier ones. To set only the left limit would freeze the right one.
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
    """Plot the latency of operations over time: one dot for each operation with outcome ok, on a logarithmic scale.

    A cross shows an operation that was rejected or that timed out, at the time until then. Several tables share the
    axes; the faults are those of the first table.
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
    middle = (low * high) ** 0.5  # at least one decade, because less would show no ticks
    ax.set_ylim(min(low, middle / 10**0.5), max(high, middle * 10**0.5))
    ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high < 30 * low else (1.0,)))
    ax.yaxis.set_major_formatter(lambda value, _position: f"{value:g}")
    ax.yaxis.set_minor_formatter(NullFormatter())
    ax.set_xlabel(f"start of the {op}, s")
    ax.set_ylabel(f"{op} latency, ms")
    for handle in _legend(ax).legend_handles:
        if handle is not None:
            handle.set_alpha(1)
    return ax


def _span_s(table: TraceTables) -> float:
    """The length of the time axis in seconds; one second for a trace of a single moment."""
    return (table.end_us or SECOND) / SECOND


def _shade(ax: Axes, table: TraceTables, *, label: bool = True) -> None:
    """Shade the faults, and the gaps in the trace, in which a plot shows only the last known state."""
    gaps = [(gap.start_us / SECOND, gap.end_us / SECOND, gap.label) for gap in table.gaps]
    shade_faults(ax, _windows(table), gaps=gaps, label=label)


def _windows(table: TraceTables) -> list[tuple[float, float, str]]:
    """The faults to shade. A fault that only stops servers needs no shade, because the plot shows that they are down.

    Such a fault shows in a server that it stopped or, if its servers were already down, in its name.
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
