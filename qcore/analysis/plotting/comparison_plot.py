"""Compares a real cluster with a simulation: latencies of the same load on one axis, and their percentiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qcore.analysis.course.course_types import Course
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
_CLIENT = "latency seen by clients, ms"
_COMMIT = "commit latency at the leader, ms"


@dataclass(slots=True, frozen=True)
class ComparisonRow:
    """The latencies of the operations of one side, in milliseconds; None if none succeeded.

    Attributes:
        source: `real` or `simulated`.
        what: `client` or `commit`.
        runs: how many runs.
        operations: how many operations have this latency.
        failed: how many operations were refused, or have an unknown outcome.
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


@dataclass(slots=True, frozen=True)
class Comparison:
    """A real cluster and a simulation under the same load.

    Attributes:
        table: the percentiles of both.
        samples_ms: (`real` or `simulated`, `client` or `commit`) -> the latencies.
    """

    table: Rows[ComparisonRow]
    samples_ms: dict[tuple[str, str], tuple[float, ...]]

    def figure(self) -> Figure:
        """The distributions on one axis: those that the clients saw and, if both sides have courses, of commits."""
        from matplotlib.figure import Figure

        panels = [
            (what, label)
            for what, label in (("client", _CLIENT), ("commit", _COMMIT))
            if any(self.samples_ms.get((source, what)) for source in ("real", "simulated"))
        ]
        size = figure_size(5.0 * max(1, len(panels)), 3.6)
        figure = Figure(figsize=size, layout="constrained")
        for place, (what, label) in enumerate(panels, start=1):
            ax = figure.add_subplot(1, len(panels), place)
            for source in ("real", "simulated"):
                plot_times(
                    self.samples_ms.get((source, what), ()),
                    ax,
                    label=source,
                    band=False,  # the operations of one run depend on each other
                    what=label,
                    of="operations",
                )
        return figure

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
    real: Run | Sequence[Run], simulated: Run | Sequence[Run], *, op: str | None = None
) -> Comparison:
    """Compare the latencies of a real cluster with those of a simulation under the same load.

    `measure_latencies` gives the simulation the latencies of the real links and disks.

    Args:
        real: the tables or the course of one run of the real cluster, or of several runs.
        simulated: the same of the simulation.
        op: only these operations; None means all.

    Raises:
        ConfigError: one side has no operation that succeeded.
    """
    samples: dict[tuple[str, str], tuple[float, ...]] = {}
    rows: list[ComparisonRow] = []
    for source, given in (("real", real), ("simulated", simulated)):
        runs = [given] if isinstance(given, Course | TraceTables) else list(given)
        operations = [
            row for run in runs for row in tables_of(run).operations if op in (None, row.op)
        ]
        took = [row.latency_us / MS for row in operations if row.latency_us is not None]
        if not took:
            named = "operation" if op is None else op
            raise ConfigError(
                f"the {source} side has no {named} that succeeded, so nothing can be compared"
            )
        samples[source, "client"] = tuple(sorted(took))
        committed = [
            row.commit_latency_us / MS
            for run in runs
            if isinstance(run, Course)
            for row in run.operations
            if op in (None, row.op) and row.commit_latency_us is not None
        ]
        samples[source, "commit"] = tuple(sorted(committed))
        failed = sum(row.outcome in ("refused", "unknown") for row in operations)
        rows += [
            _row(source, what, len(runs), failed, samples[source, what])
            for what in ("client", "commit")
            if samples[source, what]
        ]
    return Comparison(Rows(ComparisonRow, rows), samples)


def _row(source: str, what: str, runs: int, failed: int, values: Sequence[float]) -> ComparisonRow:
    median, p90, p99 = (percentile(values, share) for share in (50, 90, 99))
    return ComparisonRow(source, what, runs, len(values), failed, median, p90, p99, values[-1])
