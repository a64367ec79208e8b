"""Histories for the tests of the linearizability checker: a brute-force checker, and generators of histories."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from hypothesis import strategies as st

from qcore.sim.linearizability import Argument, Operation, OperationKind, Value


def op(
    client: int,
    op_id: int,
    kind: OperationKind,
    value: Argument,
    invoke_us: int,
    return_us: int | None,
    *,
    output: Value = None,
    key: str = "x",
) -> Operation:
    """An operation. For a read, `value` is the value that it found."""
    if kind == "read":
        assert not isinstance(value, tuple)
        return Operation(client, op_id, key, kind, None, value, invoke_us, return_us)
    return Operation(client, op_id, key, kind, value, output, invoke_us, return_us)


def precedes(one: Operation, other: Operation) -> bool:
    """The real-time order, as `Operation` defines it."""
    if one.return_us is None:
        return False
    if one.return_us < other.invoke_us:
        return True
    touch = one.return_us == other.invoke_us
    return touch and one.client == other.client and one.op_id < other.op_id


def sequential_step(state: Value, operation: Operation) -> tuple[bool, Value]:
    """A second implementation of the register, independent of the checker's."""
    output = None if operation.return_us is None else operation.output
    if operation.kind == "read":
        return output == state, state
    if operation.kind == "cas":
        assert isinstance(operation.input, tuple)
        done = operation.input[0] == state
        return output in (None, done), operation.input[1] if done else state
    assert not isinstance(operation.input, tuple)
    if operation.kind == "write":
        return True, operation.input
    if not isinstance(state, int | None) or not isinstance(operation.input, int):
        return False, state
    total = (state or 0) + operation.input
    return output in (None, total), total


def brute_force(operations: list[Operation]) -> bool:
    """Whether any order of one key's operations is legal. Tries all orders."""
    operations = [o for o in operations if o.kind != "read" or o.return_us is not None]

    def place(rest: list[Operation], state: Value) -> bool:
        if all(o.return_us is None for o in rest):
            return True
        for candidate in rest:
            others = [o for o in rest if o is not candidate]
            if any(precedes(other, candidate) for other in others):
                continue
            legal, after = sequential_step(state, candidate)
            if legal and place(others, after):
                return True
        return False

    return place(operations, None)


def atomic_history(
    random: Random,
    *,
    clients: int,
    operations: int,
    keys: int = 1,
    kinds: tuple[OperationKind, ...] = ("write", "read"),
    unknown: float = 0.0,
    unique: bool = False,
    think_us: int = 20,
) -> list[Operation]:
    """A history of atomic registers: each operation takes effect at a random instant between begin and end.

    With probability `unknown` the response is lost. Half of these operations have no effect, and the effect of the
    others may come long after.
    """
    planned: list[tuple[int, Operation]] = []
    for client in range(1, clients + 1):
        now = random.randrange(50)
        for op_id in range(1, operations // clients + 1):
            now += random.randrange(think_us + 1)
            kind = random.choice(kinds)
            key = f"k{random.randrange(keys)}"
            value: Argument = None
            if kind == "write":
                value = f"c{client}-{op_id}" if unique else random.randrange(3)
            elif kind == "cas":
                value = (random.choice([None, 0, 1, 2]), random.randrange(3))
            elif kind == "add":
                value = random.randrange(1, 3)
            end = now + random.randrange(40)
            lost = random.random() < unknown
            effect = random.randrange(now, end + 1) + (random.randrange(200) if lost else 0)
            operation = Operation(client, op_id, key, kind, value, None, now, None if lost else end)
            if not lost or random.random() < 0.5:
                planned.append((effect, operation))
            else:
                planned.append((-1, operation))
            now = end
    # Effects in the order of their instants. Ties are in the order of each client.
    planned.sort(key=lambda item: (item[0], item[1].client, item[1].op_id))
    return _with_outputs(planned)


def _with_outputs(planned: list[tuple[int, Operation]]) -> list[Operation]:
    registers: dict[str, Value] = {}
    history = []
    for effect, operation in planned:
        if effect < 0:
            history.append(operation)
            continue
        before = registers.get(operation.key)
        output: Value = None
        if operation.kind == "read":
            output = before
        elif operation.kind == "cas":
            assert isinstance(operation.input, tuple)
            output = operation.input[0] == before
            if output:
                registers[operation.key] = operation.input[1]
        else:
            assert not isinstance(operation.input, tuple)
            _, registers[operation.key] = sequential_step(
                before, replace(operation, return_us=None)
            )
            if operation.kind == "add":
                output = registers[operation.key]
        history.append(
            replace(operation, output=output if operation.return_us is not None else None)
        )
    return history


@st.composite
def small_histories(
    draw: st.DrawFn, *, kinds: tuple[OperationKind, ...], unique: bool = False
) -> list[Operation]:
    """Any history of at most 7 operations on one key, possible or not, with many ties in time."""
    history = []
    clock: dict[int, int] = {}
    for number in range(draw(st.integers(1, 7))):
        client = draw(st.integers(1, 4))
        begin = clock.get(client, 0) + draw(st.integers(0, 3))
        end = begin + draw(st.integers(0, 4))
        clock[client] = end
        kind = draw(st.sampled_from(kinds))
        small = st.sampled_from([1, 2, 3])
        value: Argument = None
        output: Value = None
        if kind == "write":
            value = number + 10 if unique else draw(small)
        elif kind == "read":
            seen = st.sampled_from([None, *range(10, 17)]) if unique else st.none() | small
            output = draw(seen)
        elif kind == "cas":
            value = (draw(st.none() | small), draw(small))
            output = draw(st.sampled_from([True, False, None]))
        else:
            value = draw(st.sampled_from([1, 2]))
            output = draw(st.none() | st.integers(1, 5))
        lost = draw(st.integers(0, 4)) == 0
        history.append(
            Operation(client, number, "x", kind, value, output, begin, None if lost else end)
        )
    return history
