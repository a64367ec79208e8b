"""SetSchema, GetSchema and GetCompleteSchema: inheritance, refusals and migration."""

from __future__ import annotations

from typing import Any

import pytest

from tests.machines.entity.driver import (
    FOLDER,
    OBJECT,
    USER,
    Driver,
    code,
    field,
    people,
    read,
    schema,
    write,
)


def test_a_schema_comes_back_as_it_was_sent_with_its_marker() -> None:
    driver = people()
    answer = driver.send("GetSchema", entity_type="User")
    assert answer == {"response": {**USER, "_marker": None}, "error": None}
    permission = {"typ": "Permission", "id": 2**64 - 1}
    lock = schema("Lock", None, field("Int", "N", 0, rank=-5, read_permission=permission))
    assert driver.set_schema({**lock, "_marker": None}) == {"error": None}
    assert driver.send("GetSchema", entity_type="Lock")["response"] == {**lock, "_marker": None}


def test_complete_schema_lists_ancestors_first_and_subtype_wins() -> None:
    driver = people()
    driver.set_schema(
        schema("Boss", "User", field("String", "Email", "boss@"), field("Int", "Cars", 2))
    )
    complete = driver.send("GetCompleteSchema", entity_type="Boss")["response"]
    assert list(complete["fields"]) == [*OBJECT["fields"], *USER["fields"], "Cars"]
    assert complete["fields"]["Email"]["String"]["default_value"] == "boss@"
    assert (complete["entity_type"], complete["inherit"]) == ("Boss", "User")
    # A change of the grandparent reaches it.
    driver.set_schema(schema("Object", None, field("String", "Title", "")))
    complete = driver.send("GetCompleteSchema", entity_type="Boss")["response"]
    assert list(complete["fields"]) == ["Title", *USER["fields"], "Cars"]


@pytest.mark.parametrize("kind", ["GetSchema", "GetCompleteSchema"])
def test_an_unknown_type_is_an_error_value(kind: str) -> None:
    answer = people().send(kind, entity_type="Ghost")
    assert answer["response"] is None
    assert code(answer) == "TypeNotFound"


REFUSED = [
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


@pytest.mark.parametrize(("wrong", "expected"), REFUSED)
def test_wrong_schema_is_rejected_and_changes_nothing(wrong: Any, expected: str) -> None:
    driver = people()
    before = driver.store.state_hash()
    assert code(driver.set_schema(wrong)) == expected
    assert driver.store.state_hash() == before


def test_inheritance_has_a_maximal_depth() -> None:
    driver = Driver(schema("T0", None))
    answers = [driver.set_schema(schema(f"T{n}", f"T{n - 1}")) for n in range(1, 103)]
    assert [code(answer) for answer in answers[:100]] == [None] * 100
    assert code(answers[100]) == "SchemaInvalid"


@pytest.mark.parametrize("rules", [2, 3])
def test_entities_of_the_type_and_its_subtypes_are_migrated(rules: int) -> None:
    driver = people(rules)
    driver.set_schema(schema("Boss", "User"))
    user, boss, folder = (driver.create(kind) for kind in ("User", "Boss", "Folder"))
    driver.update(*(write(one, "Age", {"Int": 44}) for one in (user, boss)))
    driver.update(*(write(one, "Email", {"String": "kept"}) for one in (user, boss)))
    untouched = driver.update(read(user, "Email"))["response"]
    changed = schema(
        "User",
        "Object",
        field("String", "Email", "other default"),  # same kind: the value stays
        field("String", "Age", "unknown"),  # another kind: the new default
        field("Bool", "Fresh", True),  # new; all others are gone
    )
    assert driver.set_schema(changed) == {"error": None}
    migrated = driver.index
    for one in (user, boss):
        assert driver.value(one, "Age") == {"String": "unknown"}
        assert driver.value(one, "Fresh") == {"Bool": True}
        assert code(driver.update(read(one, "Score"))) == "FieldNotFound"
    assert driver.update(read(user, "Email"))["response"] == untouched
    (fresh,) = driver.update(read(user, "Fresh"))["response"]
    assert fresh["Read"]["write_time"]["nanos_since_epoch"] == migrated * 1000
    assert code(driver.update(read(folder, "Fresh"))) == "FieldNotFound"
    written = {c.field_type for c in driver.store.field_changes()}
    # Since rules 3 a schema touches no entity, however many there are.
    assert written == ({"Fresh", *USER["fields"]} - {"Email"} if rules < 3 else set())


def test_removed_choice_becomes_the_default() -> None:
    driver = Driver(schema("T", None, field("Choice", "C", 0, choices=["a", "b", "c"])))
    first, last = driver.create("T"), driver.create("T")
    driver.update(write(first, "C", {"Choice": 1}), write(last, "C", {"Choice": 2}))
    driver.set_schema(schema("T", None, field("Choice", "C", 0, choices=["a", "b"])))
    assert driver.value(first, "C") == {"Choice": 1}
    assert driver.value(last, "C") == {"Choice": 0}


def test_reparenting_a_type_gives_its_entities_the_new_fields() -> None:
    driver = Driver(OBJECT, FOLDER, schema("Tag", None, field("Int", "N", 1)))
    tag = driver.create("Tag")
    driver.set_schema(schema("Tag", "Folder", field("Int", "N", 1)))
    assert driver.value(tag, "Name") == {"String": ""}
    assert driver.value(tag, "N") == {"Int": 1}
