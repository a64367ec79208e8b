"""Random commands: the machine does what a naive model does, and a restored copy is the same machine."""

from __future__ import annotations

import json
from typing import Any  # JSON objects

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qcore.errors import StoreError
from qcore.machines.interface import ApplyContext
from qcore.machines.kv.kv_machine import KeyValueMachine
from tests.machines.kv.kv_model import Model

KEYS = st.sampled_from(["a", "a/b", "a/b/c", "a/c", "b", "é", "\U0001f600"])
VALUES = st.sampled_from(["", "x", "y", "zz"])
LEASES = st.integers(1, 4)


def objects(required: dict[str, Any], optional: dict[str, Any]) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries(required, optional=optional)


RANGES = (
    objects({"key": KEYS}, {})
    | objects({"key": KEYS | st.just(""), "end": KEYS | st.none()}, {})
    | objects({"prefix": KEYS | st.just("")}, {})
)


def with_range(op: str, optional: dict[str, Any]) -> st.SearchStrategy[Any]:
    return st.builds(lambda keys, more: {"op": op, **keys, **more}, RANGES, objects({}, optional))


FLAG = st.booleans()
PUTS = objects(
    {"op": st.just("put"), "key": KEYS, "value": VALUES}, {"lease": LEASES, "prev": FLAG}
) | objects(
    {"op": st.just("put"), "key": KEYS, "keep_value": st.just(True)},
    {"prev": FLAG, "keep_lease": st.just(True)},
)
DELETES = with_range("delete", {"prev": FLAG})
REVISIONS = st.integers(0, 20)
READS = with_range(
    "range",
    {
        "limit": st.integers(0, 3),
        "sort_by": st.sampled_from(["key", "version", "create_revision", "mod_revision", "value"]),
        "descending": FLAG,
        "keys_only": FLAG,
        "count_only": FLAG,
        "after": KEYS | st.just(""),
        "min_mod_revision": REVISIONS,
        "max_create_revision": REVISIONS,
    },
)
COMPARISONS = st.builds(
    lambda keys, target, relation: {**keys, **target, **relation},
    RANGES,
    objects({"value": VALUES}, {})
    | objects({"version": st.integers(0, 3)}, {})
    | objects({"create_revision": REVISIONS}, {})
    | objects({"mod_revision": REVISIONS}, {})
    | objects({"lease": st.integers(0, 4)}, {}),
    objects({}, {"is": st.sampled_from(["=", "!=", "<", ">"])}),
) | st.builds(lambda keys, exists: {**keys, "exists": exists}, RANGES, FLAG)


def transactions(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    branch = st.lists(inner, max_size=3)
    return objects(
        {"op": st.just("txn")},
        {"if": st.lists(COMPARISONS, max_size=2), "then": branch, "else": branch},
    )


OPERATIONS = PUTS | DELETES | READS
TXNS = transactions(OPERATIONS | transactions(OPERATIONS))
LEASE_COMMANDS = objects(
    {"op": st.just("grant"), "ttl_ms": st.sampled_from([100, 200, 900])}, {"id": LEASES}
) | objects({"op": st.sampled_from(["keep", "revoke"]), "id": LEASES}, {})
COMMANDS = (
    PUTS
    | DELETES
    | READS
    | TXNS
    | LEASE_COMMANDS
    | st.just({"op": "expire"})
    | objects({"op": st.just("compact"), "revision": st.integers(1, 30)}, {})
)
#: A command, how far the index goes on, and how far the cluster clock. At first there are leases.
GRANTS = [({"op": "grant", "ttl_ms": 400 * number, "id": number}, 1, 0) for number in (1, 2, 3)]
STEPS = st.lists(
    st.tuples(COMMANDS, st.sampled_from([1, 1, 2]), st.sampled_from([0, 1_000, 90_000, 300_000])),
    min_size=8,
    max_size=40,
).map(lambda steps: GRANTS + steps)


def run(
    machine: KeyValueMachine, command: dict[str, Any], index: int, clock_us: int
) -> dict[str, Any]:
    text = machine.apply(json.dumps(command), ApplyContext(index, 0, clock_us=clock_us))
    result: dict[str, Any] = json.loads(text)
    if not result["ok"]:
        assert result["error"]
        return {"ok": False}
    return result


def query(machine: KeyValueMachine, request: dict[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(machine.query(json.dumps(request)))
    return result


@settings(max_examples=300)
@given(STEPS, st.lists(st.tuples(READS, st.integers(1, 80)), max_size=4))
def test_the_machine_does_what_the_model_does(
    steps: list[tuple[dict[str, Any], int, int]], reads: list[tuple[dict[str, Any], int]]
) -> None:
    machine, model = KeyValueMachine(), Model()
    index, clock_us = 0, 1
    for command, further, later in steps:
        index, clock_us = index + further, clock_us + later
        before, state = machine.state_hash(), model.at(None)
        expected = model.apply(command, index, clock_us)
        assert run(machine, command, index, clock_us) == expected
        changed = {
            change.version.key.decode()  # type: ignore[attr-defined]  # this machine's changes
            for change in machine.last_changes()
        }
        now = model.at(None)
        assert changed >= {key for key in {*state, *now} if state.get(key) != now.get(key)}
        if not expected["ok"]:
            assert machine.state_hash() == before
    for request, revision in reads:
        for asked in (request, {**request, "revision": revision}):
            try:
                answer = model.range(asked)
            except ValueError:
                with pytest.raises(StoreError):
                    machine.query(json.dumps(asked))
            else:
                assert query(machine, asked) == {"ok": True, "revision": model.revision, **answer}


@settings(max_examples=200)
@given(STEPS, STEPS, st.integers(0, 5))
def test_a_restored_machine_is_the_same(
    steps: list[tuple[dict[str, Any], int, int]],
    more: list[tuple[dict[str, Any], int, int]],
    most: int,
) -> None:
    """Also with a history so short that most of it is freed, and with a snapshot that is read late."""
    machine, copy = KeyValueMachine(), KeyValueMachine()
    index = 1
    run(machine, {"op": "history", "max_changes": most, "max_bytes": 10_000}, index, 1)
    for command, further, later in steps:
        index += further
        run(machine, command, index, 30_000 * index + later)
    digest, chunks = machine.state_hash(), machine.snapshot()
    texts: list[str] | None = None
    for command, further, later in more:
        index += further
        if texts is None:
            texts = [*chunks]
            copy.restore(texts)
            assert copy.state_hash() == digest
            assert copy.state_bytes == machine.state_bytes
        result = run(machine, command, index, 30_000 * index + later)
        assert run(copy, command, index, 30_000 * index + later) == result
        assert machine.state_hash() == copy.state_hash()
        assert machine.state_bytes == copy.state_bytes
    late = KeyValueMachine()
    late.restore(machine.snapshot())
    assert late.state_hash() == machine.state_hash()
    assert sum(1 for _ in late.snapshot()) == sum(1 for _ in machine.snapshot())


@settings(max_examples=100)
@given(STEPS, STEPS)
def test_a_snapshot_is_of_the_time_of_its_call(
    steps: list[tuple[dict[str, Any], int, int]], more: list[tuple[dict[str, Any], int, int]]
) -> None:
    machine, index = KeyValueMachine(), 1
    run(machine, {"op": "history", "max_changes": 3, "max_bytes": 10_000}, index, 1)
    for command, further, _ in steps:
        index += further
        run(machine, command, index, 30_000 * index)
    digest, early, late = machine.state_hash(), [*machine.snapshot()], machine.snapshot()
    for command, further, _ in more:
        index += further
        run(machine, command, index, 30_000 * index)
    assert [*late] == early
    copy = KeyValueMachine()
    copy.restore(early)
    assert copy.state_hash() == digest
