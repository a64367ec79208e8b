"""Code, documents, scenarios and the notebook use the words of the glossary and none of those that it bans."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from qcore.cli.main import app
from tests.words import (
    GLOSSARY,
    TABLE_HEADING,
    Checker,
    Finding,
    checked_files,
    project_findings,
    project_table,
    read_table,
)

FILES = checked_files()
FOLDERS = sorted({path.split("/")[0] if "/" in path else "." for path in FILES})

TABLE = f"""# Glossary

{TABLE_HEADING}

| word or phrase | use instead | allowed in |
|---|---|---|
| flummox, nonce word, `gadzook(s\\|ed)?` | "confuse" | `FlummoxCode`, `flummox the checker`, `legacy/*.py` |
"""

CHECKER = Checker(read_table(TABLE))

#: Where a word is planted -> the file, its text, and the line of the finding.
PLANTED = {
    "docstring": (
        "m.py",
        'def f() -> None:\n    """One line.\n\n    Do not flummox me.\n    """\n',
        4,
    ),
    "comment": ("m.py", "x = 1\ny = 2  # This may flummox.\n", 2),
    "string": ("m.py", 'x = 1\nprint("They flummox you.")\n', 2),
    "f-string": ("m.py", 'x = 1\nprint(f"{x} may flummox {x}")\n', 2),
    "string in parts": ("m.py", 'x = (\n    "one"\n    "a nonce "\n    "word"\n)\n', 3),
    "phrase over two comment lines": ("m.py", "x = 1\n# A nonce\n# word.\n", 2),
    "function": ("m.py", "x = 1\ndef may_flummox() -> None: ...\n", 2),
    "class": ("m.py", "class MayFlummoxYou: ...\n", 1),
    "phrase in an identifier": ("m.py", "x = 1\na_nonce_word = 1\n", 2),
    "attribute": ("m.py", "def f(x: C) -> None:\n    x.flummox = 1\n", 2),
    "argument": ("m.py", "def f(flummox: int) -> None: ...\n", 1),
    "regular expression": ("m.py", "x = 1  # gadzooks\n", 1),
    "Markdown": ("docs/m.md", "# Title\n\nWords that *flummox* readers.\n", 3),
    "phrase over two lines of Markdown": ("README.md", "A nonce\nword.\n", 1),
    "scenario": ("scenarios/m.yaml", "name: m\nsummary: Faults that flummox.\n", 2),
    "notebook": (
        "notebooks/m.ipynb",
        json.dumps({"cells": [{"source": ["A title\n", "They flummox.\n"]}]}, indent=1),
        6,
    ),
}

HARMLESS = {
    "part of a word": ("m.py", 'flummoxing = "reflummox"  # gadzookian\n'),
    "a name that is only used": ("m.py", "import other\n\nother.flummox()\n"),
    "an allowed identifier": ("m.py", "class FlummoxCode: ...\n"),
    "an allowed phrase": ("docs/m.md", "Try to flummox the checker.\n"),
    "an allowed file": ("legacy/m.py", "flummox = 1\n"),
    "words of two strings": ("m.py", 'x = ["a nonce", "word"]\n'),
    "the table": (GLOSSARY, TABLE),
}


def report(found: list[Finding]) -> str:
    counts = Counter(finding.word.text for finding in found)
    summary = ", ".join(f"{text} ({count})" for text, count in counts.most_common())
    return "\n".join([f"{len(found)} words that {GLOSSARY} bans: {summary}", *map(str, found)])


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_banned_word(folder: str) -> None:
    files = [path for path in FILES if (path.split("/")[0] if "/" in path else ".") == folder]
    if found := project_findings(files):
        pytest.fail(report(found), pytrace=False)


def help_texts() -> Iterator[tuple[str, str]]:
    """The help of every command of the CLI, with its name."""

    # `Any`: typer's command classes have no name that all supported versions export.
    def visit(name: str, command: Any) -> Iterator[tuple[str, str]]:
        with typer.Context(command, info_name=name) as context:
            yield name, command.get_help(context)
            if hasattr(command, "list_commands"):
                for one in command.list_commands(context):
                    yield from visit(f"{name} {one}", command.get_command(context, one))

    return visit("qcore", typer.main.get_command(app))


def test_no_banned_word_in_the_help_of_the_cli() -> None:
    checker = Checker(project_table())
    texts = dict(help_texts())
    assert "qcore cluster status" in texts
    found = [
        finding
        for name, text in texts.items()
        for finding in checker.findings(f"{name} --help", text)
    ]
    if found:
        pytest.fail(report(found), pytrace=False)


def test_the_check_reads_all_kinds_of_files() -> None:
    assert {
        "README.md",
        "CHANGELOG.md",
        GLOSSARY,
        "qcore/core/raft.py",
        "tests/words.py",
        "benchmarks/__main__.py",
        "examples/client.py",
        "scenarios/leader_isolated.yaml",
        "notebooks/elections.ipynb",
    } <= set(FILES)
    assert len(project_table()) > 50


@pytest.mark.parametrize("place", PLANTED)
def test_a_planted_word_is_found(place: str) -> None:
    path, text, line = PLANTED[place]
    (found,) = CHECKER.findings(path, text)
    assert (found.path, found.line) == (path, line)
    assert str(found).startswith(f"{path}:{line}: ")
    assert str(found).endswith(': write "confuse"')


def test_a_banned_word_in_a_file_name_is_found() -> None:
    (found,) = CHECKER.findings_in_name("qcore/core/may_flummox.py")
    assert found.found == "flummox"


@pytest.mark.parametrize("place", HARMLESS)
def test_harmless_text_is_not_reported(place: str) -> None:
    path, text = HARMLESS[place]
    assert CHECKER.findings(path, text) == []
