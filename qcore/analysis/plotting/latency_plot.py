"""Plots latencies over time: what the client saw, and how long the commit took."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Literal

from qcore.analysis.course.course_types import Course
from qcore.analysis.plotting.time_window import (
    Run,
    WindowChoice,
    shade_run,
    tables_of,
    time_axis,
    window_of,
)
from qcore.analysis.style import MS, OUTCOMES, SECOND, SERIES_COLOURS, axes, side_legend
from qcore.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Latency = Literal["client", "commit", "both"]

_COMMIT: Final = (".", SERIES_COLOURS[1], "commit at the leader")
_MANY: Final = 1_000  # so many dots are drawn faintly


def plot_commit_latency(
    table: Run | Sequence[Run],
    ax: Axes | None = None,
    *,
    op: str = "write",
    what: Latency | None = None,
    window: WindowChoice = None,
) -> Axes:
    """Plot the latency of operations over time, on a logarithmic scale: one dot for each operation with outcome ok.

    Operations that were refused, and those whose outcome is unknown, have separate marks, at the time until then.
    Several runs share the axes; the faults are those of the first run.

    Args:
        table: the tables or the course of a run, or of several.
        ax: the axes; new ones if left out.
        op: the operations to draw.
        what: `client` is what the client saw, forwarding and waiting included. `commit` is the time from the append at
            the leader to the commit there, for which the course of a run is needed. Default: `both` for a course,
            `client` for tables.
        window: the stretch to show, as in `window_of`; only for a single run.

    Raises:
        ConfigError: commit latencies were asked of tables.
    """
    runs = [table] if isinstance(table, Course) or not isinstance(table, Sequence) else list(table)
    courses = [run for run in runs if isinstance(run, Course)]
    chosen = what or ("both" if courses and len(courses) == len(runs) else "client")
    if chosen != "client" and len(courses) < len(runs):
        raise ConfigError("tables do not hold commit latencies: pass the course of the run")
    ax = axes(ax)
    shown = None
    if len(runs) == 1:
        shown = window_of(runs[0], window)
        time_axis(ax, shown, tables_of(runs[0]).begin_us)
    elif runs:
        ax.set_xlim(0, max(tables_of(run).end_us or SECOND for run in runs) / SECOND)

    def draw(found: Sequence[tuple[int, int]], marker: str, colour: str, name: str) -> None:
        kept = [pair for pair in found if shown is None or shown.holds(pair[0])]
        ax.plot(
            [start_us / SECOND for start_us, _ in kept],
            [max(1, length_us) / MS for _, length_us in kept],
            linestyle="none",
            marker=marker,
            markersize=4,
            markerfacecolor=colour if marker == "." else "none",
            color=colour,
            alpha=0.8 if len(kept) < _MANY else 0.25,
            label=f"{name} ({len(kept)})",
        )

    if chosen in ("client", "both"):
        rows = [row for run in runs for row in tables_of(run).operations if row.op == op]
        for outcome in ("ok", "refused", "unknown"):
            marker, colour, name = OUTCOMES[outcome]
            draw(
                [
                    (row.invoke_us, (row.end_us or 0) - row.invoke_us)
                    for row in rows
                    if row.outcome == outcome
                ],
                marker,
                colour,
                f"{name}, seen by the client" if chosen == "both" and outcome == "ok" else name,
            )
    if chosen in ("commit", "both"):
        took = [
            (operation.appended_us, operation.commit_latency_us)
            for course in courses
            for operation in course.operations
            if operation.op == op
        ]
        draw([(a, b) for a, b in took if a is not None and b is not None], *_COMMIT)
    if runs:
        shade_run(ax, tables_of(runs[0]))
    _scale(ax)
    ax.set_xlabel(f"start of the {op}, s")
    ax.set_ylabel(f"{op} latency, ms" if chosen != "commit" else "commit latency, ms")
    for handle in side_legend(ax).legend_handles:
        if handle is not None:
            handle.set_alpha(1)
    return ax


def _scale(ax: Axes) -> None:
    """Make the y axis logarithmic, over at least one decade, because less would show no ticks."""
    from matplotlib.ticker import LogLocator, NullFormatter

    ax.set_yscale("log")
    shortest, longest = ax.dataLim.y0, ax.dataLim.y1
    low, high = (shortest / 1.3, longest * 1.3) if longest > 0 else (1.0, 1000.0)
    middle = (low * high) ** 0.5
    ax.set_ylim(min(low, middle / 10**0.5), max(high, middle * 10**0.5))
    ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high < 30 * low else (1.0,)))
    ax.yaxis.set_major_formatter(lambda value, _position: f"{value:g}")
    ax.yaxis.set_minor_formatter(NullFormatter())
