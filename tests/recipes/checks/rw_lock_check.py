"""No writer together with another holder, and no holder that acts after a later writer.

The records are those of `exclusion_check`, with the `kind` of the holder: `read` or `write`.
"""

from __future__ import annotations

from collections.abc import Sequence

from qcore.client.programs.program_context import ProgramRecord
from tests.recipes.checks.exclusion_check import at_of, token_of


def rw_lock_violations(records: Sequence[ProgramRecord]) -> list[str]:
    """What contradicts a lock for many readers or one writer.

    Each record says that its token was held at that time. Of two tokens, one of them a writer's, the smaller one must
    have ended before the larger one is acquired. So no record of the smaller one may come later.

    Args:
        records: `acquired` and `held`, with `at`, `token` and `kind`.
    """
    claims = sorted((each for each in records if each.what in ("acquired", "held")), key=at_of)
    #: The largest token that was acquired until now, and the largest of a writer.
    newest: ProgramRecord | None = None
    newest_writer: ProgramRecord | None = None
    violations: list[str] = []
    for claim in claims:
        is_writer = claim.details["kind"] == "write"
        later = newest if is_writer else newest_writer
        if later is not None and token_of(later) > token_of(claim) and at_of(later) < at_of(claim):
            violations.append(
                f"client {claim.client} held token {token_of(claim)} to {claim.details['kind']} at "
                f"{at_of(claim):.6f}, when client {later.client} had acquired token {token_of(later)} to "
                f"{later.details['kind']} at {at_of(later):.6f}"
            )
        if newest is None or token_of(claim) > token_of(newest):
            newest = claim
        if is_writer and (newest_writer is None or token_of(claim) > token_of(newest_writer)):
            newest_writer = claim
    return violations


def shared_reads(records: Sequence[ProgramRecord]) -> int:
    """How often a reader acquired the lock while another one held it. Without any, it would be a mere `Lock`."""
    spans: dict[int, tuple[float, float]] = {}
    for each in records:
        if each.what in ("acquired", "held") and each.details["kind"] == "read":
            first, _ = spans.get(token_of(each), (at_of(each), 0.0))
            spans[token_of(each)] = (first, at_of(each))
    return sum(
        other != token and first < began < last
        for token, (began, _) in spans.items()
        for other, (first, last) in spans.items()
    )
