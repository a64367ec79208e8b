"""Colours and the small things that all plots share.

The colours are those of Okabe and Ito, which people with any common colour blindness can tell apart;
roles also differ in lightness, so that they survive a grey print.
"""

from __future__ import annotations

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

#: A line a node, in turn.
SERIES: Final = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000")

FAULT: Final = "#CC79A7"
CUT: Final = "#B2182B"
INK: Final = "#333333"
FAINT: Final = "#8A9299"

MS: Final = 1_000
SECOND: Final = 1_000_000


def axes(ax: Axes | None, width: float = 9.0, height: float = 3.2) -> Axes:
    """The given axes, or those of a new figure; plain, without the box around them."""
    if ax is None:
        from matplotlib import pyplot  # heavy, and not needed to read tables

        _, ax = pyplot.subplots(figsize=(width, height), layout="constrained")
    ax.spines[["top", "right"]].set_visible(False)
    for side in ("left", "bottom"):
        ax.spines[side].set_color(FAINT)
    ax.tick_params(colors=INK)
    return ax


def shade_faults(ax: Axes, windows: list[tuple[float, float, str]], *, label: bool = True) -> None:
    """Shade time windows (start, end, text; in the axis' units), with their names above the axes.

    Names that would run into each other go on different lines.
    """
    left, right = ax.get_xlim()
    lines: list[float] = []  # where the text of each line ends
    for start, end, text in windows:
        ax.axvspan(start, end, color=FAULT, alpha=0.16, linewidth=0, zorder=0)
        ax.axvline(start, color=FAULT, linewidth=0.8, zorder=0)
        if not label:
            continue
        width = (right - left) * 0.0095 * (len(text) + 1)
        line = next((n for n, used in enumerate(lines) if used <= start), len(lines))
        if line == len(lines):
            lines.append(0.0)
        lines[line] = start + width
        ax.annotate(
            text,
            (start, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(1, 3 + 11 * line),
            textcoords="offset points",
            fontsize=8,
            color="#8E3A6B",
            annotation_clip=False,
        )
