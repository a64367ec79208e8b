"""Finds the words that docs/explanation/glossary.md bans in code, documents, scenarios and the notebook.

`python -m tests.words [PATH ...]` prints every finding as `file:line`, then the count of each word. A path limits the
search to a file or a folder of the project.
"""

from __future__ import annotations

import argparse
import ast
import io
import json
import re
import sys
import tokenize
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from tests.checkout import CHECKOUT

GLOSSARY = "docs/explanation/glossary.md"
TABLE_HEADING = "## Words we do not use"

#: What is checked, as patterns of paths in the project.
CHECKED = (
    "*.md",
    "docs/**/*.md",
    "docs/hooks/*.py",
    "mkdocs.yml",
    "benchmarks/*.md",
    "Makefile",
    "qcore/**/*.py",
    "qcore/pages/**/*.html",
    "qcore/pages/**/*.js",
    "tests/**/*.py",
    "tests/**/*.txt",
    "benchmarks/**/*.py",
    "examples/**/*.html",
    "examples/**/*.py",
    "examples/**/*.yaml",
    "scenarios/**/*.yaml",
    "notebooks/*.ipynb",
)

#: Between the words of a phrase: spaces, a line break, the `#` of the next comment line, the `_` of an identifier.
_GAP = r"(?:\s|_|#:?)+"
#: The same in the source of a module, where a string may end and the next one begin in between.
_GAP_IN_SOURCE = r"""[\W_]+(?:[a-z]{1,2}["'])?"""
_WORDS_OF_AN_IDENTIFIER = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_INSIDE_CAMEL_CASE = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


@dataclass(frozen=True, slots=True)
class BannedWord:
    """One word or phrase of the table.

    Attributes:
        text: a plain word or phrase, or a regular expression, in lower case.
        is_regex: which of the two `text` is.
        instead: what the glossary recommends.
        allowed: where the word may stand: path patterns, and phrases or names that contain it.
    """

    text: str
    is_regex: bool
    instead: str
    allowed: tuple[str, ...]

    def pattern(self, gap: str) -> str:
        """The regular expression, with `gap` between two words and without the boundaries of the first and last.

        Its groups capture nothing: `re` finds the matching one of many alternatives much faster then.
        """
        source = self.text if self.is_regex else re.escape(self.text).replace(r"\ ", " ")
        return re.sub(r"(?<!\\)\((?!\?)", "(?:", source).replace(" ", gap)

    def is_allowed(self, path: str, context: str, start: int, end: int) -> bool:
        """Whether the characters from `start` to `end` of `context` are an exception."""
        for exception in self.allowed:
            if "/" in exception or exception.endswith(".md"):
                if fnmatch(path, exception):
                    return True
                continue
            at = context.find(exception.lower())
            while at >= 0:
                if at <= start and end <= at + len(exception):
                    return True
                at = context.find(exception.lower(), at + 1)
        return False


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of text that is checked: a whole document, a string, a comment, or one identifier."""

    text: str
    line: int
    last_line: int
    identifier: str | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """A banned word at a line of a file."""

    path: str
    line: int
    found: str
    word: BannedWord

    def __str__(self) -> str:
        return f'{self.path}:{self.line}: "{self.found}": write {self.word.instead}'


def read_table(text: str) -> list[BannedWord]:
    """The words that a glossary bans: the rows of the table under `TABLE_HEADING`.

    The first cell lists plain words, separated by commas, and regular expressions in backticks. In the last cell, each
    span in backticks is an exception. `\\|` stands for `|`.
    """
    section = text.split(TABLE_HEADING + "\n")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| ")]
    table: list[BannedWord] = []
    for row in rows[1:]:
        words, instead, allowed = (
            cell.strip().replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", row)[1:4]
        )
        exceptions = tuple(re.findall(r"`([^`]+)`", allowed))
        for regex, plain in re.findall(r"`([^`]+)`|([^`,]+)", words):
            entry = regex or plain.strip()
            if entry:
                table.append(BannedWord(entry, bool(regex), instead, exceptions))
    return table


class Checker:
    """Checks texts against one table of banned words."""

    def __init__(self, table: Iterable[BannedWord]) -> None:
        self._table = list(table)
        self._each = [_whole_words([word.pattern(_GAP)]) for word in self._table]
        self._any = _whole_words(word.pattern(_GAP) for word in self._table)
        self._any_in_source = _whole_words(word.pattern(_GAP_IN_SOURCE) for word in self._table)

    def findings(self, path: str, text: str) -> list[Finding]:
        """All findings in one file, which `path` names from the root of the project; in order of lines."""
        found = [
            finding
            for passage in self._passages(path, text)
            for finding in self._findings_in(path, text, passage)
        ]
        return sorted(found, key=lambda finding: finding.line)

    def findings_in_name(self, path: str) -> Iterator[Finding]:
        """Findings in the file's name and the names of its folders."""
        for part in Path(path).with_suffix("").parts:
            yield from self._findings_in(path, "", _identifier(part, 1))

    def _passages(self, path: str, text: str) -> Iterator[Passage]:
        if path.endswith(".py"):
            if self._any_in_source.search(_plain_words(text)):
                yield from _strings_and_identifiers(text)
                yield from _comments(text)
        elif path.endswith(".ipynb"):
            yield from _cells(text)
        elif path == GLOSSARY:
            yield Passage(text.split(TABLE_HEADING)[0], 1, text.count("\n") + 1)
        else:
            yield Passage(text, 1, text.count("\n") + 1)

    def _findings_in(self, path: str, text: str, passage: Passage) -> Iterator[Finding]:
        lowered = passage.text.lower()
        for match in self._any.finditer(lowered):
            word = next(
                word
                for word, pattern in zip(self._table, self._each, strict=True)
                if pattern.match(lowered, match.start())
            )
            context, start, end = lowered, match.start(), match.end()
            if passage.identifier is not None:
                context, start, end = passage.identifier.lower(), 0, len(passage.identifier)
            if not word.is_allowed(path, context, start, end):
                line = _line_of(text, passage, match)
                yield Finding(path, line, " ".join(match[0].split()), word)


def _whole_words(patterns: Iterable[str]) -> re.Pattern[str]:
    return re.compile(rf"(?<![a-z])(?:{'|'.join(patterns)})(?![a-z])")


def _line_of(text: str, passage: Passage, match: re.Match[str]) -> int:
    """The line on which a match begins. In a string, an escaped line break may make it differ from a simple count."""
    if passage.line == passage.last_line:
        return passage.line
    counted = passage.line + passage.text.count("\n", 0, match.start())
    lines = text.lower().split("\n")
    first_word: str = match[0].split()[0]
    candidates: list[int] = [counted, *range(passage.line, passage.last_line + 1)]
    for line in candidates:
        if line <= len(lines) and first_word in lines[line - 1]:
            return line
    return passage.line


def _identifier(name: str, line: int) -> Passage:
    return Passage(" ".join(_WORDS_OF_AN_IDENTIFIER.findall(name)), line, line, name)


def _strings_and_identifiers(text: str) -> Iterator[Passage]:
    """The string literals of a module, docstrings included, and the names that it defines."""
    for node in ast.walk(ast.parse(text)):
        name: str | None = None
        match node:
            case ast.Constant(value=str(value)):
                yield Passage(value, node.lineno, node.end_lineno or node.lineno)
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield _identifier(name, node.lineno)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield _identifier(name, node.lineno)
            case ast.ClassDef(name=name) | ast.arg(arg=name):
                yield _identifier(name, node.lineno)
            case ast.ExceptHandler(name=str(name)) | ast.alias(asname=str(name)):
                yield _identifier(name, node.lineno)
            case ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                yield _identifier(name, node.lineno)


def _plain_words(text: str) -> str:
    """The source of a module as plain words. It is searched first, since to parse every module would take long."""
    return _INSIDE_CAMEL_CASE.sub(" ", re.sub(r"\\[a-z]", " ", text)).lower()


def _comments(text: str) -> Iterator[Passage]:
    """The comments of a module; those on consecutive lines are one passage."""
    block: list[str] = []
    begin = 0
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type != tokenize.COMMENT:
            continue
        line = token.start[0]
        if block and line != begin + len(block):
            yield Passage("\n".join(block), begin, begin + len(block) - 1)
            block = []
        if not block:
            begin = line
        block.append(token.string)
    if block:
        yield Passage("\n".join(block), begin, begin + len(block) - 1)


def _cells(text: str) -> Iterator[Passage]:
    """The Markdown and the code of a notebook's cells."""
    lines = text.splitlines()
    for cell in json.loads(text)["cells"]:
        source = "".join(cell["source"])
        if source:
            first = json.dumps(cell["source"][0], ensure_ascii=False)
            line = next((at for at, row in enumerate(lines, 1) if first in row), 1)
            yield Passage(source, line, line + source.count("\n"))


def checked_files(checkout: Path = CHECKOUT) -> list[str]:
    """The paths of all files that are checked, from the root of the project."""
    found = {path for pattern in CHECKED for path in checkout.glob(pattern)}
    return sorted(path.relative_to(checkout).as_posix() for path in found)


def project_table() -> list[BannedWord]:
    """The banned words of the project's glossary."""
    return read_table((CHECKOUT / GLOSSARY).read_text(encoding="utf-8"))


def project_findings(files: Iterable[str]) -> list[Finding]:
    """The findings in these files of the project."""
    checker = Checker(project_table())
    found: list[Finding] = []
    for path in files:
        found += checker.findings_in_name(path)
        found += checker.findings(path, (CHECKOUT / path).read_text(encoding="utf-8"))
    return found


def main() -> bool:
    """Print the findings, all or those under the paths on the command line. Returns whether there are any."""
    parser = argparse.ArgumentParser(prog="python -m tests.words", description=__doc__)
    parser.add_argument("path", nargs="*", help="a file or folder, from the root of the project")
    chosen: list[str] = parser.parse_args().path
    files = checked_files()
    if chosen:
        folders = tuple(path.rstrip("/") + "/" for path in chosen)
        files = [path for path in files if path in chosen or path.startswith(folders)]
    found = project_findings(files)
    lines = [*map(str, found), ""]
    counts = Counter(finding.word.text for finding in found)
    lines += [f"{count:5} {text}" for text, count in counts.most_common()]
    sys.stdout.write("\n".join(lines) + "\n")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
