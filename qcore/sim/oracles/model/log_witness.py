"""The order of the log as witness: the order in which the cluster itself executed the requests.

A correct cluster with a correct machine answers as the log's order says. So the check needs one step of the model for
each request, and no search. Only if the witness fails can a search for another order make sense.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from qcore.sim.oracles.model.consistency_level import LevelRules
from qcore.sim.oracles.model.model_operation import ModelOperation
from qcore.sim.oracles.model.state_judge import KeyedStates, StateJudge


@dataclass(slots=True, frozen=True)
class WitnessVerdict:
    """Whether the order of the log explains every answer.

    Attributes:
        wrong_answer: whether the model does not allow an answer. A correct machine in a correct cluster never gives
            such an answer, whatever other orders of the requests exist.
        failed: the first operation that it does not explain; None if it explains all.
        why: what is wrong with it.
        prefix: the operations before it, in the order of the log.
        states: the states before it.
    """

    failed: ModelOperation | None = None
    why: str = ""
    prefix: Sequence[ModelOperation] = ()
    states: Mapping[object, object] | None = None
    wrong_answer: bool = False


def log_order(operations: Sequence[ModelOperation]) -> list[ModelOperation]:
    """The operations in the order of the log: each write at its index, then the reads that were served at it.

    An operation without an answer and without a place in the log never took effect.
    """
    placed = [op for op in operations if op.place or op.return_us is not None]
    return sorted(placed, key=lambda op: (op.place, op.is_read, op.invoke_us, op.client, op.op_id))


def check_witness(
    operations: Sequence[ModelOperation], judge: StateJudge, rules: LevelRules
) -> WitnessVerdict:
    """Check the order of the log in linear time: its times, and each answer with the model.

    Raises:
        BrokenOracle: the model raised an error.
    """
    order = log_order(operations)
    states = KeyedStates.before(judge, operations)
    times = _Times(rules)
    for position, op in enumerate(order):
        why = times.too_late(op) if op.place else "the log does not show where it took effect"
        fits = True
        if not why:
            fits, after = judge.step(states.of(op.key), op)
            if fits:
                states = states.changed(op.key, after)
                continue
            why = "the model does not allow this answer"
        return WitnessVerdict(op, why, order[:position], states.values, not fits)
    return WitnessVerdict(prefix=order)


class _Times:
    """The latest begin of all operations until now, to find an operation that comes too late in the order."""

    def __init__(self, rules: LevelRules) -> None:
        self._rules = rules
        self._latest: dict[int, ModelOperation] = {}
        self._latest_of_client: dict[int, ModelOperation] = {}

    def too_late(self, op: ModelOperation) -> str:
        """Why the operation cannot come after those before it; empty if it can."""
        scope = self._rules.scope
        if scope == "none":
            return ""
        group = op.client if scope == "client" else 0
        latest, own = self._latest.get(group), self._latest_of_client.get(op.client)
        for earlier in (latest, own):
            if earlier is not None and comes_before(op, earlier):
                return f"it was answered before this earlier one of the log began: {earlier.describe()}"
        if latest is None or op.invoke_us > latest.invoke_us:
            self._latest[group] = op
        if own is None or (op.invoke_us, op.op_id) > (own.invoke_us, own.op_id):
            self._latest_of_client[op.client] = op
        return ""


def comes_before(one: ModelOperation, other: ModelOperation) -> bool:
    """Whether `one` was answered before `other` began.

    In one microsecond, both are concurrent, unless one client did both.
    """
    if one.return_us is None:
        return False
    if one.return_us == other.invoke_us:
        return one.client == other.client and one.op_id < other.op_id
    return one.return_us < other.invoke_us
