"""A state that is written as a topology file loads into a fresh store and gives the same tree."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qcore.errors import ConfigError, Refused
from qcore.machines.entity.entity_store import EntityStore
from qcore.machines.entity.topology.topology_file import parse_topology
from tests.machines.entity.harness import FOLDER, OBJECT, USER, StoreHarness, field, schema, write

OPEN = schema("Open", None, field("Choice", "Kind", 0, choices=[]))


def export(store: EntityStore) -> str:
    return "".join(f"{line}\n" for line in store.topology())


def load(text: str, rules: int = 4, index: int = 50) -> StoreHarness:
    harness = StoreHarness(rules=rules)
    harness.index = index
    command = parse_topology(text, "exported.yaml").command()
    result = json.loads(harness.store.apply(command, harness.context()))
    assert result["LoadTopology"]["error"] is None, result
    return harness


def tree(harness: StoreHarness) -> Any:
    """The state without times and writers, with ids numbered in the order of the tree."""
    taken = harness.store_request("StoreTakeSnapshot")
    fields = taken["fields"]
    order: dict[str, int] = {}

    def text(entity_id: Any) -> str:
        return f"{entity_id['typ']}${entity_id['id']}"

    def walk(entity: str) -> None:
        order[entity] = len(order)
        for child in fields[entity].get("Children", {"value": {"EntityList": []}})["value"][
            "EntityList"
        ]:
            walk(text(child))

    every = [one for ids in taken["entities"].values() for one in ids]
    for one in sorted(every, key=lambda each: each["id"]):
        if not fields[text(one)].get("Parent", {"value": {}})["value"].get("EntityReference"):
            walk(text(one))

    def numbered(value: Any) -> Any:
        if isinstance(value, dict) and value.keys() == {"typ", "id"}:
            return [value["typ"], order[text(value)]]
        if isinstance(value, dict):
            return {key: numbered(one) for key, one in value.items()}
        return [numbered(one) for one in value] if isinstance(value, list) else value

    return {
        "schemas": numbered(taken["schemas"]),
        "entities": {
            number: {name: numbered(held["value"]) for name, held in fields[entity].items()}
            for entity, number in order.items()
        },
    }


names = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_an_exported_tree_loads_as_the_same_tree(data: st.DataObject) -> None:
    harness = StoreHarness(OBJECT, FOLDER, USER, OPEN)
    made = [harness.create("Folder", None, data.draw(names))]
    for _ in range(data.draw(st.integers(0, 6))):
        parents = [one for one in made if one["typ"] != "Open"]
        parent = data.draw(st.sampled_from([None, *parents]))
        typ = data.draw(st.sampled_from(["Folder", "User", "Open"]))
        made.append(harness.create(typ, None if typ == "Open" else parent, data.draw(names)))
    made = [one for one in made if one["typ"] != "Open"]
    for user in [one for one in made if one["typ"] == "User"]:
        values = {
            "Key": {"Blob": list(data.draw(st.binary(max_size=4)))},
            "Active": {"Bool": data.draw(st.booleans())},
            "Role": {"Choice": data.draw(st.integers(0, 1))},
            "Friends": {"EntityList": data.draw(st.lists(st.sampled_from(made), max_size=3))},
            "Manager": {"EntityReference": data.draw(st.sampled_from([None, *made]))},
            "Score": {"Float": data.draw(st.floats(allow_nan=False, allow_infinity=False))},
            "Age": {"Int": data.draw(st.integers(-(2**63), 2**63 - 1))},
            "Email": {"String": data.draw(names)},
            "Joined": {
                "Timestamp": {
                    "secs_since_epoch": data.draw(st.integers(0, 2**40)),
                    "nanos_since_epoch": data.draw(st.integers(0, 999_999_999)),
                }
            },
        }
        chosen = data.draw(st.sets(st.sampled_from(sorted(values))))
        requests = [write(user, name, values[name]) for name in sorted(chosen)]
        harness.ok("StorePerform", requests=requests)
    text = export(harness.store)
    loaded = load(text)
    assert tree(loaded) == tree(harness)
    assert tree(load(export(loaded.store), index=7)) == tree(harness)


def test_schemas_may_refer_to_entities() -> None:
    harness = StoreHarness(OBJECT)
    boss = harness.create("Object", None, "boss")
    harness.set_schema(
        schema(
            "Staff",
            "Object",
            field("EntityReference", "Boss", boss, read_permission=boss, rank=-3),
            field("EntityList", "Team", [boss, boss], write_permission=boss),
        )
    )
    harness.create("Staff", boss, "ann")
    assert tree(load(export(harness.store))) == tree(harness)


def test_a_reference_to_nothing_becomes_null() -> None:
    harness = StoreHarness(OBJECT, FOLDER, USER)
    user, gone = harness.create("User"), harness.create("User")
    requests = [
        write(user, "Manager", {"EntityReference": gone}),
        write(user, "Friends", {"EntityList": [gone, user]}),
    ]
    harness.ok("StorePerform", requests=requests)
    harness.ok("StoreDeleteEntity", entity_id=gone)
    loaded = load(export(harness.store))
    (only,) = loaded.ok("StoreFindEntities", entity_type="User", page_opts=None)["items"]
    assert loaded.value(only, "Manager") == {"EntityReference": None}
    assert loaded.value(only, "Friends") == {"EntityList": [only]}


def test_an_entity_outside_the_tree_is_an_error() -> None:
    harness = StoreHarness(OBJECT)
    parent = harness.create("Object")
    harness.create("Object", parent)
    harness.ok("StorePerform", requests=[write(parent, "Children", {"EntityList": []})])
    with pytest.raises(Refused, match="is not in the tree"):
        export(harness.store)


NAMED = """
schemas:
  - entity_type: A
    fields: {To: {default_value: {EntityReference: null}, rank: 0}}
tree:
  - {entity_type: A, name: x, id: A$7, attributes: {To: {EntityReference: A$7}}}
"""


def test_a_named_entity_needs_the_newest_rules() -> None:
    harness = load(NAMED)
    (entity,) = harness.ok("StoreFindEntities", entity_type="A", page_opts=None)["items"]
    assert entity["id"] == 51
    assert harness.value(entity, "To") == {"EntityReference": entity}
    old = StoreHarness(rules=3)
    before = old.store.state_hash()
    command = parse_topology(NAMED, "t").command()
    result = json.loads(old.store.apply(command, old.context()))
    assert "entities.0.id: unknown field" in result["Error"]["error"]
    assert old.store.state_hash() == before


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ("id: B$7", "unknown type"),
        ("id: 7", "User$123"),
        ("id: null", "A$123"),
        ("id: A$7}\n  - {entity_type: A, name: y, id: A$7", "has this id, too"),
    ],
)
def test_a_wrong_name_is_an_error(wrong: str, reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_topology(NAMED.replace("id: A$7", wrong, 1), "t")
    assert reason in str(caught.value)
