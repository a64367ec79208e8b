"""The verdicts of the checker on known and on random histories, compared with brute force."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qcore.sim.linearizability import Operation, OperationKind, check_history, zones
from qcore.sim.linearizability.history import KeyHistory
from qcore.sim.linearizability.search import search
from tests.sim.support.linearizability_histories import (
    atomic_history,
    brute_force,
    op,
    small_histories,
)

GOOD: dict[str, list[Operation]] = {
    "nothing": [],
    "initial_none": [op(1, 1, "read", None, 0, 5)],
    "write_then_read": [op(1, 1, "write", "a", 0, 5), op(1, 2, "read", "a", 6, 9)],
    "concurrent_read_sees_old": [op(1, 1, "write", "a", 0, 9), op(2, 1, "read", None, 1, 8)],
    "concurrent_read_sees_new": [op(1, 1, "write", "a", 0, 9), op(2, 1, "read", "a", 1, 8)],
    "unknown_write_took_effect_late": [
        op(1, 1, "write", "a", 0, 5),
        op(2, 1, "write", "b", 1, None),
        op(1, 2, "read", "a", 50, 60),
        op(1, 3, "read", "b", 70, 80),
    ],
    "unknown_write_never_took_effect": [
        op(2, 1, "write", "b", 0, None),
        op(1, 1, "read", None, 50, 60),
    ],
    "cas_succeeds_once": [
        op(1, 1, "cas", (None, "a"), 0, 9, output=True),
        op(2, 1, "cas", (None, "b"), 0, 9, output=False),
        op(1, 2, "read", "a", 20, 30),
    ],
    "unknown_write_makes_a_cas_fail": [
        op(1, 1, "write", 1, 0, 5),
        op(2, 1, "write", 7, 0, None),
        op(1, 2, "cas", (1, 2), 10, 15, output=False),
    ],
    "chain_of_unknowns": [
        op(1, 1, "write", "a", 0, None),
        op(2, 1, "cas", ("a", "b"), 0, None),
        op(3, 1, "read", "b", 10, 20),
    ],
    "counter": [
        op(1, 1, "add", 2, 0, 5, output=2),
        op(2, 1, "add", 3, 0, 5, output=5),
        op(1, 2, "read", 5, 6, 7),
    ],
    "two_clients_go_on_in_the_same_microsecond": [
        op(1, 1, "write", "a", 0, 5),
        op(2, 1, "read", None, 0, 5),
        op(2, 2, "read", None, 5, 9),
        op(1, 2, "read", "a", 5, 9),
    ],
    "touching_operations_of_two_clients_are_concurrent": [
        op(1, 1, "write", "a", 0, 5),
        op(2, 1, "read", None, 5, 9),
    ],
}

BAD: dict[str, list[Operation]] = {
    "stale_read": [
        op(1, 1, "write", "a", 0, 5),
        op(1, 2, "write", "b", 6, 10),
        op(2, 1, "read", "a", 11, 15),
    ],
    "value_from_nowhere": [op(1, 1, "write", "a", 0, 5), op(1, 2, "read", "z", 6, 9)],
    "read_from_the_future": [op(2, 1, "read", "a", 0, 4), op(1, 1, "write", "a", 5, 9)],
    "acknowledged_write_lost": [op(1, 1, "write", "a", 0, 5), op(2, 1, "read", None, 6, 9)],
    "new_then_old": [
        op(1, 1, "write", "a", 0, 100),
        op(2, 1, "read", "a", 10, 20),
        op(3, 1, "read", None, 30, 40),
    ],
    "lost_update": [
        op(1, 1, "add", 1, 0, 5, output=1),
        op(2, 1, "add", 1, 6, 10, output=1),
    ],
    "increment_applied_twice": [
        op(1, 1, "add", 1, 0, 5),
        op(1, 2, "read", 2, 6, 9),
    ],
    "both_cas_succeed": [
        op(1, 1, "cas", (None, "a"), 0, 9, output=True),
        op(2, 1, "cas", (None, "b"), 0, 9, output=True),
    ],
    "split_brain_reads": [
        op(1, 1, "write", "a", 0, 5),
        op(2, 1, "write", "b", 10, None),
        op(3, 1, "read", "b", 20, 30),
        op(1, 2, "read", "a", 40, 50),
        op(3, 2, "read", "b", 60, 70),
    ],
    "unknown_write_seen_before_it_was_asked": [
        op(2, 1, "read", "b", 0, 5),
        op(1, 1, "write", "b", 6, None),
    ],
    "touching_operations_of_one_client_are_ordered": [
        op(1, 1, "write", "a", 0, 5),
        op(1, 2, "read", None, 5, 9),
    ],
}


@pytest.mark.parametrize("name", GOOD)
def test_a_linearizable_history_is_accepted(name: str) -> None:
    assert brute_force(GOOD[name])
    assert check_history(GOOD[name]).result == "ok"


@pytest.mark.parametrize("name", BAD)
def test_a_history_that_no_order_explains_is_rejected(name: str) -> None:
    assert not brute_force(BAD[name])
    verdict = check_history(BAD[name])
    assert verdict.result == "violation"
    assert verdict.key == "x"
    assert not verdict.ok


def test_the_explanation_names_key_value_and_operation() -> None:
    verdict = check_history(BAD["stale_read"])
    assert [o.input for o in verdict.prefix] == ["a", "b"]
    assert verdict.stuck == (BAD["stale_read"][2],)
    assert "key 'x'" in verdict.explanation
    assert "the value is 'b'" in verdict.explanation
    assert "client 2 op 1: read 'a' [11 us .. 15 us]" in verdict.explanation


def test_keys_are_independent_and_the_bad_one_is_named() -> None:
    good = [replace(o, key="good") for o in BAD["stale_read"][:2]]
    bad = [replace(o, key="bad") for o in BAD["lost_update"]]
    verdict = check_history([*bad, *good])
    assert (verdict.result, verdict.key, verdict.operations) == ("violation", "bad", 4)


@pytest.mark.parametrize(
    ("operation", "complaint"),
    [
        (op(1, 1, "write", "a", 9, 5), "returns before"),
        (op(1, 1, "write", ("a", "b"), 0, 5), "a write with the input"),
        (op(1, 1, "cas", "a", 0, 5), "cas takes"),
    ],
)
def test_an_invalid_operation_is_rejected_by_name(operation: Operation, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        check_history([operation])


REGISTER: tuple[OperationKind, ...] = ("write", "read")
ALL_KINDS: tuple[OperationKind, ...] = ("write", "read", "cas", "add")


@settings(max_examples=400)
@given(small_histories(kinds=ALL_KINDS))
def test_small_histories_get_the_verdict_of_brute_force(history: list[Operation]) -> None:
    assert check_history(history).ok == brute_force(history)


@settings(max_examples=400)
@given(small_histories(kinds=REGISTER, unique=True))
def test_zones_search_and_brute_force_agree(history: list[Operation]) -> None:
    prepared = KeyHistory.of("x", history)
    expected = brute_force(history)
    assert (search(prepared, 10**6).result == "ok") == expected
    if zones.applies_to(prepared):
        assert (zones.find_conflict(prepared) is None) == expected
    assert check_history(history).ok == expected


@settings(max_examples=150)
@given(
    st.integers(0, 2**32),
    st.integers(1, 6),
    st.sampled_from([REGISTER, ALL_KINDS, ("add", "read"), ("cas", "read")]),
    st.sampled_from([0.0, 0.1, 0.5]),
    st.booleans(),
)
def test_a_history_of_atomic_registers_is_linearizable(
    seed: int, clients: int, kinds: tuple[OperationKind, ...], unknown: float, unique: bool
) -> None:
    if "add" in kinds and "write" in kinds:
        unique = False  # unique values are texts, to which nothing can be added
    history = atomic_history(
        Random(seed),
        clients=clients,
        operations=60,
        keys=2,
        kinds=kinds,
        unknown=unknown,
        unique=unique,
    )
    assert check_history(history).result == "ok"


@settings(max_examples=300)
@given(st.integers(0, 2**32), st.sampled_from([REGISTER, ALL_KINDS]), st.data())
def test_a_changed_output_gets_the_verdict_of_brute_force(
    seed: int, kinds: tuple[OperationKind, ...], data: st.DataObject
) -> None:
    history = atomic_history(
        Random(seed), clients=3, operations=7, kinds=kinds, unknown=0.15, think_us=5
    )
    position = data.draw(st.integers(0, len(history) - 1))
    changed = history[position]
    if changed.kind in ("read", "add"):
        changed = replace(changed, output=data.draw(st.sampled_from([None, 0, 1, 2, 3, 9])))
    elif changed.kind == "cas":
        changed = replace(changed, output=not changed.output)
    else:
        changed = replace(changed, input=9)
    history[position] = changed
    assert check_history(history).ok == brute_force(history)


def test_the_verdict_does_not_depend_on_the_order_of_the_list() -> None:
    history = atomic_history(Random(5), clients=5, operations=100, kinds=ALL_KINDS, unknown=0.1)
    first = check_history(history)
    Random(1).shuffle(history)
    assert check_history(history) == first
