"""The checker under load: long histories, many unknown outcomes, and the end of the budget.

The checker counts its work in steps, so these tests bound steps, not seconds.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from qcore.sim.linearizability import Operation, OperationKind, check_history
from tests.sim.support.linearizability_histories import atomic_history, op


@pytest.mark.parametrize(
    ("kinds", "unique"),
    [
        (("write", "read"), True),
        (("write", "read"), False),
        (("write", "read", "cas"), False),
        (("add", "read"), False),
    ],
)
def test_ten_thousand_operations_on_one_key_are_decided(
    kinds: tuple[OperationKind, ...], unique: bool
) -> None:
    history = atomic_history(
        Random(11), clients=5, operations=10_000, kinds=kinds, unique=unique, unknown=0.002
    )
    verdict = check_history(history)
    assert verdict.result == "ok"
    assert verdict.operations == 10_000
    assert verdict.steps < 500_000


def test_a_history_with_a_tenth_unknown_is_decided() -> None:
    """Without the shortcuts of the search this takes at least twice the steps."""
    history = atomic_history(
        Random(7), clients=5, operations=10_000, kinds=("write", "read", "cas"), unknown=0.1
    )
    verdict = check_history(history)
    assert verdict.result == "ok"
    assert verdict.steps < 120_000


@pytest.mark.parametrize("unique", [True, False])
def test_one_wrong_read_late_in_a_long_history_is_found(unique: bool) -> None:
    history = atomic_history(Random(3), clients=5, operations=10_000, unique=unique)
    reads = [i for i, o in enumerate(history) if o.kind == "read"]
    wrong = reads[int(len(reads) * 0.9)]
    history[wrong] = replace(history[wrong], output="never written")
    verdict = check_history(history)
    assert verdict.result == "violation"
    assert len(verdict.prefix) > 8_000
    assert history[wrong] in verdict.stuck


def unknown_writes(count: int) -> list[Operation]:
    """Many trailing unknown writes that no read saw: 2**count subsets for a naive search."""
    return [op(100 + n, 1, "write", f"lost {n}", 5 + n, None) for n in range(count)]


def test_unknown_writes_that_are_never_read_cost_nothing() -> None:
    history = [op(1, 1, "write", "a", 0, 4), *unknown_writes(200)]
    history += [op(1, 2 + n, "read", "a", 1_000 + 10 * n, 1_005 + 10 * n) for n in range(200)]
    good = check_history(history)
    assert good.result == "ok"
    assert good.steps < 5_000
    history.append(op(1, 999, "read", None, 9_000, 9_005))
    bad = check_history(history)
    assert bad.result == "violation"
    assert bad.steps < 5_000


def test_equal_unknown_writes_are_tried_once() -> None:
    """Equal values rule out the fast path; equal operations are interchangeable."""
    history = [op(1, 1, "write", 1, 0, 4)]
    history += [op(100 + n, 1, "write", 2, 5, None) for n in range(60)]
    history += [
        op(1, 2 + n, "read", 1 if n % 2 else 2, 1_000 + 10 * n, 1_005 + 10 * n) for n in range(2)
    ]
    verdict = check_history(history)
    assert verdict.result == "violation"  # no operation wrote 1 again
    assert verdict.steps < 5_000


def test_unknown_increments_do_not_multiply_the_steps() -> None:
    history = [op(100 + n, 1, "add", 1, n, None) for n in range(300)]
    history += [op(1, n, "read", n, 1_000 + 10 * n, 1_005 + 10 * n) for n in range(1, 301)]
    assert check_history(history).result == "ok"
    history.append(op(1, 301, "read", 301, 90_000, 90_001))
    verdict = check_history(history)
    assert verdict.result == "violation"
    assert verdict.steps < 200_000


def hard_history(size: int) -> list[Operation]:
    """Concurrent cas with unknown outcomes around a ring of values: no shortcut applies."""
    random = Random(1)
    history = [
        op(n, 1, "cas", (random.randrange(12), random.randrange(12)), 0, None) for n in range(size)
    ]
    history.append(op(1_000, 1, "write", 0, 0, 1))
    history.append(op(1_000, 2, "read", 77, 10, 11))
    return history


def test_an_exhausted_budget_gives_the_verdict_unknown() -> None:
    verdict = check_history(hard_history(60), budget=5_000)
    assert verdict.result == "unknown"
    assert verdict.key == "x"
    assert 5_000 <= verdict.steps < 6_000
    assert f"undecided after {verdict.steps} steps" in verdict.explanation
    assert "60 without" in verdict.explanation


def test_an_undecided_key_does_not_hide_a_violation_in_another() -> None:
    stale = [
        op(1, 1, "add", 1, 0, 5, output=1, key="zz"),
        op(2, 1, "add", 1, 6, 9, output=1, key="zz"),
    ]
    verdict = check_history([*hard_history(60), *stale], budget=5_000)
    assert (verdict.result, verdict.key) == ("violation", "zz")


def test_a_long_open_operation_does_not_slow_the_search() -> None:
    """An operation that stays open must not make each step scan all operations that pass it."""
    history = atomic_history(Random(2), clients=4, operations=4_000, kinds=("write", "read"))
    end = max(o.return_us or 0 for o in history)
    history.append(op(50, 1, "read", None, 0, end))
    verdict = check_history(history)
    assert verdict.result == "ok"
    assert verdict.steps < 100_000
