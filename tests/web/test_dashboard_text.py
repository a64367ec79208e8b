"""The text of the dashboard: it loads nothing, shows texts as texts, knows the wire, and holds no data."""

from __future__ import annotations

import base64
import hashlib
import re
from collections import Counter
from itertools import product
from pathlib import Path

import pytest

from qcore.errors import error_classes
from qcore.node.api.http_pages import respond
from qcore.pages.dashboard_page import dashboard_page
from tests.checkout import CHECKOUT
from tests.docs.wire_reference import registry
from tests.node.observability.test_logs_metrics_http import View
from tests.web.test_page_text import Outline

FOLDER = CHECKOUT / "qcore/pages/dashboard"
SHARED = CHECKOUT / "qcore/pages/shared"
SCRIPTS = [*sorted(FOLDER.glob("*.js")), SHARED / "dom.js", SHARED / "format.js"]

#: What the page calls its own errors; no node sends them.
OF_THE_PAGE = {"Overdue", "ConnectionLost"}

#: A name that a file declares at its top level.
DECLARED = re.compile(
    r"^(?:export )?(?:async )?(?:function|class|const|let) (\w+)|^const \w+ = [^;]*?, (\w+) = ",
    re.MULTILINE,
)
IMPORTED = re.compile(r'^import \{ ([\w, ]+) \} from "(\.[./\w]+\.js)";$', re.MULTILINE)


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def all_scripts() -> str:
    return "".join(map(text_of, SCRIPTS))


def test_the_page_is_whole_and_needs_no_other_file() -> None:
    page = Outline()
    page.feed(dashboard_page().text)
    page.close()
    assert page.open == []
    named = ("src", "srcset", "href", "action", "data", "poster", "style")
    references = {value for _, name, value in page.attributes if name in named}
    assert references == {"data:,"}  # no icon, and no style that the policy forbids
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    text = dashboard_page().text
    assert "@import" not in text
    assert "url(" not in text
    assert not re.search(r"^\s*(import|export)\b", text, re.MULTILINE)


def test_the_policy_names_the_only_script_and_style() -> None:
    page = respond(View(), "/")
    assert page.status == 200
    assert page.content_type.startswith("text/html")
    policy = page.headers["Content-Security-Policy"].split("; ")
    for tag, directive in (("script", "script-src"), ("style", "style-src")):
        (part,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page.text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(part.encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}'" in policy
    assert policy[0] == "default-src 'none'"
    assert {"frame-ancestors 'none'", "form-action 'none'", "base-uri 'none'"} < {*policy}
    assert "require-trusted-types-for 'script'" in policy
    assert "unsafe" not in page.headers["Content-Security-Policy"]
    assert page.headers["X-Frame-Options"] == "DENY"


def test_texts_of_a_node_cannot_become_html() -> None:
    ways = (
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|srcdoc|"
        r"javascript:|setHTMLUnsafe|createContextualFragment|DOMParser|localStorage|document\.cookie"
    )
    assert not re.findall(ways, dashboard_page().text)


def test_each_name_of_the_scripts_is_declared_once_and_exported() -> None:
    assert len(SCRIPTS) >= 9
    names = Counter(
        name
        for path in SCRIPTS
        for match in DECLARED.finditer(text_of(path))
        for name in match.groups()
        if name
    )
    assert [name for name, number in names.items() if number > 1] == []
    for path in SCRIPTS:
        text = text_of(path)
        assert text.count("\nimport ") == len(IMPORTED.findall(text)), path.name
        for imported, source in IMPORTED.findall(text):
            for name in imported.split(", "):
                exported = rf"^export (async )?(function|class|const) {name}\b"
                assert re.search(exported, text_of(FOLDER / source), re.MULTILINE), (path, name)
                assert len(re.findall(rf"\b{name}\b", text)) > 1, f"{path.name} does not use {name}"


def test_the_page_knows_the_messages_and_codes_of_the_wire() -> None:
    scripts = all_scripts()
    names = set(re.findall(r'(?:ask|allPages)\("(\w+)"', scripts))
    assert {"GetMetrics", "GetActivity", "Authenticate", "TransferLeader"} <= names
    assert names < set(registry())
    codes = set(re.findall(r'code(?:: | === )"(\w+)"', scripts))
    codes |= set(re.findall(r'"(\w+NotFound|Unauthenticated|PermissionDenied)"', scripts))
    assert len(codes) >= 6
    assert codes - OF_THE_PAGE <= set(error_classes())


def luminance(colour: str) -> float:
    """The relative luminance of WCAG 2."""
    digits = colour.lstrip("#")
    digits = digits if len(digits) == 6 else "".join(digit * 2 for digit in digits)
    parts = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    linear = [
        part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", [0, 1, 2], ids=["light", "dark", "chosen dark"])
def test_texts_and_marks_have_contrast(theme: int) -> None:
    palette = text_of(CHECKOUT / "qcore/pages/shared/palette.css")
    blocks = re.findall(r"\{([^{}]*--page:[^{}]*)\}", palette)
    assert len(blocks) == 3
    assert blocks[1].split() == blocks[2].split()
    colours = dict(re.findall(r"--([\w-]+): (#\w+);", blocks[theme]))
    texts = ("text", "faint", "ok-text", "unknown-text", "lost-text")
    for text, ground in product(texts, ("page", "panel")):
        assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    assert contrast(colours["on-accent"], colours["accent"]) >= 4.5
    assert contrast(colours["text"], colours["chip"]) >= 4.5
    assert contrast(colours["lost-text"], colours["lost-page"]) >= 4.5
    for mark in ("accent", "append", "vote", "snapshot", "forward"):
        assert contrast(colours[mark], colours["panel"]) >= 3, mark
