"""The colours, axes, labels and fault shades that all plots share.

The colours are those of Okabe and Ito, which people with any common colour blindness can distinguish. Roles also
differ in lightness, so they remain distinct in a grey print.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from contextvars import ContextVar
from functools import lru_cache
from itertools import accumulate
from typing import TYPE_CHECKING, Final
from weakref import WeakSet

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.legend import Legend

ROLE_COLOURS: Final = {
    "leader": "#0072B2",
    "candidate": "#D55E00",
    "pre_candidate": "#F0C05A",
    "follower": "#D3DAE0",
    "learner": "#9BD3C0",
    "down": "#FFFFFF",
}

ROLE_LABELS: Final = {
    "leader": "leader",
    "candidate": "candidate",
    "pre_candidate": "pre-candidate",
    "follower": "follower",
    "learner": "learner",
    "down": "down",
}

#: The colours of lines, one for each node in turn.
SERIES_COLOURS: Final = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#D55E00",
    "#000000",
)

FAULT_COLOUR: Final = "#CC79A7"
CUT_COLOUR: Final = "#B2182B"
TEXT_COLOUR: Final = "#333333"
MUTED_COLOUR: Final = "#8A9299"

MS: Final = 1_000
SECOND: Final = 1_000_000

#: How the outcomes of operations look: marker, colour, name.
OUTCOMES: Final = {
    "ok": (".", "#0072B2", "ok"),
    "refused": ("x", "#595F64", "refused"),
    "unknown": ("^", "#D55E00", "unknown"),
    "open": (">", "#000000", "no outcome in the trace"),
}

#: The id of the shades of faults among the collections of axes.
FAULT_GID: Final = "faults"
#: The id of the shades of missing records.
GAP_GID: Final = "gaps"

_NAME_SIZE: Final = 8
_NAME_LINES: Final = 3
_NAME_CHARS: Final = 56
_MARKED_STARTS: Final = 60
#: The share of the width of axes that legends and labels leave when the layout is made.
_LAYOUT_SHARE: Final = 0.9
#: Figures that are narrower, in inches, have their legends below the axes, and this many points below them.
_SIDE_WIDTH: Final = 4.0
_BELOW_LABELS: Final = 27
#: Such a legend: the size of its texts and the height of a row, and what labels take left of the axes, points; the
#: lengths of its marks and spaces, in widths of an m.
_BELOW_SIZE: Final = 7
_BELOW_ROW: Final = 10
_BELOW_MARGIN: Final = 56
_HANDLE_EMS: Final = 1.2
_PAD_EMS: Final = 0.8


#: The width of new figures in inches, if they are for print; set by `paper_style`.
paper_width: ContextVar[float | None] = ContextVar("paper_width", default=None)


#: The figures whose height was chosen here.
_made_here: WeakSet[Figure] = WeakSet()


def figure_size(width: float, height: float) -> tuple[float, float]:
    """The size of a figure, inches: as wide as a column of the paper, and less high then."""
    paper = paper_width.get()
    if paper is None or paper >= width:
        return width, height
    return paper, max(min(height, 1.6), height * (paper / width) ** 0.5)


def axes(ax: Axes | None, width: float = 9.0, height: float = 3.2) -> Axes:
    """The given axes, or those of a new figure, without the box around them."""
    if ax is None:
        from matplotlib import pyplot  # heavy, and not needed to read tables

        figure, ax = pyplot.subplots(figsize=figure_size(width, height), layout="constrained")
        _made_here.add(figure)
    ax.spines[["top", "right"]].set_visible(False)
    for side in ("left", "bottom"):
        ax.spines[side].set_color(MUTED_COLOUR)
    ax.tick_params(colors=TEXT_COLOUR)
    return ax


def side_legend(ax: Axes, columns: int = 1, handles: Sequence[Artist] | None = None) -> Legend:
    """Draw a legend where it covers nothing: right of the axes, or below those that are as narrow as a column."""
    kept = list(ax.get_legend_handles_labels()[0] if handles is None else handles)
    figure = ax.get_figure(root=True)
    assert figure is not None, "axes have a figure"
    width, _ = figure.get_size_inches()
    if width >= _SIDE_WIDTH:
        return ax.legend(
            handles=kept,
            loc="upper left",
            bbox_to_anchor=(1.0, 1.0),
            frameon=False,
            fontsize=8,
            ncols=columns,
            handlelength=1.4,
            columnspacing=1.0,
            borderaxespad=0.2,
        )
    from matplotlib.transforms import ScaledTranslation

    columns_below = _columns_below(
        [str(each.get_label()) for each in kept], width * 72 - _BELOW_MARGIN
    )
    if figure in _made_here:
        rows = -(-len(kept) // columns_below)
        figure.set_figheight(figure.get_figheight() + rows * _BELOW_ROW / 72)
    scale = figure.dpi_scale_trans
    return ax.legend(
        handles=kept,
        loc="upper left",
        bbox_to_anchor=(0.0, 0.0),
        bbox_transform=ax.transAxes + ScaledTranslation(0, -_BELOW_LABELS / 72, scale),
        frameon=False,
        fontsize=_BELOW_SIZE,
        ncols=columns_below,
        handlelength=_HANDLE_EMS,
        handletextpad=_PAD_EMS,
        columnspacing=_PAD_EMS,
        borderaxespad=0.0,
    )


def _columns_below(texts: Sequence[str], width: float) -> int:
    """How many columns of a legend below the axes of a narrow figure are at most this wide, points."""
    around = (_HANDLE_EMS + 2 * _PAD_EMS) * _BELOW_SIZE
    widths = [text_width(text, _BELOW_SIZE) + around for text in texts]
    for columns in range(len(widths), 1, -1):
        rows, longer = divmod(len(widths), columns)
        sizes = [rows + (column < longer) for column in range(columns)]
        starts = accumulate(sizes, initial=0)
        if sum(max(widths[a : a + size]) for a, size in zip(starts, sizes, strict=False)) <= width:
            return columns
    return 1


def role_handles(roles: Collection[str]) -> list[Artist]:
    """What a legend shows of these roles, in the order of `ROLE_COLOURS`."""
    from matplotlib.patches import Patch

    return [
        Patch(
            facecolor=colour,
            edgecolor=MUTED_COLOUR,
            linewidth=0.5,
            hatch="////" if role == "down" else None,
            label=ROLE_LABELS[role],
        )
        for role, colour in ROLE_COLOURS.items()
        if role in roles
    ]


def points(ax: Axes) -> tuple[float, float]:
    """The width and height of the axes in points; an estimate until the layout is made."""
    box, dpi = ax.bbox, ax.get_figure(root=True).dpi  # type: ignore[union-attr]  # axes have a figure
    return box.width * 72 / dpi, box.height * 72 / dpi


def label_size() -> float:
    """The size of the labels of an axis, points."""
    return 10.0 if paper_width.get() is None else 8.0


@lru_cache(maxsize=1_024)
def text_width(text: str, size: float) -> float:
    """The width of a line of text, in points."""
    from matplotlib.textpath import TextPath

    if not text.strip():
        return 0.0
    across = TextPath((0, 0), text, size=size).vertices[
        :, 0
    ]  # exact extents take ten times as long
    return float(across.max() - across.min())


Shade = tuple[float, float, str]


def shade_faults(
    ax: Axes, windows: Sequence[Shade], *, gaps: Sequence[Shade] = (), label: bool = True
) -> None:
    """Shade time windows (start, end, text; in the units of the axis) and write their names above the axes.

    Set the limits of the x axis before: windows outside it are left out. A name that occurs several times is written
    once, with the count. Names that would overlap go on different lines,
    at most four. If more lines are needed, the last one shows how many names found no place.

    Args:
        ax: the axes.
        windows: the faults.
        gaps: windows of missing records, shaded in grey.
        label: whether to write the names.
    """
    left, right = ax.get_xlim()
    gaps, windows = (
        [shade for shade in shades if shade[0] <= right and shade[1] >= left]
        for shades in (gaps, windows)
    )
    _shade(ax, gaps, MUTED_COLOUR, 0.3, GAP_GID)
    _shade(ax, windows, FAULT_COLOUR, 0.16, FAULT_GID)
    if label:
        _name_faults(ax, [*gaps, *windows])  # gaps first, because they must find a place


def _shade(ax: Axes, windows: Sequence[Shade], colour: str, alpha: float, gid: str) -> None:
    from matplotlib.collections import LineCollection, PolyCollection

    if not windows:
        return
    across = ax.get_xaxis_transform()  # the full height, whatever the y axis shows
    boxes = [[(a, 0.0), (a, 1.0), (b, 1.0), (b, 0.0)] for a, b, _ in windows]
    shade = PolyCollection(
        boxes, facecolor=colour, alpha=alpha, linewidth=0, zorder=0, transform=across
    )
    shade.set_gid(gid)
    ax.add_collection(shade, autolim=False)
    if len(windows) <= _MARKED_STARTS:  # more would be one coloured area
        starts = [[(a, 0.0), (a, 1.0)] for a, _, _ in windows]
        lines = LineCollection(starts, color=colour, linewidth=0.8, zorder=0, transform=across)
        ax.add_collection(lines, autolim=False)


def _name_faults(ax: Axes, windows: Sequence[Shade]) -> None:
    left, right = ax.get_xlim()
    width = points(ax)[0] * _LAYOUT_SHARE
    first: dict[str, float] = {}
    names = [
        text if len(text) <= _NAME_CHARS else text[: _NAME_CHARS - 3] + "..."
        for _, _, text in windows
    ]
    for (start, _, _), text in zip(windows, names, strict=True):
        first.setdefault(text, start)
    often = Counter(names)
    lines: list[list[tuple[float, float]]] = []  # for each line, the stretches that are taken
    unnamed: list[tuple[str, float]] = []
    for text, start in first.items():
        shown = text if often[text] == 1 else f"{text} ({often[text]} times)"
        length = text_width(shown, _NAME_SIZE) + 5
        begin = (start - left) / (right - left) * width
        begin = max(0.0, min(begin, width - length))
        line = next(
            (n for n, taken in enumerate(lines) if _is_free(taken, begin, begin + length)),
            len(lines),
        )
        if line == _NAME_LINES:
            unnamed.append((shown, begin / width))
            continue
        if line == len(lines):
            lines.append([])
        lines[line].append((begin, begin + length))
        _name(ax, shown, begin / width, line)
    if len(unnamed) == 1:
        _name(ax, *unnamed[0], len(lines))
    elif unnamed:
        _name(ax, f"and {len(unnamed)} more faults", 0.0, len(lines))


def _is_free(taken: Sequence[tuple[float, float]], begin: float, end: float) -> bool:
    return all(end <= a or b <= begin for a, b in taken)


def _name(ax: Axes, text: str, share: float, line: int) -> None:
    ax.annotate(
        text,
        (share, 1.0),
        xycoords="axes fraction",
        xytext=(1, 3 + 11 * line),
        textcoords="offset points",
        fontsize=_NAME_SIZE,
        color="#8E3A6B",
        annotation_clip=False,
    )
