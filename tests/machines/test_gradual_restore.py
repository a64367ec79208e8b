"""Gradual restore of a large state: bounded parts, the same result as `restore`, and no effect before the end."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

import pytest

from qcore.errors import StoreError
from qcore.machines.entity.entity_store import EntityStore
from qcore.machines.entity.state import entity_records
from qcore.machines.entity.state.snapshot.snapshot_reader import LINES_PER_STEP
from qcore.machines.interface import ApplyContext, StateMachine, SupportsGradualRestore
from qcore.machines.register import REGISTERS_PER_STEP, RegisterMachine
from tests.process.support.wire_client import string_schema

COUNT = 10 * REGISTERS_PER_STEP // 4


def entities(count: int = COUNT) -> EntityStore:
    store = EntityStore()
    store.apply(
        json.dumps({"SetSchema": {"entity_schema": string_schema("Item", "Name")}}),
        ApplyContext(1, 1),
    )
    for number in range(count):
        create = {"entity_type": "Item", "parent_id": None, "name": f"é{number}\n"}
        store.apply(json.dumps({"CreateEntity": create}), ApplyContext(number + 2, 1))
    return store


def registers(count: int = COUNT) -> RegisterMachine:
    machine = RegisterMachine()
    for number in range(count):
        machine.apply(
            json.dumps({"op": "set", "key": f"k{number}", "value": number}), ApplyContext(number, 1)
        )
    return machine


class Lines:
    """The lines of a snapshot, one in each chunk. Counts the lines taken."""

    def __init__(self, machine: StateMachine) -> None:
        self.lines = "".join(machine.snapshot()).splitlines(keepends=True)
        self.taken = 0

    def __iter__(self) -> Iterator[str]:
        for line in self.lines:
            self.taken += 1
            yield line


@pytest.mark.parametrize(
    ("make", "bound"), [(entities, LINES_PER_STEP), (registers, REGISTERS_PER_STEP)]
)
def test_each_part_is_bounded_and_only_the_last_has_an_effect(
    make: type[EntityStore] | type[RegisterMachine], bound: int
) -> None:
    source = make()
    other = type(source)()
    assert isinstance(other, SupportsGradualRestore)
    empty = other.state_hash()
    lines = Lines(source)
    taken = 0
    for _ in other.restore_gradually(lines):
        assert lines.taken - taken <= bound + 2  # the header, and one line read ahead
        if (taken := lines.taken) < len(lines.lines):
            assert other.state_hash() == empty
    assert taken >= len(lines.lines) - bound
    assert other.state_hash() == source.state_hash()
    assert "".join(other.snapshot()) == "".join(source.snapshot())


def test_replaced_state_is_freed_in_parts() -> None:
    old = entities(3 * entity_records._FREED_PER_STEP)
    held = old._records
    sizes = [len(held.entities)]
    for _ in old.restore_gradually(entities(2).snapshot()):
        sizes.append(len(held.entities))
        assert sizes[-2] - sizes[-1] <= entity_records._FREED_PER_STEP
    assert sizes[-1] == 0
    assert old.state_hash() == entities(2).state_hash()


@pytest.mark.parametrize("make", [entities, registers])
def test_abandoned_or_failed_restore_changes_nothing(
    make: type[EntityStore] | type[RegisterMachine],
) -> None:
    machine = make()
    before = machine.state_hash()
    chunks: Iterable[str] = list(type(machine)().snapshot())
    restoring = machine.restore_gradually(make().snapshot())
    next(restoring)
    del restoring
    assert machine.state_hash() == before
    with pytest.raises(StoreError, match="cut short"):
        machine.restore(Lines(machine).lines[:-1])
    assert machine.state_hash() == before
    machine.restore(chunks)
    assert machine.state_hash() == type(machine)().state_hash()
