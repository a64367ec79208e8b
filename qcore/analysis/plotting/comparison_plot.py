"""Compares a real cluster with a simulation: latencies of the same load on one axis, and their percentiles."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from qcore.analysis.course.course_types import Course, OperationCourse
from qcore.analysis.plotting.distribution_plot import plot_times
from qcore.analysis.plotting.time_window import Run, tables_of
from qcore.analysis.rows import Rows
from qcore.analysis.style import MS, figure_size
from qcore.analysis.tables import TraceTables
from qcore.errors import ConfigError
from qcore.html_table import html_table
from qcore.percentiles import percentile

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: What is compared, and the label of its axis.
_LABELS: Final = {
    "client": "latency seen by clients, ms",
    "node": "latency at the node that was asked, ms",
    "commit": "commit latency at the leader, ms",
}
_SIDES: Final = ("real", "simulated")
#: The clock of a trace does not show less.
_LEAST_MS: Final = 0.001
#: The name of tables that were read from the traces of real nodes.
_REAL_NAMES: Final = re.compile(r"node \d+(, node \d+)*")


@dataclass(slots=True, frozen=True)
class ComparisonRow:
    """The latencies of the operations of one side, in milliseconds; None if none succeeded.

    Attributes:
        source: `real` or `simulated`.
        what: `client` is what the clients saw, which the traces of real nodes do not show. `node` is the time from the
            arrival at the node that a client asked until its response. `commit` is the time from the append at the
            leader to the commit there.
        runs: how many runs.
        operations: how many operations have this latency.
        failed: how many operations were refused, or have an unknown outcome. Real nodes do not know their clients: if
            one tries again, they see another operation.
    """

    source: str
    what: str
    runs: int
    operations: int
    failed: int
    median_ms: float | None
    p90_ms: float | None
    p99_ms: float | None
    longest_ms: float | None


@dataclass(slots=True, frozen=True, repr=False)
class Comparison:
    """A real cluster and a simulation under the same load.

    Attributes:
        table: the percentiles of both.
        samples_ms: (`real` or `simulated`, `client`, `node` or `commit`) -> the latencies.
    """

    table: Rows[ComparisonRow]
    samples_ms: dict[tuple[str, str], tuple[float, ...]]

    def figure(self) -> Figure:
        """The distributions of both sides on one logarithmic axis, for each latency that both sides know."""
        from matplotlib.figure import Figure
        from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

        panels = [
            (what, label)
            for what, label in _LABELS.items()
            if all(self.samples_ms.get((source, what)) for source in _SIDES)
        ]
        size = figure_size(min(5.0 * len(panels), 9.0), 3.6)
        figure = Figure(figsize=size, layout="constrained")
        for place, (what, label) in enumerate(panels, start=1):
            ax = figure.add_subplot(1, len(panels), place)
            for source in _SIDES:
                plot_times(
                    self.samples_ms.get((source, what), ()),
                    ax,
                    label=source,
                    band=False,  # the operations of one run depend on each other
                    what=label,
                    of="operations",
                )
            shortest = min(self.samples_ms[source, what][0] for source in _SIDES)
            longest = max(self.samples_ms[source, what][-1] for source in _SIDES)
            ax.set_xscale("log")
            ax.set_xlim(0.8 * max(shortest, _LEAST_MS), 1.25 * max(longest, _LEAST_MS))
            ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
            ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            ax.xaxis.set_minor_formatter(NullFormatter())
        return figure

    def __repr__(self) -> str:
        medians = ", ".join(
            f"{row.source} {row.what} {row.median_ms:.1f} ms"
            for row in self.table
            if row.median_ms is not None
        )
        return f"Comparison(medians: {medians})"

    def _repr_html_(self) -> str:
        names = ("", "latency", "runs", "operations", "failed", "median", "90 %", "99 %", "longest")
        return html_table(
            names,
            (
                (
                    *(row.source, row.what, row.runs, row.operations, row.failed),
                    *(
                        None if value is None else f"{value:.1f} ms"
                        for value in (row.median_ms, row.p90_ms, row.p99_ms, row.longest_ms)
                    ),
                )
                for row in self.table
            ),
        )


def compare(
    real: Run | Sequence[Run],
    simulated: Run | Sequence[Run],
    *,
    op: str | None = None,
    clients_ms: Sequence[float] = (),
) -> Comparison:
    """Compare the latencies of a real cluster with those of a simulation under the same load.

    `measure_latencies` gives the simulation the latencies of the real links and disks. Give courses: tables of a
    simulation only know what its clients saw, which the traces of real nodes do not show.

    Args:
        real: the tables or the course of one run of the real cluster, or of several runs.
        simulated: the same of the simulation.
        op: only these operations; None means all.
        clients_ms: what the clients of the real cluster measured, if they did, in milliseconds.

    Raises:
        ConfigError: one side has no operation that succeeded, or no latency is known of both sides.
    """
    samples: dict[tuple[str, str], tuple[float, ...]] = {}
    rows: list[ComparisonRow] = []
    for source, given in zip(_SIDES, (real, simulated), strict=True):
        runs = [given] if isinstance(given, Course | TraceTables) else list(given)
        outcomes = [
            row.outcome for run in runs for row in tables_of(run).operations if op in (None, row.op)
        ]
        if "ok" not in outcomes:
            named = "operation" if op is None else op
            raise ConfigError(
                f"the {source} side has no {named} that succeeded, so nothing can be compared"
            )
        failed = sum(outcome in ("refused", "unknown") for outcome in outcomes)
        for what in _LABELS:
            measured = clients_ms if (source, what) == ("real", "client") else ()
            values = sorted(measured) or sorted(
                value for run in runs for value in _latencies_ms(run, what, op)
            )
            if values:
                samples[source, what] = tuple(values)
                rows.append(_row(source, what, len(runs), failed, values))
    if not any(all((source, what) in samples for source in _SIDES) for what in _LABELS):
        raise ConfigError(
            "both sides have operations, but no latency that is known of both: give the course of each run, which "
            "`read_course` reads"
        )
    return Comparison(Rows(ComparisonRow, rows), samples)


def _latencies_ms(run: Run, what: str, op: str | None) -> list[float]:
    """The latencies of one run; none if it does not show them."""
    found: list[int | None]
    if what == "commit":
        operations = run.operations if isinstance(run, Course) else []
        found = [row.commit_latency_us for row in operations if op in (None, row.op)]
    elif (what == "node") == _is_real(run):
        found = [row.latency_us for row in tables_of(run).operations if op in (None, row.op)]
    elif what == "node" and isinstance(run, Course):
        found = [_at_node_us(row) for row in run.operations if op in (None, row.op)]
    else:
        found = []
    return [value / MS for value in found if value is not None]


def _is_real(run: Run) -> bool:
    """Whether real nodes wrote the trace. To them, the client of an operation is the node that was asked."""
    if isinstance(run, Course):
        return not run.is_simulated
    return _REAL_NAMES.fullmatch(run.name) is not None


def _at_node_us(row: OperationCourse) -> int | None:
    """From the arrival at the node that responded to its response."""
    if row.outcome != "ok" or row.replied_us is None:
        return None
    took_us = max((t_us for _, t_us in row.took if t_us <= row.replied_us), default=None)
    return None if took_us is None else row.replied_us - took_us


def _row(source: str, what: str, runs: int, failed: int, values: Sequence[float]) -> ComparisonRow:
    median, p90, p99 = (percentile(values, share) for share in (50, 90, 99))
    return ComparisonRow(source, what, runs, len(values), failed, median, p90, p99, values[-1])
