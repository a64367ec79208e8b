"""The store's requests about entities, fields and schemas."""

from __future__ import annotations

from typing import Any

import pytest

from qcore.machines.entity.entity_store import EntityStore
from tests.machines.entity.harness import (
    EPOCH_US,
    FOLDER,
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


def test_a_created_entity_comes_back_with_all_its_fields() -> None:
    harness = people()
    created = harness.ok("StoreCreateEntity", entity_type="User", parent_id=None, name="ada")
    time = {"secs_since_epoch": EPOCH_US // 10**6, "nanos_since_epoch": harness.index * 1000}
    assert created["entity_id"] == {"typ": "User", "id": harness.index}
    assert list(created["fields"]) == ["Name", "Parent", "Children", *USER["fields"]]
    assert created["fields"]["Name"] == {
        "field_type": "Name",
        "value": {"String": "ada"},
        "write_time": time,
        "writer_id": None,
    }
    assert created["fields"]["Age"]["value"] == {"Int": 18}
    assert created["fields"]["Key"]["value"] == {"Blob": [1]}
    for name, one in created["fields"].items():
        response = harness.ok("StorePerform", requests=[read(created["entity_id"], name)])
        assert response[0]["Read"] == {"entity_id": created["entity_id"], **one}


def test_the_two_spellings_share_one_state() -> None:
    harness = people()
    one = harness.create("User", None, "ada")
    assert harness.store_request("StoreEntityExists", entity_id=one) is True
    assert (
        harness.store_request("StoreEntityExists", entity_id={"typ": "Folder", "id": one["id"]})
        is False
    )
    assert harness.ok("StorePerform", requests=[write(one, "Age", {"Int": 3})])[0]["Write"][
        "value"
    ] == {"Int": 3}
    assert harness.value(one, "Age") == {"Int": 3}
    assert harness.ok("StoreDeleteEntity", entity_id=one) is None
    assert not harness.exists(one)
    assert "does not exist" in harness.error("StoreDeleteEntity", entity_id=one)


def test_a_field_exists_at_the_end_of_a_path() -> None:
    harness = people()
    folder = harness.create("Folder", None, "f")
    user = harness.create("User", folder, "ada")
    for path, there in (("Age", True), ("Parent->Name", True), ("Parent->Age", False)):
        assert harness.store_request("StoreFieldExists", entity_id=user, field_type=path) is there
    for path in ("Manager->Name", "Parent", "Nope", "Parent->Children->7->Name", "->"):
        seen = harness.store_request("StoreFieldExists", entity_id=user, field_type=path)
        assert seen is (path == "Parent")
    missing = {"typ": "User", "id": 99}
    assert harness.store_request("StoreFieldExists", entity_id=missing, field_type="Age") is False


def test_a_path_of_too_many_steps_is_no_missing_field(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("qcore.machines.entity.transaction.MAX_OPERATIONS", 10)
    harness = people()
    user = harness.create("User", harness.create("Folder"))
    path = "Parent->Children->0->" * 8 + "Name"
    error = harness.error("StoreFieldExists", entity_id=user, field_type=path)
    assert "more than 10 steps" in error


def test_schemas_own_and_complete_with_permissions_and_ranks() -> None:
    harness = people()
    reader = {"typ": "Permission", "id": 7}
    secret = field("Int", "Secret", 1, read_permission=reader, write_permission=None)
    secret["Secret"]["Int"]["rank"] = -3
    harness.ok("StoreSetEntitySchema", schema=schema("Agent", "User", secret))
    own = harness.ok("StoreGetEntitySchema", entity_type="Agent")
    assert own == {**schema("Agent", "User", secret), "_marker": None}
    complete = harness.ok("StoreGetCompleteEntitySchema", entity_type="Agent")
    assert list(complete["fields"]) == ["Name", "Parent", "Children", *USER["fields"], "Secret"]
    assert complete["fields"]["Secret"] == secret["Secret"]
    assert harness.ok("StoreGetEntitySchema", entity_type="None") is None
    assert "has no schema" in harness.error("StoreGetCompleteEntitySchema", entity_type="None")
    other = EntityStore()
    other.restore(harness.store.snapshot())
    harness.store = other
    assert harness.ok("StoreGetCompleteEntitySchema", entity_type="Agent") == complete


def test_a_field_schema_is_added_and_replaced() -> None:
    harness = people()
    user = harness.create("User")
    nick = field("String", "Nick", "none")["Nick"]
    assert harness.ok("StoreGetFieldSchema", entity_type="User", field_type="Nick") is None
    harness.ok("StoreSetFieldSchema", entity_type="User", field_type="Nick", schema=nick)
    assert harness.ok("StoreGetFieldSchema", entity_type="User", field_type="Nick") == nick
    assert harness.value(user, "Nick") == {"String": "none"}
    harness.update(write(user, "Nick", {"String": "a"}))
    nick["String"]["default_value"] = "other"
    harness.ok("StoreSetFieldSchema", entity_type="User", field_type="Nick", schema=nick)
    assert harness.value(user, "Nick") == {"String": "a"}
    inherited = harness.ok("StoreGetFieldSchema", entity_type="User", field_type="Name")
    assert inherited == OBJECT["fields"]["Name"]
    for entity_type, name in (("None", "Nick"), ("User", "Nicknames")):
        assert harness.error(
            "StoreSetFieldSchema", entity_type=entity_type, field_type=name, schema=nick
        )


def kinds() -> list[Any]:
    fields: dict[str, Any] = USER["fields"]
    return [(name, kind) for name, body in fields.items() for kind in body]


@pytest.mark.parametrize(("name", "kind"), kinds())
@pytest.mark.parametrize("spelling", ["StoreSetEntitySchema", "StoreSetFieldSchema", "SetSchema"])
def test_a_field_of_entities_keeps_its_kind(name: str, kind: str, spelling: str) -> None:
    harness = people()
    user = harness.create("User")
    new = field("Int", name, 1) if kind != "Int" else field("String", name, "x")
    changed = {**USER, "fields": {**USER["fields"], **new}}

    def change() -> bool:
        if spelling == "SetSchema":
            response = harness.set_schema(changed)
            assert code(response) in (None, "KindChangeRejected")
            return response["error"] is None
        if spelling == "StoreSetEntitySchema":
            return "Ok" in harness.store_request(spelling, schema=changed)
        return "Ok" in harness.store_request(
            spelling, entity_type="User", field_type=name, schema=new[name]
        )

    before = harness.store.state_hash()
    assert not change()
    assert harness.store.state_hash() == before
    harness.ok("StoreDeleteEntity", entity_id=user)
    assert change()


def test_a_kind_also_stays_through_inheritance() -> None:
    """Entities of a type below count, and so does an ancestor's field that a removed one would expose."""
    harness = StoreHarness(OBJECT, schema("A", "Object", field("Int", "N", 1)), schema("B", "A"))
    harness.create("B")
    text = harness.error(
        "StoreSetEntitySchema", schema=schema("A", "Object", field("Bool", "N", True))
    )
    assert 'field "N" of "B" holds Int' in text
    assert "remove the field first" in text
    harness.ok("StoreSetEntitySchema", schema=schema("B", "A", field("Int", "N", 5)))
    harness.ok("StoreSetEntitySchema", schema=schema("A", "Object"))
    harness.ok("StoreSetEntitySchema", schema=schema("A", "Object", field("Bool", "N", True)))
    assert harness.error("StoreSetEntitySchema", schema=schema("B", "A"))
    harness.ok("StoreSetEntitySchema", schema=schema("A", "Object"))
    harness.ok("StoreSetEntitySchema", schema=schema("B", "A"))
    harness.ok("StoreSetEntitySchema", schema=schema("B", "A", field("Bool", "N", False)))


def test_a_kind_may_change_under_earlier_rules() -> None:
    harness = people(rules=3)
    user = harness.create("User")
    changed = {**USER, "fields": {**USER["fields"], **field("String", "Age", "x")}}
    assert harness.set_schema(changed)["error"] is None
    assert harness.value(user, "Age") == {"String": "x"}


def test_the_new_commands_mean_nothing_under_earlier_rules() -> None:
    """An older program answers the same, and changes nothing."""
    harness = people(rules=3)
    before = harness.store.state_hash()
    result = harness.store.apply(
        '{"StoreDeleteEntity":{"entity_id":{"typ":"User","id":1}}}', harness.context()
    )
    assert "StoreDeleteEntity: unknown request" in result
    assert '{"Error":' in result
    assert harness.store.state_hash() == before


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (schema("X", "X"), "inherits from itself"),
        (schema("X", "Nowhere"), "has no schema"),
        (schema("Object", "User"), "inherits from itself"),
    ],
)
def test_cycles_and_unknown_parents_are_rejected(bad: dict[str, Any], why: str) -> None:
    harness = StoreHarness(OBJECT, FOLDER, USER)
    assert why in harness.error("StoreSetEntitySchema", schema=bad)


@pytest.mark.parametrize("rules", [3, 4])
def test_an_error_names_the_request_of_a_list(rules: int) -> None:
    harness = StoreHarness(OBJECT, USER, rules=rules)
    user = harness.create("User")
    full = write(user, "Age", {"Int": 2**63 - 1})
    more = write(user, "Age", {"Int": 1}, adjust_behavior="Add")
    place = "" if rules == 3 else 'request 1 of the list (from 0), Write of "Age": '
    text = harness.send("UpdateEntity", request=[full, more])["error"]
    assert text == f"{place}the result does not fit into the 64 bits of an Int"
    text = harness.send("UpdateEntity", request=[write(user, "Nope", {"Int": 1})])["error"]
    assert "of the list" not in text
    reads = [read(user, "Age"), read(user, "Nope")]
    text = harness.send("UpdateEntity", request=reads)["error"]
    assert text.startswith('request 1 of the list (from 0), Read of "Nope": ')
