"""Draws the ratios to the peers, and how the main figures went over the recorded runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.record.history import Run

#: What the second part shows, by figure.
OVER_TIME = (
    "core: one_at_a_time",
    "sim: 5 nodes, 50 writes/s",
    "cluster: writes, 1 in flight",
    "cluster: writes, 64 in flight",
    "cluster: writes, 256 in flight",
    "cluster: writes at a follower, 64 in flight",
    "cluster: reads, 64 in flight",
)
_MARKS = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20)
_AHEAD, _BEHIND = "#2a6f97", "#b5651d"


def draw(
    path: Path, title: str, bars: Sequence[tuple[str, float, str]], runs: Sequence[Run]
) -> None:
    """Write the picture.

    Args:
        path: a PNG file.
        title: above all.
        bars: of each comparison its name, the ratio of qcore to the peer, and both figures as a text.
        runs: the recorded runs, the oldest first.
    """
    # It is imported here, because it takes longer to load than everything else here.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    over_time = len(runs) > 1
    height = 1.6 + 0.32 * max(1, len(bars)) + (3.4 if over_time else 0)
    figure = Figure(figsize=(10, height), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=10)
    parts = figure.subplots(
        2 if over_time else 1,
        1,
        squeeze=False,
        height_ratios=[max(1.2, 0.32 * len(bars)), 3.0][: 2 if over_time else 1],
    )
    axes = parts[0][0]
    names = [name for name, _, _ in bars][::-1]
    ratios = [ratio for _, ratio, _ in bars][::-1]
    texts = [text for _, _, text in bars][::-1]
    colors = [_AHEAD if ratio >= 1 else _BEHIND for ratio in ratios]
    # Bars grow from 1 on a scale of ratios: twice as fast is as long as half as fast.
    axes.barh(names, [ratio - 1 for ratio in ratios], left=1, color=colors, height=0.62)
    axes.set_xscale("log")
    for place, (ratio, text) in enumerate(zip(ratios, texts, strict=True)):
        axes.text(max(ratio, 1) * 1.03, place, f"{ratio:.2f}  ({text})", va="center", fontsize=7.5)
    axes.axvline(1, color="black", linewidth=1)
    axes.set_xlim(min([*ratios, 0.5]) / 1.1, max([*ratios, 2.0]) * 2.2)
    marks = [mark for mark in _MARKS if axes.get_xlim()[0] <= mark <= axes.get_xlim()[1]]
    axes.set_xticks(marks, [f"{mark:g}" for mark in marks])
    axes.set_xticks([], minor=True)
    axes.set_xlabel(
        "qcore ÷ the peer, measured in turns (1: equal; the figures of both in parentheses)",
        fontsize=8,
    )
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    if over_time:
        below = parts[1][0]
        for name in OVER_TIME:
            values = [
                (number, run.figures[name])
                for number, run in enumerate(runs)
                if name in run.figures
            ]
            if len(values) > 1:
                below.plot(
                    [number for number, _ in values],
                    [value / values[0][1] for _, value in values],
                    marker="o",
                    markersize=3,
                    label=name,
                )
        below.set_xticks(range(len(runs)))
        below.set_xticklabels(
            [_label(run) for run in runs],
            fontsize=7,
        )
        below.set_ylabel("times the first recorded run", fontsize=8)
        below.set_yscale("log")
        below.grid(axis="y", linewidth=0.3)
        below.legend(fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
        below.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def _label(run: Run) -> str:
    compiled = "\ncompiled" if run.compiled else ""
    return f"{run.when[:10]}\n{run.commit[:7]}{compiled}"
