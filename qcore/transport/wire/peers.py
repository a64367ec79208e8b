"""The messages between peers. Each carries one message of a replica."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from qcore.core.messages import (
    AppendEntries,
    AppendEntriesResponse,
    InstallSnapshot,
    InstallSnapshotResponse,
    PreVote,
    PreVoteResponse,
    RequestVote,
    RequestVoteResponse,
    TimeoutNow,
    TimeoutNowResponse,
)
from qcore.replica import messages as replica_messages
from qcore.replica.messages import PeerMessage
from qcore.transport.wire.common import Detail, Err, MessageId, Ok


@dataclass(slots=True)
class RaftVote:
    id: MessageId
    request: RequestVote


@dataclass(slots=True)
class RaftVoteResponse:
    id: MessageId
    response: Ok[RequestVoteResponse] | Err
    detail: Detail | None = None


@dataclass(slots=True)
class RaftPreVote:
    id: MessageId
    request: PreVote


@dataclass(slots=True)
class RaftPreVoteResponse:
    id: MessageId
    response: Ok[PreVoteResponse] | Err
    detail: Detail | None = None


@dataclass(slots=True)
class RaftAppend:
    id: MessageId
    request: AppendEntries


@dataclass(slots=True)
class RaftAppendResponse:
    id: MessageId
    response: Ok[AppendEntriesResponse] | Err
    detail: Detail | None = None


@dataclass(slots=True)
class RaftSnapshot:
    id: MessageId
    request: InstallSnapshot


@dataclass(slots=True)
class RaftSnapshotResponse:
    id: MessageId
    response: Ok[InstallSnapshotResponse] | Err
    detail: Detail | None = None


@dataclass(slots=True)
class RaftTimeoutNow:
    """The leader asks the receiver to campaign immediately (leadership transfer)."""

    id: MessageId
    request: TimeoutNow


@dataclass(slots=True)
class RaftTimeoutNowResponse:
    id: MessageId
    response: Ok[TimeoutNowResponse] | Err
    detail: Detail | None = None


@dataclass(slots=True)
class RaftReadIndex:
    """A follower asks at which index it may serve a linearizable read."""

    id: MessageId
    request: replica_messages.ReadIndex


@dataclass(slots=True)
class RaftReadIndexResponse:
    id: MessageId
    response: Ok[replica_messages.ReadIndexResponse] | Err
    detail: Detail | None = None


@dataclass(slots=True)
class Forward:
    """A client's request on its way from a follower to the leader."""

    id: MessageId
    request: replica_messages.Forward


@dataclass(slots=True)
class ForwardResponse:
    id: MessageId
    response: Ok[replica_messages.ForwardResponse] | Err
    detail: Detail | None = None


@dataclass(slots=True)
class RaftStateDigests:
    """A member reports digests of its state and its log. There is no response."""

    id: MessageId
    request: replica_messages.StateDigests


#: Messages that only a peer may send. A connection that sends one without an accepted `Hello` is closed with 1008.
PEER_REQUESTS: tuple[type, ...] = (
    RaftVote,
    RaftPreVote,
    RaftAppend,
    RaftSnapshot,
    RaftTimeoutNow,
    RaftReadIndex,
    RaftStateDigests,
    Forward,
)

PEER_RESPONSES: tuple[type, ...] = (
    RaftVoteResponse,
    RaftPreVoteResponse,
    RaftAppendResponse,
    RaftSnapshotResponse,
    RaftTimeoutNowResponse,
    RaftReadIndexResponse,
    ForwardResponse,
)

PeerRequest = (
    RaftVote
    | RaftPreVote
    | RaftAppend
    | RaftSnapshot
    | RaftTimeoutNow
    | RaftReadIndex
    | RaftStateDigests
    | Forward
)
PeerResponse = (
    RaftVoteResponse
    | RaftPreVoteResponse
    | RaftAppendResponse
    | RaftSnapshotResponse
    | RaftTimeoutNowResponse
    | RaftReadIndexResponse
    | ForwardResponse
)


#: The class on the wire that carries a replica's request, and the one that carries a response.
_REQUEST_OF: dict[type, Callable[[str, Any], PeerRequest]] = {
    AppendEntries: RaftAppend,
    RequestVote: RaftVote,
    PreVote: RaftPreVote,
    InstallSnapshot: RaftSnapshot,
    TimeoutNow: RaftTimeoutNow,
    replica_messages.ReadIndex: RaftReadIndex,
    replica_messages.Forward: Forward,
    replica_messages.StateDigests: RaftStateDigests,
}
_RESPONSE_OF: dict[type, Callable[[str, Any], PeerResponse]] = {
    AppendEntriesResponse: RaftAppendResponse,
    RequestVoteResponse: RaftVoteResponse,
    PreVoteResponse: RaftPreVoteResponse,
    InstallSnapshotResponse: RaftSnapshotResponse,
    TimeoutNowResponse: RaftTimeoutNowResponse,
    replica_messages.ReadIndexResponse: RaftReadIndexResponse,
    replica_messages.ForwardResponse: ForwardResponse,
}

#: The classes of a replica's messages that are responses. They go back on the connection of a request.
RESPONSE_MESSAGES: frozenset[type] = frozenset(_RESPONSE_OF)


def wrap_request(message_id: str, message: PeerMessage) -> PeerRequest:
    """The wire message that carries a replica's request.

    Raises:
        TypeError: `message` is a response.
    """
    wrap = _REQUEST_OF.get(type(message))
    if wrap is None:
        raise TypeError(f"{type(message).__name__} is a response: use wrap_response")
    return wrap(message_id, message)


def wrap_response(message_id: str, message: PeerMessage) -> PeerResponse:
    """The wire message that carries a replica's response.

    Raises:
        TypeError: `message` is a request.
    """
    wrap = _RESPONSE_OF.get(type(message))
    if wrap is None:
        raise TypeError(f"{type(message).__name__} is a request: use wrap_request")
    return wrap(message_id, Ok(message))
