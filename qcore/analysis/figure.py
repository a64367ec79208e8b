"""One picture of one run: the leaders over time, the commits, the watches, and the network during a fault."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qcore.analysis.network_plot import draw_network
from qcore.analysis.plots import plot_commits, plot_timeline, plot_watches, watches_height
from qcore.analysis.records import TraceSource
from qcore.analysis.style import MS, TEXT_COLOUR
from qcore.analysis.tables import TraceTables, read_tables
from qcore.display import truncate
from qcore.errors import ConfigError

#: The longest name of a run that fits above the picture, in characters.
_LONGEST_NAME = 80

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def run_figure(table: TraceTables, *, at_ms: float | None = None) -> Figure:
    """The picture as a figure, independent of pyplot and of any display.

    Args:
        table: the tables of the run.
        at_ms: the moment at which to draw the network; by default the middle of the first fault that cuts links, or of
            the run.
    """
    from matplotlib.figure import Figure

    height = 6.2 + 0.18 * max(0, len(table.nodes) - 7)
    ratios = [1.15, 1.0]
    if table.watches:
        ratios.append(sum(ratios) * watches_height(table) / height)
        height += watches_height(table)
    figure = Figure(figsize=(12, height), layout="constrained")
    grid = figure.add_gridspec(len(ratios), 2, width_ratios=[2, 1.05], height_ratios=ratios)
    timeline = plot_timeline(table, figure.add_subplot(grid[0, 0]))
    timeline.set_xlabel("")
    commits = figure.add_subplot(grid[1, 0], sharex=timeline)
    plot_commits(table, commits, name_faults=False)
    moment = _interesting_ms(table) if at_ms is None else at_ms
    network = draw_network(table, moment, figure.add_subplot(grid[:2, 1]))
    network.set_title(f"{network.get_title()} (dotted line)", fontsize=10, color=TEXT_COLOUR)
    timeline.axvline(moment / MS, color=TEXT_COLOUR, linewidth=0.8, linestyle=":", zorder=3)
    if table.watches:
        commits.set_xlabel("")
        plot_watches(table, figure.add_subplot(grid[2, 0], sharex=timeline), name_faults=False)
    name = truncate(table.name, _LONGEST_NAME)
    title = f"{name}, seed {table.seed}" if table.seed else name
    figure.suptitle(title, color=TEXT_COLOUR, fontsize=12)
    return figure


def save_run_figure(trace: TraceSource, path: Path | str, *, at_ms: float | None = None) -> Path:
    """Draw a trace and save the picture. The suffix of the file selects the format (png, svg, pdf).

    Raises:
        ConfigError: the trace cannot be read or is empty, or the picture cannot be written.
    """
    table = read_tables(trace)
    if not table.nodes:
        raise ConfigError("the trace names no node, so there is nothing to draw")
    target = Path(path)
    try:
        run_figure(table, at_ms=at_ms).savefig(target, dpi=130)
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot write the picture {target}: {error}") from None
    return target


def _interesting_ms(table: TraceTables) -> float:
    """The moment at which to draw the network: the middle of the first cut, whose effects then show, or of the run."""
    cuts = [window for window in table.faults if window.cuts]
    if cuts:
        return (cuts[0].start_us + cuts[0].end_us) / 2 / MS
    return table.end_us / 2 / MS
