"""A curve: what was measured at each size. Curves are kept as JSON, and shown as a table and as a picture."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Curve:
    """What grows, and the figures at each size.

    Attributes:
        name: for files.
        title: what was measured.
        grows: what the sizes count.
        sizes: the sizes.
        series: by the name of a figure its values, one for each size.
        drawn: the series of the picture; all of them have one unit.
        unit: of the series that are drawn.
    """

    name: str
    title: str
    grows: str
    sizes: tuple[int, ...]
    series: dict[str, list[float]]
    drawn: tuple[str, ...]
    unit: str
    build: str = field(default="")


def save(folder: Path, curve: Curve) -> None:
    """Write it as JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{curve.name}.json").write_text(json.dumps(asdict(curve), indent=1) + "\n")


def load_all(folder: Path, names: Sequence[str]) -> list[Curve]:
    """The curves with these names that were measured, in this order."""
    curves: list[Curve] = []
    for name in names:
        path = folder / f"{name}.json"
        if path.exists():
            fields = json.loads(path.read_text())
            fields |= {"sizes": tuple(fields["sizes"]), "drawn": tuple(fields["drawn"])}
            curves.append(Curve(**fields))
    return curves


def table(curve: Curve) -> str:
    """A table in Markdown, with a column for each size."""
    lines = [
        f"| {curve.grows} | {' | '.join(short(size) for size in curve.sizes)} |",
        "|---|" + "---|" * len(curve.sizes),
    ]
    for name, values in curve.series.items():
        lines.append(f"| {name} | {' | '.join(number(value) for value in values)} |")
    return "\n".join(lines)


BEGIN, END = "<!-- curves", "<!-- end of curves -->"


def with_tables(document: str, curves: Sequence[Curve]) -> str:
    """A document in Markdown with the tables of these curves between the marks."""
    before, begin, rest = document.partition(BEGIN)
    mark, _, rest = rest.partition("\n")
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the document lacks the marks {BEGIN} and {END}")
    builds = "; ".join(sorted({curve.build for curve in curves}))
    tables = "\n\n".join([f"{builds}:", *(table(curve) for curve in curves)])
    return f"{before}{begin}{mark}\n\n{tables}\n\n{end}{after}"


def number(value: float) -> str:
    """Three digits of a figure."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def short(size: int) -> str:
    """A size as people write it."""
    return f"{size:,}"


def draw(path: Path, curves: Sequence[Curve]) -> None:
    """All curves in one picture: a panel each, both axes logarithmic if the sizes span more than a tenfold."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter

    columns = 2
    rows = -(-len(curves) // columns)
    figure = Figure(figsize=(10, 3.0 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    plain = FuncFormatter(lambda value, _place: f"{value:,.10g}")
    for axes, curve in zip(panels, curves, strict=False):
        for name in curve.drawn:
            axes.plot(curve.sizes, curve.series[name], marker="o", markersize=3.5, label=name)
        wide = max(curve.sizes) > 10 * min(curve.sizes)
        if wide:
            axes.set_xscale("log")
        else:
            axes.set_xticks(curve.sizes)
        values = [value for name in curve.drawn for value in curve.series[name]]
        if max(values) > 20 * min(values):
            axes.set_yscale("log")
        else:
            # Each line of the legend takes about a tenth of the height.
            axes.set_ylim(0, max(values) / (1 - 0.09 * len(curve.drawn)) * 1.05)
        axes.xaxis.set_major_formatter(plain)
        axes.yaxis.set_major_formatter(plain)
        axes.set_title(curve.title, fontsize=9)
        axes.set_xlabel(curve.grows, fontsize=8)
        axes.set_ylabel(curve.unit, fontsize=8)
        axes.tick_params(labelsize=7.5)
        axes.grid(linewidth=0.3)
        axes.legend(fontsize=7, frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in panels[len(curves) :]:
        axes.set_axis_off()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)
