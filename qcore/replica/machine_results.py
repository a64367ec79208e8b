"""The results of a state machine, checked before they are recorded, stored or sent.

A result that is not text, or that holds a lone surrogate, can be neither written as JSON nor stored. In a session it
would make every later snapshot unreadable. So it becomes an error value, the same on every replica, under all apply
rules. The error states that the command took effect.

The callers take results as `object`: where a result is declared as `str`, compiled code raises for anything else.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from qcore.core.text_size import (
    MAX_JSON_BYTES_PER_CHARACTER,
    json_length,
    lone_surrogate,
)
from qcore.errors import QcoreError, ResultInvalid, ResultTooLarge, StateMachineFailed
from qcore.machines.interface import MAX_RESULT_BYTES, StateMachine

#: A result, or the error that replaces it. A session records either.
Result = str | QcoreError

#: The longest text of a machine's exception that is passed on, characters.
_MAX_TEXT: Final = 2000
_DIGEST: Final = re.compile(r"[0-9a-fA-F]+")
_COMMAND: Final = "the command took effect, but the state machine's result cannot be sent"
_QUERY: Final = "the state machine's answer cannot be sent"


def result_of_command(result: object) -> Result:
    """The result if it is valid text, else the error that replaces it."""
    return _valid(result, _COMMAND)


def within_bound(result: Result) -> Result:
    """The result, or an error if it is larger than `MAX_RESULT_BYTES`."""
    return _bounded(result, _COMMAND, "look at the state for what it did")


def result_of_query(answer: object) -> Result:
    """The result of a read if it is valid text and not too large, else the error that replaces it."""
    return _bounded(_valid(answer, _QUERY), _QUERY, "ask for less at a time")


def digest_of(machine: StateMachine) -> str:
    """The machine's digest of its state.

    Raises:
        StateMachineFailed: the machine raised, or its digest is not hexadecimal text and cannot be compared.
    """
    state_hash: Callable[[], object] = machine.state_hash
    try:
        digest = state_hash()
    except StateMachineFailed:
        raise
    except Exception as raised:  # the boundary to user code
        raise StateMachineFailed(
            f"state_hash() of the state machine {machine.name!r} raised {type(raised).__name__}: "
            f"{exception_text(raised)}"
        ) from raised
    if isinstance(digest, str) and _DIGEST.fullmatch(digest):
        return digest
    raise StateMachineFailed(
        f"state_hash() of the state machine {machine.name!r} gave {ascii(digest)[:100]}; it must be hexadecimal text"
    )


def exception_text(raised: BaseException) -> str:
    """The text of a machine's exception, shortened and valid, so it can be sent."""
    try:
        text = str(raised)[:_MAX_TEXT]
    except Exception:  # noqa: BLE001 - user code again
        return "an exception that has no text"
    return text if lone_surrogate(text) is None else text.encode(errors="replace").decode()


def _valid(result: object, what: str) -> Result:
    if not isinstance(result, str):
        return ResultInvalid(f"{what}: it is no text but of the type {type(result).__name__}")
    at = lone_surrogate(result)
    if at is not None:
        return ResultInvalid(
            f"{what}: it has a lone surrogate, U+{ord(result[at]):04X}, at character {at}"
        )
    return result if type(result) is str else str.__str__(result)  # of a subclass, only the text


def _bounded(result: Result, what: str, advice: str) -> Result:
    if (
        not isinstance(result, str)
        or len(result) * MAX_JSON_BYTES_PER_CHARACTER + 2 <= MAX_RESULT_BYTES
    ):
        return result
    if len(result) > MAX_RESULT_BYTES:  # no need to count its bytes
        return ResultTooLarge(
            f"{what}: it has {len(result)} characters, and {MAX_RESULT_BYTES} bytes of JSON are allowed: {advice}"
        )
    size = json_length(result)
    if size <= MAX_RESULT_BYTES:
        return result
    return ResultTooLarge(
        f"{what}: it has {size} bytes as JSON, and {MAX_RESULT_BYTES} are allowed: {advice}"
    )
