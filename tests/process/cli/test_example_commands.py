"""The commands in the docstrings of the examples, as a reader types them."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.checkout import EXAMPLES
from tests.documents import Command
from tests.shell_session import run_commands

pytestmark = [pytest.mark.process, pytest.mark.long]

#: Example -> what its last command prints.
PRINTED = {
    "bank/bank.py": "70",
    "client.py": "grace has 30",
    "plant/plant.py": "the time is over",
    "raw_client.py": "'value': {'String': 'T2'}",
}

#: A reader sees that the node listens before the next command.
WAIT = Command("until curl -sf http://127.0.0.1:8080/livez; do sleep 0.1; done")


def docstring_commands(name: str) -> list[Command]:
    """The lines of the docstring that begin with `qcore` or `python`."""
    text = ast.get_docstring(ast.parse((EXAMPLES / name).read_text())) or ""
    lines = [line.strip() for line in text.splitlines()]
    return [Command(line) for line in lines if line.startswith(("qcore ", "python "))]


@pytest.mark.parametrize("name", PRINTED)
def test_the_commands_of_a_docstring_work_in_sequence(name: str, tmp_path: Path) -> None:
    found = docstring_commands(name)
    assert len(found) >= 2
    session = [
        each for command in found for each in (command, WAIT)[: 1 + command.line.endswith("&")]
    ]
    ran = run_commands(session, tmp_path, timeout_s=100)
    assert PRINTED[name] in ran[-1].output
