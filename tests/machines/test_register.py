"""The key-value machine: every command, every error, its hash and its snapshots."""

from __future__ import annotations

import json
from typing import Any  # JSON results are compared without a type

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qcore.errors import StoreError
from qcore.machines.interface import ApplyContext, StateMachine
from qcore.machines.register import RegisterMachine


def run(machine: RegisterMachine, **command: object) -> Any:
    return json.loads(machine.apply(json.dumps(command), ApplyContext(1, 0)))


def get(machine: RegisterMachine, key: str) -> Any:
    return json.loads(machine.query(json.dumps({"op": "get", "key": key})))


def test_register_is_a_state_machine() -> None:
    assert isinstance(RegisterMachine(), StateMachine)


def test_commands_return_the_registers_value_after_them() -> None:
    machine = RegisterMachine()
    assert get(machine, "a") == {"ok": True, "value": None}
    assert run(machine, op="set", key="a", value={"x": [1, None]}) == {
        "ok": True,
        "value": {"x": [1, None]},
    }
    assert run(machine, op="cas", key="a", old={"x": [1, None]}, new=7)["value"] == 7
    assert run(machine, op="add", key="a", amount=-9)["value"] == -2
    assert run(machine, op="add", key="fresh", amount=3)["value"] == 3
    assert get(machine, "a") == {"ok": True, "value": -2}
    assert run(machine, op="delete", key="a") == {"ok": True, "value": None}
    assert get(machine, "a")["value"] is None


@pytest.mark.parametrize("old", [1.0, True, "1", None, 2])
def test_cas_compares_json_values_and_reports_the_actual_one(old: object) -> None:
    machine = RegisterMachine()
    run(machine, op="set", key="a", value=1)
    before = machine.state_hash()
    result = run(machine, op="cas", key="a", old=old, new=5)
    assert (result["ok"], result["value"]) == (False, 1)
    assert machine.state_hash() == before


BAD = [
    ("{", "not JSON"),
    ("[" * 100_000, "not JSON"),
    ("\ud800", "not JSON"),
    ("[]", "must be a JSON object"),
    ("{}", "op must be one of"),
    ('{"op": []}', "op must be one of"),
    ('{"op": "incr", "key": "a"}', "op must be one of"),
    ('{"op": "set", "key": "a"}', "missing fields ['value']"),
    ('{"op": "set", "key": "a", "value": 1, "ttl": 3}', "unknown fields ['ttl']"),
    ('{"op": "set", "key": 1, "value": 1}', "key must be a text"),
    ('{"op": "set", "key": "a", "value": 1e999}', "value: a number is out of range"),
    ('{"op": "set", "key": "a", "value": NaN}', "value: a number is out of range"),
    ('{"op": "add", "key": "a", "amount": 1.5}', "amount must be an integer"),
    ('{"op": "add", "key": "a", "amount": true}', "amount must be an integer"),
    ('{"op": "add", "key": "text", "amount": 1}', "does not hold an integer"),
    ('{"op": "add", "key": "big", "amount": 1}', "does not fit into 64 bits"),
]


@pytest.mark.parametrize(("command", "reason"), BAD)
def test_a_bad_command_is_an_error_value_and_changes_nothing(command: str, reason: str) -> None:
    machine = RegisterMachine()
    run(machine, op="set", key="text", value="x")
    run(machine, op="set", key="big", value=2**63 - 1)
    before = machine.state_hash()
    result = json.loads(machine.apply(command, ApplyContext(1, 0)))
    assert result["ok"] is False
    assert reason in result["error"]
    assert machine.state_hash() == before


@pytest.mark.parametrize("query", ["{", '{"op": "set", "key": "a", "value": 1}'])
def test_a_bad_query_raises(query: str) -> None:
    with pytest.raises(StoreError):
        RegisterMachine().query(query)


KEY_NAMES = ["a", "b", "c", "\u2028\n"]
KEYS = st.sampled_from(KEY_NAMES)
VALUES = st.one_of(st.none(), st.integers(-2, 2), st.text(max_size=3), st.booleans())
COMMANDS = st.lists(
    st.one_of(
        st.fixed_dictionaries({"op": st.just("set"), "key": KEYS, "value": VALUES}),
        st.fixed_dictionaries({"op": st.just("cas"), "key": KEYS, "old": VALUES, "new": VALUES}),
        st.fixed_dictionaries({"op": st.just("add"), "key": KEYS, "amount": st.integers(-2, 2)}),
        st.fixed_dictionaries({"op": st.just("delete"), "key": KEYS}),
    ),
    max_size=20,
)


def contents(machine: RegisterMachine) -> dict[str, str]:
    return {key: machine.query(json.dumps({"op": "get", "key": key})) for key in KEY_NAMES}


@given(COMMANDS, COMMANDS, st.integers(1, 40))
def test_hashes_are_equal_exactly_when_states_are(
    one: list[dict[str, object]], two: list[dict[str, object]], cut: int
) -> None:
    left, right = RegisterMachine(), RegisterMachine()
    for command in one:
        left.apply(json.dumps(command), ApplyContext(1, 0))
        left.state_hash()
    text = "".join(left.snapshot())
    right.restore([text[i : i + cut] for i in range(0, len(text), cut)])
    assert right.state_hash() == left.state_hash()
    assert right.state_bytes == left.state_bytes
    for command in two:
        assert left.apply(json.dumps(command), ApplyContext(1, 0)) == right.apply(
            json.dumps(command), ApplyContext(1, 0)
        )
    assert right.state_hash() == left.state_hash()
    fresh = RegisterMachine()
    for command in two:
        fresh.apply(json.dumps(command), ApplyContext(1, 0))
    assert (fresh.state_hash() == left.state_hash()) == (contents(fresh) == contents(left))


def test_snapshot_is_as_of_the_call() -> None:
    machine = RegisterMachine()
    run(machine, op="set", key="a", value=1)
    chunks = machine.snapshot()
    before = machine.state_hash()
    run(machine, op="set", key="a", value=2)
    other = RegisterMachine()
    other.restore(chunks)
    assert other.state_hash() == before


@pytest.mark.parametrize("keep", [0, 1, 2])
def test_damaged_snapshot_is_rejected_and_changes_nothing(keep: int) -> None:
    machine = RegisterMachine()
    for key in "abc":
        run(machine, op="set", key=key, value=key)
    before = machine.state_hash()
    lines = "".join(machine.snapshot()).splitlines()
    with pytest.raises(StoreError, match="restore"):
        machine.restore(["\n".join(lines[:keep])])
    assert machine.state_hash() == before
