"""The requests CreateEntity, DeleteEntity and UpdateEntity."""

from __future__ import annotations

import json

import pytest

from qcore.errors import StoreError
from qcore.machines.entity.entity_store import EntityStore
from qcore.machines.entity.watches.field_changes import EntityDeleted, FieldChanged
from qcore.machines.interface import ApplyContext, StateMachine
from tests.machines.entity.harness import (
    EPOCH_US,
    OBJECT,
    USER,
    StoreHarness,
    code,
    field,
    people,
    read,
    schema,
    write,
)

NOWHERE = {"typ": "User", "id": 999}


def stamp(index: int) -> dict[str, int]:
    seconds, micros = divmod(EPOCH_US + index, 1_000_000)
    return {"secs_since_epoch": seconds, "nanos_since_epoch": micros * 1000}


def test_entity_store_is_a_state_machine() -> None:
    assert isinstance(EntityStore(), StateMachine)


# --- CreateEntity -------------------------------------------------------------------------------


def test_new_entity_has_defaults_name_and_parent() -> None:
    harness = people()
    folder = harness.create("Folder", None, "Users")
    user = harness.create("User", folder, "Ada")
    assert harness.value(user, "Name") == {"String": "Ada"}
    assert harness.value(user, "Parent") == {"EntityReference": folder}
    assert harness.value(user, "Key") == {"Blob": [1]}
    assert harness.value(user, "Joined") == {
        "Timestamp": {"secs_since_epoch": 1, "nanos_since_epoch": 5}
    }
    assert harness.value(folder, "Parent") == {"EntityReference": None}
    assert harness.value(folder, "Children") == {"EntityList": [user]}
    (filled,) = harness.update(read(user, "Age"))["response"]
    assert filled["Read"] == {
        "entity_id": user,
        "field_type": "Age",
        "value": {"Int": 18},
        "write_time": stamp(harness.index),
        "writer_id": None,
    }


def test_ids_come_from_the_log_and_are_never_reused() -> None:
    harness = people()
    harness.index = 41
    first = harness.create("Folder")
    assert first == {"typ": "Folder", "id": 42}
    assert harness.send("DeleteEntity", entity_id=first) == {"error": None}
    # The same position again, as after a topology that created many entities together.
    harness.index = 41
    assert harness.create("User") == {"typ": "User", "id": 43}


@pytest.mark.parametrize(
    ("entity_type", "parent", "expected"),
    [
        ("Ghost", None, "TypeNotFound"),
        ("User", NOWHERE, "EntityNotFound"),
        ("User", {"typ": "Ghost", "id": 1}, "EntityNotFound"),
    ],
)
def test_create_rejects_unknown_types_and_parents(
    entity_type: str, parent: object, expected: str
) -> None:
    harness = people()
    before = harness.store.state_hash()
    result = harness.send("CreateEntity", entity_type=entity_type, parent_id=parent, name="x")
    assert result["response"] is None
    assert code(result) == expected
    assert harness.store.state_hash() == before


def test_an_id_with_another_types_name_is_another_entity() -> None:
    harness = people()
    user = harness.create("User")
    assert not harness.exists({"typ": "Folder", "id": user["id"]})


def test_parent_needs_children_field_but_child_no_parent_field() -> None:
    harness = StoreHarness(
        schema("Box", None, field("EntityList", "Children", [])),
        schema("Leaf", None, field("Int", "N", 0)),
    )
    box = harness.create("Box")
    leaf = harness.create("Leaf", box)
    assert harness.value(box, "Children->0->N") == {"Int": 0}
    result = harness.send("CreateEntity", entity_type="Leaf", parent_id=leaf, name="x")
    assert code(result) == "FieldNotFound"
    # The leaf has no Parent field, but is nevertheless removed from the box's list.
    assert harness.send("DeleteEntity", entity_id=leaf) == {"error": None}
    assert harness.value(box, "Children") == {"EntityList": []}


# --- DeleteEntity -------------------------------------------------------------------------------


def test_delete_removes_descendants_and_the_parents_list_entry() -> None:
    harness = people()
    root = harness.create("Folder")
    keep, drop = harness.create("Folder", root), harness.create("Folder", root)
    below = harness.create("User", harness.create("Folder", drop))
    assert harness.send("DeleteEntity", entity_id=drop) == {"error": None}
    assert not harness.exists(drop)
    assert not harness.exists(below)
    assert harness.value(root, "Children") == {"EntityList": [keep]}
    assert code(harness.send("DeleteEntity", entity_id=drop)) == "EntityNotFound"


def test_following_a_reference_to_a_deleted_entity_fails() -> None:
    harness = people()
    boss, user = harness.create("User"), harness.create("User")
    harness.update(write(user, "Manager", {"EntityReference": boss}))
    harness.send("DeleteEntity", entity_id=boss)
    assert harness.value(user, "Manager") == {"EntityReference": boss}
    assert code(harness.update(read(user, "Manager->Name"))) == "DanglingReference"


def test_delete_survives_cyclic_and_dangling_lists() -> None:
    harness = people()
    one = harness.create("Folder")
    two = harness.create("Folder", one)
    harness.update(write(two, "Children", {"EntityList": [one, two, NOWHERE]}))
    assert harness.send("DeleteEntity", entity_id=two) == {"error": None}
    assert not harness.exists(one)
    assert not harness.exists(two)


def test_delete_follows_a_child_that_was_moved_to_another_parent() -> None:
    harness = people()
    old, new = harness.create("Folder"), harness.create("Folder")
    child = harness.create("User", old)
    harness.update(
        write(old, "Children", {"EntityList": [child]}, adjust_behavior="Subtract"),
        write(new, "Children", {"EntityList": [child]}, adjust_behavior="Add"),
        write(child, "Parent", {"EntityReference": new}),
    )
    harness.send("DeleteEntity", entity_id=old)
    assert harness.exists(child)
    harness.send("DeleteEntity", entity_id=child)
    assert harness.value(new, "Children") == {"EntityList": []}


def test_tree_ten_thousand_deep_is_created_and_deleted() -> None:
    harness = people()
    top = parent = harness.create("Folder")
    for _ in range(10_000):
        parent = harness.create("Folder", parent)
    harness.update(write(parent, "Name", {"String": "bottom"}))
    assert harness.value(top, "Children->0->" * 10_000 + "Name") == {"String": "bottom"}
    other = EntityStore()
    other.restore(harness.store.snapshot())
    assert other.state_hash() == harness.store.state_hash()
    assert harness.send("DeleteEntity", entity_id=top) == {"error": None}
    assert not harness.exists(parent)


# --- UpdateEntity -------------------------------------------------------------------------------


def test_requests_are_executed_in_order_and_filled_in() -> None:
    harness = people()
    user = harness.create("User")
    result = harness.update(
        read(user, "Age"),
        write(user, "Age", {"Int": 2}, adjust_behavior="Add", writer_id=user),
        read(user, "Age"),
    )
    assert result["error"] is None
    before, written, after = result["response"]
    assert before["Read"]["value"] == {"Int": 18}
    assert written["Write"] == {
        "entity_id": user,
        "field_type": "Age",
        "value": {"Int": 20},
        "push_condition": "Always",
        "adjust_behavior": "Add",
        "write_time": stamp(harness.index),
        "writer_id": user,
    }
    assert after["Read"]["value"] == {"Int": 20}
    assert after["Read"]["write_time"] == stamp(harness.index)
    assert after["Read"]["writer_id"] == user


def test_one_rejected_request_undoes_those_before_it() -> None:
    harness = people()
    user = harness.create("User")
    before = harness.store.state_hash()
    requests = [write(user, "Age", {"Int": 1}), write(user, "Ghost", {"Int": 1})]
    result = harness.update(*requests)
    assert code(result) == "FieldNotFound"
    assert result["response"] == requests
    assert not harness.store.last_changes()
    assert harness.store.state_hash() == before
    assert harness.value(user, "Age") == {"Int": 18}


def test_null_writes_the_default_and_keeps_the_given_time() -> None:
    harness = people()
    user = harness.create("User")
    harness.update(write(user, "Email", {"String": "a@b"}))
    time = {"secs_since_epoch": 7, "nanos_since_epoch": 123_456_789}
    harness.update(write(user, "Email", None, write_time=time))
    (filled,) = harness.update(read(user, "Email"))["response"]
    assert filled["Read"]["value"] == {"String": "?"}
    assert filled["Read"]["write_time"] == time


def test_push_condition_changes_ignores_an_equal_value() -> None:
    harness = people()
    user = harness.create("User")
    before = harness.store.state_hash()
    harness.update(write(user, "Age", {"Int": 18}, push_condition="Changes", writer_id=user))
    harness.update(
        write(user, "Age", {"Int": 0}, push_condition="Changes", adjust_behavior="Add"),
        write(user, "Email", None, push_condition="Changes"),
    )
    assert harness.store.state_hash() == before
    assert not harness.store.last_changes()
    harness.update(write(user, "Age", {"Int": 18}, push_condition="Always", writer_id=user))
    assert harness.store.state_hash() != before
    harness.update(write(user, "Age", {"Int": 19}, push_condition="Changes"))
    assert harness.value(user, "Age") == {"Int": 19}


REJECTED = [
    ("Age", {"String": "1"}, "Set", "KindMismatch"),
    ("Age", {"Float": 1.0}, "Add", "KindMismatch"),
    ("Ghost", {"Int": 1}, "Set", "FieldNotFound"),
    ("Role", {"Choice": 2}, "Set", "ValueOutOfRange"),
    ("Role", {"Choice": -1}, "Set", "ValueOutOfRange"),
    ("Age", {"Int": 2**63 - 1}, "Add", "ValueOutOfRange"),
    ("Age", {"Int": -(2**63)}, "Subtract", "ValueOutOfRange"),
    ("Active", {"Bool": True}, "Add", "NotAdjustable"),
    ("Role", {"Choice": 0}, "Add", "NotAdjustable"),
    ("Manager", {"EntityReference": None}, "Add", "NotAdjustable"),
    (
        "Joined",
        {"Timestamp": {"secs_since_epoch": 1, "nanos_since_epoch": 0}},
        "Add",
        "NotAdjustable",
    ),
    ("Email", {"String": "?"}, "Subtract", "NotAdjustable"),
    ("Key", {"Blob": [1]}, "Subtract", "NotAdjustable"),
    ("Active", {"Bool": True}, "Subtract", "NotAdjustable"),
]


@pytest.mark.parametrize(("name", "value", "behavior", "expected"), REJECTED)
def test_rejected_write_is_an_error_value_without_effect(
    name: str, value: object, behavior: str, expected: str
) -> None:
    harness = people()
    user = harness.create("User")
    before = harness.store.state_hash()
    assert code(harness.update(write(user, name, value, adjust_behavior=behavior))) == expected
    assert harness.store.state_hash() == before


def test_a_sum_of_floats_must_stay_finite() -> None:
    harness = people()
    user = harness.create("User")
    harness.update(write(user, "Score", {"Float": 1.7e308}))
    result = harness.update(write(user, "Score", {"Float": 1.7e308}, adjust_behavior="Add"))
    assert code(result) == "ValueOutOfRange"


A, B = {"typ": "User", "id": 1}, {"typ": "User", "id": 2}
ADJUSTED = [
    ("Age", {"Int": 18}, {"Int": 5}, "Add", {"Int": 23}),
    ("Age", {"Int": 18}, {"Int": 20}, "Subtract", {"Int": -2}),
    ("Score", {"Float": 0.5}, {"Float": 1}, "Add", {"Float": 1.5}),
    ("Score", {"Float": 0.5}, {"Float": 1.5}, "Subtract", {"Float": -1.0}),
    ("Email", {"String": "a"}, {"String": "b"}, "Add", {"String": "ab"}),
    ("Key", {"Blob": [1, 2]}, {"Blob": [255]}, "Add", {"Blob": [1, 2, 255]}),
    ("Friends", {"EntityList": [A]}, {"EntityList": [B, A]}, "Add", {"EntityList": [A, B, A]}),
    ("Friends", {"EntityList": [A, B, A]}, {"EntityList": [A]}, "Subtract", {"EntityList": [B]}),
    ("Age", {"Int": 5}, None, "Add", {"Int": 23}),
]


@pytest.mark.parametrize(("name", "start", "written", "behavior", "expected"), ADJUSTED)
def test_add_and_subtract_adjust_the_stored_value(
    name: str, start: object, written: object, behavior: str, expected: object
) -> None:
    harness = people()
    user = harness.create("User")
    harness.update(write(user, name, start))
    assert harness.update(write(user, name, written, adjust_behavior=behavior))["error"] is None
    assert harness.value(user, name) == expected


def test_the_response_to_one_request_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qcore.machines.entity.operations.update_fields.MAX_RESPONSE_BYTES", 1000)
    harness = people()
    user = harness.create("User")
    harness.update(write(user, "Email", {"String": "x" * 600}))
    assert harness.update(read(user, "Email"))["error"] is None
    assert code(harness.update(read(user, "Email"), read(user, "Email"))) == "ResponseTooLarge"


# --- the state machine --------------------------------------------------------------------------


def test_changes_of_a_command_are_visible_after_it() -> None:
    harness = people()
    folder = harness.create("Folder")
    user = harness.create("User", folder)
    created = [(str(c.entity_id), c.field_type) for c in changes(harness)]
    assert created == [
        (f"User${user['id']}", "Name"),
        (f"User${user['id']}", "Parent"),
        (f"Folder${folder['id']}", "Children"),
    ]
    harness.update(write(user, "Age", {"Int": 1}), write(user, "Age", {"Int": 1}))
    first, second = changes(harness)
    assert first.old is not None
    assert (first.old.value.data, first.new.value.data) == (18, 1)
    assert second.old == first.new
    harness.update(read(user, "Age"))
    harness.send("DeleteEntity", entity_id=user)
    gone, left = harness.store.last_changes()
    assert isinstance(gone, EntityDeleted)
    assert set(gone.slots) == set(OBJECT["fields"]) | set(USER["fields"])
    assert isinstance(left, FieldChanged)
    assert left.field_type == "Children"


def changes(harness: StoreHarness) -> list[FieldChanged]:
    """The changes of the last command, none of which deletes."""
    found = harness.store.last_changes()
    return [change for change in found if isinstance(change, FieldChanged)]


MALFORMED = [
    "",
    "{",
    "[]",
    "{}",
    "\ud800",
    '{"Frob": {}}',
    '{"GetSchema": {"entity_type": "A"}, "SetSchema": {}}',
    "[" * 100_000,
]


@pytest.mark.parametrize("text", MALFORMED)
def test_malformed_command_is_an_error_and_query_raises(text: str) -> None:
    store = EntityStore()
    before = store.state_hash()
    result = json.loads(store.apply(text, ApplyContext(1, 0)))
    assert code(result["Error"]) == "BadRequest"
    assert store.state_hash() == before
    with pytest.raises(StoreError):
        store.query(text)


def test_a_query_does_not_write() -> None:
    store = EntityStore()
    with pytest.raises(StoreError, match="changes the state"):
        store.query('{"CreateEntity":{"entity_type":"A","parent_id":null,"name":"x"}}')


def test_a_read_may_also_go_through_the_log() -> None:
    harness = people()
    query = '{"GetSchema":{"entity_type":"Folder"}}'
    assert harness.store.apply(query, ApplyContext(9, 0)) == harness.store.query(query)
