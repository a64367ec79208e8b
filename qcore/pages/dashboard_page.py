"""The dashboard of a cluster: one page without other resources, and the headers that keep it from loading any."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from qcore.pages.page_assembly import content_policy, page

#: Beyond the policy in the page: it sends no form, is in no frame of another page, and lets no text become HTML. It may
#: connect to every address, because the members may have any.
_MORE_POLICY: Final = (
    "; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; "
    "trusted-types 'none'"
)


@dataclass(slots=True, frozen=True)
class WebPage:
    """A page: its text as HTML, and its HTTP headers."""

    text: str
    headers: Mapping[str, str]


@lru_cache(maxsize=1)
def dashboard_page() -> WebPage:
    """The page. It is the same for every node and every visitor."""
    headers = {
        "Content-Security-Policy": content_policy("dashboard") + _MORE_POLICY,
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Resource-Policy": "same-origin",
    }
    return WebPage(page("dashboard", "qcore cluster"), headers)
