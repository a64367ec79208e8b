"""Explains to a newcomer why no order of the requests fits their answers."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from qcore.sim.oracles.model.consistency_level import LevelRules
from qcore.sim.oracles.model.log_witness import WitnessVerdict
from qcore.sim.oracles.model.model_operation import ModelOperation
from qcore.sim.oracles.model.order_search import OrderFound
from qcore.sim.oracles.model.state_judge import StateJudge

_SHOWN = 5


def explain(
    key: Hashable,
    operations: Sequence[ModelOperation],
    witness: WitnessVerdict,
    found: OrderFound,
    judge: StateJudge,
    rules: LevelRules,
) -> str:
    """The text of a violation: how far an order can go, the state there, and what cannot come next."""
    lines = [f"no order of the requests{_of(operations)} explains every answer ({rules.meaning})"]
    lines += _where(operations, found, judge)
    lines += _by_the_log(witness, judge, found.prefix)
    return "\n".join(lines)


def explain_undecided(
    key: Hashable,
    operations: Sequence[ModelOperation],
    witness: WitnessVerdict,
    found: OrderFound,
    judge: StateJudge,
    rules: LevelRules,
) -> str:
    """The text without a decision: what the order of the log does not explain, and what would help."""
    without = sum(op.return_us is None for op in operations)
    lines = [
        f"undecided: the order of the log does not explain the answers of the requests{_of(operations)}, and a "
        f"search for another order ended after {found.steps} steps, over {len(operations) - without} requests with "
        f"an answer and {without} without ({rules.meaning})",
        *_by_the_log(witness, judge, None),
        "to get a decision: raise Oracles.budget, give the Model a `partition`, or ask fewer requests",
    ]
    return "\n".join(lines)


def _of(operations: Sequence[ModelOperation]) -> str:
    key = operations[0].key
    if key is None or any(op.key != key for op in operations):
        return ""
    return f" of the key {key[1]!r}" if isinstance(key, tuple) and len(key) == 2 else f" of {key!r}"


def _where(operations: Sequence[ModelOperation], found: OrderFound, judge: StateJudge) -> list[str]:
    prefix = found.prefix
    lines = [f"{len(prefix)} of {len(operations)} requests can be put in order"]
    if prefix:
        lines[-1] += "; the last of them:"
        lines += [f"  {op.describe()}" for op in prefix[-_SHOWN:]]
    keys = list(dict.fromkeys(op.key for op in found.stuck))
    assert found.states is not None
    if len(keys) == 1:
        lines.append(f"then the state is {judge.describe(found.states.of(keys[0]))}")
    lines.append("and none of these can come next:")
    for op in found.stuck[:_SHOWN]:
        lines += _line_of_stuck(op, found.states.of(op.key), judge)
    if len(found.stuck) > _SHOWN:
        lines.append(f"  and {len(found.stuck) - _SHOWN} more")
    return lines


def _by_the_log(
    witness: WitnessVerdict, judge: StateJudge, searched: Sequence[ModelOperation] | None
) -> list[str]:
    """What the order of the log does not explain; nothing if the search stopped at the same place."""
    op = witness.failed
    assert op is not None
    assert witness.states is not None
    if searched is not None and {*_ids(searched)} == {*_ids(witness.prefix)}:
        return []
    state = witness.states[op.key]
    lines = [
        f"in the order of the log, the first {len(witness.prefix)} requests fit; then the state is "
        f"{judge.describe(state)}, and this does not fit, because {witness.why}:"
    ]
    return lines + _line_of_stuck(op, state, judge)


def _ids(operations: Sequence[ModelOperation]) -> list[tuple[int, int]]:
    return [(op.client, op.op_id) for op in operations]


def _line_of_stuck(op: ModelOperation, state: object, judge: StateJudge) -> list[str]:
    lines = [f"  {op.describe()}"]
    answer = judge.answer(state, op)
    if answer is not None:
        lines.append(f"    the model answers {answer!r}")
    return lines
