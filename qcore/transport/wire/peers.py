"""The messages between peers. Each carries one message of a replica."""

from __future__ import annotations

from dataclasses import dataclass

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


#: Messages that only a peer may send. A connection that sends one without an accepted `Hello` is closed with 1008.
PEER_REQUESTS: tuple[type, ...] = (
    RaftVote,
    RaftPreVote,
    RaftAppend,
    RaftSnapshot,
    RaftTimeoutNow,
    RaftReadIndex,
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
    RaftVote | RaftPreVote | RaftAppend | RaftSnapshot | RaftTimeoutNow | RaftReadIndex | Forward
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


def is_peer_response(message: PeerMessage) -> bool:
    """Whether the replica's message is a response, which is sent with the id of its request."""
    return isinstance(message, _RESPONSES)


def wrap_request(message_id: str, message: PeerMessage) -> PeerRequest:
    """The wire message that carries a replica's request.

    Raises:
        TypeError: `message` is a response.
    """
    match message:
        case AppendEntries():
            return RaftAppend(message_id, message)
        case RequestVote():
            return RaftVote(message_id, message)
        case PreVote():
            return RaftPreVote(message_id, message)
        case InstallSnapshot():
            return RaftSnapshot(message_id, message)
        case TimeoutNow():
            return RaftTimeoutNow(message_id, message)
        case replica_messages.ReadIndex():
            return RaftReadIndex(message_id, message)
        case replica_messages.Forward():
            return Forward(message_id, message)
    raise TypeError(f"{type(message).__name__} is a response: use wrap_response")


def wrap_response(message_id: str, message: PeerMessage) -> PeerResponse:
    """The wire message that carries a replica's response, with the id of the request.

    Raises:
        TypeError: `message` is a request.
    """
    match message:
        case AppendEntriesResponse():
            return RaftAppendResponse(message_id, Ok(message))
        case RequestVoteResponse():
            return RaftVoteResponse(message_id, Ok(message))
        case PreVoteResponse():
            return RaftPreVoteResponse(message_id, Ok(message))
        case InstallSnapshotResponse():
            return RaftSnapshotResponse(message_id, Ok(message))
        case TimeoutNowResponse():
            return RaftTimeoutNowResponse(message_id, Ok(message))
        case replica_messages.ReadIndexResponse():
            return RaftReadIndexResponse(message_id, Ok(message))
        case replica_messages.ForwardResponse():
            return ForwardResponse(message_id, Ok(message))
    raise TypeError(f"{type(message).__name__} is a request: use wrap_request")


def unwrap(message: object) -> PeerMessage | None:
    """The replica's message inside a wire message; None for an `Err` and for any other message."""
    if isinstance(message, _REQUEST_TYPES):
        return message.request
    if isinstance(message, _RESPONSE_TYPES) and not isinstance(message.response, Err):
        return message.response.value
    return None


# Separate tuples besides `PEER_REQUESTS`, because the type checker must know their members.
_REQUEST_TYPES = (
    RaftAppend,
    RaftVote,
    RaftPreVote,
    RaftSnapshot,
    RaftTimeoutNow,
    RaftReadIndex,
    Forward,
)
_RESPONSE_TYPES = (
    RaftAppendResponse,
    RaftVoteResponse,
    RaftPreVoteResponse,
    RaftSnapshotResponse,
    RaftTimeoutNowResponse,
    RaftReadIndexResponse,
    ForwardResponse,
)

_RESPONSES = (
    AppendEntriesResponse,
    RequestVoteResponse,
    PreVoteResponse,
    InstallSnapshotResponse,
    TimeoutNowResponse,
    replica_messages.ReadIndexResponse,
    replica_messages.ForwardResponse,
)
