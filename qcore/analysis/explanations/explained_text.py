"""`Explanation`: a title and sentences, as text and for notebooks."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape


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
