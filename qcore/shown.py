"""Texts from outside as they may be shown, in a log line, an error, a page: cut, and without control characters."""

from __future__ import annotations

from typing import Final

#: Characters of a name, an id or an address that are shown.
SHORT: Final = 200
#: Characters of a whole sentence.
LONG: Final = 1000
#: Characters of an error that is sent to whoever asked.
ERROR: Final = 2000


def cut(text: str, limit: int = SHORT) -> str:
    """The first `limit` characters, and how many there are if that is not all."""
    return text if len(text) <= limit else f"{text[:limit]}... ({len(text)} characters)"


def escaped(text: str) -> str:
    """The text with everything that is not printable written as an escape: newlines, terminal codes, marks that turn
    the direction of writing, halves of a surrogate pair."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def shown(text: str, limit: int = SHORT) -> str:
    """`cut` and `escaped`."""
    return escaped(cut(text, limit))
