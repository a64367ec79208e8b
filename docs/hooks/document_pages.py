"""A hook of MkDocs: documents outside docs/ become pages of the site, and every document is shown as it was meant.

A link in a document is a path in the checkout, so it works where the checkout is browsed. This hook turns it into a
path in the site. A link to a file that is no page, such as a scenario, becomes plain text. It also replaces what
Python's Markdown does not know: a second word after the language of a code block, and `\\|` in code in a table.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

CHECKOUT = Path(__file__).parent.parent.parent

#: Document in the checkout -> page of the site.
OUTSIDE = {
    "ARCHITECTURE.md": "explanation/architecture.md",
    "benchmarks/README.md": "explanation/benchmarks.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
_SOURCES = {page: document for document, page in OUTSIDE.items()}

#: Pages whose tables need the room of the table of contents.
WIDE = {"explanation/faults.md", "reference/settings.md"}

#: A link or an image; or a fenced block or a code span, which stays as it is.
_LINK = re.compile(
    r"(?P<code>^```.*?^```$|`[^`\n]+`)|(?P<bang>!?)\[(?P<text>[^\]]*)\]\((?P<target>[^)\s]+)\)",
    re.M | re.S,
)

#: The first line of a code block whose language is followed by more words, such as `json expect`.
_TITLED_FENCE = re.compile(r"^```(?P<language>\w+) (?P<title>[\w ]+)$", re.M)
_TABLE_ROW = re.compile(r"^\|.*\|$", re.M)
_CODE_SPAN = re.compile(r"`[^`\n]+`")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of `OUTSIDE`."""
    for document, page in OUTSIDE.items():
        files.append(File.generated(config, page, abs_src_path=str(CHECKOUT / document)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Rewrite the Markdown of a page."""
    markdown = _TITLED_FENCE.sub(r'```\g<language> title="\g<title>"', markdown)
    markdown = _TABLE_ROW.sub(
        lambda row: _CODE_SPAN.sub(lambda code: code[0].replace(r"\|", "|"), row[0]), markdown
    )
    here = page.file.src_uri
    if here in WIDE:
        page.meta["hide"] = ["toc"]
    document = _SOURCES.get(here, f"docs/{here}")

    def rewrite(match: re.Match[str]) -> str:
        target, _, anchor = (match["target"] or "").partition("#")
        if match["code"] or not target or re.match(r"[a-z]+:", target):
            return match[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(document), target))
        if not (CHECKOUT / path).exists():
            return match[0]  # MkDocs reports it
        linked = OUTSIDE.get(path, path.removeprefix("docs/"))
        if files.get_file_from_path(linked) is None:
            return match["text"]
        relative = posixpath.relpath(linked, posixpath.dirname(here) or ".")
        return f"{match['bang']}[{match['text']}]({relative}{'#' if anchor else ''}{anchor})"

    return _LINK.sub(rewrite, markdown)
