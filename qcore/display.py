"""Texts from outside as they may be shown, in a log line, an error, a page: cut, and without control characters."""

from __future__ import annotations

from typing import Final

#: Characters of a name, an id or an address that are shown.
MAX_NAME_CHARS: Final = 200
#: Characters of a whole sentence.
MAX_SENTENCE_CHARS: Final = 1000
#: Characters of an error that is sent to whoever asked.
MAX_ERROR_CHARS: Final = 2000


def truncate(text: str, limit: int = MAX_NAME_CHARS) -> str:
    """The first `limit` characters, and how many there are if that is not all."""
    return text if len(text) <= limit else f"{text[:limit]}... ({len(text)} characters)"


def escape_unprintable(text: str) -> str:
    """The text with everything that is not printable written as an escape: newlines, terminal codes, marks that turn
    the direction of writing, halves of a surrogate pair."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def printable(text: str, limit: int = MAX_NAME_CHARS) -> str:
    """`truncate` and `escape_unprintable`."""
    return escape_unprintable(truncate(text, limit))
