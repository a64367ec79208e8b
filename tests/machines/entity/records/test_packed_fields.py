"""Packed fields hold what a dictionary would, in less memory."""

from __future__ import annotations

import gc
import json
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qcore import BUILD
from qcore.machines.entity.entity_store import EntityStore
from qcore.machines.entity.state import packed_fields as module
from qcore.machines.entity.state.entity_id import EntityId
from qcore.machines.entity.state.field_values import Field, measured
from qcore.machines.entity.state.packed_fields import PackedFields, packed, with_field
from qcore.machines.entity.state.value import Value
from qcore.machines.interface import ApplyContext

IDS = st.builds(EntityId, st.sampled_from(["User", "Group"]), st.integers(1, 3))
VALUES = st.one_of(
    st.builds(Value, st.just("Bool"), st.booleans()),
    st.builds(Value, st.just("Int"), st.integers(-2, 2)),
    st.builds(Value, st.just("Float"), st.sampled_from([0.0, 1.0, -1.5])),
    st.builds(Value, st.just("String"), st.sampled_from(["", "a", "é" * 600])),
    st.builds(Value, st.just("Blob"), st.sampled_from([b"", b"a", b"b" * 600])),
    st.builds(Value, st.just("EntityReference"), st.none() | IDS),
    st.builds(Value, st.just("EntityList"), st.lists(IDS, max_size=30).map(tuple)),
).map(measured)
FIELDS = st.builds(Field, VALUES, st.integers(0, 3), st.none() | IDS, st.integers(0, 2))
NAMES = st.sampled_from(["Name", "Parent", "Children", "Count", "É"])


def same(one: Field, other: Field) -> bool:
    """Equal, and of equal types: True == 1 and 1 == 1.0 in Python."""
    return (
        one == other
        and type(one.value) is type(other.value)
        and type(one.value.data) is type(other.value.data)
        and isinstance(one, Field)
    )


@given(st.dictionaries(NAMES, FIELDS), st.none() | IDS, st.lists(st.tuples(NAMES, FIELDS)))
def test_packed_fields_equal_a_dictionary(
    start: dict[str, Field], parent: EntityId | None, writes: list[tuple[str, Field]]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MAX_SHARED_SHAPES", 3)
        model = dict(start)
        held = packed(start, parent)
        for name, field in [*writes, ("Name", next(iter(start.values()), None))]:
            if field is not None:
                before = held
                was = dict(model)
                model[name] = field
                held = packed(with_field(held, name, field), parent)
                assert dict(before) == was, "packed fields changed"
            assert isinstance(held, PackedFields)
            assert list(held) == sorted(model)
            assert len(held) == len(model)
            assert {**held}.keys() == model.keys()
            for each, expected in model.items():
                assert each in held
                assert same(held[each], expected)
                found = held.get(each)
                assert found is not None
                assert same(found, expected)
        assert "other" not in held
        assert held.get("other") is None
        with pytest.raises(KeyError):
            held["other"]


def test_shapes_that_clients_choose_do_not_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_SHARED_SHAPES", 10)
    field = Field(Value("Int", 1), 1, None)
    kept = [packed({f"field {number}": field}, None) for number in range(100)]
    assert len(module._shapes) <= 10
    assert all(held[f"field {number}"] == field for number, held in enumerate(kept))


def test_records_of_many_fields_are_not_packed() -> None:
    """One writer more would remake all their fields, and each combination of writers is a shape."""
    writer = EntityId("User", 1)
    few = {f"field {number}": Field(Value("Int", 1), 1, None) for number in range(32)}
    assert isinstance(packed(few, None), PackedFields)
    many = {**few, "one more": Field(Value("Int", 1), 1, None)}
    before = len(module._shapes)
    for name, field in many.items():
        held = packed(with_field(many, name, field._replace(writer_id=writer)), None)
        assert type(held) is dict
        assert held[name].writer_id == writer
    assert len(module._shapes) == before
    grown = packed(with_field(packed(few, None), "one more", many["one more"]), None)
    assert type(grown) is dict
    assert grown == many


def written_fields() -> list[tuple[str, str, object, object]]:
    """Name, kind, default and written value of some fields."""
    return [
        ("Text", "String", "", "a text of some length"),
        ("Count", "Int", 0, 123_456),
        ("Enabled", "Bool", False, True),
        ("Ratio", "Float", 0.0, 0.25),
    ]


@pytest.mark.long
def test_an_entity_with_six_written_fields_takes_a_kilobyte() -> None:
    store = EntityStore()
    index = 10

    def apply(command: object) -> object:
        nonlocal index
        index += 1
        result = json.loads(store.apply(json.dumps(command), ApplyContext(index, 10**15 + index)))
        return result["response"]["Ok"]

    fields = {
        name: {
            kind: {
                "field_type": name,
                "default_value": default,
                "rank": 0,
                "read_permission": None,
                "write_permission": None,
            }
        }
        for name, kind, default in [
            *((name, kind, default) for name, kind, default, _ in written_fields()),
            ("Name", "String", ""),
            ("Parent", "EntityReference", None),
            ("Children", "EntityList", []),
        ]
    }
    apply(
        {
            "StoreSetEntitySchema": {
                "schema": {"entity_type": "Item", "inherit": None, "fields": fields}
            }
        }
    )
    create = {"entity_type": "Item", "parent_id": None, "name": "root"}
    root = apply({"StoreCreateEntity": create})
    assert isinstance(root, dict)
    parent = root["entity_id"]

    def create_fifty(first: int) -> None:
        requests: list[object] = []
        for number in range(first, first + 50):
            position = len(requests)
            create = {"entity_type": "Item", "parent_id": parent, "name": f"item {number}"}
            requests.append({"CreateEntity": create})
            requests += [
                {
                    "Write": {
                        "entity_id": {"created": position},
                        "field_type": field,
                        "value": {kind: value},
                        "push_condition": "Always",
                        "adjust_behavior": "Set",
                        "write_time": None,
                        "writer_id": None,
                    }
                }
                for field, kind, _, value in written_fields()
            ]
        apply({"StoreBulk": {"requests": requests}})

    create_fifty(0)  # what is made once does not count
    store.state_hash()
    tracemalloc.start()
    try:
        for first in range(50, 2050, 50):
            create_fifty(first)
        store.state_hash()
        store.changes = ()
        gc.collect()
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # About 900. With a `Field`, a `Value` and a place in a dictionary for each field it takes 1,900. A compiled object
    # has a place for each attribute, also where that is a small number.
    assert size / 2000 < (1200 if BUILD == "pure" else 1600)
