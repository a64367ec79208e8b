"""The size of a text in bytes: as UTF-8, and as a JSON string. Limits count bytes, never characters."""

from __future__ import annotations

from typing import Final

#: The characters that a JSON writer escapes with two bytes, and with six (`\\u001f`). It writes all others as UTF-8.
_TWO_BYTES: Final = b'"\\\b\f\n\r\t'
_SIX_BYTES: Final = bytes(code for code in range(0x20) if code not in _TWO_BYTES)

#: No character needs more bytes than this in a JSON string that is written as UTF-8.
MAX_JSON_BYTES_PER_CHARACTER: Final = 6


def utf8_length(text: str) -> int:
    """Bytes of the text as UTF-8. Takes constant time for ASCII. A lone surrogate counts as three bytes."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def part_within(text: str, start: int, max_bytes: int) -> str:
    """The longest part of the text from `start` on that has at most `max_bytes` bytes as UTF-8.

    It has at least one character, unless `start` is the end. No character is split.
    """
    part = text[start : start + max_bytes]
    if part.isascii():
        return part
    # A cut within a character leaves an incomplete one at the end, and nothing else is invalid.
    return part.encode()[:max_bytes].decode(errors="ignore") or part[0]


def json_length(text: str) -> int:
    """Bytes of the text as a JSON string in UTF-8, quotes included. Only what must be escaped is escaped.

    A lone surrogate, which no JSON in UTF-8 can hold, counts as three bytes.
    """
    if text.isascii() and text.isprintable():  # the usual case
        return len(text) + text.count('"') + text.count("\\") + 2
    data = text.encode("utf-8", "surrogatepass")
    twos = len(data) - len(data.translate(None, _TWO_BYTES))
    sixes = len(data) - len(data.translate(None, _SIX_BYTES))
    return len(data) + twos + 5 * sixes + 2


def lone_surrogate(text: str) -> int | None:
    """The position of the first lone surrogate, or None. A text with one can be neither stored nor sent."""
    if text.isascii():
        return None
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return error.start
    return None
