"""Indirection paths: every way to follow one, and every way to fail."""

from __future__ import annotations

import pytest

from tests.machines.entity.harness import StoreHarness, code, people, read, write

GHOST = {"typ": "User", "id": 999}


def tree() -> tuple[StoreHarness, object]:
    """Bob is Ada's manager and has none. Ada's friends are Bob and an entity that does not exist."""
    harness = people()
    folder = harness.create("Folder", None, "Users")
    ada, bob = harness.create("User", folder, "Ada"), harness.create("User", folder, "Bob")
    harness.update(
        write(ada, "Manager", {"EntityReference": bob}),
        write(ada, "Friends", {"EntityList": [bob, GHOST]}),
    )
    return harness, ada


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("Name", "Ada"),
        ("Parent->Name", "Users"),
        ("Manager->Parent->Children->1->Name", "Bob"),
        ("Parent->Children->0->Manager->Name", "Bob"),
        ("Friends->00->Name", "Bob"),
    ],
)
def test_a_path_leads_to_a_field(path: str, expected: str) -> None:
    harness, ada = tree()
    assert harness.value(ada, path) == {"String": expected}


FAILURES = [
    ("Manager->Manager->Name", "EmptyReference"),
    ("Friends->1->Name", "DanglingReference"),
    ("Friends->2->Name", "IndexOutOfBounds"),
    ("Friends->" + "9" * 5000 + "->Name", "IndexOutOfBounds"),
    ("Friends->-1->Name", "IndexNegative"),
    ("Friends->Name", "IndexMissing"),
    ("Friends->+1->Name", "IndexMissing"),
    ("Friends->\u0661->Name", "IndexMissing"),
    ("Friends->-->Name", "IndexMissing"),
    ("Email->Name", "NotAReference"),
    ("Age->0->Name", "NotAReference"),
    ("Ghost->Name", "FieldNotFound"),
    ("Manager->Ghost", "FieldNotFound"),
    ("Manager->Ghost->Name", "FieldNotFound"),
    ("Friends->0", "BadPath"),
    ("Manager->", "BadPath"),
    ("->Name", "BadPath"),
    ("->", "BadPath"),
    ("", "FieldNotFound"),
]


@pytest.mark.parametrize(("path", "expected"), FAILURES)
def test_each_path_failure_has_a_distinct_error(path: str, expected: str) -> None:
    harness, ada = tree()
    before = harness.store.state_hash()
    result = harness.update(read(ada, path))
    assert code(result) == expected
    assert len(result["error"]) < 400
    assert code(harness.update(write(ada, path, None))) == expected
    assert harness.store.state_hash() == before


def test_path_from_an_unknown_entity_is_an_error() -> None:
    harness, _ = tree()
    assert code(harness.update(read(GHOST, "Parent->Name"))) == "EntityNotFound"


def test_a_write_goes_to_the_end_of_the_path() -> None:
    harness, ada = tree()
    harness.update(write(ada, "Manager->Parent->Children->0->Email", {"String": "new"}))
    assert harness.value(ada, "Email") == {"String": "new"}
