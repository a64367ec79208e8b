"""The list of children behaves like a plain list, but costs little."""

from __future__ import annotations

import json
from typing import Any  # requests are JSON

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qcore.machines.entity.entity_store import EntityStore
from qcore.machines.entity.state import child_list as module
from qcore.machines.entity.state.child_list import ChildList
from qcore.machines.entity.state.entity_id import EntityId
from tests.machines.entity.harness import StoreHarness, code, people, read, write

STEPS = st.lists(
    st.tuples(st.sampled_from(["append", "append", "append", "remove"]), st.integers(0, 400)),
    max_size=300,
)


@settings(max_examples=100)
@given(STEPS)
def test_list_of_children_equals_a_plain_list(steps: list[tuple[str, int]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "LEAF", 3)
        patch.setattr(module, "BRANCH", 4)
        held, model = ChildList(), list[tuple[int, EntityId]]()
        for what, number in steps:
            before, entries = held, list(model)
            if what == "append":
                one = EntityId("T" * (number % 3 + 1), number)
                model.append((held.next_position, one))
                held = held.appended(one)
            elif model:
                position, _ = model.pop(number % len(model))
                held = held.without(position)
            assert list(before.entries()) == entries, "an older list changed"
        assert list(held.entries()) == model
        ids = tuple(one for _, one in model)
        assert tuple(held) == ids
        assert len(held) == len(ids)
        listed = [{"typ": one.typ, "id": one.id} for one in ids]
        text = json.dumps(listed, separators=(",", ":"))
        assert module.ids_text(held) == text
        assert len(text) <= held.json_bytes <= len(text) + 2
        for start in range(0, len(ids) + 2, 5):
            assert held.slice(start, start + 7) == ids[start : start + 7]
        again = ChildList.restored(model, held.next_position)
        assert again.digest_sum == held.digest_sum
        assert again.json_bytes == held.json_bytes
        with pytest.raises(KeyError):
            held.without(held.next_position)


@pytest.mark.parametrize(
    ("entries", "following"),
    [([(1, 1), (1, 2)], None), ([(3, 1), (2, 2)], None), ([(3, 1)], 3)],
)
def test_positions_must_grow(entries: list[tuple[int, int]], following: int | None) -> None:
    with pytest.raises(ValueError, match="position"):
        ChildList.restored([(at, EntityId("T", n)) for at, n in entries], following)


def listed(harness: StoreHarness, one: Any) -> list[int]:
    return [child["id"] for child in harness.value(one, "Children")["EntityList"]]


def test_deleted_child_leaves_a_list_that_clients_wrote() -> None:
    harness = people()
    folder = harness.create("Folder")
    a, b, c = (harness.create("User", folder) for _ in range(3))
    harness.update(write(folder, "Children", {"EntityList": [c, a, a, b, a]}))
    assert listed(harness, folder) == [one["id"] for one in (c, a, a, b, a)]
    added = write(folder, "Children", {"EntityList": [b]}, adjust_behavior="Add")
    result = harness.update(added, read(folder, "Children->2:4"))
    assert result["response"][1]["Read"]["value"] == {"EntityList": [a, b]}
    harness.send("DeleteEntity", entity_id=a)
    assert listed(harness, folder) == [one["id"] for one in (c, b, b)]
    gone = write(folder, "Children", {"EntityList": [b]}, adjust_behavior="Subtract")
    harness.update(gone)
    assert listed(harness, folder) == [c["id"]]
    d = harness.create("User", folder)
    assert listed(harness, folder) == [c["id"], d["id"]]
    other = EntityStore()
    other.restore(harness.store.snapshot())
    assert other.state_hash() == harness.store.state_hash()
    harness.store = other
    harness.send("DeleteEntity", entity_id=c)
    assert listed(harness, folder) == [d["id"]]


def test_rejected_request_leaves_the_list_unchanged() -> None:
    harness = people()
    folder = harness.create("Folder")
    child = harness.create("User", folder)
    before = harness.store.state_hash()
    for behavior in ("Set", "Add", "Subtract"):
        result = harness.update(
            write(folder, "Children", {"EntityList": [child]}, adjust_behavior=behavior),
            read(folder, "Ghost"),
        )
        assert code(result) == "FieldNotFound"
    assert harness.store.state_hash() == before
    harness.send("DeleteEntity", entity_id=child)
    assert listed(harness, folder) == []


def test_a_part_of_any_list_can_be_read_but_not_written() -> None:
    harness = people()
    folder = harness.create("Folder")
    users = [harness.create("User", folder) for _ in range(5)]
    harness.update(write(users[0], "Friends", {"EntityList": users}))
    assert harness.value(users[0], "Friends->1:3") == {"EntityList": users[1:3]}
    assert harness.value(users[0], "Parent->Children->3:99") == {"EntityList": users[3:]}
    assert harness.value(folder, "Children->5:9") == {"EntityList": []}
    assert code(harness.update(write(folder, "Children->0:1", {"EntityList": []}))) == "BadPath"
    assert code(harness.update(read(folder, "Children->0:1->Name"))) == "IndexMissing"


def test_a_list_from_older_rules_works_under_new_ones() -> None:
    harness = people(rules=2)
    folder = harness.create("Folder")
    users = [harness.create("User", folder) for _ in range(300)]
    harness.rules = 3
    users.append(harness.create("User", folder))
    harness.send("DeleteEntity", entity_id=users.pop(7))
    assert listed(harness, folder) == [one["id"] for one in users]
    other = EntityStore()
    other.restore(harness.store.snapshot())
    assert other.state_hash() == harness.store.state_hash()
    assert harness.send("DeleteEntity", entity_id=folder) == {"error": None}
    assert not any(harness.exists(one) for one in users)


def test_changes_ignores_an_equal_list_of_children() -> None:
    harness = people()
    root = harness.create("Folder")
    users = [harness.create("User", root) for _ in range(3)]
    before = harness.store.state_hash()
    same = write(root, "Children", {"EntityList": users}, push_condition="Changes")
    harness.update(same)
    assert harness.store.state_hash() == before
    assert not harness.store.last_changes()
    other = write(root, "Children", {"EntityList": users[::-1]}, push_condition="Changes")
    harness.update(other)
    assert harness.value(root, "Children") == {"EntityList": users[::-1]}
