"""Makes untrusted text safe to display in log lines, errors and pages: truncated, without control characters."""

from __future__ import annotations

import re
from typing import Final

#: The most characters displayed of a name, an id or an address.
MAX_NAME_CHARS: Final = 200
#: The most characters displayed of a sentence.
MAX_SENTENCE_CHARS: Final = 1000
#: The most characters of an error that is sent to the client.
MAX_ERROR_CHARS: Final = 2000
#: What is displayed in the place of a secret.
HIDDEN: Final = "(hidden)"


def truncate(text: str, limit: int = MAX_NAME_CHARS) -> str:
    """The first `limit` characters, followed by the full length if the text is longer."""
    return text if len(text) <= limit else f"{text[:limit]}... ({len(text)} characters)"


def escape_unprintable(text: str) -> str:
    """Escape every unprintable character.

    These include newlines, terminal control codes, bidirectional text marks and lone surrogates.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def located(where: str, text: str) -> str:
    """The text behind the address that it is about, unless it names the address itself."""
    names_it = re.search(rf"(?<![\w.:-]){re.escape(where)}(?!\d)", text)
    return text if names_it else f"{where}: {text}"


def printable(text: str, limit: int = MAX_NAME_CHARS) -> str:
    """Truncate the text, then escape its unprintable characters."""
    return escape_unprintable(truncate(text, limit))
