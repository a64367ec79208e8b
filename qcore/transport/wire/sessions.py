"""The messages that open, keep and close client sessions. (The application defines `Perform`.)"""

from __future__ import annotations

from dataclasses import dataclass

from qcore.transport.wire.common import Detail, Err, MessageId, Ok, SessionId, TimeoutMs


@dataclass(slots=True)
class OpenSession:
    """Open a client session that may be idle for `lifetime_ms`. The result is its id."""

    id: MessageId
    lifetime_ms: TimeoutMs


@dataclass(slots=True)
class OpenSessionResponse:
    id: MessageId
    response: Ok[int] | Err
    detail: Detail | None = None


@dataclass(slots=True)
class KeepSession:
    """Keep a session alive that is still in use."""

    id: MessageId
    session: SessionId


@dataclass(slots=True)
class KeepSessionResponse:
    id: MessageId
    response: Ok[None] | Err
    detail: Detail | None = None


@dataclass(slots=True)
class CloseSession:
    """Close a session that is no longer needed."""

    id: MessageId
    session: SessionId


@dataclass(slots=True)
class CloseSessionResponse:
    id: MessageId
    response: Ok[None] | Err
    detail: Detail | None = None
