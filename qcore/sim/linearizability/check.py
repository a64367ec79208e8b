"""The entry point `check_history`: divides a history by key, chooses the method, shares the budget and explains."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from qcore.sim.linearizability import zones
from qcore.sim.linearizability.history import KeyHistory
from qcore.sim.linearizability.operation import LinearizabilityVerdict, Operation
from qcore.sim.linearizability.search import SearchOutcome, search

#: Placements to try before the checker stops undecided; each takes well under a microsecond.
DEFAULT_BUDGET: Final = 5_000_000

_SHOWN: Final = 5


def check_history(
    operations: Iterable[Operation], *, budget: int = DEFAULT_BUDGET
) -> LinearizabilityVerdict:
    """Check whether one order of the operations, consistent with real time, explains every output.

    Herlihy and Wing, "Linearizability" (1990). Registers are independent (locality, their theorem 1), so each key is
    checked alone. A count, not a clock, bounds the work, so the same history gives the same verdict everywhere.

    Args:
        operations: in any order; see `Operation` for those that belong to a history.
        budget: the number of placements to try, over all keys together.

    Raises:
        ValueError: an operation returns before it was invoked, or its input does not fit its kind.
    """
    by_key: dict[str, list[Operation]] = {}
    total = 0
    for operation in operations:
        _validate(operation)
        by_key.setdefault(operation.key, []).append(operation)
        total += 1
    histories = [KeyHistory.of(key, by_key[key]) for key in sorted(by_key)]
    # Small histories first: the larger ones get what is left of their shares.
    histories.sort(key=lambda history: len(history.known) + len(history.unknown))
    undecided: LinearizabilityVerdict | None = None
    steps = 0
    for position, history in enumerate(histories):
        share = (budget - steps) // (len(histories) - position)
        verdict = _check_key(history, share)
        steps += verdict.steps
        if verdict.result == "violation":
            return _with_totals(verdict, steps, total)
        if verdict.result == "unknown" and undecided is None:
            undecided = verdict
    return _with_totals(undecided or LinearizabilityVerdict("ok"), steps, total)


def _check_key(history: KeyHistory, budget: int) -> LinearizabilityVerdict:
    if zones.applies_to(history):
        conflict = zones.find_conflict(history)
        if conflict is None:
            return LinearizabilityVerdict("ok")
        # The verdict is final. The search only shows how far an order can go.
        outcome = search(history, budget)
        assert outcome.result != "ok", "the two methods contradict each other"
        return _violation(history, outcome, conflict)
    outcome = search(history, budget)
    if outcome.result == "violation":
        return _violation(history, outcome, None)
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


def _violation(
    history: KeyHistory, outcome: SearchOutcome, conflict: str | None
) -> LinearizabilityVerdict:
    lines = [f"key {history.key!r}: no order of the operations explains every answer"]
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


def _with_totals(
    verdict: LinearizabilityVerdict, steps: int, operations: int
) -> LinearizabilityVerdict:
    return LinearizabilityVerdict(
        verdict.result,
        verdict.key,
        verdict.explanation,
        verdict.prefix,
        verdict.stuck,
        steps,
        operations,
    )


def _validate(operation: Operation) -> None:
    if operation.return_us is not None and operation.return_us < operation.invoke_us:
        raise ValueError(f"{operation.describe()}: returns before it was invoked")
    if isinstance(operation.input, tuple) != (operation.kind == "cas"):
        raise ValueError(
            f"client {operation.client} op {operation.op_id}: a {operation.kind} with the input "
            f"{operation.input!r}; cas takes (expected, new), the others one value"
        )
