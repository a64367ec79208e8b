"""Checks for every picture: it is drawn without a warning, nothing is clipped, and nothing overlaps."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import combinations, pairwise

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from matplotlib.text import Text
from matplotlib.transforms import Bbox, BboxBase

from qcore.analysis.figure import run_figure
from qcore.analysis.network_plot import RING_GID
from qcore.analysis.plots import WATCHES_GID, plot_terms
from qcore.analysis.plotting.lag_plot import LAG_GID
from qcore.analysis.plotting.latency_plot import plot_commit_latency
from qcore.analysis.style import FAULT_GID, ROLE_COLOURS, SECOND
from qcore.analysis.tables import TraceTables, read_tables
from qcore.trace import TraceRecord, parse_trace

#: Boxes may overlap by this many pixels, because hinting moves glyphs.
_TOUCH = 1.5
#: Faults that are drawn as nodes that are down.
_STOPS = ("crash", "power_loss", "wipe", "pause", "restart")


def check_all_figures(lines: Sequence[str]) -> None:
    """Draw every figure of a trace and check it."""
    mpl.use("Agg")
    tables = read_tables(lines)
    records = list(parse_trace(line for line in lines if '"kind":"fault"' in line))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = run_figure(tables)
        figure.draw_without_rendering()
        panels = {ax.get_ylabel().partition("\n")[0]: ax for ax in figure.axes}
        timeline, commits = figure.axes[0], panels["commit index"]
        check_figure(figure)
        for ax in figure.axes:
            if ax.axison and ax.get_ylabel() != "operations, %":
                check_shades(ax, tables, records)
        check_timeline(timeline, tables)
        check_whole_numbers(commits)
        check_lags(panels["commits behind"], tables)
        assert ("watchers" in panels) == bool(tables.watches)
        if tables.watches:
            check_watches(panels["watchers"], tables)
        if tables.message_bins:
            check_messages(panels["messages a second"], tables)
        (network,) = [ax for ax in figure.axes if not ax.axison]
        circles = [p for p in network.patches if isinstance(p, Circle)]
        assert len([c for c in circles if c.get_gid() != RING_GID]) == len(tables.nodes)

        second = Figure(figsize=(9, 5), layout="constrained")
        terms = plot_terms(tables, second.add_subplot(2, 1, 1))
        latencies = plot_commit_latency(tables, second.add_subplot(2, 1, 2))
        second.draw_without_rendering()
        check_figure(second)
        check_shades(terms, tables, records)
        check_shades(latencies, tables, records)
        check_whole_numbers(terms)


def check_figure(figure: Figure) -> None:
    """No text overlaps another or leaves the figure, no legend covers data, and the axes show everything drawn."""
    page = figure.bbox
    shown = [(text, box) for text, box in texts_of(figure)]
    for text, box in shown:
        assert _contains(page, box), f"{text!r} leaves the figure"
    for (one, a), (other, b) in combinations(shown, 2):
        assert not _overlap(a, b), f"{one!r} and {other!r} overlap"
    for ax in figure.axes:
        check_limits(ax)
        legend = ax.get_legend()
        if legend is not None:
            assert not _overlap(legend.get_window_extent(), ax.bbox), "a legend covers data"


def check_limits(ax: Axes) -> None:
    """All data lies within the limits of the axes."""
    data = ax.dataLim
    if not ax.axison:  # networkx adds margins, so only the circles count
        data = Bbox.union(
            [patch.get_path().get_extents(patch.get_patch_transform()) for patch in ax.patches]
            or [Bbox.unit()]
        )
    if not np.isfinite(data.get_points()).all():
        return  # nothing was drawn
    for (low, high), (first, last) in (
        (sorted(ax.get_xlim()), data.intervalx),
        (sorted(ax.get_ylim()), data.intervaly),
    ):
        hair = 1e-9 * (high - low)
        assert low - hair <= first <= last <= high + hair, (low, first, last, high)
        assert high > low


def check_shades(ax: Axes, tables: TraceTables, records: Sequence[TraceRecord]) -> None:
    """The shaded stretches begin and end at the times of the faults in the trace."""
    shades = [c for c in ax.collections if c.get_gid() == FAULT_GID]
    drawn = [_stretch(path.vertices) for shade in shades for path in shade.get_paths()]
    begun = Counter(
        record.t_us
        for record in records
        if record.fields["phase"] == "begin"
        and not (_kind(record) in _STOPS and not record.fields["links"])
    )
    ended = {record.t_us for record in records if record.fields["phase"] == "end"}
    assert Counter(start for start, _ in drawn) == begun
    assert {end for _, end in drawn} <= ended | {tables.end_us}


def check_timeline(ax: Axes, tables: TraceTables) -> None:
    """Each node has one row, covered from its first start to the end of the run."""
    assert [label.get_text() for label in ax.get_yticklabels()] == [
        *(f"node {node}" for node in tables.nodes),
        *(["no leader"] if tables.leaderless else []),
    ]
    bars: dict[int, list[tuple[int, int]]] = {}
    for collection in ax.collections:
        if collection.get_gid() in ROLE_COLOURS:
            assert isinstance(collection, PolyCollection)
            for path in collection.get_paths():
                row = round(float(np.mean(np.asarray(path.vertices)[:4, 1])))
                bars.setdefault(row, []).append(_stretch(path.vertices))
    assert sorted(bars) == list(range(len(tables.nodes)))
    for stretches in bars.values():
        stretches.sort()
        assert all(a[1] == b[0] for a, b in pairwise(stretches)), stretches
        assert stretches[-1][1] == tables.end_us


def check_watches(ax: Axes, tables: TraceTables) -> None:
    """Each watch that began is one line from its beginning to its end; each watcher has one row."""
    drawn: Counter[tuple[int, int]] = Counter()
    rows: set[float] = set()
    for collection in ax.collections:
        if collection.get_gid() == WATCHES_GID:
            assert isinstance(collection, LineCollection)
            for segment in collection.get_segments():
                (start, row), (end, _) = np.asarray(segment)
                drawn[round(float(start) * SECOND), round(float(end) * SECOND)] += 1
                rows.add(float(row))
    begun = [span for span in tables.watches if span.start_us is not None]
    assert drawn == Counter((span.start_us, span.end_us) for span in begun)
    assert len(rows) == len({span.watcher for span in begun})


def check_lags(ax: Axes, tables: TraceTables) -> None:
    """Each node that is drawn has one area, and no lag is greater than the number of commits."""
    areas = [c for c in ax.collections if c.get_gid() == LAG_GID]
    assert len(areas) == min(len(tables.nodes), 16)
    most = [int(text.get_text().split()[-1]) for text in ax.texts if "most: " in text.get_text()]
    assert len(most) == len(areas)
    assert max(most, default=0) <= max((row.index for row in tables.commits), default=0)


def check_messages(ax: Axes, tables: TraceTables) -> None:
    """The legend counts every message that was sent or lost."""
    legend = ax.get_legend()
    assert legend is not None
    counts = {
        name: int(count.strip("()"))
        for name, _, count in (text.get_text().rpartition(" ") for text in legend.get_texts())
    }
    assert counts.pop("lost", 0) == sum(row.dropped for row in tables.messages)
    assert sum(counts.values()) == sum(row.sent for row in tables.messages)


def check_whole_numbers(ax: Axes) -> None:
    """The ticks of an axis of indexes or terms are whole numbers."""
    assert all(float(tick).is_integer() for tick in ax.get_yticks())


def texts_of(figure: Figure) -> Iterator[tuple[str, Bbox]]:
    """All visible texts, each with its box in pixels."""
    for ax in figure.axes:
        texts: list[Text] = [*ax.texts, ax.title, ax.xaxis.label, ax.yaxis.label]
        legend = ax.get_legend()
        if legend is not None:
            texts += legend.get_texts()
        if ax.axison:
            for axis in (ax.xaxis, ax.yaxis):
                low, high = sorted(axis.get_view_interval())
                ticks = axis.get_major_ticks()
                texts += [t.label1 for t in ticks if low <= t.get_loc() <= high]
        for text in texts:
            if text.get_visible() and text.get_text().strip():
                yield text.get_text(), text.get_window_extent()
    for text in figure.texts:
        if text.get_text().strip():
            yield text.get_text(), text.get_window_extent()


def _kind(record: TraceRecord) -> str:
    return str(record.fields["fault"]).partition("] ")[2]


def _stretch(vertices: object) -> tuple[int, int]:
    times = np.asarray(vertices)[:, 0] * SECOND
    return round(float(times.min())), round(float(times.max()))


def _overlap(a: Bbox, b: Bbox) -> bool:
    return bool(
        min(a.x1, b.x1) - max(a.x0, b.x0) > _TOUCH and min(a.y1, b.y1) - max(a.y0, b.y0) > _TOUCH
    )


def _contains(page: BboxBase, box: Bbox) -> bool:
    return bool(
        page.x0 - _TOUCH <= box.x0
        and box.x1 <= page.x1 + _TOUCH
        and page.y0 - _TOUCH <= box.y0
        and box.y1 <= page.y1 + _TOUCH
    )
