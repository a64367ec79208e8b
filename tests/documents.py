"""Parses the documents of the project into code blocks, commands, links and code spans."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.checkout import CHECKOUT

DOCUMENTS = sorted(
    [*CHECKOUT.glob("*.md"), *CHECKOUT.glob("docs/**/*.md"), *CHECKOUT.glob("benchmarks/*.md")]
)

#: Blocks in these languages hold commands. In `console` a command follows `$ `, and its output follows the command.
SHELL, CONSOLE = "sh", "console"
LANGUAGES = {SHELL, CONSOLE, "python", "yaml", "json", "text", ""}

_BLOCK = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: its language (the first word after the fence), its text, and the text before it."""

    language: str
    text: str
    before: str


@dataclass(frozen=True, slots=True)
class Command:
    """One command line and the output that the document shows for it."""

    line: str
    output: tuple[str, ...] = ()

    @property
    def program(self) -> str:
        return self.line.split()[0]


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def name(path: Path) -> str:
    return path.relative_to(CHECKOUT).as_posix()


def blocks(path: Path) -> list[Block]:
    text = read(path)
    return [
        Block(language=(match[1].split() or [""])[0], text=match[2], before=text[: match.start()])
        for match in _BLOCK.finditer(text)
    ]


def commands(path: Path) -> list[Command]:
    """All commands of a document, in order."""
    found: list[Command] = []
    for block in blocks(path):
        if block.language == SHELL:
            lines = block.text.replace("\\\n", "").splitlines()
            found += [Command(line) for line in lines if line.strip() and line[0] != "#"]
        elif block.language == CONSOLE:
            for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
                line, *output = part.replace("\\\n", "").splitlines()
                found.append(Command(line, tuple(output)))
    return found


def spans(path: Path) -> Iterator[str]:
    """The code spans in running text and tables."""
    for match in re.finditer(r"(?<!`)`([^`\n]+)`(?!`)", _BLOCK.sub("", read(path))):
        yield match[1]


def links(path: Path) -> list[str]:
    """The targets of links and images that are files of the project."""
    targets = re.findall(r"\]\(([^)\s]+)\)", _BLOCK.sub("", read(path)))
    return [target.split("#")[0] for target in targets if not re.match(r"[a-z]+:|#", target)]
