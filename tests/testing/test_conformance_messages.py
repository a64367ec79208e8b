"""A conformance test that fails says what came and what was expected: also without pytest, and with `python -O`."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from qcore.testing.conformance.expectation_checks import require_equal
from tests.checkout import CHECKOUT

SUITES = sorted((CHECKOUT / "qcore/testing/conformance").glob("*.py"))

STORAGE = """
from qcore.storage.memory import MemoryStorage
from qcore.testing.conformance.storage_conformance import StorageConformance

class ForgetsTheLast(MemoryStorage):
    def load(self):
        state = super().load()
        del state.entries[-1:]
        return state

class Suite(StorageConformance):
    def make(self):
        storage = ForgetsTheLast(7)
        storage.close()
        return storage.reopen

try:
    Suite().test_every_field_of_an_entry_survives()
except AssertionError as error:
    print(error)
"""
MACHINE = """
from hypothesis import strategies as st
from qcore.machines.register import RegisterMachine
from qcore.testing.conformance.state_machine_conformance import StateMachineConformance

class Draws(RegisterMachine):
    made = 0
    def __init__(self):
        super().__init__()
        Draws.made += 1
        self.number = Draws.made
    def apply(self, command, context):
        super().apply(command, context)
        return f"machine {self.number}"

class Suite(StateMachineConformance):
    def make(self):
        return Draws()
    def commands(self):
        return st.just('{"op": "set", "key": "a", "value": 1}')
    def queries(self):
        return ['{"op": "get", "key": "a"}']

try:
    Suite().test_same_commands_give_the_same_state()
except AssertionError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("program", "parts"),
    [
        (STORAGE, ["state.entries is ...", "; expected ...", "ünï"]),
        (MACHINE, ["the result of command 1 is 'machine ", "; expected 'machine "]),
    ],
)
def test_a_failure_names_what_came_and_what_was_expected(
    program: str, parts: list[str], tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-O", "-c", program],
        cwd=tmp_path,
        env={"PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert all(part in done.stdout for part in parts), done


def test_long_values_are_shown_around_the_difference() -> None:
    one, other = ["a" * 5000, 1, "b" * 5000], ["a" * 5000, 2, "b" * 5000]
    with pytest.raises(AssertionError) as caught:
        require_equal(one, other, "the list")
    text = str(caught.value)
    assert len(text) < 1000
    assert text.startswith("the list is ...aaa")
    assert "a', 1, 'bb" in text
    assert "; expected ...aaa" in text
    assert "a', 2, 'bb" in text


@pytest.mark.parametrize("path", SUITES, ids=lambda path: path.stem)
def test_suites_assert_only_for_type_checkers(path: Path) -> None:
    """`assert` fails without a text unless pytest rewrites it, and not at all with `-O`."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Assert):
            assert ast.unparse(node.test).startswith("isinstance("), f"{path}:{node.lineno}"
