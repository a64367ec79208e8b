"""A hook of MkDocs: the reference of the command line, from the Typer app, as `typer utils docs` writes it."""

from __future__ import annotations

import re
from collections.abc import Mapping

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from typer.cli import get_docs_for_click

from qcore.cli.main import app

PAGE = "reference/cli.md"

#: The title of a command, and the first paragraph about it.
_COMMAND = re.compile(r"^#+ `(?P<name>qcore [^`]+)`\n\n(?P<summary>.+?)\n\n", re.M | re.S)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the page."""
    files.append(File.generated(config, PAGE, content=cli_page()))
    return files


def cli_page() -> str:
    """The page as Markdown."""
    command = typer.main.get_command(app)
    context = typer.Context(command, info_name="qcore")
    text = get_docs_for_click(obj=command, ctx=context, name="qcore", title="Command line")
    summaries = {match["name"]: match["summary"] for match in _COMMAND.finditer(text)}

    sections = re.split(r"^(?=#+ )", text, flags=re.M)
    for number, section in enumerate(sections):
        title = re.match(r"#+ `(qcore [^`]+)`", section)
        head, heading, listed = section.partition("**Commands**:")
        sections[number] = (
            head + heading + _with_links(listed, title[1] if title else "qcore", summaries)
        )
    return "".join(sections)


def _with_links(commands: str, group: str, summaries: Mapping[str, str]) -> str:
    """The list of a group's commands, with links and with whole summaries, which Typer shortens."""

    def link(match: re.Match[str]) -> str:
        name = f"{group} {match[1]}"
        return f"* [`{name}`](#{name.replace(' ', '-')}): {summaries[name]}"

    return re.sub(r"^\* `([\w-]+)`: .*$", link, commands, flags=re.M)
