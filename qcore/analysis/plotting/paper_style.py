"""Pictures for papers: as wide as a column, in the type size of the text, with fonts that publishers accept."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Literal

from qcore.analysis.style import paper_width

#: The widths of a column and of a page of the ACM, IEEE and USENIX styles, inches.
COLUMN_WIDTHS: Final = {"single": 3.35, "double": 7.0}


@contextmanager
def paper_style(column: Literal["single", "double"] = "single") -> Iterator[float]:
    """Draw pictures for print: within the block, new figures are as wide as a column, and texts have 8 points.

        with paper_style("single"):
            ax = plot_commits(run)
            ax.figure.savefig("commits.pdf")

    PDF files embed TrueType fonts; SVG files hold text as text, so they need the font where they are shown. A picture
    of a run has no title: the paper has a caption. Give your axes the width that the block gives, in inches.

    Args:
        column: the width: 3.35 inches of one column, or 7 inches of both.
    """
    from matplotlib import rc_context

    width = COLUMN_WIDTHS[column]
    token = paper_width.set(width)
    try:
        with rc_context(
            {
                "font.size": 8,
                "axes.labelsize": 8,
                "axes.titlesize": 8,
                "xtick.labelsize": 8,
                "ytick.labelsize": 8,
                "legend.fontsize": 7,
                "figure.titlesize": 8,
                "axes.linewidth": 0.6,
                "xtick.major.width": 0.6,
                "ytick.major.width": 0.6,
                "lines.linewidth": 1.2,
                "hatch.linewidth": 0.5,
                "pdf.fonttype": 42,  # TrueType: conferences reject type 3
                "ps.fonttype": 42,
                "svg.fonttype": "none",  # text stays text
                "svg.hashsalt": "qcore",  # the same picture gives the same file
                "savefig.dpi": 300,
                "savefig.facecolor": "white",
                "figure.constrained_layout.h_pad": 0.02,
                "figure.constrained_layout.w_pad": 0.02,
            }
        ):
            yield width
    finally:
        paper_width.reset(token)
