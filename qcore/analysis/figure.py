"""One picture of one run: leaders, clients, commits, messages and watches over time, and the network during a fault."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qcore.analysis.network_plot import draw_network
from qcore.analysis.plots import plot_commits, plot_timeline, plot_watches, watches_height
from qcore.analysis.plotting.distribution_plot import plot_times
from qcore.analysis.plotting.lag_plot import lag_height, plot_lag
from qcore.analysis.plotting.message_plot import plot_messages
from qcore.analysis.plotting.outcome_plot import outcomes_height, plot_outcomes
from qcore.analysis.plotting.time_window import (
    Run,
    WindowChoice,
    default_moment_us,
    tables_of,
    window_of,
)
from qcore.analysis.records import TraceSource
from qcore.analysis.style import MS, TEXT_COLOUR, label_size, paper_width
from qcore.analysis.tables import read_tables
from qcore.display import truncate
from qcore.errors import ConfigError

#: The longest name of a run that fits above the picture, in characters.
_LONGEST_NAME = 80
_WIDTH = 12.0
_NETWORK = 3.6  # the least height of the network with its legend, inches

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def run_figure(table: Run, *, at_ms: float | None = None, window: WindowChoice = None) -> Figure:
    """The picture as a figure, independent of pyplot and of any display.

    Args:
        table: the tables or the course of the run.
        at_ms: the moment at which to draw the network; by default the middle of the worst fault, or of the run.
        window: the stretch to show, as in `window_of`; by default the whole run.

    Raises:
        ConfigError: the moment or the window is not in the run.
    """
    from matplotlib.figure import Figure

    run, shown, table = table, window_of(table, window), tables_of(table)
    count = len(table.nodes)
    more = 0.18 * max(0, count - 7)
    heights = {"timeline": 2.5 + 0.6 * more, "commits": 1.9, "lag": lag_height(table)}
    if table.operations or table.violations:
        heights["outcomes"] = outcomes_height(table)
    if table.message_bins:
        heights["messages"] = 1.5
    if table.watches:
        heights["watches"] = watches_height(table)
    order = ("timeline", "outcomes", "commits", "lag", "messages", "watches")
    rows = [name for name in order if name in heights]
    paper = paper_width.get()
    scale = 1.0 if paper is None else max(0.7, paper / _WIDTH)
    figure = Figure(
        figsize=(paper or _WIDTH, scale * (0.4 + sum(heights.values()))), layout="constrained"
    )
    ratios = [heights[name] for name in rows]
    grid = figure.add_gridspec(len(rows), 2, width_ratios=[2, 1.05], height_ratios=ratios)
    timeline = plot_timeline(run, figure.add_subplot(grid[0, 0]), window=shown)
    plots = {
        "outcomes": plot_outcomes,
        "commits": plot_commits,
        "lag": plot_lag,
        "messages": plot_messages,
        "watches": plot_watches,
    }
    below = [timeline]
    for number, name in enumerate(rows[1:], start=1):
        below[-1].set_xlabel("")
        below.append(figure.add_subplot(grid[number, 0], sharex=timeline))
        plots[name](run, below[-1], name_faults=False, window=shown)
    moment = default_moment_us(table, shown) / MS if at_ms is None else at_ms
    beside = next(
        n for n in range(1, len(rows) + 1) if n == len(rows) or sum(ratios[:n]) > _NETWORK
    )
    network = draw_network(table, moment, figure.add_subplot(grid[:beside, 1]))
    network.set_title(
        f"{network.get_title()} (dotted line)", fontsize=label_size(), color=TEXT_COLOUR, pad=18
    )
    timeline.axvline(moment / MS, color=TEXT_COLOUR, linewidth=0.8, linestyle=":", zorder=3)
    answered = [
        row.latency_us / MS
        for row in table.operations
        if row.latency_us is not None and shown.holds(row.invoke_us)
    ]
    if answered and len(rows) > beside:
        plot_times(
            answered,
            figure.add_subplot(grid[beside : beside + 2, 1]),
            what="latency seen by clients, ms",
            of="operations",
            band=False,  # the operations of one run depend on each other
        )
    figure.align_ylabels(below)
    if paper is None:
        name = truncate(table.name, _LONGEST_NAME)
        title = f"{name}, seed {table.seed}" if table.seed else name
        figure.suptitle(title, color=TEXT_COLOUR, fontsize=12)
    return figure


def save_run_figure(
    trace: TraceSource,
    path: Path | str,
    *,
    at_ms: float | None = None,
    window: WindowChoice = None,
) -> Path:
    """Draw a trace and save the picture. The suffix of the file selects the format (png, svg, pdf).

    Args:
        trace: the trace.
        path: where to write the picture.
        at_ms, window: see `run_figure`. Elections are not known here.

    Raises:
        ConfigError: the trace cannot be read or is empty, the moment or window is not in the run, or the picture cannot
            be written.
    """
    table = read_tables(trace)
    if not table.nodes:
        raise ConfigError("the trace names no node, so there is nothing to draw")
    target = Path(path)
    figure = run_figure(table, at_ms=at_ms, window=window)
    try:
        figure.savefig(target, dpi=130 if paper_width.get() is None else 300)
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot write the picture {target}: {error}") from None
    return target
