"""Properties of the entity store that replication needs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any  # requests are JSON

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qcore.errors import StoreError
from qcore.machines.entity.entity_store import EntityStore
from qcore.machines.entity.topology.topology_file import parse_topology
from qcore.machines.interface import ApplyContext
from qcore.machines.snapshot_chunks import CHUNK_CHARS
from tests.machines.entity.harness import (
    EPOCH_US,
    FOLDER,
    OBJECT,
    USER,
    StoreHarness,
    field,
    people,
    read,
    schema,
    write,
)

TYPES = st.sampled_from(["Object", "Folder", "User", "Extra"])
#: Ids of entities that exist, have existed or will never exist: the three schemas take the first positions.
IDS = st.builds(lambda typ, n: {"typ": typ, "id": n}, TYPES, st.integers(4, 14))
PATHS = st.sampled_from(
    [
        "Name",
        "Age",
        "Email",
        "Friends",
        "Parent->Name",
        "Children->0->Age",
        "Manager->Email",
        "Ghost",
    ]
)
VALUES = st.one_of(
    st.none(),
    st.builds(lambda n: {"Int": n}, st.integers(-3, 3)),
    st.builds(lambda text: {"String": text}, st.text(max_size=3)),
    st.builds(lambda ids: {"EntityList": ids}, st.lists(IDS, max_size=3)),
    st.builds(lambda one: {"EntityReference": one}, st.none() | IDS),
)
WRITES = st.builds(
    lambda entity_id, path, value, push, behavior: write(
        entity_id, path, value, push_condition=push, adjust_behavior=behavior
    ),
    IDS,
    st.one_of(PATHS, st.sampled_from(["Manager", "Parent", "Children"])),
    VALUES,
    st.sampled_from(["Always", "Changes"]),
    st.sampled_from(["Set", "Add", "Subtract"]),
)
SCHEMAS = st.sampled_from(
    [
        schema("Extra", "Folder", field("Int", "Age", 1)),
        schema("Extra", "User"),
        schema("User", "Object", field("String", "Email", "")),
        schema("Folder", "Extra"),
        USER,
        FOLDER,
        OBJECT,
    ]
)
REQUESTS: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.builds(
        lambda typ, parent: {
            "CreateEntity": {"entity_type": typ, "parent_id": parent, "name": "n"}
        },
        TYPES,
        st.none() | IDS,
    ),
    st.builds(lambda one: {"DeleteEntity": {"entity_id": one}}, IDS),
    st.builds(lambda one: {"SetSchema": {"entity_schema": one}}, SCHEMAS),
    st.builds(
        lambda items: {"UpdateEntity": {"request": items}},
        st.lists(WRITES | st.builds(read, IDS, PATHS), min_size=1, max_size=4),
    ),
)
#: Commands that give most later ones an effect.
START = [
    {"SetSchema": {"entity_schema": OBJECT}},
    {"SetSchema": {"entity_schema": FOLDER}},
    {"SetSchema": {"entity_schema": USER}},
    {"CreateEntity": {"entity_type": "Folder", "parent_id": None, "name": "top"}},
    {"CreateEntity": {"entity_type": "User", "parent_id": {"typ": "Folder", "id": 4}, "name": "u"}},
]


def recut(chunks: list[str], size: int) -> list[str]:
    text = "".join(chunks)
    return [text[start : start + size] for start in range(0, len(text), size)]


@settings(max_examples=150)
@given(st.lists(REQUESTS, max_size=20), st.data())
def test_same_log_gives_same_results_even_across_a_snapshot(
    requests: list[dict[str, Any]], data: st.DataObject
) -> None:
    """One replica computes the hash at every step, one only at the end, and one is restored halfway.

    The apply rules rise at some point.
    """
    log = [json.dumps(request) for request in [*START, *requests]]
    halfway = data.draw(st.integers(0, len(log)))
    raised = data.draw(st.integers(0, len(log)))
    steady, lazy, restored = EntityStore(), EntityStore(), EntityStore()
    for position, command in enumerate(log):
        if position == halfway:
            chunks = list(steady.snapshot())
            restored.restore(recut(chunks, data.draw(st.integers(1, 400))))
        before = steady.state_hash()
        results = [
            store.apply(
                command,
                ApplyContext(
                    position + 1, EPOCH_US + position, rules=3 if position >= raised else 2
                ),
            )
            for store in ([steady, lazy, restored] if position >= halfway else [steady, lazy])
        ]
        assert results == [results[0]] * len(results)
        (answer,) = json.loads(results[0]).values()
        if answer["error"] is not None:
            assert steady.state_hash() == before
            assert not steady.last_changes()
        elif steady.state_hash() != before:
            assert steady.last_changes() or "SetSchema" in command
    if halfway == len(log):
        restored.restore(steady.snapshot())
    assert steady.state_hash() == lazy.state_hash() == restored.state_hash()
    assert steady.state_bytes == lazy.state_bytes == restored.state_bytes
    # A snapshot is canonical: every replica takes the same one.
    assert list(lazy.snapshot()) == list(steady.snapshot()) == list(restored.snapshot())


@settings(max_examples=50)
@given(st.lists(REQUESTS, max_size=12), st.lists(REQUESTS, max_size=12))
def test_hashes_are_equal_exactly_when_snapshots_are(
    one: list[dict[str, Any]], two: list[dict[str, Any]]
) -> None:
    stores = []
    for requests in (one, two):
        store = EntityStore()
        for request in [*START, *requests]:
            # The same position and time for all commands, so different histories can end in one state.
            store.apply(json.dumps(request), ApplyContext(1, EPOCH_US))
            store.state_hash()
        stores.append(store)
    left, right = ("\n".join(sorted("".join(s.snapshot()).split("\n"))) for s in stores)
    assert (stores[0].state_hash() == stores[1].state_hash()) == (left == right)


def test_undoing_a_change_restores_the_hash() -> None:
    harness = people()
    user = harness.create("User")
    before = harness.store.state_hash()
    (original,) = harness.update(read(user, "Age"))["response"]
    harness.update(write(user, "Age", {"Int": 5}))
    assert harness.store.state_hash() != before
    harness.update(write(user, "Age", {"Int": 18}, write_time=original["Read"]["write_time"]))
    assert harness.store.state_hash() == before


@pytest.mark.parametrize(
    "change",
    [
        {"value": {"Int": 19}},
        {"writer_id": {"typ": "User", "id": 4}},
        {"write_time": {"secs_since_epoch": 0, "nanos_since_epoch": 1}},
    ],
)
def test_value_writer_and_time_all_affect_the_hash(change: dict[str, object]) -> None:
    harness = people()
    user = harness.create("User")
    (original,) = harness.update(read(user, "Age"))["response"]
    before = harness.store.state_hash()
    same = {name: original["Read"][name] for name in ("value", "write_time", "writer_id")}
    harness.update(write(user, "Age", **same))
    assert harness.store.state_hash() == before
    harness.update(write(user, "Age", **{**same, **change}))
    assert harness.store.state_hash() != before


def test_the_last_id_affects_the_hash() -> None:
    """Two stores that would give the next entity different ids are not equal."""
    harness = people()
    before = harness.store.state_hash()
    harness.send("DeleteEntity", entity_id=harness.create("User"))
    assert harness.store.state_hash() != before


def test_hash_ignores_the_order_of_field_creation() -> None:
    a, b = field("Int", "A", 0), field("Int", "B", 0)
    hashes = []
    for first in (schema("T", None, a, b), schema("T", None, b, a)):
        harness = StoreHarness(first)
        harness.create("T")
        harness.set_schema(schema("T", None, a, b))
        hashes.append(harness.store.state_hash())
    assert hashes[0] == hashes[1]


def test_loading_a_topology_affects_the_hash() -> None:
    store = EntityStore()
    before = store.state_hash()
    store.apply(parse_topology("schemas: []", "t").command(), ApplyContext(1, 0))
    assert store.state_hash() != before


def test_snapshot_is_as_of_the_call_and_comes_in_chunks() -> None:
    harness = people()
    folder = harness.create("Folder")
    for number in range(2000):
        harness.create("User", folder, f"user \u2028 {number}")
    before = harness.store.state_hash()
    chunks = harness.store.snapshot()
    harness.send("DeleteEntity", entity_id=folder)
    harness.set_schema(schema("User", None))
    harness.create("Folder")
    saved = list(chunks)
    assert len(saved) > 3
    assert max(map(len, saved)) < 2 * CHUNK_CHARS
    other = EntityStore()
    other.restore(saved)
    assert other.state_hash() == before


def saved_lines(rules: int) -> list[str]:
    harness = people(rules)
    user = harness.create("User", harness.create("Folder"))
    harness.update(write(user, "Email", {"String": "x" * 1000}))
    return "".join(harness.store.snapshot()).rstrip("\n").split("\n")


DAMAGE = [
    lambda lines: [],
    lambda lines: lines[:1],
    lambda lines: lines[:-1],
    lambda lines: lines[1:],
    lambda lines: [*lines, lines[-1].replace('"id":5', '"id":6', 1)],
    lambda lines: [*lines[:-1], lines[-1][:-2]],
    lambda lines: [lines[0].replace("qcore-entities", "qcore-kv"), *lines[1:]],
    lambda lines: [lines[0].replace('"version":', '"version":9'), *lines[1:]],
    lambda lines: [lines[0], lines[2], lines[2], *lines[3:]],
    lambda lines: [line.replace('["Parent",', '["Agf",{"Int":"x"},1,null,0],[') for line in lines],
    lambda lines: [line.replace('["entity",', '["entities",') for line in lines],
    lambda lines: [line for line in lines if not line.startswith('["children"')],
    lambda lines: [line.replace('"children":[1,1]', '"children":[1,0]') for line in lines],
    lambda lines: [*lines, '["children",[[7,"User",9]]]'],
    lambda lines: [line for line in lines if not line.startswith('["value"')],
    lambda lines: [line.replace("xxxxxx", "xxxxxy") for line in lines],
    lambda lines: [*lines[:2], '["value",{"Int":3}]', *lines[2:]],
]
DAMAGE_1 = [
    *DAMAGE[:9],
    lambda lines: [line.replace('["Age",', '["Agf",') for line in lines],
]


@pytest.mark.parametrize(
    ("rules", "damage"),
    [*((3, damage) for damage in DAMAGE), *((2, damage) for damage in DAMAGE_1)],
)
def test_damaged_snapshot_is_rejected_and_changes_nothing(rules: int, damage: Any) -> None:
    harness = people(rules)
    before = harness.store.state_hash()
    lines = saved_lines(rules)
    assert damage(lines) != lines, "nothing was damaged"
    with pytest.raises(StoreError, match="restore"):
        harness.store.restore([line + "\n" for line in damage(lines)])
    assert harness.store.state_hash() == before


PROGRAM = """
import json, sys
from qcore.machines.entity.entity_store import EntityStore
from qcore.machines.interface import ApplyContext
from qcore.machines.register import RegisterMachine
store, registers = EntityStore(), RegisterMachine()
for index, command in enumerate(json.load(sys.stdin), start=1):
    print(store.apply(command, ApplyContext(index, 1_700_000_000_000_000 + index)))
    print(store.state_hash())
    registers.apply(json.dumps({"op": "set", "key": command, "value": {"b": index, "a": None}}), ApplyContext(1, 1))
print(registers.state_hash())
print("".join(store.snapshot()))
"""


def test_results_do_not_depend_on_the_process_or_hash_seed() -> None:
    folder, user = {"typ": "Folder", "id": 4}, {"typ": "User", "id": 5}
    topology = (
        "schemas: [{entity_type: T, fields: {A: {default_value: 1, rank: 0}}}]\n"
        "tree: [{entity_type: T, name: a, attributes: {A: 3}}, {entity_type: T, name: b}]"
    )
    more = [
        {"SetSchema": {"entity_schema": schema("Extra", "User", field("Float", "X", 0.1))}},
        {"CreateEntity": {"entity_type": "Extra", "parent_id": folder, "name": "é\u2028"}},
        {"UpdateEntity": {"request": [write(user, "Friends", {"EntityList": [folder, user]})]}},
        {"UpdateEntity": {"request": [write(user, "Friends->0->Ghost", None)]}},
        {"SetSchema": {"entity_schema": schema("Object", "Extra")}},
        {"SetSchema": {"entity_schema": schema("User", "Object", field("Int", "Email", 1))}},
        {"DeleteEntity": {"entity_id": folder}},
        {"Frob": 1, "Grob": 2},
    ]
    log = [json.dumps(request) for request in [*START, *more]]
    log += [parse_topology(topology, "t").command(), "not a command"]
    outputs = []
    for seed in ("1", "2"):
        finished = subprocess.run(
            [sys.executable, "-c", PROGRAM],
            input=json.dumps(log),
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        outputs.append(finished.stdout)
    assert outputs[0] == outputs[1]
    harness = StoreHarness()
    for index, command in enumerate(log, start=1):
        harness.store.apply(command, ApplyContext(index, 1_700_000_000_000_000 + index))
    assert harness.store.state_hash() in outputs[0]


def test_replicas_load_a_topology_with_equal_ids_and_times() -> None:
    """Neither the loading node nor its clock or dictionary order affects the entities."""
    text = "schemas: [{entity_type: T, fields: {Name: {default_value: {String: ''}, rank: 0}}}]\n"
    command = parse_topology(text + "tree: [{entity_type: T, name: x}]", "t").command()
    one, two = EntityStore(), EntityStore()
    assert one.apply(command, ApplyContext(3, 77)) == two.apply(command, ApplyContext(3, 77))
    assert one.state_hash() == two.state_hash()
    assert list(one.snapshot()) == list(two.snapshot())
