"""The dashboard of a cluster: one page without other resources, and the headers that keep it from loading any."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Final

#: In index.html: the files that the page consists of, in order.
_PARTS: Final = re.compile(r"<!-- parts: ([\w. -]+?) -->")
#: The words of modules, which a single script does not have.
_MODULE_WORDS: Final = re.compile(r"^(import [^\n]*\n|export )", re.MULTILINE)


@dataclass(slots=True, frozen=True)
class WebPage:
    """A page: its text as HTML, and its HTTP headers."""

    text: str
    headers: Mapping[str, str]


@lru_cache(maxsize=1)
def dashboard_page() -> WebPage:
    """The page. It is the same for every node and every visitor."""
    index = _read("index.html")
    match = _PARTS.search(index)
    assert match is not None, "index.html names no parts"
    names = match[1].split()
    style = "\n" + "".join(_read(name) for name in names if name.endswith(".css"))
    scripts = (_MODULE_WORDS.sub("", _read(name)) for name in names if name.endswith(".js"))
    script = '\n(() => {\n"use strict";\n' + "\n".join(scripts) + "})();\n"
    text = index.replace(match[0], f"<style>{style}</style>")
    text = text.replace("</body>", f"<script>{script}</script>\n</body>")
    return WebPage(text, _headers(style, script))


def _headers(style: str, script: str) -> dict[str, str]:
    """Only these two texts run; the page loads nothing, sends no form, and is in no frame of another page.

    It may connect to every node, because the members have any address.
    """
    policy = (
        "default-src 'none'",
        f"script-src {_hash(script)}",
        f"style-src {_hash(style)}",
        "img-src data:",
        "connect-src 'self' ws: wss:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
    return {
        "Content-Security-Policy": "; ".join(policy),
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Resource-Policy": "same-origin",
    }


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _read(name: str) -> str:
    return (files("qcore.pages") / "dashboard" / name).read_text(encoding="utf-8")
