"""The table of entities is like a dictionary. Its frozen copies cost nothing and never change."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qcore.machines.entity.state.entity import Entity
from qcore.machines.entity.state.entity_id import EntityId
from qcore.machines.entity.state.frozen_table import FrozenTable, Table

STEPS = st.lists(
    st.tuples(st.sampled_from(["put", "put", "drop", "freeze"]), st.integers(0, 40)), max_size=80
)


@given(STEPS)
def test_table_equals_a_dictionary_and_frozen_copies_stay(steps: list[tuple[str, int]]) -> None:
    table, model = Table(part_bits=2), dict[int, Entity]()
    frozen = list[tuple[FrozenTable, dict[int, Entity]]]()
    for position, (what, number) in enumerate(steps):
        if what == "put":
            table[number] = model[number] = _record(f"{number} at {position}")
        elif what == "freeze":
            frozen.append((table.frozen(), dict(model)))
        elif number in model:
            del table[number], model[number]
        else:
            with pytest.raises(KeyError):
                del table[number]
    assert len(table) == len(model)
    assert {number: table.get(number) for number in range(41) if number in table} == model
    for held, then in frozen:
        assert isinstance(held, FrozenTable)
        assert len(held) == len(then)
        assert sorted(held.values()) == sorted(then.values())
    for _ in table.free_gradually():
        assert len(table) <= len(model)
    assert len(table) == 0


def test_freezing_copies_no_part_and_a_write_copies_one() -> None:
    table = Table()
    for number in range(10_000):
        table[number] = _record(str(number))
    before = dict(table._parts)
    table.frozen()
    table[5] = _record("6")
    changed = [key for key, part in table._parts.items() if part is not before[key]]
    assert changed == [0]
    assert before[0][5] == _record("5")


def _record(name: str) -> Entity:
    return Entity(EntityId(name, 1), {}, None)
