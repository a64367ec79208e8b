"""`make docs` builds the documentation site without a warning; it is complete and needs no network and no server."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import typer

from qcore.cli.main import app
from tests.checkout import CHECKOUT, DOCS
from tests.documents import DOCUMENTS, name, read

PYTHON_PAGES = DOCS / "reference" / "python"

#: Lines that a build without a warning prints.
EXPECTED_LINE = re.compile(r"INFO +-  (Cleaning site|Building documentation|Documentation built).*")

_TAG = re.compile(r"<(\w+)\b([^>]*)>")
_TARGET = re.compile(r"\b(href|src|srcset|data|poster)=(?:\"([^\"]*)\"|'([^']*)'|([^\s>]+))")
_OTHER_HOST = re.compile(r"(?:https?:)?//")
_LOADED_BY_CSS = re.compile(r"(?:url\(|@import)\s*[\"']?((?:https?:)?//[^\"')\s]*)")

_TEXT_ELEMENT = re.compile(r"<(?:p|li|td)>(.*?)</(?:p|li|td)>", re.DOTALL)
_RAW_MARKDOWN = re.compile(r"```|\*\*|\]\(|(?:^|\n)(?:\||[-*] |\d+\. )")
#: A block within an item of a list. Python's Markdown wants four spaces before it, others are content with two.
_NARROW_BLOCK = re.compile(r"(?:^\n {1,3}\S|^ {1,3}(?:[-*]|\d+\.) ).*", re.M)


def build(folder: Path) -> list[str]:
    """Build the site as `make docs` does. Returns what the build prints."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(
        command,
        cwd=CHECKOUT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(CHECKOUT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout.splitlines()


def targets(html: str) -> list[tuple[str, str]]:
    """The targets that the elements of a page name, each with the name of the element."""
    return [
        (tag, unescape(double or single or bare))
        for tag, attributes in _TAG.findall(html)
        for _, double, single, bare in _TARGET.findall(attributes)
    ]


def loaded_from_other_hosts(text: str) -> list[str]:
    """What a browser would load from another host to show this page or style sheet. A link (`a`) loads nothing."""
    loaded = [target for tag, target in targets(text) if tag != "a"]
    return [*filter(_OTHER_HOST.match, loaded), *_LOADED_BY_CSS.findall(text)]


def broken_targets(site: Path) -> list[str]:
    """The targets within the site that are no file, as a folder is none without a server, or no anchor of it."""
    pages = {page: page.read_text(encoding="utf-8") for page in site.rglob("*.html")}
    ids = {page: set(re.findall(r"\bid=\"?([^\s\">]+)", text)) for page, text in pages.items()}
    broken: list[str] = []
    for page, text in pages.items():
        if page.name == "404.html":  # only a server shows it
            continue
        for _, target in targets(text):
            path, _, anchor = target.partition("#")
            if re.match(r"[a-z]+:", target) or target in {"", "#"}:
                continue
            file = (page.parent / unquote(path)).resolve() if path else page
            if not file.is_file() or (anchor and file in ids and unquote(anchor) not in ids[file]):
                broken.append(f"{page.relative_to(site)}: {target}")
    return broken


def raw_markdown(site: Path) -> list[str]:
    """Text on a page that was written as a block, a list, a table or a link, and is not shown as one."""
    found: list[str] = []
    for page in site.rglob("*.html"):
        for element in _TEXT_ELEMENT.findall(page.read_text(encoding="utf-8")):
            text = re.sub(r"<code>.*?</code>", "", element, flags=re.DOTALL)
            if _RAW_MARKDOWN.search(re.sub(r"<[^>]+>", "", text)) or r"\|" in element:
                found.append(f"{page.relative_to(site)}: {element[:200]}")
    return found


def undocumented_names(site: Path) -> list[str]:
    """The public names that have no entry on the page of their package."""
    missing: list[str] = []
    for page in sorted(PYTHON_PAGES.glob("*.md")):
        if page.stem == "index":
            continue
        html = (site / "reference" / "python" / f"{page.stem}.html").read_text(encoding="utf-8")
        package = f"qcore.{page.stem}"
        public = getattr(importlib.import_module(package), "__all__", ())
        missing += [f"{package}.{name}" for name in public if f'id="{package}.{name}"' not in html]
    return missing


def commands_of_the_cli() -> list[str]:
    """Every command and group, such as `qcore cluster status`."""

    # `Any`: typer's command classes have no name that all supported versions export.
    def visit(name: str, command: Any) -> Iterator[str]:
        yield name
        if hasattr(command, "list_commands"):
            with typer.Context(command, info_name=name) as context:
                for one in command.list_commands(context):
                    yield from visit(f"{name} {one}", command.get_command(context, one))

    return list(visit("qcore", typer.main.get_command(app)))[1:]


@pytest.mark.long
@pytest.mark.timeout(300)
def test_the_site_is_complete_and_needs_no_network(tmp_path: Path) -> None:
    printed = build(tmp_path)
    assert [line for line in printed if not EXPECTED_LINE.fullmatch(line)] == []
    assert not broken_targets(tmp_path)
    assert not raw_markdown(tmp_path)
    assert not undocumented_names(tmp_path)

    for file in [*tmp_path.rglob("*.html"), *tmp_path.rglob("*.css")]:
        assert not loaded_from_other_hosts(file.read_text(encoding="utf-8")), file
    assert (tmp_path / "search" / "search_index.js").is_file(), "search needs a server"

    def text(page: str) -> str:
        return (tmp_path / page).read_text(encoding="utf-8")

    for command in commands_of_the_cli():
        assert f'id="{command.replace(" ", "-")}"' in text("reference/cli.html"), command
    words = " ".join(re.sub(r"<[^>]+>", " ", text("reference/python/core.html")).split())
    assert "election_timeout_max_ms : int = 300 Longest election timeout." in words, "a setting"
    assert "auto_leave bool leave the joint phase as soon as it is committed" in words, (
        "a docstring"
    )
    assert 'href="design.html"' in text("explanation/architecture.html"), (
        "a page from outside docs/"
    )


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_blocks_in_lists_are_indented_by_four_spaces(path: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", read(path), flags=re.M | re.S)
    assert _NARROW_BLOCK.findall(text) == []


def test_a_block_with_too_few_spaces_is_found() -> None:
    for good in ("- one\n  two\n", "- one\n\n    two\n", "- one\n    - two\n"):
        assert _NARROW_BLOCK.findall(good) == []
    for planted in ("- one\n\n  two\n", "- one\n  - two\n", "1. one\n   1. two\n"):
        assert len(_NARROW_BLOCK.findall(planted)) == 1, planted


def test_the_make_target_builds_as_the_test_does() -> None:
    done = subprocess.run(
        ["make", "-n", "docs"], cwd=CHECKOUT, capture_output=True, text=True, check=True
    )
    assert "NO_MKDOCS_2_WARNING=1" in done.stdout
    assert "mkdocs --quiet build --strict" in done.stdout
    assert f"{CHECKOUT}/out/docs/index.html" in done.stdout


def test_what_a_page_loads_from_another_host_is_found() -> None:
    harmless = (
        '<a href="https://example.org">x</a><script src="a.js"></script><p>https://example.org</p>'
    )
    assert loaded_from_other_hosts(harmless) == []
    for planted in (
        '<script src="https://example.org/a.js"></script>',
        "<link rel=stylesheet href=//example.org/a.css>",
        "<img src='http://example.org/a.png'>",
        "@font-face {src: url(https://example.org/a.woff2)}",
        '@import "https://example.org/a.css";',
    ):
        assert len(loaded_from_other_hosts(harmless + planted)) == 1, planted


def test_a_broken_target_in_the_site_is_found(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "other.html").write_text('<h1 id="there">x</h1>')
    good = '<a href="other.html#there">x</a> <a href=#here id=here>x</a> <a href="https://example.org">x</a>'
    (tmp_path / "page.html").write_text(good)
    assert broken_targets(tmp_path) == []
    for planted in ("folder/", "none.html", "other.html#none", "#none"):
        (tmp_path / "page.html").write_text(f'{good}<a href="{planted}">x</a>')
        assert broken_targets(tmp_path) == [f"page.html: {planted}"]


def test_markdown_that_is_not_shown_as_meant_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("<p>one - two\nthree <code>**</code></p><td><code>a|b</code></td>")
    assert raw_markdown(tmp_path) == []
    for planted in ("<p>one\n- two</p>", "<li>| a |</li>", "<p>```json send</p>", "<p>[a](b)</p>"):
        page.write_text(planted)
        assert len(raw_markdown(tmp_path)) == 1, planted
    page.write_text(r"<td><code>a\|b</code></td>")
    assert len(raw_markdown(tmp_path)) == 1
