"""The run viewer: one HTML file that shows a run, from its trace.

save_page("run.qtrace", "run.html")
"""

from __future__ import annotations

from qcore.view.notebook_view import View, view
from qcore.view.view_page import page_text, save_page

__all__ = ["View", "page_text", "save_page", "view"]
