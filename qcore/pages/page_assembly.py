"""Makes one self-contained HTML file of a page's parts, and of data that it shows.

A page is a folder beside this module. Its `index.html` names the other parts in a comment of its head:

    <!-- parts: shared/palette.css viewer.css shared/dom.js main.js -->

A name with a slash begins in `qcore/pages`, any other in the page's folder. A script is an ES module, so that editors
understand it. All scripts of a page become one, in this order; their imports and the word `export` are removed. A
content security policy allows this script and this style sheet, and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
import html
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Final, Literal

PageName = Literal["viewer", "dashboard"]

#: What pages may do besides running their script.
_EXTRA_POLICY: Final = {"viewer": "", "dashboard": "; connect-src 'self' https: ws: wss:"}

_PARTS: Final = re.compile(r"<!--\s*parts:(.*?)-->", re.DOTALL)
_IMPORT: Final = re.compile(r"^import\s+(?:\{[^}]*\}\s*from\s*)?\"[^\"]*\";?[ \t]*$", re.MULTILINE)
_EXPORT: Final = re.compile(
    r"^export[ ]+(?=(?:async[ ]+)?(?:function|class|const|let)\b)", re.MULTILINE
)


@dataclass(slots=True, frozen=True)
class _Assembled:
    """The text of a page around its title and its data, and its content security policy."""

    before_title: str
    before_data: str
    after_data: str
    policy: str


def page(name: PageName, title: str, data: Iterable[tuple[str, str, str]] = ()) -> str:
    """The text of a page.

    Args:
        name: the folder of its parts.
        title: the title of the window, as plain text.
        data: (id, type, text) of each `script` element with data, such as ("head", "application/json", "{}"). In JSON,
            `<` is escaped here.

    Raises:
        ValueError: data that is not JSON contains `<`.
    """
    assembled = _assemble(name)
    return "".join(
        (
            assembled.before_title,
            html.escape(title),
            assembled.before_data,
            *(_data_element(*item) for item in data),
            assembled.after_data,
        )
    )


def content_policy(name: PageName) -> str:
    """The content security policy of a page: the one in its head, for the header of an HTTP response."""
    return _assemble(name).policy


def _data_element(identifier: str, media_type: str, text: str) -> str:
    if media_type == "application/json":
        text = text.replace("<", "\\u003c")
    elif "<" in text:
        raise ValueError(f"the data {identifier} contains the character <")
    return f'<script type="{media_type}" id="{identifier}">{text}</script>\n'


@lru_cache(maxsize=4)
def _assemble(name: PageName) -> _Assembled:
    outline = _read(f"{name}/index.html")
    found = _PARTS.search(outline)
    if found is None:
        raise ValueError(f"{name}/index.html has no comment with its parts")
    paths = [part if "/" in part else f"{name}/{part}" for part in found[1].split()]
    style = "".join(_read(path) for path in paths if path.endswith(".css"))
    scripts = [_as_script(_read(path)) for path in paths if path.endswith(".js")]
    script = '\n(() => {\n"use strict";\n' + "".join(scripts) + "})();\n"
    for what, text in (("script", script), ("style", style)):
        if f"</{what}" in text.lower():
            raise ValueError(f"the {what} of the page {name} contains its own end")
    policy = (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; img-src data:"
        f"{_EXTRA_POLICY[name]}"
    )
    before_body, body_end, after = outline[found.end() :].rpartition("</body>")
    return _Assembled(
        before_title=outline[: found.start()]
        + f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n<title>',
        before_data=f"</title>\n<style>{style}</style>{before_body}",
        after_data=f"<script>{script}</script>\n{body_end}{after}",
        policy=policy,
    )


def _as_script(module: str) -> str:
    """An ES module as a part of one script: without its imports, and without the word `export`."""
    return _EXPORT.sub("", _IMPORT.sub("", module)).rstrip() + "\n"


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


def _read(path: str) -> str:
    return files("qcore.pages").joinpath(path).read_text(encoding="utf-8")
