"""The witness and the search agree with trying all orders, and with the checker of registers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, combinations, permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qcore.sim.linearizability import Operation, OperationKind, check_history
from qcore.sim.oracles.model.canonical_state import canonical
from qcore.sim.oracles.model.consistency_check import ConsistencyVerdict, check_consistency
from qcore.sim.oracles.model.log_witness import comes_before
from qcore.sim.oracles.model.model_operation import ModelOperation
from qcore.sim.oracles.model.sequential_model import ModelRunner, Request
from qcore.sim.oracles.model.state_judge import RegisterJudge, UserModelJudge
from qcore.sim.scenario.values import ConsistencyLevel

LEVELS: list[ConsistencyLevel] = ["linearizable", "sequential", "serializable"]


def operation(
    client: int,
    op_id: int,
    kind: OperationKind,
    value: int | None,
    start: int,
    end: int | None,
    key: str = "x",
    place: int = 0,
) -> ModelOperation:
    """A write of the value, a read that found it, or a cas from the value to the next one, which succeeded."""
    known = end is not None
    given_input = (value, (value or 0) + 1) if kind == "cas" else value
    output = value if kind == "read" else True if kind == "cas" and known else None
    register = Operation(client, op_id, key, kind, given_input, output, start, end)
    request = Request("read" if kind == "read" else "write", f"{kind} {value}")
    return ModelOperation(
        client, op_id, request, "" if known else None, start, end, place, 1, key, register
    )


def check(
    operations: Sequence[ModelOperation],
    level: ConsistencyLevel = "linearizable",
    budget: int = 10**6,
) -> ConsistencyVerdict:
    return check_consistency(operations, RegisterJudge(), level, budget, {})


@st.composite
def histories(draw: st.DrawFn) -> list[ModelOperation]:
    """Histories of up to six operations of three clients. No log is known, so every verdict needs a search."""
    found = []
    clocks = {1: 0, 2: 0, 3: 0}
    for op_id in range(1, draw(st.integers(1, 6)) + 1):
        client = draw(st.integers(1, 3))
        start = clocks[client] + draw(st.integers(0, 3))
        end: int | None = start + draw(st.integers(1, 6))
        clocks[client] = end or 0
        kind: OperationKind = draw(st.sampled_from(("write", "read", "cas")))
        value = draw(st.integers(0, 2))
        if kind != "read" and draw(st.integers(0, 4)) == 0:
            end = None
        read_value = None if kind == "read" and draw(st.booleans()) else value
        key = draw(st.sampled_from("xxy"))
        found.append(operation(client, op_id, kind, read_value, start, end, key))
    return found


def must_come_before(level: ConsistencyLevel, one: ModelOperation, other: ModelOperation) -> bool:
    if level == "serializable" or (level == "sequential" and one.client != other.client):
        return False
    return comes_before(one, other)


def by_trying_all(operations: Sequence[ModelOperation], level: ConsistencyLevel) -> bool:
    known = [op for op in operations if op.return_us is not None]
    unknown = [op for op in operations if op.return_us is None]
    judge = RegisterJudge()
    subsets = chain.from_iterable(combinations(unknown, n) for n in range(len(unknown) + 1))
    for subset in subsets:
        for order in permutations([*known, *subset]):
            if any(
                must_come_before(level, later, earlier)
                for position, earlier in enumerate(order)
                for later in order[position + 1 :]
            ):
                continue
            states: dict[object, object] = {}
            for op in order:
                fits, states[op.key] = judge.step(states.get(op.key), op)
                if not fits:
                    break
            else:
                return True
    return False


@pytest.mark.parametrize("level", LEVELS)
@settings(max_examples=60)
@given(operations=histories())
def test_the_search_agrees_with_trying_all_orders(
    level: ConsistencyLevel, operations: list[ModelOperation]
) -> None:
    verdict = check(operations, level)
    assert verdict.result == ("ok" if by_trying_all(operations, level) else "violation")
    assert verdict.operations == len(operations)
    assert bool(verdict.explanation) == (verdict.result != "ok")


@given(operations=histories())
def test_the_search_agrees_with_the_checker_of_registers(operations: list[ModelOperation]) -> None:
    registers = [op.register for op in operations if op.register is not None]
    assert check(operations).result == check_history(registers).result


def test_the_log_explains_a_correct_history_without_search() -> None:
    ops = [
        operation(1, 1, "write", 1, 0, 10, place=5),
        operation(2, 1, "write", 2, 1, 9, place=4),
        operation(3, 1, "read", 1, 5, 12, place=5),
        operation(3, 2, "read", 2, 2, 4, place=4),
        operation(2, 2, "write", 9, 11, None),  # never applied
        operation(2, 3, "write", 3, 11, None, place=6),
        operation(1, 2, "read", 3, 12, 14, place=7),
    ]
    verdict = check(ops)
    assert (verdict.result, verdict.steps) == ("ok", 0)


def test_a_log_that_contradicts_real_time_is_not_believed() -> None:
    """A new write at an earlier place than an old one: the answers fit the log, and no order in real time."""
    ops = [
        operation(1, 1, "write", 1, 0, 10, place=2),
        operation(2, 1, "write", 2, 20, 30, place=1),
        operation(3, 1, "read", 1, 40, 50, place=3),
    ]
    verdict = check(ops)
    assert (verdict.result, verdict.wrong_answer, verdict.check) == (
        "violation",
        False,
        "linearizability",
    )
    assert "it was answered before this earlier one of the log began" in verdict.explanation
    assert check(ops, "sequential").result == "ok"


def test_a_wrong_answer_that_another_order_explains_is_found() -> None:
    """The read is concurrent with the write that it does not see. No client can know; the log does."""
    ops = [
        operation(1, 1, "write", 1, 0, 10, place=2),
        operation(2, 1, "read", None, 5, 15, place=2),
    ]
    verdict = check(ops)
    assert (verdict.result, verdict.check) == ("ok", "model")
    assert "the clients cannot prove this fault in this run" in verdict.explanation


def test_a_search_that_ends_early_says_so() -> None:
    ops = [operation(n, 1, "write", n, 0, 100) for n in range(1, 9)]
    ops.append(operation(9, 1, "read", 99, 200, 210))
    verdict = check(ops, budget=50)
    assert (verdict.result, verdict.steps, verdict.check) == ("unknown", 50, None)
    assert (
        "a search ended after 50 steps over 9 requests with an answer and 0 without"
        in verdict.explanation
    )
    assert check(ops).result == "violation"


def test_a_client_orders_its_operations_within_a_microsecond() -> None:
    ops = [operation(1, 1, "write", 1, 0, 10), operation(1, 2, "read", None, 10, 20)]
    assert check(ops).result == "violation"
    other = [operation(1, 1, "write", 1, 0, 10), operation(2, 2, "read", None, 10, 20)]
    assert check(other).result == "ok"


class Plain:
    """A state without equality."""

    def __init__(self, number: int) -> None:
        self.number = number


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        ({"a": [1, {2, 3}]}, {"a": [1, {3, 2}]}, True),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, False),  # a model may use the order
        (1, True, False),
        (1, 1.0, False),
        ([1], (1,), False),
        (Plain(1), Plain(1), True),
        (Plain(1), Plain(2), False),
        (len, len, False),  # each form of an object without content equals only itself ...
        (None, None, True),
    ],
)
def test_equal_states_have_equal_forms(one: object, other: object, equal: bool) -> None:
    if one is len:
        assert canonical(one) == canonical(other)  # ... and this is the same object
    else:
        assert (canonical(one) == canonical(other)) is equal


class StrictModel:
    """Raises for a take before any put: an order that no client asked for."""

    def initial(self) -> dict[str, int]:
        return {}

    def step(
        self, state: dict[str, int], request: Request, answer: str | None
    ) -> tuple[bool, dict[str, int]]:
        if request.text == "put":
            return True, {"number": 1}
        return answer == str(state["number"]), state


def test_a_model_that_raises_in_a_tried_order_hides_nothing() -> None:
    put = ModelOperation(1, 1, Request("write", "put"), "", 0, 10, 1, 1)
    take = ModelOperation(2, 1, Request("write", "take"), "7", 5, 15, 2, 1)
    judge = UserModelJudge(ModelRunner(StrictModel, None))
    verdict = check_consistency([put, take], judge, "linearizable", 100, {})
    assert verdict.check == "linearizability"
    assert "in an order that the search tried, Model.step raised KeyError" in verdict.explanation
