"""The entry point `check_history`: divides a history by key, chooses the method, shares the budget and explains."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from operator import attrgetter
from typing import Final

from qcore.sim.linearizability.history import KeyHistory
from qcore.sim.linearizability.key_verdict import check_key
from qcore.sim.linearizability.operation import LinearizabilityVerdict, Operation
from qcore.sim.linearizability.segment_check import NotInOrder, check_in_segments

#: Placements to try before the checker stops undecided; each takes well under a microsecond.
DEFAULT_BUDGET: Final = 5_000_000

#: A longer history is checked in segments, which takes little memory.
LONG_HISTORY: Final = 20_000


def check_history(
    operations: Iterable[Operation],
    *,
    budget: int = DEFAULT_BUDGET,
    long_history: int = LONG_HISTORY,
) -> LinearizabilityVerdict:
    """Check whether one order of the operations, consistent with real time, explains every output.

    Herlihy and Wing, "Linearizability" (1990). Registers are independent (locality, their theorem 1), so each key is
    checked alone. A count, not a clock, bounds the work, so the same history gives the same verdict everywhere.

    A long history is checked in segments (see `segment_check`). That gives the same result, except that it decides some
    histories for which the budget is too small otherwise. `steps` differs, and so can the violation that is reported,
    if there are several: it is the first one in time.

    Args:
        operations: in any order; see `Operation` for those that belong to a history. A long history takes little memory
            if they are in the order of their invocation, and can be iterated over more than once.
        budget: the number of placements to try, over all keys together.
        long_history: a history with more operations is long.

    Raises:
        ValueError: an operation returns before it was invoked, or its input does not fit its kind.
    """
    if isinstance(operations, Iterator):
        operations = list(operations)
    steps = 0
    if sum(1 for _ in islice(operations, long_history + 1)) > long_history:
        try:
            verdict = check_in_segments(operations, budget)
        except NotInOrder:
            operations = sorted(operations, key=attrgetter("invoke_us"))
            verdict = check_in_segments(operations, budget)
        if verdict.result != "unknown":
            return verdict
        steps = verdict.steps
    return _check_whole(operations, budget, steps)


def _check_whole(
    operations: Iterable[Operation], budget: int, steps_before: int
) -> LinearizabilityVerdict:
    by_key: dict[str, list[Operation]] = {}
    total = 0
    for operation in operations:
        operation.validate()
        by_key.setdefault(operation.key, []).append(operation)
        total += 1
    histories = [KeyHistory.of(key, by_key[key]) for key in sorted(by_key)]
    # Small histories first: the larger ones get what is left of their shares.
    histories.sort(key=lambda history: len(history.known) + len(history.unknown))
    undecided: LinearizabilityVerdict | None = None
    steps = 0
    for position, history in enumerate(histories):
        share = (budget - steps) // (len(histories) - position)
        verdict = check_key(history, share)
        steps += verdict.steps
        if verdict.result == "violation":
            return _with_totals(verdict, steps_before + steps, total)
        if verdict.result == "unknown" and undecided is None:
            undecided = verdict
    return _with_totals(undecided or LinearizabilityVerdict("ok"), steps_before + steps, total)


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
