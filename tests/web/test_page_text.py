"""The text of `examples/web/entity_tree.html`: one file that shows texts as texts, and knows the wire."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from qcore.errors import error_classes
from tests.checkout import EXAMPLES
from tests.docs.wire_reference import registry

TEXT = (EXAMPLES / "web/entity_tree.html").read_text(encoding="utf-8")

#: Elements that have no end tag.
VOID = {"input", "link", "meta"}

#: The codes that the page gives to its errors; no node sends them.
OF_THE_PAGE = {"Overdue"}


class Outline(HTMLParser):
    """The attributes of a page, and the elements that are open."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.policy = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if ("http-equiv", "Content-Security-Policy") in attrs:
            self.policy = dict(attrs)["content"] or ""
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> ends nothing, line {self.getpos()[0]}"
        assert self.open.pop() == tag, f"</{tag}>, line {self.getpos()[0]}"


def outline() -> Outline:
    parser = Outline()
    parser.feed(TEXT)
    parser.close()
    return parser


def script() -> str:
    (found,) = re.findall(r"<script>(.*)</script>", TEXT, re.DOTALL)
    return str(found)


def test_every_element_ends() -> None:
    assert outline().open == []


def test_the_page_needs_no_other_file() -> None:
    page = outline()
    references = {
        value
        for _, name, value in page.attributes
        if name in {"src", "srcset", "href", "action", "data", "poster"}
    }
    assert references == {"data:,"}  # no icon
    assert "@import" not in TEXT
    assert "url(" not in TEXT
    assert not re.search(r"\bimport\b\s*[({'\"*]", script())
    # The browser enforces it: nothing is loaded, and scripts can only connect.
    assert page.policy.startswith("default-src 'none'; script-src 'unsafe-inline';")
    assert "*" not in page.policy


def test_texts_of_the_node_cannot_become_html() -> None:
    ways = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|srcdoc"
    assert not re.findall(ways, TEXT)
    assert "javascript:" not in TEXT
    assert not [name for _, name, _ in outline().attributes if name.startswith("on")]


def test_the_page_knows_the_messages_and_codes_of_the_wire() -> None:
    names = set(re.findall(r'(?:ask|allPages)\("(\w+)"', script()))
    assert len(names) >= 7
    assert names < set(registry())
    assert set(re.findall(r'kind === "(\w+)"', script())) <= set(registry()) | {"field", "live"}
    codes = set(re.findall(r'code(?:: | === )"(\w+)"', script()))
    codes |= set(re.findall(r'"(\w+NotFound)"', script()))
    assert len(codes) >= 5
    assert codes - OF_THE_PAGE <= set(error_classes())
