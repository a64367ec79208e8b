"""Explains to a newcomer which answer does not fit, and why no order of the requests explains all answers."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

from qcore.sim.oracles.model.consistency_level import LevelRules
from qcore.sim.oracles.model.log_witness import WitnessVerdict
from qcore.sim.oracles.model.model_operation import ModelOperation
from qcore.sim.oracles.model.order_search import OrderFound
from qcore.sim.oracles.model.state_judge import StateJudge

_SHOWN = 5
_SHOWN_BEFORE = 3

#: By node, the times at which it restored a snapshot, microseconds.
Restores = Mapping[int, Sequence[int]]


def explain(
    operations: Sequence[ModelOperation],
    witness: WitnessVerdict,
    found: OrderFound,
    judge: StateJudge,
    rules: LevelRules,
    restores: Restores,
) -> str:
    """The text for a history that the order of the log does not explain.

    It begins with the order of the log, in which the cluster executed the requests: how far that fits, the state there,
    and the answer that does not fit. Then it says what a search for another order found.
    """
    lines = _by_the_log(operations, witness, judge, restores)
    if found.result == "ok":
        lines.append(
            "another order of the requests would explain every answer, so the clients cannot prove this fault in this "
            "run; the machine answered wrongly all the same"
        )
    elif found.result == "unknown":
        without = sum(op.return_us is None for op in operations)
        lines.append(
            f"whether another order explains every answer is undecided: a search ended after {found.steps} steps over "
            f"{len(operations) - without} requests with an answer and {without} without; to decide, raise "
            "Oracles.budget, give the Model a `partition`, or ask fewer requests"
        )
    else:
        lines += _by_the_search(operations, witness, found, judge, rules)
    if found.raised:
        lines.append(f"in an order that the search tried, {found.raised}; that order was left")
    return "\n".join(lines)


def _key_of(operations: Sequence[ModelOperation]) -> str:
    key = operations[0].key
    if key is None or any(op.key != key for op in operations):
        return ""
    return f" of the key {_shown_key(key)}"


def _shown_key(key: Hashable) -> str:
    """The key without the type that its canonical form carries."""
    match key:
        case (type(), value):
            return repr(value)
    return repr(key)


def _by_the_log(
    operations: Sequence[ModelOperation],
    witness: WitnessVerdict,
    judge: StateJudge,
    restores: Restores,
) -> list[str]:
    """What the order of the log does not explain."""
    op, prefix = witness.failed, witness.prefix
    assert op is not None
    assert witness.states is not None
    state = witness.states[op.key]
    lines = [
        f"in the order of the log, the first {len(prefix)} requests{_key_of(operations)} fit"
        + ("; the last of them:" if prefix else "")
    ]
    lines += [f"  {before.describe()}" for before in prefix[-_SHOWN_BEFORE:]]
    lines.append(f"then the state is {judge.describe(state)}, and this does not fit: {witness.why}")
    lines += _with_answer(op, state, judge)
    before_it = {
        node: [time for time in times if time <= (op.return_us or 0)]
        for node, times in restores.items()
    }
    restored = [
        f"node {node} at {times[-1] / 1000:.3f} ms" for node, times in before_it.items() if times
    ]
    if restored:
        lines.append(f"    last snapshots restored before that answer: {', '.join(restored)}")
    return lines


def _by_the_search(
    operations: Sequence[ModelOperation],
    witness: WitnessVerdict,
    found: OrderFound,
    judge: StateJudge,
    rules: LevelRules,
) -> list[str]:
    """How far the best other order goes, and what cannot come next."""
    lines = [f"no other order explains every answer ({rules.meaning})"]
    if {*_ids(found.prefix)} == {*_ids(witness.prefix)} and len(found.stuck) <= 1:
        return lines  # the search stopped at the same place
    keys = list(dict.fromkeys(op.key for op in found.stuck))
    assert found.states is not None
    state = (
        f"the state is {judge.describe(found.states.of(keys[0]))}, and " if len(keys) == 1 else ""
    )
    lines[0] += (
        f"; the best one places {len(found.prefix)} of {len(operations)} requests, then {state}none of these can come "
        "next:"
    )
    for op in found.stuck[:_SHOWN]:
        lines += _with_answer(op, found.states.of(op.key), judge)
    if len(found.stuck) > _SHOWN:
        lines.append(f"  and {len(found.stuck) - _SHOWN} more")
    return lines


def _ids(operations: Sequence[ModelOperation]) -> list[tuple[int, int]]:
    return [(op.client, op.op_id) for op in operations]


def _with_answer(op: ModelOperation, state: object, judge: StateJudge) -> list[str]:
    lines = [f"  {op.describe()}"]
    answer = judge.answer(state, op)
    if answer is not None:
        lines.append(f"    the model answers {answer!r}")
    return lines
