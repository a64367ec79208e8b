"""Never more holders at a time than permits.

A token is held from its record `acquired` to its last record `held` without a break, because nothing gives back a token
that was lost. What comes after that record is not known, and is not counted.
"""

from __future__ import annotations

from collections.abc import Sequence

from qcore.client.programs.program_context import ProgramRecord
from tests.recipes.checks.exclusion_check import at_of, token_of


def semaphore_violations(records: Sequence[ProgramRecord]) -> list[str]:
    """The moments at which more tokens were held than there are permits.

    Args:
        records: `acquired` and `held`, with `at`, `token` and `permits`.
    """
    claims = sorted((each for each in records if each.what in ("acquired", "held")), key=at_of)
    last = {token_of(each): at_of(each) for each in claims}
    permits = {each.details["permits"] for each in claims}
    assert len(permits) <= 1, f"one semaphore has one number of permits: {permits}"
    violations: list[str] = []
    holders: dict[int, ProgramRecord] = {}
    for claim in claims:
        holders = {token: each for token, each in holders.items() if last[token] >= at_of(claim)}
        if token_of(claim) in holders:
            continue
        holders[token_of(claim)] = claim
        if len(holders) > int(str(claim.details["permits"])):
            who = ", ".join(f"{token} of client {each.client}" for token, each in holders.items())
            violations.append(
                f"{len(holders)} tokens held at {at_of(claim):.6f} with {claim.details['permits']} permits: {who}"
            )
    return violations


def most_holders(records: Sequence[ProgramRecord]) -> int:
    """The largest number of tokens held at a time. Fewer than the permits would mean that some are never used."""
    claims = sorted((each for each in records if each.what in ("acquired", "held")), key=at_of)
    last = {token_of(each): at_of(each) for each in claims}
    first = {token_of(each): at_of(each) for each in reversed(claims)}
    return max(
        (sum(first[other] <= began <= last[other] for other in last) for began in first.values()),
        default=0,
    )
