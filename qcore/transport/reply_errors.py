"""Turns errors that arrive in responses into exceptions, for users of `ClientConnection`."""

from __future__ import annotations

from collections.abc import Mapping

import qcore.errors
from qcore.errors import (
    ChangeRefused,
    DetailValue,
    NotLeader,
    Overloaded,
    QcoreError,
    RemoteProtocolError,
)


class ErrorReply(RemoteProtocolError):
    """The other end did not understand an envelope that this end sent; `detail()` includes its explanation.

    Args:
        text: the `error` of the `Error` envelope.
        detail: its `detail`.
    """

    def __init__(self, text: object, detail: object = None) -> None:
        super().__init__(text if isinstance(text, str) else "an error without a text")
        self._detail = _scalars(detail)

    def detail(self) -> dict[str, DetailValue]:
        return {**super().detail(), **self._detail}


def error_from_wire(text: str, detail: object = None) -> QcoreError:
    """The exception for an error text and its `detail`.

    Args:
        text: the text in `Err` or `error`.
        detail: the value of the key `detail` beside it. Without one, or with an unknown `code`, the result is a plain
            `QcoreError`.
    """
    values = _scalars(detail)
    code = values.get("code")
    cls = getattr(qcore.errors, code, None) if isinstance(code, str) else None
    if not (isinstance(cls, type) and issubclass(cls, QcoreError)):
        return QcoreError(text)
    if cls is NotLeader:
        leader_id, leader_addr = values.get("leader_id"), values.get("leader_addr")
        error = NotLeader(
            leader_id if type(leader_id) is int else None,
            leader_addr if isinstance(leader_addr, str) else None,
        )
        error.args = (text,)
        return error
    if cls is Overloaded:
        hint = values.get("retry_after_ms")
        return Overloaded(text, max(1, hint) if type(hint) is int else 1)
    if cls is ChangeRefused:
        name = str(values.get("name"))
        return ChangeRefused(name, text.removeprefix(f"refused ({name}): "))
    return cls(text)


def raise_for_error(reply: Mapping[str, object]) -> object:
    """The value in the `response` field of a reply: the content of `Ok`, or the whole field if it has no `Ok`.

    Raises:
        QcoreError: the response is an `Err`; `detail` names the class of the exception.
    """
    response = reply.get("response")
    if isinstance(response, dict) and len(response) == 1:
        if "Err" in response:
            raise error_from_wire(str(response["Err"]), reply.get("detail"))
        if "Ok" in response:
            value: object = response["Ok"]
            return value
    return response


def _scalars(detail: object) -> dict[str, DetailValue]:
    """The valid part of a `detail`, which comes from outside."""
    if not isinstance(detail, dict):
        return {}
    return {
        key: value
        for key, value in detail.items()
        if isinstance(key, str) and (value is None or isinstance(value, str | int | float | bool))
    }
