"""Plots how the operations of the clients ended, and which checks failed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from qcore.analysis.plotting.time_window import (
    Run,
    Window,
    WindowChoice,
    shade_run,
    tables_of,
    time_axis,
    window_of,
)
from qcore.analysis.style import (
    CUT_COLOUR,
    OUTCOMES,
    SECOND,
    TEXT_COLOUR,
    axes,
    label_size,
    points,
    text_width,
)
from qcore.analysis.tables import OperationRow, TraceTables, ViolationRow
from qcore.display import escape_unprintable, truncate

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: The id of the waiting times among the collections of axes.
WAITS_GID: Final = "waits"
_PLACES: Final = 1_500  # marks nearer to each other than this share of the window coincide
_LONGEST_NAME: Final = 40


def plot_outcomes(
    table: Run, ax: Axes | None = None, *, name_faults: bool = True, window: WindowChoice = None
) -> Axes:
    """Plot the outcomes of the clients' operations: a row for each outcome, with its count, and one for violations.

    A tick shows when an operation succeeded. A cross shows when one was refused: it certainly had no effect. A
    triangle shows when a client stopped waiting: the operation may have had an effect. The line before a cross or
    triangle is the time for which the client waited. The trace does not say how an operation without an outcome ended.
    A red triangle shows a violation, with the name of the check that failed.

    Args:
        table: the tables or the course of the run.
        ax: the axes; new ones if left out.
        name_faults: whether to write the names of the faults above the axes. False if another plot above does.
        window: the stretch to show, as in `window_of`.
    """
    shown, table = window_of(table, window), tables_of(table)
    ax = axes(ax, height=outcomes_height(table))
    time_axis(ax, shown, table.begin_us)
    labels: list[str] = []
    for outcome, (marker, colour, name) in OUTCOMES.items():
        rows = [row for row in table.operations if row.outcome == outcome]
        rows = [row for row in rows if shown.holds(_end_us(row, table))]
        if rows:
            drawn_as = "|" if outcome == "ok" else marker
            _draw_row(ax, len(labels), rows, shown, table, drawn_as, colour)
        if rows or outcome == "ok":
            labels.append(f"{'open' if outcome == 'open' else name} ({len(rows)})")
    violations = [row for row in table.violations if shown.holds(row.t_us)]
    if violations:
        _draw_violations(ax, len(labels), violations)
        labels.append(f"violations ({len(violations)})")
    shade_run(ax, table, label=name_faults)
    height = points(ax)[1] / max(1, len(labels))
    ax.set_yticks(range(len(labels)), labels, fontsize=min(label_size(), 0.8 * height))
    ax.set_ylim(len(labels) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    return ax


def outcomes_height(table: TraceTables) -> float:
    """The height of a plot of the outcomes of a run, inches."""
    kinds = {row.outcome for row in table.operations} | {"ok"}
    return 0.7 + 0.26 * (len(kinds) + bool(table.violations))


def _end_us(row: OperationRow, table: TraceTables) -> int:
    return table.end_us if row.end_us is None else row.end_us


def _draw_row(
    ax: Axes,
    place: int,
    rows: Sequence[OperationRow],
    shown: Window,
    table: TraceTables,
    marker: str,
    colour: str,
) -> None:
    ends = {
        round((_end_us(row, table) - shown.start_us) * _PLACES / shown.length_us): row
        for row in rows
    }
    if marker != "|":
        ax.hlines(
            [place] * len(rows),
            [max(row.invoke_us, shown.start_us) / SECOND for row in rows],
            [_end_us(row, table) / SECOND for row in rows],
            color=colour,
            linewidth=1.0,
            alpha=0.6 if len(rows) < 50 else 0.25,
            zorder=2,
            gid=WAITS_GID,
        )
    size = min(7.0, 0.12 * points(ax)[1])
    ax.plot(
        [_end_us(row, table) / SECOND for row in ends.values()],
        [place] * len(ends),
        linestyle="none",
        marker=marker,
        markersize=size,
        markeredgewidth=0.8,
        markerfacecolor="white",
        color=colour,
        clip_on=False,
        zorder=2.2,
    )


def _draw_violations(ax: Axes, place: int, rows: Sequence[ViolationRow]) -> None:
    """Mark the violations, and write the names of those that have room."""
    ax.plot(
        [row.t_us / SECOND for row in rows],
        [place] * len(rows),
        linestyle="none",
        marker="v",
        markersize=7,
        color=CUT_COLOUR,
        clip_on=False,
        zorder=3,
    )
    left, right = ax.get_xlim()
    width = 0.9 * points(ax)[0]  # legends and labels take some of it
    places = [(row.t_us / SECOND - left) / (right - left) * width for row in rows]
    free_from = 0.0
    for number, (row, at) in enumerate(zip(rows, places, strict=True)):
        name = truncate(escape_unprintable(row.check), _LONGEST_NAME)
        length = text_width(name, 8) + 8
        before = at + length > width  # no room on the right side
        begin, end = (at - length, at) if before else (at, at + length)
        following = places[number + 1] if number + 1 < len(places) else float("inf")
        if begin < free_from or (not before and end > following - 5):
            free_from = max(free_from, at + 5)
            continue
        ax.annotate(
            name,
            (row.t_us / SECOND, place),
            xytext=(-6 if before else 6, 0),
            textcoords="offset points",
            ha="right" if before else "left",
            va="center",
            fontsize=8,
            color=TEXT_COLOUR,
            parse_math=False,
        )
        free_from = max(end, at + 5)
