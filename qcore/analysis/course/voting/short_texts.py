"""Times, nodes and lists as short English texts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise


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
    """A duration: `0.4 ms`, `186 ms`, `12.3 s`."""
    if us < 9_950:
        return f"{us / 1000:.1f} ms"
    if us < 9_999_500:
        return f"{us / 1000:,.0f} ms"
    return f"{us / 1_000_000:,.1f} s"


def moment_text(us: int) -> str:
    """A time of a run: `2.000 s`."""
    return f"{us / 1_000_000:.3f} s"


def reason_text(note: str) -> str:
    """The note of an outcome in words: `NotLeader` is "not leader". Empty if it says no more than the outcome does."""
    if note == "OutcomeUnknown":
        return ""
    if note.isalpha() and note[:1].isupper():
        return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", note).lower()
    return note


def parts_text(times_us: Sequence[int]) -> list[str]:
    """The durations between times. Rounded as they are, their sum is the duration from the first to the last time."""
    total = times_us[-1] - times_us[0]
    unit = 100 if total < 9_950 else 1000
    marks = [round((t_us - times_us[0]) / unit) * unit for t_us in times_us]
    shown = [end - start for start, end in pairwise(marks)]
    return [f"{us / 1000:.1f} ms" if unit == 100 else f"{us // 1000:,} ms" for us in shown]
