"""Judges the history of one register: chooses the method, and explains a violation."""

from __future__ import annotations

from typing import Final

from qcore.sim.linearizability import zones
from qcore.sim.linearizability.history import KeyHistory
from qcore.sim.linearizability.operation import LinearizabilityVerdict
from qcore.sim.linearizability.search import SearchOutcome, search

_SHOWN: Final = 5


def check_key(history: KeyHistory, budget: int) -> LinearizabilityVerdict:
    """Check the history of one register, with a number of placements to try."""
    if zones.applies_to(history):
        conflict = zones.find_conflict(history)
        if conflict is None:
            return LinearizabilityVerdict("ok")
        # The verdict is final. The search only shows how far an order can go.
        outcome = search(history, budget)
        assert outcome.result != "ok", "the two methods contradict each other"
        return violation(history, outcome, conflict)
    outcome = search(history, budget)
    if outcome.result == "violation":
        return violation(history, outcome, None)
    if outcome.result == "unknown":
        text = (
            f"key {history.key!r}: undecided after {outcome.steps} steps over {len(history.known)} "
            f"operations with an answer and {len(history.unknown)} without; raise the budget, or use "
            "more keys with fewer operations each"
        )
        return LinearizabilityVerdict(
            "unknown",
            history.key,
            text,
            tuple(outcome.prefix),
            tuple(outcome.stuck),
            outcome.steps,
        )
    return LinearizabilityVerdict("ok", steps=outcome.steps)


def violation(
    history: KeyHistory, outcome: SearchOutcome, conflict: str | None, context: str = ""
) -> LinearizabilityVerdict:
    """The verdict on a history that no order explains.

    Args:
        history, outcome: the history, and the longest order found.
        conflict: why no order explains it, if one sentence can say so.
        context: a line on what came before the history.
    """
    lines = [f"key {history.key!r}: no order of the operations explains every answer"]
    if context:
        lines.append(context)
    if conflict is not None:
        lines.append(conflict)
    lines.append(
        f"{len(outcome.prefix)} of {len(history.known) + len(history.unknown)} operations can be placed; "
        f"then the value is {outcome.value!r}, and none of these can come next:"
    )
    lines += [f"  {operation.describe()}" for operation in outcome.stuck[:_SHOWN]]
    if len(outcome.stuck) > _SHOWN:
        lines.append(f"  and {len(outcome.stuck) - _SHOWN} more")
    if outcome.prefix:
        lines.append("the last ones placed:")
        lines += [f"  {operation.describe()}" for operation in outcome.prefix[-_SHOWN:]]
    return LinearizabilityVerdict(
        "violation",
        history.key,
        "\n".join(lines),
        tuple(outcome.prefix),
        tuple(outcome.stuck),
        outcome.steps,
    )
