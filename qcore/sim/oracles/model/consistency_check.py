"""Checks a history against a sequential model: the order of the log first, then a search, and an explanation."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

from qcore.sim.oracles.model.consistency_level import LEVELS
from qcore.sim.oracles.model.explanation import explain, explain_undecided
from qcore.sim.oracles.model.log_witness import WitnessVerdict, check_witness
from qcore.sim.oracles.model.model_operation import ModelOperation
from qcore.sim.oracles.model.order_search import SearchResult, search_order
from qcore.sim.oracles.model.state_judge import StateJudge
from qcore.sim.scenario.values import ConsistencyLevel


@dataclass(slots=True, frozen=True)
class ConsistencyVerdict:
    """The verdict on a history.

    Attributes:
        level: the level that was asked.
        result: `ok`: some order explains every answer. `violation`: no order does. `unknown`: the budget was used up
            before a decision.
        operations: how many operations were judged.
        steps: how many steps of the model the searches took; 0 if the order of the log was enough.
        explanation: for humans; empty if ok.
    """

    level: ConsistencyLevel
    result: SearchResult
    operations: int = 0
    steps: int = 0
    explanation: str = ""

    @property
    def seen(self) -> str:
        """One line on how the verdict came about."""
        judged = f"{self.operations} requests judged"
        if self.result == "violation":
            return f"{judged}; the answers of some fit no order"
        if self.result == "unknown":
            return f"undecided after {self.steps} steps over {self.operations} requests"
        how = f"an order found in {self.steps} steps" if self.steps else "the order of the log"
        return f"{judged}; {how} explains them"


def check_consistency(
    operations: Sequence[ModelOperation],
    judge: StateJudge,
    level: ConsistencyLevel,
    budget: int,
) -> ConsistencyVerdict:
    """Check whether one order of the operations explains every answer.

    Args:
        operations: the history. At the level `linearizable` each key is checked alone (Herlihy and Wing,
            "Linearizability" (1990), theorem 1). The other levels are not local, so all keys are checked together.
        judge: judges each answer.
        level: what the order must respect.
        budget: the number of steps of the searches, over all keys.

    Raises:
        BrokenOracle: the model raised an error.
    """
    rules = LEVELS[level]
    undecided: ConsistencyVerdict | None = None
    failing: list[tuple[Hashable, list[ModelOperation], WitnessVerdict]] = []
    for key, part in _parts(operations, local=level == "linearizable"):
        witness = check_witness(part, judge, rules)
        if witness.failed is not None:
            failing.append((key, part, witness))
    failing.sort(key=lambda item: len(item[1]))  # small ones first: larger ones get what is left
    steps = 0
    for position, (key, part, witness) in enumerate(failing):
        share = (budget - steps) // (len(failing) - position)
        found = search_order(part, judge, rules, share)
        steps += found.steps
        if found.result == "violation":
            text = explain(key, part, witness, found, judge, rules)
            return ConsistencyVerdict(level, "violation", len(operations), steps, text)
        if found.result == "unknown" and undecided is None:
            text = explain_undecided(key, part, witness, found, judge, rules)
            undecided = ConsistencyVerdict(level, "unknown", explanation=text)
    verdict = undecided or ConsistencyVerdict(level, "ok")
    return replace(verdict, operations=len(operations), steps=steps)


def _parts(
    operations: Sequence[ModelOperation], *, local: bool
) -> list[tuple[Hashable, list[ModelOperation]]]:
    if not local:
        return [(None, list(operations))] if operations else []
    parts: dict[Hashable, list[ModelOperation]] = {}
    for op in operations:
        parts.setdefault(op.key, []).append(op)
    return list(parts.items())
