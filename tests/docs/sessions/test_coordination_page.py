"""The tutorial of docs/coordination.md is followed exactly: its files, its commands, and its session."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests.checkout import DOCS
from tests.documents import Block, blocks, commands
from tests.shell_session import run_commands
from tests.test_docs import compare, named_only

PAGE = DOCS / "coordination.md"
ENDPOINT = "127.0.0.1:8125"
SESSION = "python -m asyncio"

#: Runs the session of the page in place of a user who pastes it, at the port that the other commands use.
_PYTHON = f"""
if [ "$*" = "-m asyncio" ]; then
    sed "s/{ENDPOINT}/$QCORE_ENDPOINTS/" session.txt | "{{python}}" -m asyncio 2>&1
else
    exec "{{python}}" "$@"
fi
"""


def file_name(block: Block) -> str | None:
    """The name under which the page asks the reader to save a block."""
    named = re.search(r"[Ss]ave this as `([\w.]+)`:\n\n\Z", block.before)
    return named[1] if named else None


def files() -> dict[str, str]:
    """The files that the page asks the reader to save."""
    named = {file_name(block): block.text for block in blocks(PAGE)}
    return {name: text for name, text in named.items() if name is not None}


def session_blocks() -> str:
    """What the reader pastes into the session."""
    return "".join(
        block.text for block in blocks(PAGE) if block.language == "python" and not file_name(block)
    )


def expected_lines(session: str) -> list[str]:
    """What the comments say that the lines of the session print."""
    return re.findall(r"print\(.*\)  # (.+)$", session, re.MULTILINE)


def is_in_order(expected: list[str], printed: list[str]) -> bool:
    """Whether all expected lines are printed, in their order. The session also prints the values of expressions."""
    rest = iter(printed)
    return all(line in rest for line in expected)


def test_lines_of_a_session_are_compared_in_order() -> None:
    assert is_in_order(["a", "b"], ["a", "7", "b"])
    assert not is_in_order(["a", "b"], ["b", "a"])
    assert not is_in_order(["a", "b"], ["a"])


@pytest.mark.process
def test_the_tutorial_is_followed_exactly(tmp_path: Path) -> None:
    for name, text in files().items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    session = session_blocks()
    (tmp_path / "session.txt").write_text(session, encoding="utf-8")
    followed = [command for command in commands(PAGE) if not named_only(command)]
    programs = {"python": _PYTHON.format(python=sys.executable)}
    for ran in run_commands(followed, tmp_path, 120, programs):
        if ran.command.line == SESSION:
            printed = [re.sub(r"^(>>> |\.\.\. )+", "", line) for line in ran.output.splitlines()]
            expected = expected_lines(session)
            assert is_in_order(expected, printed), ran.output
            errors = [line for line in printed if re.match(r"Traceback|\w+(Error|Lost):", line)]
            assert [line for line in errors if line not in expected] == [], ran.output
        else:
            compare(ran)
