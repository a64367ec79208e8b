"""The colours, axes, labels and fault shades that all plots share.

The colours are those of Okabe and Ito, which people with any common colour blindness can distinguish. Roles also
differ in lightness, so they remain distinct in a grey print.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from matplotlib.axes import Axes

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


def axes(ax: Axes | None, width: float = 9.0, height: float = 3.2) -> Axes:
    """The given axes, or those of a new figure, without the box around them."""
    if ax is None:
        from matplotlib import pyplot  # heavy, and not needed to read tables

        _, ax = pyplot.subplots(figsize=(width, height), layout="constrained")
    ax.spines[["top", "right"]].set_visible(False)
    for side in ("left", "bottom"):
        ax.spines[side].set_color(MUTED_COLOUR)
    ax.tick_params(colors=TEXT_COLOUR)
    return ax


def points(ax: Axes) -> tuple[float, float]:
    """The width and height of the axes in points; an estimate until the layout is made."""
    box, dpi = ax.bbox, ax.get_figure(root=True).dpi  # type: ignore[union-attr]  # axes have a figure
    return box.width * 72 / dpi, box.height * 72 / dpi


def text_width(text: str, size: float) -> float:
    """The width of a line of text, in points."""
    from matplotlib.textpath import TextPath

    return float(TextPath((0, 0), text, size=size).get_extents().width) if text.strip() else 0.0


Window = tuple[float, float, str]


def shade_faults(
    ax: Axes, windows: Sequence[Window], *, gaps: Sequence[Window] = (), label: bool = True
) -> None:
    """Shade time windows (start, end, text; in the units of the axis) and write their names above the axes.

    A name that occurs several times is written once, with the count. Names that would overlap go on different lines,
    at most four. If more lines are needed, the last one shows how many names found no place.

    Args:
        ax: the axes.
        windows: the faults.
        gaps: windows of missing records, shaded in grey.
        label: whether to write the names.
    """
    _shade(ax, gaps, MUTED_COLOUR, 0.3, GAP_GID)
    _shade(ax, windows, FAULT_COLOUR, 0.16, FAULT_GID)
    if label:
        _name_faults(ax, [*gaps, *windows])  # gaps first, because they must find a place


def _shade(ax: Axes, windows: Sequence[Window], colour: str, alpha: float, gid: str) -> None:
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


def _name_faults(ax: Axes, windows: Sequence[Window]) -> None:
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
