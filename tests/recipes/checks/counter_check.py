"""Each addition of 1 counts once, and every value that was seen fits the additions around it.

An addition is recorded before its call (`adding`), and when it has returned (`added`) or was without effect
(`added nothing`). Without such a record it may have taken effect, or not.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Sequence
from itertools import groupby

from qcore.client.programs.program_context import ProgramRecord
from tests.recipes.checks.exclusion_check import at_of


def counter_violations(records: Sequence[ProgramRecord]) -> list[str]:
    """What contradicts a counter that begins with 0 and to which clients add 1.

    Args:
        records: `adding`, `added nothing`; `added` and `read` with `began` and `value`; all with `at`.
    """
    adding = _times(records, "adding")
    nothing = len(_times(records, "added nothing"))
    added = _times(records, "added")
    seen = sorted((each for each in records if each.what in ("added", "read")), key=at_of)
    counts = Counter(_value(each) for each in seen if each.what == "added")
    violations = [f"{count} additions gave {value}" for value, count in counts.items() if count > 1]
    for each in seen:
        least = bisect_left(added, _began(each))
        most = bisect_right(adding, at_of(each))
        if not least <= _value(each) <= most:
            violations.append(
                f"client {each.client} saw {_value(each)} from {_began(each):.6f} to {at_of(each):.6f}: {least} "
                f"additions had returned before, and {most} had begun"
            )
    if seen and max(map(_value, seen)) > len(adding) - nothing:
        violations.append(
            f"the largest value is {max(map(_value, seen))}: of {len(adding)} additions, {nothing} were without effect"
        )
    return violations + _order_violations(seen)


def _order_violations(seen: Sequence[ProgramRecord]) -> list[str]:
    """Of two values, the one whose call began when the other one had returned must not be smaller."""
    violations: list[str] = []
    #: The call that saw a larger value and returned first.
    earliest: ProgramRecord | None = None
    by_value = sorted(seen, key=_value, reverse=True)
    for _, group in groupby(by_value, key=_value):
        same = list(group)
        if earliest is not None:
            violations += [
                f"client {each.client} saw {_value(each)} from {_began(each):.6f} on, after client {earliest.client} "
                f"had seen {_value(earliest)} at {at_of(earliest):.6f}"
                for each in same
                if at_of(earliest) < _began(each)
            ]
        earliest = min([*same, earliest] if earliest is not None else same, key=at_of)
    return violations


def _times(records: Sequence[ProgramRecord], what: str) -> list[float]:
    return sorted(at_of(each) for each in records if each.what == what)


def _began(record: ProgramRecord) -> float:
    return float(str(record.details["began"]))


def _value(record: ProgramRecord) -> int:
    return int(str(record.details["value"]))
