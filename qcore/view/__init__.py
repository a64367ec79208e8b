"""The run viewer: one HTML file that shows a run, from its trace.

save_page("run.qtrace", "run.html")

view("run.qtrace")  # in the cell of a notebook
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qcore.lazy_names import lazy_names

if TYPE_CHECKING:
    from qcore.view.notebook_view import View, view
    from qcore.view.view_page import page_text, save_page
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "qcore.view.notebook_view": ("View", "view"),
            "qcore.view.view_page": ("page_text", "save_page"),
        },
    )

__all__ = ["View", "page_text", "save_page", "view"]
