"""Lines of nodes over time: their colours, their commit indexes, and the part of them that a window shows."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Final

from qcore.analysis.plotting.time_window import Window
from qcore.analysis.style import SECOND, SERIES_COLOURS
from qcore.analysis.tables import TraceTables

LineStyle = str | tuple[int, tuple[int, int]]

#: When there are more nodes than colours, the next ones are dashed.
_DASHES: Final[tuple[LineStyle, ...]] = ("-", (0, (4, 1)), (0, (1, 1)))

Change = tuple[int, int]


def node_colour(table: TraceTables, node: int) -> str:
    """The colour of a node in all plots of a run."""
    return SERIES_COLOURS[table.nodes.index(node) % len(SERIES_COLOURS)]


def node_dashes(table: TraceTables, node: int) -> LineStyle:
    """The dashes of the line of a node: solid for as many nodes as there are colours."""
    return _DASHES[table.nodes.index(node) // len(SERIES_COLOURS) % len(_DASHES)]


def commits_of(table: TraceTables) -> dict[int, list[Change]]:
    """Node -> the changes of its commit index (time, index), in order."""
    changes: dict[int, list[Change]] = {node: [] for node in table.nodes}
    for row in table.commits:
        changes.setdefault(row.node, []).append((row.t_us, row.index))
    return changes


def steps_in(
    changes: Sequence[Change], shown: Window, begin_us: int, end_us: int
) -> tuple[list[float], list[int]]:
    """The corners (seconds, value) of a number over time, from the start of a window to its end.

    Args:
        changes: time and value of each change, in order.
        shown: the window.
        begin_us: where the number begins, with the value 0.
        end_us: where it ends.
    """
    start_us, stop_us = max(begin_us, shown.start_us), min(end_us, shown.end_us)
    if start_us > stop_us:
        return [], []
    times = [t_us for t_us, _ in changes]
    first, last = bisect_right(times, start_us), bisect_right(times, stop_us)
    before = changes[first - 1][1] if first else 0
    values = [value for _, value in changes[first:last]]
    return (
        [t_us / SECOND for t_us in (start_us, *times[first:last], stop_us)],
        [before, *values, values[-1] if values else before],
    )
