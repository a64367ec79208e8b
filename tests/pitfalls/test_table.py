"""The guards and tests that docs/explanation/faults.md names exist, and it names every ablation of this directory."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.checkout import CHECKOUT

HERE = Path(__file__).parent
#: stem -> path in the checkout, for each module of tests below this directory.
MODULES = {path.stem: path.relative_to(CHECKOUT) for path in HERE.rglob("test_*.py")}
TEXT = (CHECKOUT / "docs" / "explanation" / "faults.md").read_text()

TABLE_MODULE = Path(__file__).relative_to(CHECKOUT)
#: Tests that support a row and are no test of its guard.
NOT_IN_A_ROW = {
    "test_a_cluster_does_not_begin_with_a_server_that_never_leads",
    "test_a_learner_of_priority_0_is_not_promoted_where_two_vote",
    "test_change_after_leaders_own_commit_is_accepted",
    "test_clock_starts_elsewhere_in_each_incarnation",
    "test_follower_rejects_before_priorities_are_checked",
    "test_the_two_scenarios_differ_in_the_safeguard_only",
    "test_transfer_flags_are_not_sent_below_rules_2",
    "test_unelectable_voters_are_fewer_than_half",
}
#: A test with this prefix removes the guard of its row, and shows what breaks.
WITHOUT_GUARD = "test_without_"

#: number -> (guards, tests) in the table.
ROWS = {
    int(cells[0]): (cells[3], cells[4])
    for line in TEXT.splitlines()
    if (cells := [cell.strip() for cell in line.strip("|").split("|")]) and cells[0].isdigit()
}


#: `N<number>` -> the tests of a fault of nodes and disks.
NODE_ROWS = {
    cells[0]: cells[3]
    for line in TEXT.splitlines()
    if re.match(r"N\d", (cells := [cell.strip() for cell in line.strip("|").split("|")])[0])
}


def names_of_tests(cell: str) -> list[str]:
    """`path::name` of each test that a cell names. A module without a path is in this directory."""
    module = ""
    found: list[str] = []
    for name in re.findall(r"`([^`]+)`", cell):
        if name.endswith(".py"):
            module = name
        elif name in MODULES:
            module = str(MODULES[name])
        elif name.startswith("test_"):
            found.append(f"{module}::{name}")
    return found


NAMED = {number: names_of_tests(tests) for number, (_, tests) in ROWS.items()}


def names_in(path: Path) -> set[str]:
    """Every function, class and annotated attribute that a module defines, at any depth."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found.add(node.target.id)
    return found


#: Faults of protocol and node. The others concern the foundations and the checkers.
TESTED_HERE = [*range(1, 17), *range(21, 34)]


def test_every_fault_has_its_row() -> None:
    assert list(ROWS) == list(range(1, 40))


@pytest.mark.parametrize("number", TESTED_HERE)
def test_every_row_is_tested_with_and_without_its_guard(number: int) -> None:
    broken = [name for name in NAMED[number] if name.partition("::")[2].startswith(WITHOUT_GUARD)]
    assert broken
    assert len(NAMED[number]) > len(broken)


@pytest.mark.parametrize("number", sorted(ROWS))
def test_every_guard_exists(number: int) -> None:
    path: Path | None = None
    checked = 0
    for name in re.findall(r"`([^`]+)`", ROWS[number][0]):
        if name.endswith(".py"):
            path = CHECKOUT / "qcore" / name
            assert path.exists(), f"row {number}: {path} does not exist"
        else:
            assert path is not None
            assert name in names_in(path), f"row {number}: no {name} in {path}"
            checked += 1
    assert checked


def collected(module: str) -> set[str]:
    """The tests that pytest collects from a module, as `path::name`."""
    path = CHECKOUT / module
    is_collected = module.startswith("tests/") and path.match("test_*.py")
    assert is_collected, f"pytest does not collect {module}"
    body = ast.parse(path.read_text()).body
    functions = [part for part in body if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef)]
    return {f"{module}::{one.name}" for one in functions if one.name.startswith("test_")}


def test_named_tests_exist_and_every_ablation_is_named() -> None:
    named = {name for names in NAMED.values() for name in names}
    here = {str(path) for path in MODULES.values()}
    modules = sorted({name.partition("::")[0] for name in named} | here)
    found = {name for module in modules for name in collected(module)}
    assert named <= found, sorted(named - found)
    here_found = {name for name in found if name.partition("::")[0] in here - {str(TABLE_MODULE)}}
    assert {name.partition("::")[2] for name in here_found - named} == NOT_IN_A_ROW


def test_every_fault_of_nodes_names_tests_that_exist() -> None:
    assert list(NODE_ROWS) == [f"N{number}" for number in range(1, 21)]
    for number, cell in NODE_ROWS.items():
        named = set(names_of_tests(cell))
        assert named, number
        found = {test for name in named for test in collected(name.partition("::")[0])}
        assert named <= found, (number, sorted(named - found))
