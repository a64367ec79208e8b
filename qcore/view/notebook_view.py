"""`view`: the page of a run in the cell of a notebook."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Collection
from pathlib import Path
from typing import Final

from qcore.analysis.course.course_types import Course
from qcore.analysis.figure import run_figure
from qcore.analysis.plotting.time_window import window_of
from qcore.analysis.records import TraceSource
from qcore.analysis.style import MS
from qcore.view.view_page import course_of, page_text, save_page

#: A larger page would make the notebook slow.
MOST_CHARACTERS: Final = 8_000_000
_HEIGHT_PX: Final = 820


def view(
    source: TraceSource | Course,
    *more: TraceSource,
    from_ms: float | None = None,
    to_ms: float | None = None,
    align: bool = False,
) -> View:
    """Show a run in the cell of a notebook.

    Args:
        source: the trace of the run, or its course.
        more: the traces of further nodes, if `source` is the trace of a real node.
        from_ms, to_ms: show only this time of the run, counted from the first record of the trace.
        align: correct the times of real nodes by the offsets of their clocks.

    Raises:
        ConfigError: a trace cannot be read.
    """
    return View(course_of(source, more, align=align), from_ms, to_ms)


class View:
    """The page of a run. A notebook shows it in a frame, and a picture of the run where frames are not allowed.

    Attributes:
        course: the course of the run.
    """

    def __init__(
        self, course: Course, from_ms: float | None = None, to_ms: float | None = None
    ) -> None:
        self.course = course
        self._part = (from_ms, to_ms)
        self._image = ""

    def save(self, path: Path | str) -> Path:
        """Write the page. See `save_page`."""
        from_ms, to_ms = self._part
        return save_page(self.course, path, from_ms=from_ms, to_ms=to_ms)

    def __repr__(self) -> str:
        course = self.course
        return (
            f"View({course.tables.name}, seed {course.tables.seed}: {len(course.records)} events, "
            f"{len(course.elections)} elections, {len(course.tables.violations)} violations)"
        )

    def _repr_mimebundle_(
        self, include: Collection[str] | None = None, exclude: Collection[str] | None = None
    ) -> dict[str, str]:
        """What a notebook shows.

        Raises:
            ConfigError: the run has too many events, or no event is in the time to show.
        """
        return {"text/html": self._html(), "text/plain": repr(self)}

    def _html(self) -> str:
        from_ms, to_ms = self._part
        text = page_text(self.course, from_ms=from_ms, to_ms=to_ms)
        picture = (
            f'<img alt="{html.escape(repr(self))}" src="{self._picture()}" style="max-width:100%">'
        )
        if len(text) > MOST_CHARACTERS:
            return (
                f"{picture}<p>The page has {len(text) / 1e6:.0f} MB, too many for a notebook. Write it with "
                "<code>.save('run.html')</code>, or show a part of the run with <code>from_ms</code> and "
                "<code>to_ms</code>.</p>"
            )
        # The frame covers the picture. It has no access to the notebook.
        return (
            f'<div style="position:relative;height:{_HEIGHT_PX}px;overflow:hidden">{picture}'
            '<iframe sandbox="allow-scripts allow-downloads" title="A run of qcore" '
            'style="position:absolute;inset:0;width:100%;height:100%;border:0;background:#fff" '
            f'srcdoc="{html.escape(text)}"></iframe></div>'
        )

    def _picture(self) -> str:
        """A picture of the part as the address of an image: pages that remove frames keep images."""
        if not self._image:
            stream = io.BytesIO()
            from_ms, to_ms = self._part
            whole = window_of(self.course)
            start_ms = whole.start_us / MS if from_ms is None else from_ms
            end_ms = whole.end_us / MS if to_ms is None else to_ms
            is_whole = self._part == (None, None)
            window = whole if is_whole else (start_ms, end_ms)
            figure = run_figure(self.course.tables, window=window)
            figure.savefig(stream, format="svg", metadata={"Date": None})
            self._image = base64.b64encode(stream.getvalue()).decode("ascii")
        return f"data:image/svg+xml;base64,{self._image}"
