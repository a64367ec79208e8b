"""The size of the state, by which quotas judge, and which commands may add to it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qcore.machines.entity.entity_store import EntityStore
from qcore.machines.interface import ApplyContext, SupportsStateSize, counted_part
from qcore.machines.register import RegisterMachine
from tests.machines.entity.harness import EPOCH_US, FOLDER, OBJECT, USER, StoreHarness, write
from tests.machines.entity.test_determinism import REQUESTS, START
from tests.machines.test_register import COMMANDS

ID = {"typ": "User", "id": 9}
STAGED = {"upload": "u", "part": 0, "schemas": [], "entities": []}


@settings(max_examples=20)
@given(st.lists(REQUESTS, max_size=20))
def test_what_may_not_grow_does_not_grow_the_entity_store(requests: list[dict[str, Any]]) -> None:
    store = EntityStore()
    for index, begin in enumerate(START, start=1):
        store.apply(json.dumps(begin), ApplyContext(index, EPOCH_US))
    for index, request in enumerate(requests, start=1 + len(START)):
        command, before = json.dumps(request), store.state_bytes
        grows = store.may_grow(command)
        store.apply(command, ApplyContext(index, EPOCH_US + index))
        assert grows or store.state_bytes <= before
        assert store.state_bytes >= 0


@given(COMMANDS)
def test_what_may_not_grow_does_not_grow_the_registers(commands: list[dict[str, object]]) -> None:
    machine = RegisterMachine()
    for command in commands:
        text, before = json.dumps(command), machine.state_bytes
        machine.apply(text, ApplyContext(1, 0))
        assert machine.may_grow(text) or machine.state_bytes <= before


def test_the_count_is_about_the_size_of_a_snapshot() -> None:
    store = StoreHarness(OBJECT, FOLDER, USER)
    top = store.create("Folder", None, "top")
    empty = store.store.state_bytes
    ids = [store.create("User", top, f"user {number}") for number in range(200)]
    for number, one in enumerate(ids):
        store.send(
            "UpdateEntity",
            request=[
                write(one, "Email", {"String": "x" * (number * 10)}),
                write(one, "Key", {"Blob": list(range(number % 200))}),
                write(one, "Manager", {"EntityReference": ids[0]}),
                write(one, "Friends", {"EntityList": ids[: number % 7]}, writer_id=ids[1]),
            ],
        )
    text = "".join(store.store.snapshot())
    assert 0.7 < store.store.state_bytes / len(text.encode()) < 1.5
    store.send("DeleteEntity", entity_id=top)
    assert store.store.state_bytes < empty
    assert not store.store.may_grow(json.dumps({"DeleteEntity": {"entity_id": top}}))


def update(*items: dict[str, Any]) -> dict[str, Any]:
    return {"UpdateEntity": {"request": list(items)}}


@pytest.mark.parametrize(
    ("grows", "request_"),
    [
        (False, {"DeleteEntity": {"entity_id": ID}}),
        (False, {"StoreDeleteEntity": {"entity_id": ID}}),
        (False, {"StoreUseStagedSnapshot": {"upload": "u", "parts": 1}}),
        (False, {"StoreStageSnapshot": STAGED}),
        (True, {"StoreStageSnapshot": {**STAGED, "part": 1}}),
        (False, {"StoreBulk": {"requests": [{"DeleteEntity": {"entity_id": ID}}]}}),
        (True, update(write(ID, "Email", {"String": ""}), write(ID, "Email", {"String": "a"}))),
        (True, update(write(ID, "Email", None))),
        (True, update(write(ID, "Friends", {"EntityList": [ID]}, adjust_behavior="Add"))),
        (True, {"CreateEntity": {"entity_type": "User", "parent_id": None, "name": "n"}}),
        (True, {"StoreBulk": {"requests": [{"RenameEntity": {"entity_id": ID, "name": "n"}}]}}),
        (True, {"StoreRenameEntity": {"entity_id": ID, "name": "n"}}),
        (True, {"Ghost": {}}),
    ],
)
def test_the_store_knows_what_may_grow(grows: bool, request_: dict[str, Any]) -> None:
    assert EntityStore().may_grow(json.dumps(request_)) is grows


def clears(entity_id: object, **more: object) -> list[dict[str, Any]]:
    """Commands that clear fields, or remove from them."""
    none = {"EntityReference": None}
    return [
        update(
            write(entity_id, "Email", {"String": ""}, **more),
            write(entity_id, "Key", {"Blob": []}, **more),
        ),
        {"StorePerform": {"requests": [write(entity_id, "Friends", {"EntityList": []}, **more)]}},
        {"StoreBulk": {"requests": [write(entity_id, "Manager", none, **more)]}},
        update(
            write(
                entity_id,
                "Friends",
                {"EntityList": [ID]},
                **{"adjust_behavior": "Subtract", **more},
            )
        ),
    ]


def test_only_what_was_written_can_be_cleared_beyond_the_quota() -> None:
    """To clear a field that was never written adds a record of it, with a writer, or with a copy of a default."""
    store = StoreHarness(OBJECT, USER)
    one = store.create("User", None, "one")
    for clear in clears(one):
        assert store.store.may_grow(json.dumps(clear))
    store.send(
        "UpdateEntity",
        request=[
            write(one, "Email", {"String": "a"}),
            write(one, "Key", {"Blob": [1]}),
            write(one, "Manager", {"EntityReference": one}),
            write(one, "Friends", {"EntityList": [ID]}),
        ],
    )
    for clear in clears(one):
        assert not store.store.may_grow(json.dumps(clear))
    more: tuple[dict[str, Any], ...] = ({"writer_id": ID}, {"adjust_behavior": "Add"})
    for clear in [
        *clears(ID),
        *clears({"created": 0})[2:3],
        *(each for one_more in more for each in clears(one, **one_more)),
    ]:
        assert store.store.may_grow(json.dumps(clear))


def test_the_machine_that_counts_may_be_wrapped() -> None:
    class Wrapper:
        def __init__(self, inner: object) -> None:
            self.inner = inner

    machine = RegisterMachine()
    assert isinstance(machine, SupportsStateSize)
    assert counted_part(machine) is machine
    assert counted_part(Wrapper(machine)) is machine  # type: ignore[arg-type]  # only `inner` matters
    assert counted_part(Wrapper(object())) is None  # type: ignore[arg-type]  # only `inner` matters
