"""The sequential register: the effect of each operation on its value, and the outputs that it allows."""

from __future__ import annotations

from qcore.sim.linearizability.operation import Operation, Value

INITIAL: Value = None


def step(state: Value, operation: Operation) -> tuple[bool, Value]:
    """Whether a register that holds `state` allows the operation's output, and its value after the operation."""
    kind = operation.kind
    if kind == "write":
        return True, _scalar(operation)
    if kind == "read":
        return state == operation.output, state
    if kind == "cas":
        assert isinstance(operation.input, tuple)
        expected, new = operation.input
        matches = state == expected
        legal = operation.output is None or operation.output == matches
        return legal, new if matches else state
    base = 0 if state is None else state
    delta = _scalar(operation)
    if not isinstance(base, int) or not isinstance(delta, int):
        return False, state
    total = base + delta
    return operation.output is None or operation.output == total, total


def leaves_value_unchanged(operation: Operation) -> bool:
    """Whether the operation leaves every value unchanged: a read or a failed cas."""
    return operation.kind == "read" or (operation.kind == "cas" and operation.output is False)


def _scalar(operation: Operation) -> Value:
    assert not isinstance(operation.input, tuple)
    return operation.input
