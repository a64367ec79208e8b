"""A barrier releases exactly its parties in each round, and only when all of them have come.

An arrival is recorded before the call of `wait`, and a passage after it. Each round takes `parties` arrivals that no
other round takes. So before anyone passes round `n`, there must be `n` times as many arrivals. A call that says that it
has left is in no round, so the others must suffice for all rounds.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from qcore.client.programs.program_context import ProgramRecord
from tests.recipes.checks.exclusion_check import at_of


def barrier_violations(records: Sequence[ProgramRecord]) -> list[str]:
    """What contradicts a barrier whose rounds are numbered from 1.

    Args:
        records: `arrived`, `passed` and `left`, with `at` and the `name` of the call; the first two with `parties`;
            `passed` with `round`; `left` with `is_known`, whether it is known that no round has released it.
    """
    arrived = {str(each.details["name"]): each for each in records if each.what == "arrived"}
    assert len(arrived) == sum(each.what == "arrived" for each in records), "names are distinct"
    arrivals = sorted(at_of(each) for each in arrived.values())
    rounds: defaultdict[int, list[ProgramRecord]] = defaultdict(list)
    for each in records:
        if each.what == "passed":
            rounds[int(str(each.details["round"]))].append(each)
    left = sum(each.what == "left" and each.details["is_known"] is True for each in records)
    violations: list[str] = []
    for number, passed in sorted(rounds.items()):
        parties = int(str(passed[0].details["parties"]))
        first = min(passed, key=at_of)
        if len(passed) > parties:
            violations.append(f"round {number}: {len(passed)} passed, not {parties}")
        came = sum(at < at_of(first) for at in arrivals)
        if came < number * parties:
            violations.append(
                f"round {number}: client {first.client} passed at {at_of(first):.6f}, when only {came} had come to "
                f"rounds 1 to {number}, not {number * parties}"
            )
        for each in passed:
            arrival = arrived[str(each.details["name"])]
            if at_of(arrival) > at_of(first):
                violations.append(
                    f"round {number}: client {each.client} passed, and came at {at_of(arrival):.6f}, after client "
                    f"{first.client} had passed at {at_of(first):.6f}"
                )
        if len(arrived) - left < number * parties:
            violations.append(
                f"round {number}: of {len(arrived)} that came, {left} say that they left unreleased, so there are "
                f"not {number * parties} for rounds 1 to {number}"
            )
    return violations
