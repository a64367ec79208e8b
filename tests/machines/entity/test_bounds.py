"""The limits of one command (apply rules 3): they count real bytes, and are checked before anything is built."""

from __future__ import annotations

import json
from typing import Any  # requests are JSON

import pytest

from qcore.errors import StoreError
from qcore.machines import limits
from qcore.machines.entity.entity_store import EntityStore
from qcore.machines.entity.requests.perform_requests import parse_request
from qcore.machines.entity.state.child_list import ChildList
from qcore.machines.entity.state.entity_id import EntityId
from qcore.machines.interface import ApplyContext
from qcore.machines.register import RegisterMachine
from tests.machines.entity.harness import (
    OBJECT,
    StoreHarness,
    code,
    field,
    people,
    read,
    schema,
    write,
)

LONG = "x" * 1000


def apply(store: EntityStore, request: object, rules: int = 3) -> Any:
    """Apply a log entry without the checks that come before the append."""
    (result,) = json.loads(
        store.apply(json.dumps(request), ApplyContext(1000, 1, rules=rules))
    ).values()
    return result


def bodies(name: str) -> list[dict[str, Any]]:
    """A request for each place where the name of a type or a field may occur."""
    user = {"typ": "User", "id": 4}
    named = {"typ": name, "id": 4}
    permission = field("Int", "N", 0, read_permission=named)
    reference = field("EntityReference", "R", named)
    writes = [
        write(named, "Age", {"Int": 1}),
        write(user, name, {"Int": 1}),
        write(user, "Age", {"Int": 1}, writer_id=named),
        write(user, "Manager", {"EntityReference": named}),
        write(user, "Friends", {"EntityList": [named]}),
    ]
    schemas = [
        schema(name, None),
        schema("New", name),
        schema("New", None, field("Int", name, 0)),
        schema("New", None, permission),
        schema("New", None, reference),
    ]
    return [
        *({"UpdateEntity": {"request": [one]}} for one in writes),
        *({"SetSchema": {"entity_schema": one}} for one in schemas),
        {"CreateEntity": {"entity_type": name, "parent_id": None, "name": "n"}},
        {"CreateEntity": {"entity_type": "User", "parent_id": named, "name": "n"}},
        {"DeleteEntity": {"entity_id": named}},
        {"GetSchema": {"entity_type": name}},
        {"GetCompleteSchema": {"entity_type": name}},
        {"UpdateEntity": {"request": [read(named, "Age")]}},
    ]


@pytest.mark.parametrize("number", range(len(bodies(""))))
def test_long_name_is_rejected_wherever_it_appears(number: int) -> None:
    harness = people()
    harness.create("User")
    before = harness.store.state_hash()
    request = bodies("n" * (limits.MAX_NAME_BYTES + 1))[number]
    with pytest.raises(StoreError, match=r"name .* has 257 bytes; the limit is 256"):
        parse_request(json.dumps(request))  # before it is appended
    assert apply(harness.store, request)["detail"]["code"] == "NameTooLong"
    assert harness.store.state_hash() == before
    # Fewer characters of several bytes are too long. A name of the maximum length is accepted.
    wide = bodies("é" * (limits.MAX_NAME_BYTES // 2 + 1))[number]
    assert apply(harness.store, wide)["detail"]["code"] == "NameTooLong"
    fits = apply(harness.store, bodies("n" * limits.MAX_NAME_BYTES)[number])
    assert fits["error"] is None or fits["detail"]["code"] != "NameTooLong"


def test_under_rules_2_a_long_name_keeps_its_meaning() -> None:
    harness = people(rules=2)
    user = harness.create("User")
    long = {"typ": "n" * 5000, "id": 1}
    request = {"UpdateEntity": {"request": [write(user, "Manager", {"EntityReference": long})]}}
    assert apply(harness.store, request, rules=2)["error"] is None


def test_a_response_is_bounded_by_its_real_bytes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Row D1: a reference with a long type counted as 40 bytes, and the writer's id as none."""
    monkeypatch.setattr("qcore.machines.entity.operations.update_fields.MAX_RESPONSE_BYTES", 50_000)
    harness = people(rules=2)
    user = harness.create("User")
    long = {"typ": "n" * 9000, "id": 1}
    item = write(user, "Manager", {"EntityReference": long}, writer_id=long)
    apply(harness.store, {"UpdateEntity": {"request": [item]}}, rules=2)
    assert harness.value(user, "Manager") == {"EntityReference": long}
    reads = {"UpdateEntity": {"request": [read(user, "Manager")] * 4}}
    assert apply(harness.store, reads)["detail"]["code"] == "ResponseTooLarge"
    query = json.loads(harness.store.query(json.dumps(reads)))["UpdateEntity"]
    assert query["detail"]["code"] == "ResponseTooLarge"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Email", {"String": "\0" * 300}),  # six bytes each in JSON
        ("Email", {"String": "\U0001f600" * 450}),
        ("Key", {"Blob": [255] * 450}),
        ("Friends", {"EntityList": [{"typ": "User", "id": 2**63}] * 45}),
    ],
)
def test_value_size_counts_bytes_of_the_json_text(
    name: str, value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())
    assert size > 1700
    harness = people()
    user = harness.create("User")
    harness.update(write(user, name, value))
    monkeypatch.setattr(
        "qcore.machines.entity.operations.update_fields.MAX_RESPONSE_BYTES", 3 * size
    )
    assert harness.update(*[read(user, name)] * 3)["error"] is None
    monkeypatch.setattr(
        "qcore.machines.entity.operations.update_fields.MAX_RESPONSE_BYTES", 3 * size - 1
    )
    assert code(harness.update(*[read(user, name)] * 3)) == "ResponseTooLarge"


@pytest.mark.parametrize(
    ("name", "start", "more"),
    [
        ("Email", {"String": "y" * 600}, {"String": "y" * 600}),
        ("Key", {"Blob": [200] * 150}, {"Blob": [200] * 150}),
        (
            "Friends",
            {"EntityList": [{"typ": "User", "id": 4}] * 25},
            {"EntityList": [{"typ": "User", "id": 4}] * 25},
        ),
    ],
)
def test_adding_cannot_exceed_the_limit_of_a_value(
    name: str, start: object, more: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qcore.machines.entity.state.field_values.MAX_VALUE_BYTES", 1000)
    harness = people()
    user = harness.create("User")
    assert harness.update(write(user, name, start))["error"] is None
    before = harness.store.state_hash()
    result = harness.update(write(user, name, more, adjust_behavior="Add"))
    assert code(result) == "ValueTooLarge"
    assert harness.store.state_hash() == before


TEXT = "é" * 600
BODY = {"entity_type": "User", "parent_id": None, "name": TEXT}


def named(user: object) -> list[dict[str, Any]]:
    """Requests that give an entity the name `TEXT`."""
    rename = {"entity_id": user, "name": TEXT}
    topology: dict[str, Any] = {
        "schemas": [],
        "entities": [{"entity_type": "User", "parent": None, "name": TEXT, "attributes": {}}],
    }
    attribute: dict[str, Any] = {
        "entity_type": "User",
        "parent": None,
        "name": "",
        "attributes": {},
    }
    attribute["attributes"] = {"Email": {"String": TEXT}}
    return [
        {"StorePerform": {"requests": [write(user, "Name", {"String": TEXT})]}},
        {"StoreRenameEntity": rename},
        {"StoreCreateEntity": BODY},
        {"StoreBulk": {"requests": [{"CreateEntity": BODY}]}},
        {"StoreBulk": {"requests": [{"RenameEntity": rename}]}},
        {"CreateEntity": BODY},
        {"LoadTopology": topology},
        {"LoadTopology": {**topology, "entities": [attribute]}},
    ]


@pytest.mark.parametrize("number", range(len(named(None))))
def test_a_name_is_bounded_like_any_value(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qcore.machines.entity.state.field_values.MAX_VALUE_BYTES", 1000)
    harness = people()
    user = harness.create("User")
    before = harness.store.state_hash()
    result = harness.store.apply(json.dumps(named(user)[number]), harness.context())
    assert '"code":"ValueTooLarge"' in result
    assert "would hold 1213 bytes; the limit is 1000" in result
    assert harness.store.state_hash() == before


def test_under_rules_3_a_long_name_keeps_its_meaning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qcore.machines.entity.state.field_values.MAX_VALUE_BYTES", 1000)
    harness = people(rules=3)
    user = harness.create("User", None, TEXT)
    assert harness.value(user, "Name") == {"String": TEXT}


def test_the_steps_of_one_request_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qcore.machines.entity.transaction.MAX_OPERATIONS", 50)
    harness = people()
    top = bottom = harness.create("Folder")
    for _ in range(6):
        bottom = harness.create("Folder", bottom)
    path = "Children->0->" * 6 + "Name"
    assert harness.update(*[read(top, path)] * 7)["error"] is None
    assert code(harness.update(*[read(top, path)] * 8)) == "TooManyOperations"
    assert code(harness.update(*[write(top, "Name", None)] * 51)) == "TooManyOperations"


def test_a_subtree_is_deleted_in_bounded_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qcore.machines.entity.transaction.MAX_OPERATIONS", 50)
    harness = people()
    top = harness.create("Folder")
    folders = [harness.create("Folder", top) for _ in range(2)]
    for folder in folders:
        for _ in range(30):
            harness.create("User", folder)
    before = harness.store.state_hash()
    assert code(harness.send("DeleteEntity", entity_id=top)) == "TooManyOperations"
    assert harness.store.state_hash() == before
    for one in (*folders, top):
        assert harness.send("DeleteEntity", entity_id=one) == {"error": None}


# --- schemas ------------------------------------------------------------------------------------


def test_a_complete_schema_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Row D3: 90 ancestors with defaults of 1 MB made a response of 90 MB."""
    monkeypatch.setattr("qcore.machines.entity.state.type_registry.MAX_SCHEMA_BYTES", 10_000)
    harness = StoreHarness(schema("T0", None))
    results = [
        harness.set_schema(schema(f"T{n}", f"T{n - 1}", field("String", f"F{n}", LONG)))
        for n in range(1, 12)
    ]
    codes = [code(result) for result in results]
    assert codes[:8] == [None] * 8
    assert codes[8] == "SchemaTooLarge"
    # It cannot grow through an ancestor either.
    assert (
        code(harness.set_schema(schema("T0", None, field("String", "G", LONG * 3))))
        == "SchemaTooLarge"
    )


def test_the_number_of_fields_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qcore.machines.entity.state.type_registry.MAX_FIELDS", 5)
    harness = StoreHarness(OBJECT)
    two = [field("Int", "A", 0), field("Int", "B", 0)]
    assert harness.set_schema(schema("T", "Object", *two)) == {"error": None}
    assert code(harness.set_schema(schema("U", "T", field("Int", "C", 0)))) == "SchemaTooLarge"


@pytest.mark.parametrize(
    ("bound", "value"),
    [("MAX_TYPES", 20), ("MAX_SCHEMAS_BYTES", 2500), ("MAX_COMPLETE_FIELDS", 60)],
)
def test_all_schemas_together_are_bounded(
    bound: str, value: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"qcore.machines.entity.state.type_registry.{bound}", value)
    harness = StoreHarness(OBJECT)
    codes = [code(harness.set_schema(schema(f"T{n}", "Object"))) for n in range(30)]
    assert codes[0] is None
    assert codes[-1] == "SchemaTooLarge"
    before = harness.store.state_hash()
    # An existing schema can still be changed or made smaller.
    assert harness.set_schema(schema("Object", None, field("String", "Name", ""))) == {
        "error": None
    }
    assert harness.store.state_hash() != before


def test_defaults_that_older_entities_still_read_are_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("qcore.machines.entity.state.type_registry.MAX_SCHEMAS_BYTES", 20_000)
    harness = StoreHarness(schema("T", None, field("String", "S", "")))
    made, codes = [], []
    for number in range(40):
        made.append(harness.create("T"))
        default = f"{number} {LONG}"
        codes.append(code(harness.set_schema(schema("T", None, field("String", "S", default)))))
    assert codes[0] is None
    assert codes[-1] == "SchemaTooLarge"
    for one in made[:20]:
        harness.send("DeleteEntity", entity_id=one)
    # No entity reads the oldest defaults any more.
    assert harness.set_schema(schema("T", None, field("String", "S", "new"))) == {"error": None}


def test_a_schema_that_is_rejected_reports_its_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a replica would reject hundreds of them in one step."""
    monkeypatch.setattr("qcore.machines.entity.state.type_registry.MAX_OPERATIONS", 500)
    fields = [field("Int", f"F{number}", 0) for number in range(40)]
    harness = StoreHarness(schema("T0", None, *fields))
    for number in range(1, 20):
        assert harness.set_schema(schema(f"T{number}", "T0")) == {"error": None}
        harness.create(f"T{number}")
    before = harness.store.state_hash()
    changed = schema("T0", None, *[field("Int", f"F{number}", 1) for number in range(40)])
    assert code(harness.set_schema(changed)) == "TooManyOperations"
    assert harness.store.last_cost >= 500 // 16
    assert harness.store.state_hash() == before


def test_a_default_is_bounded_like_a_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qcore.machines.entity.state.type_registry.MAX_VALUE_BYTES", 900)
    result = StoreHarness().set_schema(schema("T", None, field("String", "S", LONG)))
    assert code(result) == "ValueTooLarge"


# --- restoring ----------------------------------------------------------------------------------


def test_each_part_of_a_restore_is_bounded_in_bytes() -> None:
    harness = StoreHarness(schema("T", None, field("String", "S", "")))
    for number in range(40):
        one = harness.create("T")
        harness.update(write(one, "S", {"String": str(number) + "y" * 100_000}))
    text = "".join(harness.store.snapshot())
    taken = [0]

    def chunks() -> Any:
        for start in range(0, len(text), 65_536):
            taken[0] += 1
            yield text[start : start + 65_536]

    before = 0
    for _ in EntityStore().restore_gradually(chunks()):
        assert taken[0] - before <= 8
        before = taken[0]


# --- the key-value machine ------------------------------------------------------------------------


def test_a_register_is_bounded() -> None:
    most = limits.MAX_VALUE_BYTES // 2 - 1  # letters of two bytes, between quotes

    def run(rules: int, **command: object) -> Any:
        context = ApplyContext(1, 1, rules=rules)
        return json.loads(RegisterMachine().apply(json.dumps(command), context))

    assert run(3, op="set", key="a", value="é" * most)["ok"]
    error = run(3, op="set", key="a", value="é" * (most + 1))["error"]
    assert f"the limit is {limits.MAX_VALUE_BYTES}" in error
    assert run(2, op="set", key="a", value="é" * (most + 1))["ok"]


def test_a_large_register_is_not_parsed_to_add_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = RegisterMachine()
    machine.apply(json.dumps({"op": "set", "key": "a", "value": [1] * 100}), ApplyContext(1, 1))
    monkeypatch.setattr("qcore.machines.register.json.loads", lambda text: pytest.fail("parsed"))
    result = machine.apply('{"op":"add","key":"a","amount":1}', ApplyContext(2, 1))
    assert "does not hold an integer" in result


def test_duplicate_ids_do_not_make_a_list_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qcore.machines.entity.transaction.MAX_OPERATIONS", 1000)
    harness = people()
    folder = harness.create("Folder")
    ghost = {"typ": "User", "id": 9}
    assert harness.update(write(folder, "Children", {"EntityList": [ghost] * 20}))["error"] is None
    for behavior in ("Set", "Add"):
        many = write(folder, "Children", {"EntityList": [ghost] * 500}, adjust_behavior=behavior)
        assert code(harness.update(many)) == "TooManyOperations"


@pytest.mark.parametrize("behavior", ["Set", "Add"])
def test_a_default_list_of_children_counts_each_time(
    behavior: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qcore.machines.entity.transaction.MAX_OPERATIONS", 1000)
    ids = [{"typ": "User", "id": number} for number in range(300)]
    harness = StoreHarness(schema("T", None, field("EntityList", "Children", ids)))
    one = harness.create("T")
    many = [write(one, "Children", None, adjust_behavior=behavior)] * 9
    assert code(harness.update(*many)) == "TooManyOperations"


def test_list_slice_is_bounded_by_the_response_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("qcore.machines.entity.operations.update_fields.MAX_RESPONSE_BYTES", 1000)
    harness = people()
    folder = harness.create("Folder")
    for _ in range(200):
        harness.create("User", folder)
    assert len(harness.value(folder, "Children->0:30")["EntityList"]) == 30
    requested: list[int] = []
    real = ChildList.slice

    def slice_of(held: ChildList, start: int, stop: int) -> tuple[EntityId, ...]:
        requested.append(stop - start)
        return real(held, start, stop)

    monkeypatch.setattr(ChildList, "slice", slice_of)
    assert code(harness.update(read(folder, "Children->0:999999"))) == "ResponseTooLarge"
    assert requested[0] < 60


def test_a_schema_reaches_a_bounded_number_of_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    """With or without entities: fields that change count fully, others a little."""
    monkeypatch.setattr("qcore.machines.entity.state.type_registry.MAX_OPERATIONS", 100)

    def base(default: int) -> Any:
        return schema("Base", None, *(field("Int", f"F{n}", default) for n in range(20)))

    harness = StoreHarness(base(0))
    for number in range(8):
        harness.set_schema(schema(f"T{number}", "Base"))
    assert harness.set_schema(base(1)) == {"error": None}
    for number in range(8):
        harness.create(f"T{number}")
    before = harness.store.state_hash()
    assert code(harness.set_schema(base(2))) == "TooManyOperations"
    assert harness.store.state_hash() == before
    one_more = base(1)
    one_more["fields"].update(field("Int", "More", 0))
    assert harness.set_schema(one_more) == {"error": None}


@pytest.mark.parametrize("behavior", ["Add", "Subtract"])
@pytest.mark.parametrize("condition", ["Always", "Changes"])
def test_list_change_counts_even_without_effect(
    behavior: str, condition: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qcore.machines.entity.transaction.MAX_OPERATIONS", 200)
    ids = [{"typ": "User", "id": number} for number in range(1000)]
    harness = StoreHarness(schema("T", None, field("EntityList", "L", ids)))
    one = harness.create("T")
    harness.update(write(one, "L", {"EntityList": []}))
    more = {"adjust_behavior": behavior, "push_condition": condition}
    assert harness.update(write(one, "L", None, **more))["error"] is None
    assert code(harness.update(*[write(one, "L", None, **more)] * 9)) == "TooManyOperations"


# --- rejected work ------------------------------------------------------------------------------


def test_rejected_request_builds_no_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise hundreds of them in one frame would occupy a node for seconds, and none would count."""
    monkeypatch.setattr("qcore.machines.entity.operations.update_fields.MAX_RESPONSE_BYTES", 10_000)
    harness = people()
    user = harness.create("User")
    harness.update(write(user, "Email", {"String": "y" * 900}))
    monkeypatch.setattr(
        "qcore.machines.entity.operations.update_fields.value_to_json",
        lambda value: pytest.fail("text was built"),
    )
    assert code(harness.update(*[read(user, "Email")] * 20)) == "ResponseTooLarge"
    assert code(harness.update(read(user, "Email"), read(user, "Ghost"))) == "FieldNotFound"


def test_writing_request_has_a_smaller_response_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every replica executes it, and again when it starts."""
    monkeypatch.setattr(
        "qcore.machines.entity.operations.update_fields.MAX_WRITE_RESPONSE_BYTES", 5000
    )
    harness = people()
    user = harness.create("User")
    harness.update(write(user, "Email", {"String": "y" * 900}))
    reads = [read(user, "Email")] * 6
    assert harness.update(*reads)["error"] is None
    before = harness.store.state_hash()
    assert code(harness.update(*reads, write(user, "Age", {"Int": 1}))) == "ResponseTooLarge"
    assert harness.store.state_hash() == before


def test_a_schema_that_many_types_inherit_costs_a_step_for_each() -> None:
    harness = StoreHarness(schema("Base", None))
    for number in range(160):
        harness.set_schema(schema(f"T{number}", "Base"))
    harness.set_schema(schema("Base", None))
    assert harness.store.last_cost >= 10


def test_absent_ids_that_are_subtracted_count_as_steps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("qcore.machines.entity.transaction.MAX_OPERATIONS", 1000)
    ids = [{"typ": "User", "id": number} for number in range(300)]
    harness = StoreHarness(schema("T", None, field("EntityList", "Children", ids)))
    one = harness.create("T")
    harness.update(write(one, "Children", {"EntityList": []}))
    more = {"adjust_behavior": "Subtract", "push_condition": "Changes"}
    assert code(harness.update(*[write(one, "Children", None, **more)] * 9)) == "TooManyOperations"


def test_the_earlier_defaults_of_a_type_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qcore.machines.entity.state.type_registry.MAX_EARLIER_DEFAULTS", 10)
    harness = StoreHarness(schema("T", None, field("Int", "N", 0)))
    codes = []
    for number in range(1, 15):
        harness.create("T")
        codes.append(code(harness.set_schema(schema("T", None, field("Int", "N", number)))))
    assert codes[:10] == [None] * 10
    assert codes[10] == "SchemaTooLarge"


def test_write_to_an_entity_with_many_fields_costs_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("qcore.machines.entity.transaction.MAX_OPERATIONS", 1000)
    names = [f"F{number}" for number in range(640)]
    harness = StoreHarness(schema("T", None, *(field("Int", name, 0) for name in names)))
    one = harness.create("T")
    assert harness.update(*(write(one, name, {"Int": 1}) for name in names[:100]))["error"] is None
    for start in range(100, 640, 60):
        harness.update(*(write(one, name, {"Int": 1}) for name in names[start : start + 60]))
    many = [write(one, "F0", {"Int": number}) for number in range(100)]
    assert code(harness.update(*many)) == "TooManyOperations"


def test_the_type_in_an_error_does_not_depend_on_history() -> None:
    wide = [field("Int", f"F{number}", 0) for number in range(600)]
    harness = StoreHarness(schema("B", None), schema("T1", "B", *wide), schema("T2", "B", *wide))
    harness.set_schema(schema("T1", None, *wide))
    harness.set_schema(schema("T1", "B", *wide))  # now T2 became a subtype first
    other = EntityStore()
    other.restore(harness.store.snapshot())
    more = schema("B", None, *(field("Int", f"G{number}", 0) for number in range(600)))
    context = ApplyContext(1000, 1)
    command = parse_request(json.dumps({"SetSchema": {"entity_schema": more}}))[1]
    assert harness.store.apply(command, context) == other.apply(command, context)


def test_freed_memory_does_not_accumulate() -> None:
    ids = [{"typ": "User", "id": number} for number in range(20_000)]
    harness = StoreHarness(schema("T", None, field("EntityList", "Children", ids)))
    one = harness.create("T")
    for _ in range(25):
        assert harness.update(write(one, "Children", None))["error"] is None
    held = harness.store._records._discarded
    assert sum(map(len, held)) < 10 * len(ids)
