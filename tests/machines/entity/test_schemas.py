"""The requests SetSchema, GetSchema and GetCompleteSchema: inheritance, errors and migration."""

from __future__ import annotations

from typing import Any

import pytest

from tests.machines.entity.harness import (
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


def test_a_schema_is_returned_as_it_was_sent_with_its_marker() -> None:
    harness = people()
    result = harness.send("GetSchema", entity_type="User")
    assert result == {"response": {**USER, "_marker": None}, "error": None}
    permission = {"typ": "Permission", "id": 2**64 - 1}
    lock = schema("Lock", None, field("Int", "N", 0, rank=-5, read_permission=permission))
    assert harness.set_schema({**lock, "_marker": None}) == {"error": None}
    assert harness.send("GetSchema", entity_type="Lock")["response"] == {**lock, "_marker": None}


def test_complete_schema_lists_ancestors_first_and_subtype_wins() -> None:
    harness = people()
    harness.set_schema(
        schema("Boss", "User", field("String", "Email", "boss@"), field("Int", "Cars", 2))
    )
    complete = harness.send("GetCompleteSchema", entity_type="Boss")["response"]
    assert list(complete["fields"]) == [*OBJECT["fields"], *USER["fields"], "Cars"]
    assert complete["fields"]["Email"]["String"]["default_value"] == "boss@"
    assert (complete["entity_type"], complete["inherit"]) == ("Boss", "User")
    # A change of an ancestor affects the complete schema.
    harness.set_schema(schema("Object", None, field("String", "Title", "")))
    complete = harness.send("GetCompleteSchema", entity_type="Boss")["response"]
    assert list(complete["fields"]) == ["Title", *USER["fields"], "Cars"]


@pytest.mark.parametrize("kind", ["GetSchema", "GetCompleteSchema"])
def test_an_unknown_type_is_an_error_value(kind: str) -> None:
    result = people().send(kind, entity_type="Ghost")
    assert result["response"] is None
    assert code(result) == "TypeNotFound"


REJECTED = [
    (schema("New", "Ghost"), "UnknownParentType"),
    (schema("New", "New"), "InheritanceCycle"),
    (schema("Object", "User"), "InheritanceCycle"),
    (schema("", None), "SchemaInvalid"),
    (schema("A$B", None), "SchemaInvalid"),
    (schema("New", None, field("Int", "", 0)), "SchemaInvalid"),
    (schema("New", None, field("Int", "A->B", 0)), "SchemaInvalid"),
    (schema("New", None, {"X": field("Int", "Y", 0)["Y"]}), "SchemaInvalid"),
    (schema("New", None, field("Int", "Name", 0)), "SchemaInvalid"),
    (schema("New", None, field("String", "Parent", "")), "SchemaInvalid"),
    (schema("New", None, field("EntityReference", "Children", None)), "SchemaInvalid"),
    (schema("New", None, field("Choice", "C", 2, choices=["a", "b"])), "ValueOutOfRange"),
    (schema("New", None, field("Choice", "C", 0, choices=["a", "a"])), "SchemaInvalid"),
]


@pytest.mark.parametrize(("wrong", "expected"), REJECTED)
def test_wrong_schema_is_rejected_and_changes_nothing(wrong: Any, expected: str) -> None:
    harness = people()
    before = harness.store.state_hash()
    assert code(harness.set_schema(wrong)) == expected
    assert harness.store.state_hash() == before


def test_inheritance_has_a_maximal_depth() -> None:
    harness = StoreHarness(schema("T0", None))
    results = [harness.set_schema(schema(f"T{n}", f"T{n - 1}")) for n in range(1, 103)]
    assert [code(result) for result in results[:100]] == [None] * 100
    assert code(results[100]) == "SchemaInvalid"


@pytest.mark.parametrize("rules", [2, 3])
def test_entities_of_the_type_and_its_subtypes_are_migrated(rules: int) -> None:
    harness = people(rules)
    harness.set_schema(schema("Boss", "User"))
    user, boss, folder = (harness.create(kind) for kind in ("User", "Boss", "Folder"))
    harness.update(*(write(one, "Age", {"Int": 44}) for one in (user, boss)))
    harness.update(*(write(one, "Email", {"String": "kept"}) for one in (user, boss)))
    untouched = harness.update(read(user, "Email"))["response"]
    changed = schema(
        "User",
        "Object",
        field("String", "Email", "other default"),  # same kind: the value stays
        field("String", "Age", "unknown"),  # another kind: the new default
        field("Bool", "Fresh", True),  # new; all others are gone
    )
    assert harness.set_schema(changed) == {"error": None}
    migrated = harness.index
    for one in (user, boss):
        assert harness.value(one, "Age") == {"String": "unknown"}
        assert harness.value(one, "Fresh") == {"Bool": True}
        assert code(harness.update(read(one, "Score"))) == "FieldNotFound"
    assert harness.update(read(user, "Email"))["response"] == untouched
    (fresh,) = harness.update(read(user, "Fresh"))["response"]
    assert fresh["Read"]["write_time"]["nanos_since_epoch"] == migrated * 1000
    assert code(harness.update(read(folder, "Fresh"))) == "FieldNotFound"
    assert not harness.store.last_changes(), "a schema is no change of an entity"


def test_removed_choice_becomes_the_default() -> None:
    harness = StoreHarness(schema("T", None, field("Choice", "C", 0, choices=["a", "b", "c"])))
    first, last = harness.create("T"), harness.create("T")
    harness.update(write(first, "C", {"Choice": 1}), write(last, "C", {"Choice": 2}))
    harness.set_schema(schema("T", None, field("Choice", "C", 0, choices=["a", "b"])))
    assert harness.value(first, "C") == {"Choice": 1}
    assert harness.value(last, "C") == {"Choice": 0}


def test_reparenting_a_type_gives_its_entities_the_new_fields() -> None:
    harness = StoreHarness(OBJECT, FOLDER, schema("Tag", None, field("Int", "N", 1)))
    tag = harness.create("Tag")
    harness.set_schema(schema("Tag", "Folder", field("Int", "N", 1)))
    assert harness.value(tag, "Name") == {"String": ""}
    assert harness.value(tag, "N") == {"Int": 1}
