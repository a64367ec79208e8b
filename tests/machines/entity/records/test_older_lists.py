"""Lists of children that a command of rules 2 wrote: commands of rules 3 read and change them correctly."""

from __future__ import annotations

import json
from typing import Any  # requests are JSON

import pytest

from qcore.machines.entity.entity_store import EntityStore
from qcore.machines.entity.state.child_list import ChildList
from qcore.machines.entity.state.entity_records import positions_of
from qcore.machines.interface import ApplyContext
from tests.machines.entity.harness import StoreHarness, code, people, read, write


def legacy(count: int) -> tuple[StoreHarness, Any]:
    """A parent whose children were created under rules 2. The rules are 3 now."""
    harness = people(rules=2)
    folder = harness.create("Folder")
    for _ in range(count):
        harness.create("User", folder)
    harness.rules = 3
    return harness, folder


@pytest.mark.pure_only("it replaces a compiled class method")
def test_older_list_is_converted_once_even_if_commands_fail(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    harness, folder = legacy(100)
    made: list[int] = []
    real = ChildList.of.__func__  # type: ignore[attr-defined]  # a class method

    def of(cls: type[ChildList], ids: Any) -> ChildList:
        made.append(1)
        listed: ChildList = real(cls, ids)
        return listed

    monkeypatch.setattr(ChildList, "of", classmethod(of))
    ghost = {"EntityList": [{"typ": "User", "id": 99_999}]}
    rejected = [
        write(folder, "Children", ghost, adjust_behavior="Subtract", push_condition="Changes"),
        read(folder, "Ghost"),
    ]
    before = harness.value(folder, "Children")
    for _ in range(5):
        assert code(harness.update(*rejected)) == "FieldNotFound"
    assert len(made) == 1
    assert harness.value(folder, "Children") == before
    other = EntityStore()
    other.restore(harness.store.snapshot())
    assert other.state_hash() == harness.store.state_hash()
    for store in (harness.store, other):
        harness.store = store
        harness.index = 2000
        harness.send("DeleteEntity", entity_id=before["EntityList"][3])
    assert other.state_hash() == harness.store.state_hash()


def test_older_long_list_works_after_another_field_is_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The list has the form of older rules, in a record of the newer form. Its length must not cause a rejection."""
    monkeypatch.setattr("qcore.machines.entity.transaction.MAX_OPERATIONS", 60)
    harness, folder = legacy(500)
    assert harness.update(write(folder, "Name", {"String": "new"}))["error"] is None
    other = EntityStore()
    other.restore(harness.store.snapshot())
    first = harness.value(folder, "Children->0:1")["EntityList"][0]
    rejected = {
        "UpdateEntity": {
            "request": [
                write(folder, "Name", {"String": "not this one"}),
                write(folder, "Children", {"EntityList": [first]}, adjust_behavior="Subtract"),
                read(folder, "Ghost"),
            ]
        }
    }
    create = {"CreateEntity": {"entity_type": "User", "parent_id": folder, "name": "one more"}}
    delete = {"DeleteEntity": {"entity_id": first}}
    stores = (harness.store, other)
    for position, request in enumerate((rejected, create, delete), start=1000):
        results = {
            store.apply(json.dumps(request), ApplyContext(position, position)) for store in stores
        }
        assert len(results) == 1
        assert ('"error":null' in results.pop()) == (request is not rejected)
        assert harness.store.state_hash() == other.state_hash()
        again = EntityStore()
        again.restore(harness.store.snapshot())
        assert again.state_hash() == other.state_hash()
    assert harness.value(folder, "Name") == {"String": "new"}
    assert len(listed := harness.value(folder, "Children")["EntityList"]) == 500
    assert first not in listed


def test_older_list_of_duplicates_is_converted_in_linear_time() -> None:
    harness, folder = legacy(1)
    (child,) = harness.value(folder, "Children")["EntityList"]
    harness.rules = 2
    many = {"EntityList": [child] * 40_000}
    assert harness.update(write(folder, "Children", many))["error"] is None
    harness.rules = 3
    harness.create("User", folder)
    child_positions = harness.store._records.child_positions[folder["id"]]
    assert {len(positions_of(at)) for at in child_positions.values()} == {40_000, 1}
    harness.update(write(folder, "Name", {"String": "still there"}))
    assert harness.value(folder, "Children->39999:40000") == {"EntityList": [child]}


def test_command_writes_an_older_record_and_its_children() -> None:
    harness, folder = legacy(50)
    kept = harness.value(folder, "Children->5:8")["EntityList"]
    result = harness.update(
        write(folder, "Name", {"String": "both"}),
        write(folder, "Children", {"EntityList": kept[:1]}, adjust_behavior="Subtract"),
        write(folder, "Children", {"EntityList": kept[:1]}, adjust_behavior="Add"),
        read(folder, "Name"),
    )
    assert result["error"] is None
    assert harness.value(folder, "Name") == {"String": "both"}
    assert harness.value(folder, "Children->49:50") == {"EntityList": kept[:1]}
    other = EntityStore()
    other.restore(harness.store.snapshot())
    assert other.state_hash() == harness.store.state_hash()
    for store in (harness.store, other):
        harness.store, harness.index = store, 3000
        harness.send("DeleteEntity", entity_id=kept[0])
        assert harness.value(folder, "Children->49:50") == {"EntityList": []}
    assert other.state_hash() == harness.store.state_hash()


def test_older_list_counts_the_same_after_a_restore(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whether a replica built the list or restored it: otherwise one rejects what the other executes."""
    harness, folder = legacy(100)
    other = EntityStore()
    other.restore(harness.store.snapshot())
    request = json.dumps({"UpdateEntity": {"request": [read(folder, "Children")]}})
    size = len(json.dumps(harness.value(folder, "Children"), separators=(",", ":")))
    for bound in range(size - 40, size + 40):
        monkeypatch.setattr(
            "qcore.machines.entity.operations.update_fields.MAX_RESPONSE_BYTES", bound
        )
        results = {store.query(request) for store in (harness.store, other)}
        assert len(results) == 1
        assert ("ResponseTooLarge" in results.pop()) == (bound < size)
