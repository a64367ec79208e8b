"""Checks of the conformance suites. Each failure says what was expected and what came, without pytest and with `-O`."""

from __future__ import annotations

from typing import Final

from qcore.core.text_size import json_length, lone_surrogate
from qcore.machines.interface import MAX_RESULT_BYTES

#: How much of a value is shown, characters.
_SHOWN: Final = 400


def require(holds: object, text: str) -> None:
    """Check a condition.

    Raises:
        AssertionError: it does not hold; with the text.
    """
    if not holds:
        raise AssertionError(text)


def require_equal(got: object, expected: object, what: str) -> None:
    """Check that two values are equal.

    Args:
        got: what the implementation gave.
        expected: what it must give.
        what: what the value is.

    Raises:
        AssertionError: they differ; with both, each from shortly before the first difference on if it is long.
    """
    if got == expected:
        return
    one, other = repr(got), repr(expected)
    same = next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), 0)
    begin = max(0, same - 100) if max(len(one), len(other)) > _SHOWN else 0
    raise AssertionError(f"{what} is {_shown(one, begin)}; expected {_shown(other, begin)}")


def _shown(text: str, begin: int) -> str:
    """A part of a text, with dots where something is left out."""
    part = text[begin : begin + _SHOWN]
    return "..." * (begin > 0) + part + "..." * (begin + len(part) < len(text))


def require_text(value: object, what: str) -> None:
    """Check that a value is text that can be written as UTF-8.

    Raises:
        AssertionError: it is not; the text names `what`.
    """
    if not isinstance(value, str):
        raise AssertionError(f"{what} is of the type {type(value).__name__}; expected text")
    at = lone_surrogate(value)
    if at is not None:
        raise AssertionError(
            f"{what} has a lone surrogate, U+{ord(value[at]):04X}, at character {at}; expected text that can be "
            "written as UTF-8: write it as JSON"
        )


def require_sendable(value: object, what: str) -> None:
    """Check that a result or answer is text and not too large.

    Raises:
        AssertionError: it is not; the text names `what`.
    """
    require_text(value, what)
    assert isinstance(value, str), "checked in the line before"
    size = json_length(value)
    require(
        size <= MAX_RESULT_BYTES,
        f"{what} has {size} bytes as JSON; expected at most {MAX_RESULT_BYTES}: return an error result, or a part",
    )
