"""One leader at a time, and observers that see the leaders in their order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise

from qcore.client.programs.program_context import ProgramRecord
from tests.recipes.checks.exclusion_check import at_of, exclusion_violations, token_of


def election_violations(records: Sequence[ProgramRecord]) -> list[str]:
    """What contradicts one leader at a time, or an observer that sees each leader once and in order.

    Args:
        records: `acquired` and `held` as for a lock; `observed` with `at`, `token`, `label`, and with `begun`, when the
            observer began.
    """
    violations = exclusion_violations(records)
    observed: defaultdict[tuple[int, object], list[ProgramRecord]] = defaultdict(list)
    for record in records:
        if record.what == "observed":
            observed[record.client, record.details["begun"]].append(record)
    for (client, _), seen in observed.items():
        for before, after in pairwise(sorted(seen, key=at_of)):
            if token_of(after) <= token_of(before):
                violations.append(
                    f"client {client} observed token {token_of(after)} at {at_of(after):.6f} after token "
                    f"{token_of(before)}"
                )
    leaders = {token_of(each): each.client for each in records if each.what == "acquired"}
    for record in records:
        if record.what == "observed" and token_of(record) in leaders:
            label, leader = record.details["label"], leaders[token_of(record)]
            if label != f"worker-{leader}":
                violations.append(
                    f"client {record.client} observed {label} with the token of client {leader}"
                )
    return violations
