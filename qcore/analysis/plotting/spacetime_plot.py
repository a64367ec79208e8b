"""Draws the space-time diagram of a window: who sent what to whom, what was lost, and what an event depends on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Literal

from qcore.analysis.course.causality import Cone, cone
from qcore.analysis.course.course_types import Course
from qcore.analysis.plotting.spacetime_layout import (
    Arrow,
    ArrowClass,
    Mark,
    MarkKind,
    SpacetimeLayout,
    spacetime_layout,
)
from qcore.analysis.plotting.time_window import WindowChoice, count_from, shade_run
from qcore.analysis.style import (
    CUT_COLOUR,
    FAULT_COLOUR,
    MUTED_COLOUR,
    ROLE_COLOURS,
    SECOND,
    TEXT_COLOUR,
    axes,
    label_size,
    points,
    role_handles,
    side_legend,
    text_width,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Direction = Literal["right", "down"]

#: The ids of arrows, and of the crosses of lost messages.
ARROW_GID: Final = "message"
LOST_GID: Final = "lost"
#: Colour, width and dashes of each class of messages.
_LINES: Final[dict[ArrowClass, tuple[str, float, Literal["solid", "dashed", "dotted"]]]] = {
    "vote request": ("#D55E00", 1.5, "solid"),
    "vote response": ("#D55E00", 1.2, "dashed"),
    "snapshot": ("#009E73", 2.0, "solid"),
    "append": ("#0072B2", 0.8, "solid"),
    "response": (MUTED_COLOUR, 0.6, "dashed"),
    "other": ("#CC79A7", 0.8, "dotted"),
}
#: Marker, size, fill and name of each kind of mark; roles are texts.
_MARKS: Final[dict[MarkKind, tuple[str, float, str, str]]] = {
    "vote": ("^", 6, TEXT_COLOUR, "vote"),
    "granted": ("o", 5, "white", "vote granted"),
    "rejected": ("X", 6, "white", "vote rejected"),
    "commit": ("|", 6, TEXT_COLOUR, "commit"),
}
_PAST, _FUTURE = "#0072B2", "#D55E00"
_BAND: Final = 0.16  # half the height of a lane's band, in lanes
_STUB: Final = 0.45  # how far the line of a lost message goes at most


def plot_spacetime(
    course: Course,
    window: WindowChoice = None,
    ax: Axes | None = None,
    *,
    highlight: int | None = None,
    direction: Direction = "right",
    most: int = 400,
) -> Axes:
    """Draw the space-time diagram of a window.

    Each node has a lane, whose colour shows its role. An arrow is a message, from its sending to its receipt; a cross
    ends a message that was lost. Marks show votes, the responses that candidates received, and commits.

    Args:
        course: the course of the run.
        window: the stretch to show, as in `window_of`; by default the longest election after the first.
        ax: the axes; new ones if left out.
        highlight: the number of an event. Messages in its causal past are blue and those in its future orange; the
            others are pale.
        direction: where time goes.
        most: the most messages to draw; a line below the diagram says how many are left out.

    Raises:
        ConfigError: the window is not in the run.
        IndexError: the course has no such event.
    """
    reach = None if highlight is None else cone(course, highlight)
    kept = frozenset() if reach is None else reach.past_messages | reach.future_messages
    layout = spacetime_layout(course, window, most=most, keep=kept)
    count = max(1, len(layout.lanes))
    across = direction == "right"
    size = (9.0, 1.3 + 0.75 * count) if across else (1.6 + 1.1 * count, 8.0)
    drawing = _Drawing(axes(ax, *size), layout, across=across)
    drawing.frame()
    count_from(drawing.ax.xaxis if direction == "right" else drawing.ax.yaxis, course.begin_us)
    if across:
        shade_run(drawing.ax, course.tables)
    else:
        drawing.shade_down(course)
    drawing.lanes()
    drawing.arrows(reach)
    if highlight is not None:
        drawing.event(course, highlight)
    drawing.marks()
    drawing.legend(reaches=reach is not None)
    return drawing.ax


class _Drawing:
    """Draws a layout; time goes to the right, or down.

    Args:
        ax: the axes.
        layout: what to draw.
        across: whether time goes to the right.
    """

    def __init__(self, ax: Axes, layout: SpacetimeLayout, *, across: bool) -> None:
        self.ax = ax
        self._layout = layout
        self._across = across
        self._row = {lane.node: row for row, lane in enumerate(layout.lanes)}

    def _at(self, t_us: float, row: float) -> tuple[float, float]:
        seconds = t_us / SECOND
        return (seconds, row) if self._across else (row, seconds)

    def frame(self) -> None:
        """Set the limits and name the lanes."""
        ax, shown, count = self.ax, self._layout.window, len(self._row)
        ends = (max(count, 1) - 0.4, -0.6)
        names = [f"node {node}" for node in self._row]
        if self._across:
            ax.set_xlim(shown.start_s, shown.end_s)
            ax.set_ylim(*ends)
            height = points(ax)[1] / max(1, count)
            ax.set_yticks(range(count), names, fontsize=min(label_size(), 0.8 * height))
            ax.tick_params(axis="y", length=0)
            ax.set_xlabel("time, s")
        else:
            ax.set_xlim(*reversed(ends))
            ax.set_ylim(shown.end_s, shown.start_s)
            ax.xaxis.tick_top()
            width = points(ax)[0] / max(1, count)
            ax.set_xticks(range(count), names, fontsize=min(label_size(), 0.2 * width))
            ax.tick_params(axis="x", length=0)
            ax.set_ylabel("time, s")
        ax.spines["left" if self._across else "bottom"].set_visible(False)

    def shade_down(self, course: Course) -> None:
        """Shade the faults of a diagram whose time goes down, without their names."""
        shown = self._layout.window
        for fault in course.tables.faults:
            if shown.overlaps(fault.start_us, fault.end_us):
                self.ax.axhspan(
                    max(fault.start_us, shown.start_us) / SECOND,
                    min(fault.end_us, shown.end_us) / SECOND,
                    color=FAULT_COLOUR,
                    alpha=0.12,
                    linewidth=0,
                    zorder=0,
                )

    def lanes(self) -> None:
        """Draw the lanes in the colours of the roles."""
        from matplotlib.patches import Rectangle

        shown = self._layout.window
        for lane in self._layout.lanes:
            row = self._row[lane.node]
            for span in lane.spans:
                start = max(span.start_us, shown.start_us)
                length = (min(span.end_us, shown.end_us) - start) / SECOND
                down = span.role == "down"
                self.ax.add_patch(
                    Rectangle(
                        self._at(start, row - _BAND),
                        *((length, 2 * _BAND) if self._across else (2 * _BAND, length)),
                        facecolor=ROLE_COLOURS[span.role],
                        edgecolor=MUTED_COLOUR,
                        hatch="////" if down else None,
                        linewidth=0.4,
                        zorder=1,
                        gid=span.role,
                    )
                )

    def arrows(self, reach: Cone | None) -> None:
        """Draw the messages. Those outside the reach of a chosen event are pale."""
        from matplotlib.patches import FancyArrowPatch

        crosses: list[tuple[float, float]] = []
        for arrow in self._layout.arrows:
            if arrow.source not in self._row or arrow.target not in self._row:
                continue
            colour, width, dashes = _LINES[arrow.kind]
            alpha, layer = 1.0, 2.0
            if reach is not None:
                is_past = arrow.message in reach.past_messages
                if is_past or arrow.message in reach.future_messages:
                    colour, width, layer = (_PAST if is_past else _FUTURE), 1.6, 2.2
                else:
                    alpha = 0.2
            begin, end = self._ends(arrow)
            lost = arrow.outcome == "lost"
            self.ax.add_patch(
                FancyArrowPatch(
                    begin,
                    end,
                    arrowstyle="-" if arrow.outcome != "received" else "-|>",
                    mutation_scale=7,
                    shrinkA=0,
                    shrinkB=0,
                    color=CUT_COLOUR if lost and reach is None else colour,
                    linewidth=width,
                    linestyle=dashes,
                    alpha=alpha,
                    zorder=layer,
                    clip_on=True,
                    gid=ARROW_GID,
                )
            )
            if lost:
                crosses.append(end)
        if crosses:
            self.ax.plot(
                [x for x, _ in crosses],
                [y for _, y in crosses],
                linestyle="none",
                marker="x",
                markersize=6,
                markeredgewidth=1.6,
                color=CUT_COLOUR,
                zorder=2.4,
                gid=LOST_GID,
            )

    def _ends(self, arrow: Arrow) -> tuple[tuple[float, float], tuple[float, float]]:
        """Where an arrow begins and ends: at the edges of the lanes; a lost message ends on its way."""
        source, target = self._row[arrow.source], self._row[arrow.target]
        side = _BAND if target > source else -_BAND
        end_us = arrow.end_us
        share = 1.0
        if arrow.outcome != "received":
            share = _STUB
            least = 0.008 * self._layout.window.length_us
            end_us = round(max(arrow.sent_us + least, min(end_us, arrow.sent_us + 4 * least)))
        first, last = source + side, target - side
        return self._at(arrow.sent_us, first), self._at(end_us, first + share * (last - first))

    def event(self, course: Course, number: int) -> None:
        """Draw a ring around a chosen event."""
        record = course.records[number]
        if record.node in self._row:
            x, y = self._at(record.t_us - course.origin_us, self._row[record.node])
            self.ax.plot(
                [x],
                [y],
                marker="o",
                markersize=12,
                markerfacecolor="none",
                markeredgewidth=2,
                color=TEXT_COLOUR,
                linestyle="none",
                label="chosen event",
                zorder=4,
            )

    def marks(self) -> None:
        """Draw the marks, and write the roles that have room."""
        from matplotlib.patheffects import withStroke

        outlined = [withStroke(linewidth=2.4, foreground="white")]  # visible on dark lanes, too
        for kind, (marker, size, fill, name) in _MARKS.items():
            found = [m for m in self._layout.marks if m.kind == kind and m.node in self._row]
            if not found:
                continue
            places = [self._at(mark.t_us, self._row[mark.node]) for mark in found]
            turned = "_" if marker == "|" and not self._across else marker
            self.ax.plot(
                [x for x, _ in places],
                [y for _, y in places],
                linestyle="none",
                marker=turned,
                markersize=size,
                markerfacecolor=fill,
                markeredgecolor=TEXT_COLOUR,
                color=TEXT_COLOUR,
                markeredgewidth=0.9,
                label=name,
                clip_on=False,
                path_effects=outlined,
                zorder=3,
            )
        self._write_roles([mark for mark in self._layout.marks if mark.kind == "role"])

    def _write_roles(self, marks: Sequence[Mark]) -> None:
        shown = self._layout.window
        length = 0.9 * points(self.ax)[0 if self._across else 1]
        free: dict[int, float] = {}
        size = 7.0
        for mark in marks:
            if mark.node not in self._row:
                continue
            begin = (mark.t_us - shown.start_us) / shown.length_us * length
            room = text_width(mark.text, size) + 6 if self._across else 1.6 * size
            begin = min(begin, length - room) if self._across else begin
            if begin < free.get(mark.node, 0.0):
                continue
            free[mark.node] = begin + room
            x, y = self._at(shown.start_us + begin / length * shown.length_us, self._row[mark.node])
            self.ax.annotate(
                mark.text,
                (x, y),
                xytext=(1, 9) if self._across else (9, 0),
                textcoords="offset points",
                fontsize=size,
                color=TEXT_COLOUR,
                va="bottom" if self._across else "center",
                zorder=5,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6, "alpha": 0.8},
            )

    def legend(self, *, reaches: bool) -> None:
        """Draw the legend of what occurs, and say how many messages are left out."""
        from matplotlib.lines import Line2D

        roles = {span.role for lane in self._layout.lanes for span in lane.spans}
        kinds = {arrow.kind for arrow in self._layout.arrows}
        handles = role_handles(roles)
        handles += [
            Line2D([], [], color=colour, linewidth=width, linestyle=dashes, label=kind)
            for kind, (colour, width, dashes) in _LINES.items()
            if kind in kinds
        ]
        if reaches:
            handles += [
                Line2D([], [], color=colour, linewidth=1.6, label=name)
                for colour, name in ((_PAST, "causal past"), (_FUTURE, "causal future"))
            ]
        if any(arrow.outcome == "lost" for arrow in self._layout.arrows):
            handles.append(
                Line2D([], [], color=CUT_COLOUR, marker="x", linestyle="none", label="lost")
            )
        handles += [
            line for line in self.ax.get_lines() if not str(line.get_label()).startswith("_")
        ]
        if handles:
            side_legend(self.ax, handles=handles)
        if self._layout.omitted:
            text = f"messages that are not shown: {self._layout.omitted}"
            self.ax.annotate(
                text,
                (0.0, 0.0),
                xycoords="axes fraction",
                xytext=(0, -38 if self._across else -12),
                textcoords="offset points",
                fontsize=8,
                color=TEXT_COLOUR,
                annotation_clip=False,
            )
