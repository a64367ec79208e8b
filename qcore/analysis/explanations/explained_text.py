"""`Explanation`: a title and sentences, as text and for notebooks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

from qcore.analysis.course.voting.short_texts import duration_text, joined


@dataclass(slots=True, frozen=True)
class Explanation:
    """What happened, and why it took that long."""

    title: str
    sentences: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join([self.title, *(f"- {sentence}" for sentence in self.sentences)])

    def _repr_html_(self) -> str:
        items = "".join(f"<li>{escape(sentence)}</li>" for sentence in self.sentences)
        return f"<p><b>{escape(self.title)}</b></p><ul>{items}</ul>"


def upper_first(text: str) -> str:
    """The text with a capital letter at its begin."""
    return text[:1].upper() + text[1:]


def share_text(part: int, whole: int) -> str:
    """A share: `92 %`."""
    return f"{round(100 * part / whole)} %"


def whole_and_parts(names: Sequence[str], times_us: Sequence[int], until: str = "") -> str:
    """A sentence about the parts between times: `Detection 186 ms and votes 4.6 ms: 191 ms in all.`

    Args:
        names, times_us: the parts, and the times before, between and after them.
        until: what the last time is, for example `until its first commit`.
    """
    parts = [
        f"{name} {duration_text(end_us - start_us)}"
        for name, (start_us, end_us) in zip(names, pairwise(times_us), strict=True)
    ]
    whole = duration_text(times_us[-1] - times_us[0])
    return f"{upper_first(joined(parts))}: {whole} in all{f', {until}' if until else ''}."
