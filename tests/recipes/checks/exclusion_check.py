"""No two holders at a time, and tokens that only grow.

A record `held` says that its program held the token at the time `at`: the program read the clock, then it checked its
lease, and only then it wrote the record. So it is true also if the program was stopped in between.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from qcore.client.programs.program_context import ProgramRecord


def exclusion_violations(records: Sequence[ProgramRecord]) -> list[str]:
    """What contradicts mutual exclusion and growing tokens.

    Args:
        records: `acquired` and `held`, with `at`, `token`, and perhaps the `name` of the lock.
    """
    names = sorted({str(each.details.get("name", "")) for each in records if _is_relevant(each)})
    violations: list[str] = []
    for name in names:
        of_name = [
            each for each in records if _is_relevant(each) and each.details.get("name", "") == name
        ]
        violations += _violations_of_one(name, of_name)
    return violations


def _is_relevant(record: ProgramRecord) -> bool:
    return record.what in ("acquired", "held")


def _violations_of_one(name: str, records: Sequence[ProgramRecord]) -> list[str]:
    violations: list[str] = []
    acquired = sorted((each for each in records if each.what == "acquired"), key=at_of)
    for before, after in pairwise(acquired):
        if token_of(after) <= token_of(before):
            violations.append(
                f"{name}: client {after.client} acquired token {token_of(after)} at {at_of(after):.6f}, after token "
                f"{token_of(before)} of client {before.client}"
            )
    for held in (each for each in records if each.what == "held"):
        for other in acquired:
            if at_of(other) >= at_of(held):
                break
            if token_of(other) > token_of(held):
                violations.append(
                    f"{name}: client {held.client} held token {token_of(held)} at {at_of(held):.6f}, when client "
                    f"{other.client} had acquired token {token_of(other)} at {at_of(other):.6f}"
                )
                break
    return violations


def at_of(record: ProgramRecord) -> float:
    """When the record was true, seconds of a clock that all programs of the run share."""
    at = record.details["at"]
    assert isinstance(at, int | float), record
    return float(at)


def token_of(record: ProgramRecord) -> int:
    """The fencing token of a record."""
    token = record.details["token"]
    assert isinstance(token, int), record
    return token
