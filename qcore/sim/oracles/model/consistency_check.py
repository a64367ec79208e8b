"""Checks a history against a sequential model: the order of the log first, then a search, and an explanation."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

from qcore.sim.oracles.model.consistency_level import LEVELS
from qcore.sim.oracles.model.explanation import Restores, explain
from qcore.sim.oracles.model.log_witness import check_witness
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
        wrong_answer: whether some answer does not fit the model at its place in the log. That is a fault of the machine
            or of the cluster, even if another order explains every answer.
        explanation: for humans; empty if nothing is wrong.
    """

    level: ConsistencyLevel
    result: SearchResult
    operations: int = 0
    steps: int = 0
    wrong_answer: bool = False
    explanation: str = ""

    @property
    def check(self) -> str | None:
        """The name of the violation; None without one."""
        if self.result == "violation":
            return LEVELS[self.level].check
        return "model" if self.wrong_answer else None

    @property
    def seen(self) -> str:
        """One line on how the verdict came about."""
        judged = f"{self.operations} requests judged"
        if self.result == "violation":
            return f"{judged}; no order explains every answer"
        if self.wrong_answer:
            return f"{judged}; an answer does not fit at its place in the log"
        if self.result == "unknown":
            return f"undecided after {self.steps} steps over {self.operations} requests"
        how = f"an order found in {self.steps} steps" if self.steps else "the order of the log"
        return f"{judged}; {how} explains them"


def check_consistency(
    operations: Sequence[ModelOperation],
    judge: StateJudge,
    level: ConsistencyLevel,
    budget: int,
    restores: Restores,
) -> ConsistencyVerdict:
    """Check whether one order of the operations explains every answer.

    Args:
        operations: the history. At the level `linearizable` each key is checked alone (Herlihy and Wing,
            "Linearizability" (1990), theorem 1). The other levels are not local, so all keys are checked together.
        judge: judges each answer.
        level: what the order must respect.
        budget: the number of steps of the searches, over all keys.
        restores: when nodes restored snapshots, for explanations.

    Raises:
        BrokenOracle: the model raised an error.
    """
    rules = LEVELS[level]
    failing = []
    for part in _parts(operations, local=level == "linearizable"):
        witness = check_witness(part, judge, rules)
        if witness.failed is not None:
            failing.append((part, witness))
    failing.sort(key=lambda item: len(item[0]))  # small ones first: larger ones get what is left
    worst = ConsistencyVerdict(level, "ok")
    steps = 0
    for position, (part, witness) in enumerate(failing):
        share = (budget - steps) // (len(failing) - position)
        found = search_order(part, judge, rules, share)
        steps += found.steps
        if found.result == "ok" and not witness.wrong_answer:
            continue
        verdict = ConsistencyVerdict(
            level,
            found.result,
            wrong_answer=witness.wrong_answer,
            explanation=explain(part, witness, found, judge, rules, restores),
        )
        if _severity(verdict) > _severity(worst):
            worst = verdict
    return replace(worst, operations=len(operations), steps=steps)


def _severity(verdict: ConsistencyVerdict) -> tuple[bool, bool, bool]:
    return verdict.result == "violation", verdict.wrong_answer, verdict.result == "unknown"


def _parts(operations: Sequence[ModelOperation], *, local: bool) -> list[list[ModelOperation]]:
    parts: dict[Hashable, list[ModelOperation]] = {}
    for op in operations:
        parts.setdefault(op.key if local else None, []).append(op)
    return list(parts.values())
