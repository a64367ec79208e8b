"""Draws the network at one moment of a run, with networkx."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qcore.analysis.course.course_types import Course
from qcore.analysis.plotting.time_window import Run, default_moment_us, tables_of, window_of
from qcore.analysis.spans import DirectedLink, RoleSpan, at_moment
from qcore.analysis.style import (
    CUT_COLOUR,
    MS,
    MUTED_COLOUR,
    ROLE_COLOURS,
    ROLE_LABELS,
    SECOND,
    TEXT_COLOUR,
    axes,
    label_size,
    points,
)
from qcore.analysis.tables import TraceTables, read_tables
from qcore.errors import ConfigError
from qcore.trace import TraceRecord

if TYPE_CHECKING:
    import networkx
    from matplotlib.axes import Axes

_DARK_ROLES = ("leader", "candidate")
_RADIUS = 0.31
_RING = 1.2  # the radius of a ring around a node, in radii of the node
#: The id of the rings, which show the part of the network.
RING_GID = "part"
_RING_COLOURS = ("#333333", "#009E73", "#CC79A7", "#E69F00")
_RING_DASHES = ("solid", (0, (4, 2)), (0, (1, 1.5)), (0, (5, 1.5, 1, 1.5)))
_LONGEST_PARTS = 48
_MIN_FONT_SIZE = 4.5  # points
#: Tolerance for moments, which callers give in milliseconds; traces use microseconds.
_ROUNDING_MS = 0.001


@dataclass(slots=True, frozen=True)
class NetworkState:
    """The servers and the cut links at one moment.

    Attributes:
        t_us: the moment, since the beginning of the trace.
        nodes: all nodes of the run.
        servers: the role of each server. A server that had not started yet is missing, and is drawn as absent.
        cut: the directed links between servers that carried no messages.
        is_known: False if records of that moment are missing; then this is the last known state.
    """

    t_us: int
    nodes: tuple[int, ...]
    servers: dict[int, RoleSpan]
    cut: frozenset[DirectedLink]
    is_known: bool = True

    def is_up(self, node: int) -> bool:
        """Whether the server was up."""
        return node in self.servers and self.servers[node].role != "down"

    def graph(self) -> networkx.DiGraph[int]:
        """The links that carry messages, as a directed graph over all nodes."""
        import networkx

        graph: networkx.DiGraph[int] = networkx.DiGraph()
        graph.add_nodes_from(self.nodes)
        graph.add_edges_from(
            (a, b) for a in self.nodes for b in self.nodes if a != b and (a, b) not in self.cut
        )
        return graph

    def groups(self) -> list[tuple[int, ...]]:
        """The parts of the network whose members can exchange messages in both directions, perhaps through others."""
        import networkx

        parts = networkx.strongly_connected_components(self.graph())
        return sorted(tuple(sorted(part)) for part in parts)


def network_at(table: TraceTables, at_ms: float) -> NetworkState:
    """The roles of the servers and the cut links, `at_ms` after the beginning of the trace.

    Raises:
        ConfigError: the moment is not in the run.
    """
    if not -_ROUNDING_MS <= at_ms <= table.end_us / MS + _ROUNDING_MS:
        raise ConfigError(
            f"the moment {at_ms:g} ms is not in this run, which lasts from 0 to {table.end_us / MS:g} ms"
        )
    t_us = min(max(0, round(at_ms * MS)), table.end_us)
    known = set(table.nodes)
    cut = {
        (a, b)
        for window in table.faults
        if window.cuts and window.covers(t_us)
        for a, b in window.links
        if a in known and b in known
    }
    servers = dict(at_moment(table.role_spans, t_us))
    is_known = not any(gap.start_us < t_us < gap.end_us for gap in table.gaps)
    return NetworkState(t_us, table.nodes, servers, frozenset(cut), is_known)


def draw_network(
    records: Sequence[TraceRecord] | Run, at_ms: float | None = None, ax: Axes | None = None
) -> Axes:
    """Draw the servers and links at one moment. The colour shows the role; the label names node and term.

    Grey lines carry messages in both directions, red dashed lines carry none. Where only one direction is cut, a grey
    arrow shows the direction that works and a red dashed arrow the one that is cut. Links of a server that is down are
    pale. If some parts cannot exchange messages, each part has rings of its own, and the line below the title lists
    the parts.

    All pictures of a run have the same places, sizes and legend, whatever the moment.

    Args:
        records: the records, the tables or the course of a run.
        at_ms: the moment, since the beginning of the trace; by default the middle of the worst fault, or of the run.
        ax: the axes; new ones if left out.

    Raises:
        ConfigError: the moment is not in the run.
    """
    ax = axes(ax, width=4.2, height=4.4)
    table = (
        tables_of(records) if isinstance(records, TraceTables | Course) else read_tables(records)
    )
    if at_ms is None:
        at_ms = default_moment_us(table, window_of(table)) / MS
    moment = network_at(table, at_ms)
    positions = node_positions(moment.nodes)
    outermost = max((max(abs(x), abs(y)) for x, y in positions.values()), default=0.0)
    reach = max(1.0, outermost) + _RING * _RADIUS + 0.05
    radius_pt = min(points(ax)) * _RADIUS / (2 * reach)
    _draw_links(moment, positions, ax, radius_pt)
    _draw_servers(moment, positions, ax, radius_pt)
    parts = moment.groups()
    if len(parts) > 1:
        _draw_rings(parts, positions, ax)
    # The box stays as it is, and with it the places of title and legend: layouts know them only then. `auto` lets the
    # longer side of the box show more than the data.
    ax.update_datalim([(-reach, -reach), (reach, reach)])
    ax.set_xlim(-reach, reach, auto=True)
    ax.set_ylim(-reach, reach, auto=True)
    ax.set_aspect("equal", adjustable="datalim")
    unsure = "" if moment.is_known else ", records missing"
    ax.set_title(
        f"network at {round(moment.t_us / SECOND, 3):g} s{unsure}",
        fontsize=label_size(),
        color=TEXT_COLOUR,
        pad=18,
    )
    ax.annotate(
        _name_parts(parts) if len(parts) > 1 else " ",
        (0.5, 1.0),
        xycoords="axes fraction",
        xytext=(0, 4),
        textcoords="offset points",
        ha="center",
        fontsize=8,
        color=TEXT_COLOUR,
    )
    ax.set_axis_off()
    _explain(table, ax)
    return ax


def _draw_links(moment: NetworkState, positions: Positions, ax: Axes, radius_pt: float) -> None:
    import networkx

    graph = moment.graph()
    both, one_way, cut_one_way, cut_both = _sort_links(moment)
    dead = {node for node in moment.nodes if not moment.is_up(node)}
    idle = [link for link in both if dead.intersection(link)]
    busy = [link for link in both if not dead.intersection(link)]
    thin = min(1.0, 8 / max(1, len(moment.nodes)))  # the lines of many nodes would fill the picture
    for links, colour, style, width in (
        (idle, ROLE_COLOURS["follower"], "solid", 1.0),
        (busy, MUTED_COLOUR, "solid", 1.5),
        (cut_both, CUT_COLOUR, "dashed", 1.1),
    ):
        networkx.draw_networkx_edges(
            graph,
            positions,
            edgelist=links,
            edge_color=colour,
            style=style,
            width=width * thin,
            alpha=0.6 if colour == CUT_COLOUR else 1.0,
            arrows=False,
            ax=ax,
        )
    for links, colour, style in (
        ([link for link in one_way if dead.intersection(link)], ROLE_COLOURS["follower"], "solid"),
        ([link for link in one_way if not dead.intersection(link)], MUTED_COLOUR, "solid"),
        (cut_one_way, CUT_COLOUR, "dashed"),
    ):
        networkx.draw_networkx_edges(
            graph,
            positions,
            edgelist=links,
            edge_color=colour,
            style=style,
            width=1.4 * thin,
            arrows=True,
            arrowsize=max(5, round(min(16, 0.8 * radius_pt))),
            connectionstyle="arc3,rad=0.12",
            node_size=round((2 * radius_pt) ** 2),
            ax=ax,
        )


Positions = dict[int, tuple[float, float]]


def node_positions(nodes: Sequence[int]) -> Positions:
    """The places of nodes: on one circle, clockwise from the top, in the order of the nodes."""
    from math import cos, pi, sin

    if len(nodes) == 1:
        return dict.fromkeys(nodes, (0.0, 0.0))
    turn = 2 * pi / max(1, len(nodes))
    wide = max(1.0, len(nodes) * 2.6 * _RADIUS / (2 * pi))  # so that rings do not touch
    return {
        node: (wide * sin(turn * rank), wide * cos(turn * rank)) for rank, node in enumerate(nodes)
    }


def _draw_rings(parts: Sequence[tuple[int, ...]], positions: Positions, ax: Axes) -> None:
    """Draw a ring around each node. The colour and the dashes show the part of the network that it is in."""
    from matplotlib.patches import Circle

    largest_first = sorted(parts, key=len, reverse=True)
    for number, part in enumerate(largest_first):
        for node in part:
            ax.add_patch(
                Circle(
                    positions[node],
                    _RING * _RADIUS,
                    fill=False,
                    edgecolor=_RING_COLOURS[number % len(_RING_COLOURS)],
                    linestyle=_RING_DASHES[number % len(_RING_DASHES)],
                    linewidth=1.6,
                    zorder=2.5,
                    gid=RING_GID,
                )
            )


def _name_parts(parts: Sequence[tuple[int, ...]]) -> str:
    named = " | ".join(",".join(map(str, part)) for part in parts)
    if len(named) > _LONGEST_PARTS:
        return f"{len(parts)} parts"
    return f"parts {named}"


def _sort_links(
    moment: NetworkState,
) -> tuple[list[DirectedLink], list[DirectedLink], list[DirectedLink], list[DirectedLink]]:
    """Sort pairs of nodes: both directions work, one works (and its cut counterpart), neither works."""
    both, one_way, cut_one_way, cut_both = [], [], [], []
    for position, a in enumerate(moment.nodes):
        for b in moment.nodes[position + 1 :]:
            there, back = (a, b) not in moment.cut, (b, a) not in moment.cut
            if there and back:
                both.append((a, b))
            elif not there and not back:
                cut_both.append((a, b))
            else:
                one_way.append((a, b) if there else (b, a))
                cut_one_way.append((b, a) if there else (a, b))
    return both, one_way, cut_one_way, cut_both


def _draw_servers(moment: NetworkState, positions: Positions, ax: Axes, radius_pt: float) -> None:
    from matplotlib.patches import Circle

    for node, (x, y) in positions.items():
        span = moment.servers.get(node)
        role = "down" if span is None else span.role
        ax.add_patch(
            Circle(
                (x, y),
                _RADIUS,
                facecolor=ROLE_COLOURS[role],
                edgecolor=TEXT_COLOUR if role == "leader" else MUTED_COLOUR,
                linewidth=1.6 if role == "leader" else 1.0,
                linestyle="--" if role == "down" else "-",
                zorder=3,
            )
        )
        state = "absent" if span is None else "down" if role == "down" else f"term {span.term}"
        lines = [f"{node}", state]
        size = _font_size(lines, radius_pt)
        if size < _MIN_FONT_SIZE:  # leave out the state: the colour shows the role
            lines = lines[:1]
            size = max(_MIN_FONT_SIZE - 1, _font_size(lines, radius_pt))
        ax.text(
            x,
            y,
            "\n".join(lines),
            ha="center",
            va="center",
            fontsize=size,
            zorder=4,
            color="white" if role in _DARK_ROLES else TEXT_COLOUR,
        )


def _font_size(lines: Sequence[str], radius_pt: float) -> float:
    """The largest size, up to 8 points, at which the lines fit into a circle."""
    longest = max(len(line) for line in lines)
    return min(8.0, 1.75 * radius_pt / (0.62 * longest), 1.5 * radius_pt / (1.2 * len(lines)))


def _explain(table: TraceTables, ax: Axes) -> None:
    """Draw the legend of colours and lines below the picture. Next to the circles it would overlap other plots.

    It lists what occurs in the run, so that it has the same size for each moment.
    """
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    shown = {span.role for span in table.role_spans}
    handles: list[Patch | Line2D] = [
        Patch(facecolor=colour, edgecolor=MUTED_COLOUR, linewidth=0.5, label=ROLE_LABELS[role])
        for role, colour in ROLE_COLOURS.items()
        if role in shown
    ]
    if any(fault.cuts for fault in table.faults):
        handles += [
            Line2D([], [], color=MUTED_COLOUR, linewidth=1.5, label="messages pass"),
            Line2D([], [], color=CUT_COLOUR, linewidth=1.1, linestyle="--", label="cut"),
        ]
    if handles:
        ax.legend(
            handles=handles,
            loc="upper center",
            bbox_to_anchor=(0.5, 0.0),
            ncols=min(3, len(handles)),
            frameon=False,
            fontsize=8,
            handlelength=1.6,
            columnspacing=1.2,
        )
