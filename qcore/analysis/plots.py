"""The plots over time, of one run or of many. Each function draws on the given axes or new ones, and returns them.

matplotlib is imported only when a plot is drawn, because programs that only read tables do not need it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from qcore.analysis.plotting.node_lines import commits_of, node_colour, node_dashes, steps_in
from qcore.analysis.plotting.time_window import (
    Run,
    Window,
    WindowChoice,
    shade_run,
    tables_of,
    time_axis,
    window_of,
)
from qcore.analysis.spans import PAUSE, STOPPED, RoleSpan, Span
from qcore.analysis.style import (
    CUT_COLOUR,
    MUTED_COLOUR,
    ROLE_COLOURS,
    SECOND,
    SERIES_COLOURS,
    TEXT_COLOUR,
    axes,
    label_size,
    points,
    role_handles,
    side_legend,
)
from qcore.analysis.tables import TraceTables
from qcore.analysis.watch_spans import COMPACTED, MOVED, OPEN
from qcore.display import escape_unprintable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: The ids of the lines of watches, and of the stretches without a leader, among the collections of axes.
WATCHES_GID = "watches"
LEADERLESS_GID = "leaderless"
_TOPIC_CHARS = 14  # the longest topic that is written whole
_LEGEND_COLUMNS = 3
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


def plot_timeline(
    table: Run, ax: Axes | None = None, *, legend: bool = True, window: WindowChoice = None
) -> Axes:
    """Plot roles over time: one row for each node, coloured by role, with the terms of leaders.

    Faults are shaded; crashes and votes are marked. The last row shows when no leader could reach a majority of the
    voters; an arrow shows that the trace ends before that does. In all plots, a grey shade shows where the trace lacks
    records. The x axis is time in seconds since the begin of the cluster.

    Args:
        table: the tables or the course of the run.
        ax: the axes; new ones if left out.
        legend: whether to draw the legend.
        window: the stretch to show, as in `window_of`.
    """
    shown, table = window_of(table, window), tables_of(table)
    count = len(table.nodes)
    ax = axes(ax, height=1.4 + min(0.5 * count, 3 + 0.2 * count))
    rows = {node: row for row, node in enumerate(table.nodes)}
    time_axis(ax, shown, table.begin_us)
    spans = [span for span in table.role_spans if shown.overlaps(span.start_us, span.end_us)]
    for role in ROLE_COLOURS:
        for node, row in rows.items():
            _draw_role(ax, row, [s for s in spans if (s.role, s.node) == (role, node)])
    orderly = (PAUSE, STOPPED)
    stops = [
        s
        for s in spans
        if s.role == "down" and s.why not in orderly and s.start_us >= shown.start_us
    ]
    if stops:
        ax.plot(
            [span.start_us / SECOND for span in stops],
            [rows[span.node] for span in stops],
            linestyle="none",
            marker="x",
            markersize=min(7.0, 0.5 * points(ax)[1] / max(1, count)),
            markeredgewidth=2,
            color=TEXT_COLOUR,
            label="crash",
            clip_on=False,  # shows the mark also at the end of a run
            zorder=2.5,
        )
    _draw_votes(ax, table, shown, rows)
    gaps = [span for span in table.leaderless if shown.overlaps(span.start_us, span.end_us)]
    if gaps:
        _draw_leaderless(ax, count, gaps, shown)
    names = [f"node {node}" for node in rows] + ["no leader"] * bool(gaps)
    ax.set_ylim(max(len(names), 1) - 0.5, -0.5)
    _write_terms(table, ax, rows, shown)
    shade_run(ax, table)
    height = points(ax)[1] / max(1, len(names))
    ax.set_yticks(range(len(names)), names, fontsize=min(label_size(), 0.8 * height))
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    if legend and spans:
        _role_legend(ax, {span.role for span in spans})
    return ax


def _draw_votes(ax: Axes, table: TraceTables, shown: Window, rows: dict[int, int]) -> None:
    """Mark the votes of each node: a filled mark is a vote for itself."""
    votes = [vote for vote in table.votes if shown.holds(vote.t_us) and vote.node in rows]
    size = max(2.0, min(4.5, 0.25 * points(ax)[1] / max(1, len(rows))))
    for own, name in ((True, "vote for itself"), (False, "vote for another")):
        cast = [vote for vote in votes if (vote.node == vote.candidate) == own]
        if cast:
            ax.plot(
                [vote.t_us / SECOND for vote in cast],
                [rows[vote.node] + _BAR / 2 for vote in cast],
                linestyle="none",
                marker="^",
                markersize=size,
                markeredgewidth=0.8,
                markerfacecolor=TEXT_COLOUR if own else "white",
                color=TEXT_COLOUR,
                label=name,
                clip_on=False,
                zorder=2.4,
            )


def _draw_leaderless(ax: Axes, row: int, gaps: Sequence[Span], shown: Window) -> None:
    """Draw the stretches without a leader. Those that the trace does not see end have an open end and an arrow."""
    ax.broken_barh(
        [(gap.start_us / SECOND, gap.length_us / SECOND) for gap in gaps],
        (row - _BAR / 4, _BAR / 2),
        facecolor=CUT_COLOUR,
        edgecolor=CUT_COLOUR,
        linewidth=0.8,
        zorder=2.0,
        gid=LEADERLESS_GID,
    )
    open_ends = [gap.end_us for gap in gaps if gap.is_censored and shown.holds(gap.end_us)]
    if open_ends:
        ax.plot(
            [end_us / SECOND for end_us in open_ends],
            [row] * len(open_ends),
            linestyle="none",
            marker=">",
            markersize=7,
            markerfacecolor="white",
            color=CUT_COLOUR,
            label="not finished",
            clip_on=False,
            zorder=2.5,
        )


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


def _write_terms(table: TraceTables, ax: Axes, rows: dict[int, int], shown: Window) -> None:
    """Write the term of each leader on its bar, in the longest form that fits."""
    width, height = points(ax)
    size = min(8.0, 0.7 * _BAR * height / (len(rows) + 1))
    if size < _MIN_FONT_SIZE:
        return
    for leadership in table.leaderships:
        start_us = max(leadership.start_us, shown.start_us)
        length_us = min(leadership.end_us, shown.end_us) - start_us
        room = width * length_us / shown.length_us
        long, short = f"term {leadership.term}", f"{leadership.term}"
        fits = next((text for text in (long, short) if len(text) * 0.75 * size < room), None)
        if fits is not None:
            ax.text(
                (start_us + length_us / 2) / SECOND,
                rows[leadership.node],
                fits,
                ha="center",
                va="center",
                color="white",
                fontsize=size,
                clip_on=True,
                zorder=2.2,
            )


def _role_legend(ax: Axes, roles: Collection[str]) -> None:
    handles = role_handles(roles)
    handles += [line for line in ax.get_lines() if not str(line.get_label()).startswith("_")]
    side_legend(ax, handles=handles)


def plot_terms(table: Run, ax: Axes | None = None, *, window: WindowChoice = None) -> Axes:
    """Plot the highest term of the cluster over time. Every step is the start of an election."""
    from matplotlib.ticker import MaxNLocator

    shown, table = window_of(table, window), tables_of(table)
    ax = axes(ax, height=2.2)
    time_axis(ax, shown, table.begin_us)
    changes = [(row.t_us, row.term) for row in table.terms]
    times, terms = steps_in(changes, shown, min(shown.start_us, 0), table.end_us)
    ax.step(times, terms, where="post", color=SERIES_COLOURS[0], linewidth=1.6)
    shade_run(ax, table)
    ax.set_ylim(max(0, min(terms) - 1), max(terms) + 1)
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_ylabel("highest term")
    return ax


def plot_commits(
    table: Run, ax: Axes | None = None, *, name_faults: bool = True, window: WindowChoice = None
) -> Axes:
    """Plot the commit index of each node over time. While a line is flat, the node learns of no commit.

    Lines that coincide stay visible, because each is thinner than the one below it. `plot_lag` shows who lags.

    Args:
        table: the tables or the course of the run.
        ax: the axes; new ones if left out.
        name_faults: whether to write the names of the faults above the axes. False if another plot above does.
        window: the stretch to show, as in `window_of`.
    """
    from matplotlib.ticker import MaxNLocator

    shown, table = window_of(table, window), tables_of(table)
    ax = axes(ax)
    time_axis(ax, shown, table.begin_us)
    thinner = min(1.1, 4.4 / max(1, len(table.nodes) - 1))
    changes = commits_of(table)
    lowest, top = -1, 1
    for number, node in enumerate(table.nodes):
        begin_us = next((span.start_us for span in table.role_spans if span.node == node), 0)
        times, indexes = steps_in(changes[node], shown, begin_us, table.end_us)
        if not times:
            continue
        lowest, top = min(indexes) if lowest < 0 else min(lowest, *indexes), max(top, *indexes)
        ax.step(
            times,
            indexes,
            where="post",
            color=node_colour(table, node),
            linestyle=node_dashes(table, node),
            linewidth=1.0 + thinner * (len(table.nodes) - 1 - number),
            solid_capstyle="butt",
            label=f"node {node}",
        )
    shade_run(ax, table, label=name_faults)
    low = max(0, lowest) if lowest > 0.5 * top else 0  # a window of a long run begins high
    room = 0.05 * (top - low) or 0.5
    ax.set_ylim(low - room if low else 0, top + room)
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_ylabel("commit index")
    if table.nodes:
        _node_legend(ax)
    return ax


def _node_legend(ax: Axes) -> None:
    """List the nodes in at most three columns; of more nodes, the first ones."""
    from matplotlib.lines import Line2D

    rows = max(1, int(points(ax)[1] / 13))
    room = rows * _LEGEND_COLUMNS
    handles = list(ax.get_lines())
    if len(handles) > room:
        left_out = len(handles) - room + 1
        more = Line2D([], [], linestyle="none", label=f"and {left_out} more")
        handles = [*handles[: room - 1], more]
    side_legend(ax, columns=-(-len(handles) // rows), handles=handles)


def plot_watches(
    table: Run, ax: Axes | None = None, *, name_faults: bool = True, window: WindowChoice = None
) -> Axes:
    """Plot the watches of a run: one line for each watcher, in the colour of the node that serves it.

    The line is empty while the watcher has no watch. A circle shows a watch from now on; the others resume. A tick
    shows that the watcher lost its watch; after an end without a tick it moved by itself. A cross shows
    `WatchCompacted`.

    Args:
        table: the tables or the course of the run.
        ax: the axes; new ones if left out.
        name_faults: see `plot_commits`.
        window: the stretch to show, as in `window_of`.
    """
    shown, table = window_of(table, window), tables_of(table)
    ax = axes(ax, height=watches_height(table))
    time_axis(ax, shown, table.begin_us)
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
            color=node_colour(table, node),
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
        placed = [
            (t_us / SECOND, rows[span.watcher])
            for span, t_us in zip(spans, times, strict=True)
            if shown.holds(t_us)
        ]
        if placed:
            ax.plot(
                [x for x, _ in placed],
                [y for _, y in placed],
                linestyle="none",
                marker=marker,
                markersize=max(2.0, min(5.0, 0.7 * room)),
                markerfacecolor="white",
                color=colour,
                label=f"{name} ({len(placed)})",
                clip_on=False,
                zorder=3,
            )
    shade_run(ax, table, label=name_faults)
    _name_topics(ax, [topic for topic, _ in watchers], room)
    ax.set_ylim(max(len(rows), 1) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.set_ylabel("watchers")
    if begun or compacted:
        lines = max(1, int(points(ax)[1] / 13))
        side_legend(ax, columns=-(-(len(table.nodes) + 3) // lines))
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
