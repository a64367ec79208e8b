"""Times, nodes and lists as short English texts."""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import ROUND_HALF_UP, Decimal


def joined(items: Iterable[object]) -> str:
    """A list in a sentence: `1`, `1 and 2`, `1, 2 and 3`."""
    *before, last = map(str, items)
    return f"{', '.join(before)} and {last}" if before else last


def nodes_text(nodes: Iterable[int]) -> str:
    """Nodes in a sentence: `node 1`, `nodes 1 and 2`."""
    numbers = sorted(nodes)
    return f"node{'s' if len(numbers) > 1 else ''} {joined(numbers)}"


def counted(number: int, one: str, many: str = "") -> str:
    """A number and what it counts: `1 round`, `2 rounds`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def duration_text(us: int) -> str:
    """A duration with three digits that matter: `250 µs`, `12.3 ms`, `1.24 s`.

    `duration` in `qcore/pages/shared/format.js` gives the same text, so that a page names no duration in two ways.
    """
    if us < 1_000:
        return f"{us} µs"
    if us < 999_500:
        return f"{_digits(us / 1_000)} ms"
    if us < 120_000_000:
        return f"{_digits(us / 1_000_000)} s"
    if us < 7_200_000_000:
        return f"{round(us / 60_000_000)} min"
    return f"{_digits(us / 3_600_000_000)} h"


def _digits(number: float) -> str:
    """Three digits that matter, without zeros at the end. A half is rounded up, as by `toFixed` of JavaScript."""
    places = 2 if number < 9.995 else 1 if number < 99.95 else 0
    text = str(Decimal(number).quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP))
    return text.rstrip("0").rstrip(".") if "." in text else text


def moment_text(t_us: int, begin_us: int) -> str:
    """A time of a course, from the begin of the cluster (`Course.begin_us`) on: `2.000 s`."""
    return f"{(t_us - begin_us) / 1_000_000:.3f} s"


def reason_text(note: str) -> str:
    """The note of an outcome in words: `NotLeader` is "not leader". Empty if it says no more than the outcome does."""
    if note == "OutcomeUnknown":
        return ""
    if note.isalpha() and note[:1].isupper():
        return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", note).lower()
    return note
