"""Sparse records (apply rules 3) read like full ones (rules 2), and cost nothing when a schema changes."""

from __future__ import annotations

import json
from typing import Any  # requests are JSON

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qcore.machines.entity.entity_store import EntityStore
from qcore.machines.interface import ApplyContext
from qcore.machines.state_digest import digest_term
from tests.machines.entity.harness import EPOCH_US, StoreHarness, field, people, read, schema, write
from tests.machines.entity.test_determinism import REQUESTS, START

_KINDS = [
    field("Int", "Age", 1),
    field("Int", "Age", 2),
    field("String", "Age", "old"),
    field("String", "Email", ""),
    field("String", "Email", "another default " * 40),
    field("EntityList", "Friends", []),
    field("EntityList", "Friends", [{"typ": "User", "id": 5}]),
    field("EntityList", "Children", [{"typ": "User", "id": 5}]),
]
CHANGING = st.builds(
    lambda typ, parent, fields: {"SetSchema": {"entity_schema": schema(typ, parent, *fields)}},
    st.sampled_from(["Folder", "User", "Extra", "Object"]),
    st.sampled_from([None, "Object", "Folder", "User"]),
    st.lists(st.sampled_from(_KINDS), max_size=3),
)


def reads_of_all(store: EntityStore) -> list[str]:
    """Read every field of every entity that may exist."""
    names = ["Name", "Age", "Email", "Friends", "Children", "Parent", "Role"]
    results = []
    for typ in ("Object", "Folder", "User", "Extra"):
        for number in range(1, 24):
            for name in names:
                request = {"UpdateEntity": {"request": [read({"typ": typ, "id": number}, name)]}}
                results.append(store.query(json.dumps(request)))
    return results


def meaning(result: str) -> str:
    """A result; for an error only the code, because rules 3 may name another one of several invalid types."""
    (response,) = json.loads(result).values()
    return str(response["detail"]["code"]) if response["error"] is not None else result


@settings(max_examples=120)
@given(st.lists(REQUESTS | CHANGING, max_size=18), st.integers(0, 18))
def test_both_forms_give_the_same_results(requests: list[dict[str, Any]], raised: int) -> None:
    """Also if the rules rise in between."""
    log = [json.dumps(request) for request in [*START, *requests]]
    full, sparse, risen = EntityStore(), EntityStore(), EntityStore()
    for position, command in enumerate(log, start=1):
        rules = {full: 2, sparse: 3, risen: 2 if position < raised else 3}
        results = {
            meaning(store.apply(command, ApplyContext(position, EPOCH_US + position, rules=at)))
            for store, at in rules.items()
        }
        assert len(results) == 1, command
    assert reads_of_all(full) == reads_of_all(sparse) == reads_of_all(risen)


def test_entities_keep_the_default_of_their_creation() -> None:
    harness = StoreHarness(schema("T", None, field("Int", "N", 1)))
    first = harness.create("T")
    harness.set_schema(schema("T", None, field("Int", "N", 2)))
    second = harness.create("T")
    harness.set_schema(schema("T", None, field("Int", "N", 3), field("Int", "M", 7)))
    harness.set_schema(schema("T", None, field("Int", "N", 4), field("Int", "M", 8)))
    third = harness.create("T")
    assert [harness.value(one, "N") for one in (first, second, third)] == [
        {"Int": 1},
        {"Int": 2},
        {"Int": 4},
    ]
    assert [harness.value(one, "M") for one in (first, third)] == [{"Int": 7}, {"Int": 8}]
    other = EntityStore()
    other.restore(harness.store.snapshot())
    assert other.state_hash() == harness.store.state_hash()
    harness.store = other
    assert [harness.value(one, "N") for one in (first, second)] == [{"Int": 1}, {"Int": 2}]


def test_removed_field_does_not_return_with_its_old_value() -> None:
    harness = StoreHarness(schema("T", None, field("Int", "N", 1), field("Int", "Other", 0)))
    harness.rules = 3  # under which a kind may change
    one = harness.create("T")
    harness.update(write(one, "N", {"Int": 5}))
    harness.set_schema(schema("T", None, field("Int", "Other", 0)))
    harness.set_schema(schema("T", None, field("Int", "N", 9), field("Int", "Other", 0)))
    assert harness.value(one, "N") == {"Int": 9}
    harness.update(write(one, "N", {"Int": 6}), write(one, "Other", {"Int": 1}))
    harness.set_schema(schema("T", None, field("String", "N", "text"), field("Int", "Other", 0)))
    harness.set_schema(schema("T", None, field("Int", "N", 3), field("Int", "Other", 0)))
    assert harness.value(one, "N") == {"Int": 3}
    assert harness.value(one, "Other") == {"Int": 1}


def test_value_of_a_removed_field_is_dropped_by_the_next_write() -> None:
    secret = "a secret " * 100
    harness = StoreHarness(schema("T", None, field("String", "S", ""), field("Int", "N", 0)))
    one = harness.create("T")
    harness.update(write(one, "S", {"String": secret}), write(one, "N", {"Int": 1}))
    harness.set_schema(schema("T", None, field("Int", "N", 0)))
    harness.update(write(one, "N", {"Int": 2}))
    assert secret not in "".join(harness.store.snapshot())


def test_a_choice_reads_as_the_default_while_it_does_not_exist() -> None:
    three, two = ["a", "b", "c"], ["a", "b"]
    harness = StoreHarness(schema("T", None, field("Choice", "C", 0, choices=three)))
    one = harness.create("T")
    harness.update(write(one, "C", {"Choice": 2}))
    harness.set_schema(schema("T", None, field("Choice", "C", 1, choices=two)))
    assert harness.value(one, "C") == {"Choice": 1}
    harness.set_schema(schema("T", None, field("Choice", "C", 1, choices=three)))
    assert harness.value(one, "C") == {"Choice": 2}


@pytest.mark.parametrize("count", [10, 2000])
def test_a_new_schema_changes_no_entity(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    harness = people()
    for _ in range(count):
        harness.create("User")
    harness.store.state_hash()
    digested: list[bytes] = []

    def term(text: bytes) -> int:
        digested.append(text)
        return digest_term(text)

    monkeypatch.setattr("qcore.machines.entity.state.entity_records.digest_term", term)
    harness.set_schema(schema("Object", None, field("String", "Name", ""), field("Int", "New", 1)))
    harness.store.state_hash()
    assert digested == []
    assert harness.store.changes == []


def test_shared_large_default_is_written_once() -> None:
    """Row D3: 3,000 entities with a default of 1 MB made a copy of 3 GB."""
    large = "x" * 500_000
    harness = StoreHarness(schema("T", None, field("String", "S", large), field("Int", "N", 0)))
    for _ in range(50):
        one = harness.create("T")
    # Also if a client wrote null, which means the default.
    for _ in range(50):
        one = harness.create("T")
        harness.update(write(one, "S", None), write(one, "N", {"Int": 1}))
    harness.set_schema(schema("T", None, field("String", "S", "small"), field("Int", "N", 0)))
    text = "".join(harness.store.snapshot())
    assert len(text) < 1_000_000 + 100 * 300
    other = EntityStore()
    other.restore([text])
    assert other.state_hash() == harness.store.state_hash()
    harness.store = other
    assert harness.value(one, "S") == {"String": large}
    # After a restore they still share it.
    assert len("".join(other.snapshot())) == len(text)


@settings(max_examples=80)
@given(st.lists(REQUESTS | CHANGING, max_size=25), st.integers(0, 25))
def test_bounds_are_the_same_after_a_restore(requests: list[dict[str, Any]], cut: int) -> None:
    """Everything that counts towards a limit is part of the state."""
    bounds = {
        "state.type_registry.MAX_SCHEMAS_BYTES": 3200,
        "state.type_registry.MAX_SCHEMA_BYTES": 1500,
        "state.type_registry.MAX_COMPLETE_FIELDS": 24,
        "state.type_registry.MAX_OPERATIONS": 12,
        "transaction.MAX_OPERATIONS": 6,
        "operations.update_fields.MAX_RESPONSE_BYTES": 1200,
    }
    steady, restored = EntityStore(), EntityStore()
    log = [json.dumps(request) for request in [*START, *requests]]
    with pytest.MonkeyPatch.context() as patch:
        for position, command in enumerate(log, start=1):
            context = ApplyContext(position, EPOCH_US + position)
            if position == len(START):
                for name, bound in bounds.items():
                    patch.setattr(f"qcore.machines.entity.{name}", bound)
            if position == min(cut, len(log)) + 1:
                restored = EntityStore()
                restored.restore(steady.snapshot())
            assert restored.apply(command, context) == steady.apply(command, context)
        assert restored.state_hash() == steady.state_hash()
