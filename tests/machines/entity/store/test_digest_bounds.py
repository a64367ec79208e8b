"""The digest of the state takes bounded time, however much changed since the last one, and has the same value."""

from __future__ import annotations

import json
from typing import Any

import pytest

from qcore.machines.entity.entity_store import EntityStore
from qcore.machines.entity.state import entity_records
from qcore.machines.state_digest import digest_term
from tests.machines.entity.harness import FOLDER, OBJECT, StoreHarness, people, write
from tests.machines.entity.snapshot.test_restore_snapshot import commands, filled, take

BOUND = 20


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """A low bound, and what was digested."""
    texts: list[bytes] = []

    def digest(text: bytes) -> int:
        texts.append(text)
        return digest_term(text)

    monkeypatch.setattr(entity_records, "MAX_DIRTY", BOUND)
    monkeypatch.setattr(entity_records, "digest_term", digest)
    return texts


def digest_work(store: EntityStore, counted: list[bytes]) -> int:
    counted.clear()
    store.state_hash()
    return len(counted)


def digest_of_a_copy(store: EntityStore) -> str:
    other = EntityStore()
    other.restore(list(store.snapshot()))
    return other.state_hash()


def test_many_changes_leave_a_bounded_digest(counted: list[bytes]) -> None:
    harness = people()
    folder = harness.create("Folder")
    create = {"CreateEntity": {"entity_type": "User", "parent_id": folder, "name": "x"}}
    made = harness.ok("StoreBulk", requests=[create] * 50)
    users: list[Any] = [one["CreateEntity"]["entity_id"] for one in made]
    assert digest_work(harness.store, counted) <= 2 * BOUND
    harness.ok("StorePerform", requests=[write(user, "Age", {"Int": 1}) for user in users])
    # Parts that were digested change again, and vanish.
    harness.ok("StorePerform", requests=[write(user, "Age", {"Int": 2}) for user in users])
    harness.ok("StoreBulk", requests=[{"DeleteEntity": {"entity_id": user}} for user in users[9:]])
    assert digest_work(harness.store, counted) <= 2 * BOUND
    assert harness.store.state_hash() == digest_of_a_copy(harness.store)


def test_the_bound_does_not_change_the_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    def digest() -> str:
        return filled(1, 30).store.state_hash()

    expected = digest()
    monkeypatch.setattr(entity_records, "MAX_DIRTY", 3)
    assert digest() == expected


def test_a_restore_in_parts_leaves_a_bounded_digest(counted: list[bytes]) -> None:
    parts = commands(take(filled(1, 60)), 5000)
    harness = StoreHarness(OBJECT, FOLDER)
    for part in parts[:-1]:
        result = json.loads(harness.store.apply(part, harness.context()))
        assert result["response"] == {"Ok": None}
    assert digest_work(harness.store, counted) <= 2 * BOUND
    harness.store.apply(parts[-1], harness.context())
    assert harness.store.state_hash() == digest_of_a_copy(harness.store)
