"""Plots the distributions of durations: with the number of values, a band of confidence, and censored values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from qcore.analysis.plotting.survival import Distribution, distribution
from qcore.analysis.spans import Span
from qcore.analysis.style import MUTED_COLOUR, SERIES_COLOURS, TEXT_COLOUR, axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: The ids of the curves, their bands, and the marks of censored values.
CURVE_GID: Final = "ecdf"
BAND_GID: Final = "band"
CENSORED_GID: Final = "censored"
#: Curves also differ in their dashes, for a grey print.
_DASHES: Final = ("-", (0, (5, 1.5)), (0, (1.5, 1)), (0, (5, 1, 1, 1)))


def plot_times(
    values_ms: Sequence[float | Span],
    ax: Axes | None = None,
    *,
    censored: Sequence[bool] = (),
    label: str | None = None,
    band: bool = True,
    what: str = "time, ms",
    of: str = "runs",
) -> Axes:
    """Plot the distribution of durations: the share (%) of runs in which it was at most x milliseconds.

    A run may end before what it measures does. Such a censored value shows as a tick on the curve, and counts only up
    to its time: the curve is the estimate of Kaplan and Meier. It ends below 100 % if the longest values are censored.
    The band shows the 95 % limits of the curve.

    A curve without a label shows its median and 99th percentile. To compare several curves, draw them on the same axes
    with labels; the axis covers all of them.

    Args:
        values_ms: one duration for each run in milliseconds, or spans, such as those of `TraceTables.leaderless`.
        ax: the axes; new ones if left out.
        censored: for each value, whether it is censored. Spans say it themselves.
        label: the name of the curve.
        band: whether to draw the band.
        what: the label of the x axis.
        of: what is counted.

    Raises:
        ConfigError: `censored` has another length than `values_ms`.
    """
    ax = axes(ax, width=6.0, height=3.4)
    known = distribution(values_ms, censored)
    curves = [line for line in ax.lines if line.get_gid() == CURVE_GID]
    number = len(curves)
    colour = SERIES_COLOURS[number % len(SERIES_COLOURS)]
    _draw(ax, known, label, colour, number, band=band, of=of)
    if not curves and label is None and known.count:
        _mark_percentiles(ax, known)
        _write_count(ax, known, of)
    # Cover all curves, also earlier ones. To set only the left limit would freeze the right one.
    ax.set_xlim(0, 1.05 * ax.dataLim.x1 if ax.dataLim.x1 > 0 else 1.0)
    ax.set_ylim(0, 101)
    ax.set_xlabel(what)
    ax.set_ylabel(f"{of}, %")
    if label is not None:
        # Above the axes, because curves may end anywhere.
        ax.legend(
            frameon=False,
            fontsize=8,
            loc="lower left",
            bbox_to_anchor=(0.0, 1.0),
            ncols=1 if number < 3 else 2,
            borderaxespad=0.2,
        )
    return ax


def plot_leaderless_distribution(
    values_ms: Sequence[float | Span],
    ax: Axes | None = None,
    *,
    label: str | None = None,
    censored: Sequence[bool] = (),
    band: bool = True,
) -> Axes:
    """Plot the distribution of the time without a leader, as `plot_times` does.

    Args:
        values_ms: one duration for each run in milliseconds, or the spans of `TraceTables.leaderless_after`.
        ax: the axes; new ones if left out.
        label: the name of the curve.
        censored: for each value, whether the run ended before a node led. Spans say it themselves.
        band: whether to draw the 95 % band.
    """
    return plot_times(
        values_ms, ax, censored=censored, label=label, band=band, what="time without a leader, ms"
    )


def _draw(
    ax: Axes,
    known: Distribution,
    label: str | None,
    colour: str,
    number: int,
    *,
    band: bool,
    of: str,
) -> None:
    begin = list(known.times[:1])
    end = [known.longest] if known.count else []
    times = [*begin, *known.times, *end]
    if known.count and not known.times:  # all values are censored
        times = [0.0, known.longest]

    def corners(shares: Sequence[float]) -> list[float]:
        if not known.times:
            return [0.0] * len(times)
        return [0.0, *(100 * share for share in shares), 100 * shares[-1]]

    ax.step(
        times,
        corners(known.shares),
        where="post",
        color=colour,
        linestyle=_DASHES[number % len(_DASHES)],
        linewidth=1.8,
        label=None if label is None else f"{label}, {_counted(known, of)}",
        gid=CURVE_GID,
    )
    if band and known.count > 1 and known.times:
        ax.fill_between(
            times,
            corners(known.low),
            corners(known.high),
            step="post",
            color=colour,
            alpha=0.15,
            linewidth=0,
            gid=BAND_GID,
        )
    if known.censored:
        ax.plot(
            known.censored,
            [100 * known.share_at(time) for time in known.censored],
            linestyle="none",
            marker="|",
            markersize=9,
            markeredgewidth=1.5,
            color=colour,
            clip_on=False,
            gid=CENSORED_GID,
        )


def _counted(known: Distribution, of: str) -> str:
    open_ends = f", {len(known.censored)} not finished" if known.censored else ""
    return f"{known.count} {of}{open_ends}"


def _mark_percentiles(ax: Axes, known: Distribution) -> None:
    """Draw the median and the 99th percentile, and write them where the curve leaves room: it rises early or late."""
    middle = known.quantile(0.5)
    rises_late = middle is not None and middle > 0.5 * known.longest
    corner, align = ((0.0, 1.0), "left") if rises_late else ((1.0, 0.0), "right")
    for line, (share, name) in enumerate(((50, "median"), (99, "99 %"))):
        value = known.quantile(share / 100)
        if value is not None:
            ax.plot(
                [value, value, 0],
                [0, share, share],
                color=MUTED_COLOUR,
                linewidth=0.8,
                linestyle=":",
                zorder=0,
            )
        ax.annotate(
            f"{name}: not reached" if value is None else f"{name}: {value:.0f} ms",
            corner,
            xycoords="axes fraction",
            xytext=(6, -24 - 13 * line) if rises_late else (-6, 34 - 13 * line),
            textcoords="offset points",
            ha=align,
            fontsize=8,
            color=TEXT_COLOUR,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.0},
        )


def _write_count(ax: Axes, known: Distribution, of: str) -> None:
    ax.annotate(
        _counted(known, of),
        (1.0, 1.0),
        xycoords="axes fraction",
        xytext=(0, 3),
        textcoords="offset points",
        ha="right",
        fontsize=8,
        color=TEXT_COLOUR,
    )
