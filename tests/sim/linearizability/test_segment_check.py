"""Long histories, checked in segments: the verdict is that of the whole check."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qcore.sim.linearizability import (
    LinearizabilityVerdict,
    Operation,
    OperationKind,
    check_history,
)
from qcore.sim.linearizability.history import KeyHistory
from qcore.sim.linearizability.key_verdict import check_key
from qcore.sim.linearizability.segment_check import check_in_segments
from tests.sim.support.linearizability_histories import atomic_history, op, small_histories

KINDS: tuple[tuple[OperationKind, ...], ...] = (
    ("write", "read"),
    ("write", "read", "cas"),
    ("add", "read"),
    ("write", "read", "cas", "add"),
)


def in_order(history: list[Operation]) -> list[Operation]:
    return sorted(history, key=lambda operation: operation.invoke_us)


def segmented_equals_whole(history: list[Operation]) -> None:
    whole = check_history(history)
    parts = check_history(history, long_history=0)
    assert parts.result == whole.result
    assert parts.operations == whole.operations
    if parts.result == "violation":
        answered = [o for o in history if o.return_us is not None]
        assert parts.stuck
        assert all(o in answered for o in parts.stuck)
        assert parts.stuck[0].describe() in parts.explanation


@given(st.sampled_from(KINDS).flatmap(lambda kinds: small_histories(kinds=kinds)))
def test_small_histories_get_the_same_verdict(history: list[Operation]) -> None:
    segmented_equals_whole(history)


@given(
    st.integers(0, 10**6),
    st.sampled_from(KINDS),
    st.sampled_from([0.0, 0.03]),
    st.integers(1, 3),
    st.booleans(),
    st.booleans(),
)
@settings(max_examples=150)
def test_planted_violations_get_the_same_verdict(
    seed: int,
    kinds: tuple[OperationKind, ...],
    unknown: float,
    keys: int,
    planted: bool,
    unique: bool,
) -> None:
    random = Random(seed)
    history = atomic_history(
        random,
        clients=3,
        operations=45,
        keys=keys,
        kinds=kinds,
        unknown=unknown,
        unique=unique,
        think_us=60,
    )
    reads = [i for i, o in enumerate(history) if o.kind == "read" and o.return_us is not None]
    if planted and reads:
        changed = random.choice(reads)
        history[changed] = replace(history[changed], output=random.choice([0, 1, 2, 5, None]))
    segmented_equals_whole(history)


def test_values_of_concurrent_writes_are_carried_on() -> None:
    race = [op(1, 1, "write", "a", 0, 9), op(2, 1, "write", "b", 0, 9)]
    later = [op(1, 2, "write", "c", 60, 70)]
    for seen in ("a", "b"):
        assert check_history([*race, op(1, 2, "read", seen, 20, 30), *later], long_history=0).ok
    both = [op(1, 2, "read", "a", 20, 30), op(1, 3, "read", "b", 40, 50)]
    verdict = check_history([*race, *both, *later], long_history=0)
    assert verdict.result == "violation"
    assert "client 1 op 3: read 'b'" in verdict.explanation
    assert "the value is then 'a'" in verdict.explanation


def test_an_unknown_write_may_take_effect_much_later() -> None:
    history = [
        op(2, 1, "write", "late", 0, None),
        *(op(1, i, "write", i, 10 * i, 10 * i + 5) for i in range(1, 50)),
        op(1, 50, "read", "late", 600, 610),
    ]
    assert check_history(history, long_history=0).ok
    assert check_history(history[1:], long_history=0).result == "violation"


def test_touching_operations_of_two_clients_stay_together() -> None:
    history = [op(1, 1, "write", "a", 0, 5), op(2, 1, "read", None, 5, 9)]
    assert check_history(history, long_history=0).ok


def test_a_history_in_another_order_gets_the_same_verdict() -> None:
    history = in_order(atomic_history(Random(2), clients=3, operations=60))
    assert check_history(history[::-1], long_history=0) == check_history(history, long_history=0)


def test_a_segment_beyond_the_budget_is_left_to_the_whole_check() -> None:
    """Concurrent writes of different values: too many orders for a search, but zones decide them immediately."""
    writes = [op(i, 1, "write", f"v{i}", 0, 100) for i in range(1, 40)]
    history = [*writes, op(1, 2, "read", "v3", 200, 210)]
    assert check_in_segments(history, 1000).result == "unknown"
    assert check_history(history, long_history=0, budget=1000).ok


def test_each_segment_is_judged_and_then_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last segment of a key is the only one that the whole check sees."""
    longest: list[int] = []

    def counting(history: KeyHistory, budget: int) -> LinearizabilityVerdict:
        longest.append(len(history.known))
        return check_key(history, budget)

    monkeypatch.setattr("qcore.sim.linearizability.segment_check.check_key", counting)
    history = in_order(atomic_history(Random(5), clients=3, operations=3000, think_us=200))
    assert check_in_segments(history, 10**6).ok
    assert max(longest) < 50
