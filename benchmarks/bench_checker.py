"""The cost of checking: linearizability of long histories, and the invariants after each effect."""

from __future__ import annotations

import time
from dataclasses import replace
from random import Random

from qcore.core.effects import AppendLog, SaveCommit, Send
from qcore.core.entry import DurableState, Entry
from qcore.core.messages import AppendEntriesResponse
from qcore.replica.events import Applied, ReplicaEffect
from qcore.sim.invariants import Invariants
from qcore.sim.linearizability import Operation, OperationKind, Value, check_history

_OPERATIONS = 10_000
_CLIENTS = 5


def atomic_register_history(kinds: tuple[OperationKind, ...], *, unique: bool) -> list[Operation]:
    """A history of five clients of one atomic register. One response in a hundred is lost."""
    random = Random(7)
    planned: list[tuple[int, Operation]] = []
    for client in range(_CLIENTS):
        now = random.randrange(50)
        for op_id in range(_OPERATIONS // _CLIENTS):
            now += random.randrange(20)
            end = now + 1 + random.randrange(40)
            kind = random.choice(kinds)
            value = f"{client}.{op_id}" if unique else str(random.randrange(4))
            argument = (str(random.randrange(4)), value) if kind == "cas" else value
            lost = random.random() < 0.01
            operation = Operation(
                client, op_id, "x", kind, argument, None, now, None if lost else end
            )
            planned.append((random.randrange(now, end), operation))
            now = end
    planned.sort(key=lambda item: (item[0], item[1].client))
    history = []
    register: Value = None
    for _, operation in planned:
        output: Value = None
        if operation.kind == "read":
            output = register
        elif isinstance(operation.input, tuple):
            output = operation.input[0] == register
            register = operation.input[1] if output else register
        else:
            register = operation.input
        history.append(replace(operation, output=output))
    return history


def step_effects(index: int) -> list[tuple[int, ReplicaEffect]]:
    """The effects of one committed write on three replicas: append, acknowledge, commit, apply."""
    entry = Entry(index, 1, "command", f"set x {index}", index)
    acknowledgement = AppendEntriesResponse(1, True, index, index - 1, 0, 0)
    effects: list[tuple[int, ReplicaEffect]] = [
        (1, AppendLog(index, [entry])),
        (2, AppendLog(index, [entry])),
        (3, AppendLog(index, [entry])),
        (2, Send(1, acknowledgement, index)),
        (3, Send(1, acknowledgement, index)),
    ]
    for node in (1, 2, 3):
        effects += [(node, SaveCommit(index)), (node, Applied(entry))]
    return effects


def main() -> None:
    """Print the figures."""
    print(f"linearizability, {_OPERATIONS} operations of {_CLIENTS} clients on one key:")
    cases: list[tuple[str, tuple[OperationKind, ...], bool]] = [
        ("reads and writes of unique values", ("read", "write"), True),
        ("reads and writes of four values", ("read", "write"), False),
        ("reads, writes and cas of four values", ("read", "write", "cas"), False),
    ]
    for name, kinds, unique in cases:
        history = atomic_register_history(kinds, unique=unique)
        start = time.perf_counter()
        verdict = check_history(history)
        seconds = time.perf_counter() - start
        print(f"  {name:38} {seconds:6.3f} s  {verdict.result}, {verdict.steps} steps")

    violations: list[str] = []
    invariants = Invariants(lambda check, node, note: violations.append(note))
    for node in (1, 2, 3):
        invariants.on_start(node, DurableState())
    effects = [pair for index in range(1, 20_001) for pair in step_effects(index)]
    start = time.perf_counter()
    for node, effect in effects:
        invariants.on_effect(node, effect, 0)
    seconds = time.perf_counter() - start
    assert not violations, violations[0]
    print(f"invariants: {seconds / len(effects) * 1e6:.2f} µs an effect ({len(effects)} effects)")


if __name__ == "__main__":
    main()
