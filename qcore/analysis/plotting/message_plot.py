"""Plots how many messages the nodes send each other, and how many are lost."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from qcore.analysis.course.course_types import Course
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
    MUTED_COLOUR,
    SECOND,
    SERIES_COLOURS,
    axes,
    side_legend,
)
from qcore.analysis.tables import TraceTables

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: The classes of messages, from the bottom of the plot, with the beginnings of their names, colour and hatch.
MESSAGE_CLASSES: Final = (
    ("appends", ("AppendEntries",), SERIES_COLOURS[0], ""),
    ("responses", ("AppendEntriesResponse",), "#A6D4F2", ""),
    ("elections", ("PreVote", "RequestVote", "TimeoutNow"), SERIES_COLOURS[5], "xxxx"),
    ("client requests", ("Forward", "ReadIndex"), "#F0C05A", "...."),
    ("snapshots", ("InstallSnapshot",), SERIES_COLOURS[2], "||||"),
    ("others", ("",), MUTED_COLOUR, ""),
)
_BARS: Final = 150

_Counts = dict[str, list[int]]


def class_of(message: str) -> str:
    """The class of a message, by its name."""
    if message == "AppendEntriesResponse":
        return "responses"
    return next(name for name, starts, _, _ in MESSAGE_CLASSES if message.startswith(starts))


def plot_messages(
    table: Run, ax: Axes | None = None, *, name_faults: bool = True, window: WindowChoice = None
) -> Axes:
    """Plot how many messages a second the nodes send, by class, stacked; below the axis, how many are lost.

    Tables count messages in stretches of 10 ms, or longer ones if the run lasts more than 40 s. For a short window of
    a long run, use the course.

    Args:
        table: the tables or the course of the run.
        ax: the axes; new ones if left out.
        name_faults: whether to write the names of the faults above the axes. False if another plot above does.
        window: the stretch to show, as in `window_of`.
    """
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    run, shown, table = table, window_of(table, window), tables_of(table)
    ax = axes(ax, height=2.4)
    time_axis(ax, shown, table.begin_us)
    bars, length_us = _bars(table, shown, exact=isinstance(run, Course))
    sent, lost = _counts(run, shown, bars, length_us)
    edges = [
        min(shown.start_us + number * length_us, shown.end_us) / SECOND
        for number in range(bars + 1)
    ]
    a_second = SECOND / length_us
    below = [0.0] * bars
    for name, _, colour, hatch in MESSAGE_CLASSES:
        if not any(sent[name]):
            continue
        above = [low + count * a_second for low, count in zip(below, sent[name], strict=True)]
        ax.stairs(
            above,
            edges,
            baseline=below,
            fill=True,
            facecolor=colour,
            edgecolor="white" if hatch else colour,
            linewidth=0,
            hatch=hatch or None,
            label=f"{name} ({sum(sent[name])})",
            zorder=2,
        )
        below = above
    most_lost = 0.0
    if any(lost):
        rates = [-count * a_second for count in lost]
        most_lost = -min(rates)
        ax.stairs(
            rates,
            edges,
            fill=True,
            facecolor="white",
            edgecolor=CUT_COLOUR,
            linewidth=0.6,
            hatch="////",
            label=f"lost ({sum(lost)})",
            zorder=2,
        )
    ax.axhline(0, color=MUTED_COLOUR, linewidth=0.8, zorder=2.5)
    shade_run(ax, table, label=name_faults)
    top = max([*below, 1.0])
    ax.set_ylim(-1.1 * most_lost, 1.05 * top)
    ax.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{abs(value):g}"))
    ax.set_ylabel("messages a second")
    if any(any(counts) for counts in sent.values()) or any(lost):
        side_legend(ax)
    return ax


def _bars(table: TraceTables, shown: Window, *, exact: bool) -> tuple[int, int]:
    """The number of bars and the length of each, a multiple of that of the bins of the tables."""
    least = 1
    if not exact and table.message_bins:
        least = max(row.end_us - row.start_us for row in table.message_bins)
    length_us = -(-shown.length_us // _BARS)
    length_us = -(-length_us // least) * least
    return -(-shown.length_us // length_us), length_us


def _counts(run: Run, shown: Window, bars: int, length_us: int) -> tuple[_Counts, list[int]]:
    sent: _Counts = {name: [0] * bars for name, *_ in MESSAGE_CLASSES}
    lost = [0] * bars
    for t_us, name, is_lost, count in _messages(run, shown):
        number = min((t_us - shown.start_us) // length_us, bars - 1)
        if is_lost:
            lost[number] += count
        else:
            sent[class_of(name)][number] += count
    return sent, lost


def _messages(run: Run, shown: Window) -> Iterator[tuple[int, str, bool, int]]:
    """Time, name, whether they were lost, and number of messages."""
    if isinstance(run, Course):
        messages = run.messages
        for number in messages.between(shown.start_us, shown.end_us):
            if shown.holds(messages.sent_us[number]):
                yield messages.sent_us[number], messages.name[number], False, 1
            if messages.outcome[number] == 1 and shown.holds(messages.end_us[number]):
                yield messages.end_us[number], messages.name[number], True, 1
        return
    for row in run.message_bins:
        middle_us = (row.start_us + row.end_us) // 2
        if shown.holds(middle_us):
            yield middle_us, row.message, False, row.sent
            yield middle_us, row.message, True, row.dropped
