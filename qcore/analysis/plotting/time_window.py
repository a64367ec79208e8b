"""The stretch of a run that a picture shows: chosen by time, election, fault or violation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from qcore.analysis.course.course_types import Course
from qcore.analysis.spans import FaultWindow, Span
from qcore.analysis.style import MS, SECOND, shade_faults
from qcore.analysis.tables import TraceTables
from qcore.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

#: The names of faults that stop servers end so.
STOPS: Final = ("] crash", "] power_loss", "] wipe", "] pause")
_KINDS: Final = ("election", "fault", "leaderless", "violation")
_MARGIN: Final = 0.2  # of the length, on each side
_LEAST_MARGIN_US: Final = 5_000
_AROUND_A_MOMENT_US: Final = 250_000


@dataclass(slots=True, frozen=True)
class Window:
    """A stretch of a run, in microseconds since the trace's first record."""

    start_us: int
    end_us: int

    @property
    def start_s(self) -> float:
        return self.start_us / SECOND

    @property
    def end_s(self) -> float:
        return self.end_us / SECOND

    @property
    def length_us(self) -> int:
        return self.end_us - self.start_us

    def holds(self, t_us: int) -> bool:
        """Whether a moment lies in it, ends included."""
        return self.start_us <= t_us <= self.end_us

    def overlaps(self, start_us: int, end_us: int) -> bool:
        """Whether a stretch lies in it, at least in part."""
        return start_us <= self.end_us and end_us >= self.start_us


#: What is drawn: tables of a trace, or its course. Elections are only in a course.
Run = TraceTables | Course
#: How callers choose a window: see `window_of`.
WindowChoice = Window | Span | tuple[float, float] | str | None


def tables_of(run: Run) -> TraceTables:
    """The tables of a run."""
    return run.tables if isinstance(run, Course) else run


def window_of(run: Run, choice: WindowChoice = None) -> Window:
    """The window that a caller chose.

    Args:
        run: the tables or the course of a run.
        choice: a pair of times in milliseconds since the trace's first record; a window or span; or one of
            `election:2`, `fault:1`, `fault:worst`, `leaderless:1`, `violation:1`, counted from 1, with a margin before
            and after it. None: from the beginning of the cluster to the end of the run.

    Raises:
        ConfigError: the run has no such election, fault or violation, or the window is not in the run.
    """
    table = tables_of(run)
    is_moment = table.begin_us >= table.end_us  # one second shows a trace of a single moment
    whole = Window(table.begin_us, table.begin_us + SECOND if is_moment else table.end_us)
    if choice is None or choice == whole:
        return whole
    if isinstance(choice, str):
        return _named(run, choice)
    if isinstance(choice, tuple):
        start_us, end_us = round(choice[0] * MS), round(choice[1] * MS)
    else:
        start_us, end_us = choice.start_us, choice.end_us
    if not (start_us < end_us and start_us < table.end_us and end_us > 0):
        raise ConfigError(
            f"the window from {start_us / MS:g} to {end_us / MS:g} ms is not in this run, which lasts from 0 to "
            f"{table.end_us / MS:g} ms"
        )
    return Window(max(0, start_us), min(end_us, table.end_us))


def _named(run: Run, choice: str) -> Window:
    table = tables_of(run)
    kind, _, which = choice.partition(":")
    if kind not in _KINDS or not (which.isdecimal() or choice == "fault:worst"):
        raise ConfigError(
            f"no window is named {choice!r}: write election:N, fault:N, fault:worst, leaderless:N, violation:N, or two "
            "times in milliseconds"
        )
    if kind == "election":
        if not isinstance(run, Course):
            raise ConfigError(f"tables have no elections: for {choice}, pass the course of the run")
        stretches = [
            (election.cause_us, max(election.end_us, election.ready_us or 0))
            for election in run.elections
        ]
    elif kind == "violation":
        stretches = [
            (row.t_us - _AROUND_A_MOMENT_US, row.t_us + _AROUND_A_MOMENT_US)
            for row in table.violations
        ]
    elif kind == "leaderless":
        stretches = [(span.start_us, span.end_us) for span in table.leaderless]
    else:
        faults: Sequence[FaultWindow] = table.faults
        if which == "worst":
            worst = worst_fault(table)
            faults, which = [worst] if worst is not None else [], "1"
        stretches = [(fault.start_us, fault.end_us) for fault in faults]
    number = int(which)
    if not 1 <= number <= len(stretches):
        count = f"only {len(stretches)}" if stretches else "none"
        raise ConfigError(f"this run has no {choice}: it has {count}")
    start_us, end_us = stretches[number - 1]
    margin = max(_LEAST_MARGIN_US, round(_MARGIN * (end_us - start_us)))
    start_us, end_us = max(0, start_us - margin), min(table.end_us, end_us + margin)
    return Window(start_us, max(end_us, start_us + 1))


def worst_fault(table: TraceTables) -> FaultWindow | None:
    """The fault that cost the longest time without a leader. None if the run has no fault.

    Faults that cut links or stop servers go first if they cost any; of equal ones, the longest. Time without a leader
    counts whole if it began during the fault, else the part of it that the fault covers. The time before the first
    leader does not count.
    """
    gaps = [span for span in table.leaderless if span.start_us > table.begin_us]

    def badness(fault: FaultWindow) -> tuple[bool, int, bool, int]:
        lost = sum(
            gap.end_us - max(gap.start_us, fault.start_us)
            if fault.start_us <= gap.start_us <= fault.end_us
            else max(0, min(gap.end_us, fault.end_us) - max(gap.start_us, fault.start_us))
            for gap in gaps
        )
        harms = fault.cuts or fault.fault.endswith(STOPS)
        return harms and lost > 0, lost, harms, fault.end_us - fault.start_us

    return max(table.faults, key=badness, default=None)


def default_moment_us(table: TraceTables, window: Window) -> int:
    """The moment at which to draw the network: the middle of the worst fault, of the part that the window shows, or of
    the window."""
    fault = worst_fault(table)
    if fault is None or not window.overlaps(fault.start_us, fault.end_us):
        return min((window.start_us + window.end_us) // 2, table.end_us)
    return (max(fault.start_us, window.start_us) + min(fault.end_us, window.end_us)) // 2


def time_axis(ax: Axes, window: Window, begin_us: int = 0) -> None:
    """Make the x axis that of a window. Call it before anything else is drawn.

    Args:
        ax: the axes.
        window: what they show.
        begin_us: the begin of the cluster, from which the axis counts.
    """
    ax.set_xlim(window.start_s, window.end_s)
    ax.set_xlabel("time, s")
    count_from(ax.xaxis, begin_us)


def count_from(axis: Axis, begin_us: int) -> None:
    """Make an axis of times count from the begin of the cluster, and not from the first record of the trace."""
    if not begin_us:
        return
    from matplotlib.ticker import AutoLocator

    begin_s = begin_us / SECOND

    class Ticks(AutoLocator):
        """Ticks at round distances from the begin."""

        def tick_values(self, vmin: float, vmax: float) -> list[float]:
            places = super().tick_values(vmin - begin_s, vmax - begin_s)
            return [float(place) + begin_s for place in places]

    axis.set_major_locator(Ticks())
    axis.set_major_formatter(lambda value, _place: f"{round(value - begin_s, 6):g}")


def shade_run(ax: Axes, table: TraceTables, *, label: bool = True) -> None:
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
            window.fault.endswith(STOPS)
            or {(node, window.start_us) for node in window.nodes} & stopped
        )
    ]
