"""The parts that the messages of the wire share: ids, numbers, results and errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Generic, TypeVar

from pydantic import Field

from qcore.errors import DetailValue, QcoreError, to_wire

#: The version of this protocol, as sent in `Hello`.
PROTOCOL_VERSION = 1

#: Integers on the wire are below this, so 64-bit JSON parsers can read them.
INT_LIMIT = 2**63

#: The longest `id`, in characters.
MAX_ID_LENGTH = 1024

#: A nonce, a public key or a signature, as base64url.
KeyText = Annotated[str, Field(max_length=128)]

MessageId = Annotated[str, Field(max_length=MAX_ID_LENGTH)]
PositiveInt = Annotated[int, Field(ge=1, lt=INT_LIMIT)]
NodeId = PositiveInt
SessionId = PositiveInt
TimeoutMs = PositiveInt
VersionNumber = Annotated[int, Field(ge=1, lt=2**31)]
Detail = dict[str, DetailValue]

T = TypeVar("T")


@dataclass(slots=True)
class Ok(Generic[T]):
    """A result: `{"Ok": value}`."""

    value: Annotated[T, Field(alias="Ok")]


@dataclass(slots=True)
class Err:
    """An error text: `{"Err": "text"}`."""

    text: Annotated[str, Field(alias="Err")]


@dataclass(slots=True)
class Error:
    """The response to an invalid envelope. The connection stays open."""

    id: MessageId
    error: str
    detail: Detail | None = None


def failure(error: QcoreError) -> tuple[Err, Detail]:
    """`response` and `detail` of a response that reports `error`.

    Use: `InitResponse(request.id, *failure(error))`.
    """
    text, detail = to_wire(error)
    return Err(text), detail


def error_envelope(message_id: MessageId, error: QcoreError) -> Error:
    """The response to an envelope that `error` rejects."""
    return Error(message_id, *to_wire(error))
