"""Calls a user's function at the boundary: what it returned, what it raised, and where."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import PurePath

_SHOWN = 500


class BrokenOracle(Exception):
    """A user's function raised an error, or returned something that has no meaning. The text names the function."""


def problem_found(name: str, function: Callable[..., object], *arguments: object) -> str | None:
    """Ask a function whether something holds.

    Returns:
        None if it holds: the function returned True or None, or an empty text. Otherwise why it does not: the text that
        the function returned or raised as AssertionError.

    Raises:
        BrokenOracle: it raised another error, or returned something else.
    """
    try:
        answer = function(*arguments)
    except AssertionError as error:
        return _assertion_text(error)
    except Exception as error:  # user code may raise anything
        raise BrokenOracle(raised_text(name, error)) from error
    if answer is None or answer is True or answer == "":
        return None
    if answer is False:
        return "it returned False"
    if isinstance(answer, str):
        return shortened(answer)
    raise BrokenOracle(
        f"{name} returned {answer!r:.100}: return True if it holds, and False or a text if it does not"
    )


def raised_text(name: str, error: Exception) -> str:
    """The text for an error that a user's function raised, with the place of the line."""
    return f"{name} raised {type(error).__name__}: {shortened(_text(error))} ({place_of(error)})"


def place_of(error: BaseException) -> str:
    """The file and the line that raised the error. The file has no directory, so the text is the same everywhere."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return "no line"
    frame = frames[-1]
    return f"{PurePath(frame.filename).name}:{frame.lineno}"


def _assertion_text(error: AssertionError) -> str:
    text = _text(error)
    if text:
        return f"{shortened(text)} ({place_of(error)})"
    frames = traceback.extract_tb(error.__traceback__)
    line = frames[-1].line if frames else ""
    return f"`{line}` does not hold ({place_of(error)})" if line else "an assertion does not hold"


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as raised:  # noqa: BLE001 - the error's class is user code, too
        return f"<its text raised {type(raised).__name__}>"


def shortened(text: str, limit: int = _SHOWN) -> str:
    """The text, cut after `limit` characters."""
    return text if len(text) <= limit else f"{text[:limit]}... ({len(text)} characters)"
