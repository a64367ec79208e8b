"""Splits the lines of the shell into words, as a POSIX shell quotes them, but without any expansion."""

from __future__ import annotations

import re
import shlex
from typing import Final, NamedTuple

from qcore.errors import ConfigError

_QUOTED: Final = re.compile(r"""'[^']*'|"(?:\\.|[^"\\])*"|\\.""", re.DOTALL)
_REDIRECTIONS: Final = frozenset({"|", "||", ">", ">>", "<", "&", "&&"})
_OPENING: Final = {"[": "]", "{": "}", "(": ")"}


class PartialLine(NamedTuple):
    """A line that is still being written.

    Attributes:
        words: the whole words before the last one.
        last: the last word, without its quotes; empty after a space.
        start: where the last word begins in the line.
    """

    words: list[str]
    last: str
    start: int


def split_line(line: str) -> list[str]:
    """The words of a whole line; none for a comment.

    Raises:
        ConfigError: a quote has no end.
    """
    if line.lstrip().startswith("#"):
        return []
    try:
        return shlex.split(line.replace("\\\n", ""))
    except ValueError as error:
        raise ConfigError(f"the command is incomplete: {error}; close the quote") from None


def redirection_in(line: str) -> str | None:
    """The first word without quotes that other shells take for a pipe, a redirection or a job."""
    words = _QUOTED.sub("_", line).split()
    return next((word for word in words if word in _REDIRECTIONS), None)


def is_whole(text: str) -> bool:
    """Whether a text is a whole command: without an open quote or bracket, or a backslash at its end."""
    quote, open_brackets, escaped = "", list[str](), False
    for character in text:
        if escaped:
            escaped = False
        elif character == "\\" and quote != "'":
            escaped = True
        elif quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character in _OPENING:
            open_brackets.append(_OPENING[character])
        elif open_brackets and character == open_brackets[-1]:
            open_brackets.pop()
    return not (quote or open_brackets or escaped)


def split_partial(text: str) -> PartialLine:
    """The words of a line up to the cursor."""
    words: list[str] = []
    word, start = "", -1
    quote, escaped = "", False
    for place, character in enumerate(text):
        if start < 0 and not character.isspace():
            start = place
        if escaped:
            word, escaped = word + character, False
        elif character == "\\" and quote != "'":
            escaped = True
        elif quote:
            quote, word = ("", word) if character == quote else (quote, word + character)
        elif character in "'\"":
            quote = character
        elif character.isspace():
            if start >= 0:
                words.append(word)
            word, start = "", -1
        else:
            word += character
    return PartialLine(words, word, len(text) if start < 0 else start)
