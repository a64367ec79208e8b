"""The messages of the wire: one slotted dataclass each, named as on the wire.

Every message carries `id`: chosen by the sender of a request, echoed by its reply. A reply holds
its result as `Ok` or `Err`; an error's structured form goes into `detail`, beside the text's key.

`REGISTRY` maps the name on the wire to the class, for `qcore.transport.codec.Codec`. An application
adds its own: `Codec({**REGISTRY, "Perform": Perform})`, where `Perform` is a dataclass with an
`id: str` and whatever fields it wants, validated strictly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Generic, TypeVar

from pydantic import ConfigDict, Field, JsonValue

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
from qcore.errors import QcoreError, Scalar
from qcore.replica import messages as replica_messages
from qcore.replica.messages import PeerMessage

#: The version of this protocol, said in `Hello`.
PROTOCOL_VERSION = 1

#: Integers on the wire are below this, so that every JSON reader with 64 bits can hold them.
INT_LIMIT = 2**63

#: Longest `id`, in characters.
MAX_ID_LENGTH = 1024

MessageId = Annotated[str, Field(max_length=MAX_ID_LENGTH)]
PositiveInt = Annotated[int, Field(ge=1, lt=INT_LIMIT)]
NodeId = PositiveInt
SessionId = PositiveInt
TimeoutMs = PositiveInt
Detail = dict[str, Scalar]

T = TypeVar("T")

#: For the messages that introduce a node: whoever does not know a field yet must still understand them.
_EXTENSIBLE = ConfigDict(strict=True, extra="ignore")


@dataclass(slots=True)
class Ok(Generic[T]):
    """A result: `{"Ok": value}`."""

    value: Annotated[T, Field(alias="Ok")]


@dataclass(slots=True)
class Err:
    """A failure in words: `{"Err": "text"}`."""

    text: Annotated[str, Field(alias="Err")]


# --- any connection -------------------------------------------------------------------------------


@dataclass(slots=True)
class Error:
    """Answer to an envelope that could not be understood; the connection stays open."""

    id: MessageId
    error: str
    detail: Detail | None = None


@dataclass(slots=True)
class Hello:
    """A node's first message on a connection that it opens to a peer.

    Fields that a later protocol adds are ignored, so that an old node can answer by name that it
    does not speak that version.

    Attributes:
        protocol: `PROTOCOL_VERSION` of the sender.
        cluster_id: the sender's cluster; empty while it belongs to none.
        node_id: the sender.
        role: `peer`.
        version: the sender's software version, for people.
        incarnation: names the sender's data directory; another one means that it was wiped.
        membership_index: log index of the configuration that the sender has in force. A node that is no
            member of the receiver's is accepted only with a newer one: it may have been added meanwhile.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _EXTENSIBLE

    id: MessageId
    protocol: Annotated[int, Field(ge=0, lt=INT_LIMIT)]
    cluster_id: str
    node_id: NodeId
    role: str = "peer"
    version: str = ""
    incarnation: str = ""
    membership_index: Annotated[int, Field(ge=0, lt=INT_LIMIT)] = 0


@dataclass(slots=True)
class HelloReply:
    """Who answered a `Hello`; `cluster_id` is empty while the node belongs to no cluster."""

    __pydantic_config__: ClassVar[ConfigDict] = _EXTENSIBLE

    protocol: Annotated[int, Field(ge=0, lt=INT_LIMIT)]
    cluster_id: str
    node_id: NodeId
    version: str = ""
    incarnation: str = ""


@dataclass(slots=True)
class HelloResponse:
    """Answer to `Hello`. After an `Err` the connection is closed with 1008."""

    id: MessageId
    response: Ok[HelloReply] | Err
    detail: Detail | None = None


# --- management -----------------------------------------------------------------------------------


@dataclass(slots=True)
class Init:
    """Begin a cluster of `nodes`, pairs of id and `host:port`; empty: of this node alone."""

    id: MessageId
    nodes: list[tuple[NodeId, str]]


@dataclass(slots=True)
class InitResponse:
    id: MessageId
    response: Ok[None] | Err
    detail: Detail | None = None


@dataclass(slots=True)
class AddLearner:
    """Add a member that receives the log and does not vote; answered once it has caught up.

    Attributes:
        timeout_ms: how long to wait for that; None: the node's own limit.
    """

    id: MessageId
    node_id: NodeId
    node_addr: str
    timeout_ms: TimeoutMs | None = None


@dataclass(slots=True)
class AddLearnerResponse:
    id: MessageId
    response: Ok[str] | Err
    detail: Detail | None = None


@dataclass(slots=True)
class ChangeMembership:
    """Make `members`, each a voter or learner that exists, the voters.

    Attributes:
        learners: exactly these are the learners afterwards; None: those that there are and are not made voters.
        expected_index: refuse unless the configuration in force is the one at this log index.
        timeout_ms: how long to wait for the final configuration; None: the node's own limit.
    """

    id: MessageId
    members: list[NodeId]
    learners: list[NodeId] | None = None
    expected_index: Annotated[int, Field(ge=0, lt=INT_LIMIT)] | None = None
    timeout_ms: TimeoutMs | None = None


@dataclass(slots=True)
class ChangeMembershipResponse:
    id: MessageId
    response: Ok[str] | Err
    detail: Detail | None = None


@dataclass(slots=True)
class TransferLeader:
    """Hand leadership to the voter `to`; None: to the best one."""

    id: MessageId
    to: NodeId | None = None


@dataclass(slots=True)
class TransferLeaderResponse:
    id: MessageId
    response: Ok[str] | Err
    detail: Detail | None = None


@dataclass(slots=True)
class OpenSession:
    """Open a client session that may be idle for `lifetime_ms`; the result is its id."""

    id: MessageId
    lifetime_ms: TimeoutMs


@dataclass(slots=True)
class OpenSessionResponse:
    id: MessageId
    response: Ok[int] | Err
    detail: Detail | None = None


@dataclass(slots=True)
class KeepSession:
    """The session is still in use."""

    id: MessageId
    session: SessionId


@dataclass(slots=True)
class KeepSessionResponse:
    id: MessageId
    response: Ok[None] | Err
    detail: Detail | None = None


@dataclass(slots=True)
class CloseSession:
    """The session is not needed any more."""

    id: MessageId
    session: SessionId


@dataclass(slots=True)
class CloseSessionResponse:
    id: MessageId
    response: Ok[None] | Err
    detail: Detail | None = None


@dataclass(slots=True)
class GetMetrics:
    id: MessageId


@dataclass(slots=True)
class GetMetricsResponse:
    """`response` is the metrics object itself."""

    id: MessageId
    response: dict[str, JsonValue]
    detail: Detail | None = None


# --- between nodes --------------------------------------------------------------------------------


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
    """The leader asks the receiver to take over."""

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


#: What a peer alone may send; from a connection without an accepted `Hello` it closes with 1008.
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

#: Name on the wire -> class, of every message that transport itself knows.
REGISTRY: dict[str, type] = {
    message_type.__name__: message_type
    for message_type in (
        Error,
        Hello,
        HelloResponse,
        Init,
        InitResponse,
        AddLearner,
        AddLearnerResponse,
        ChangeMembership,
        ChangeMembershipResponse,
        TransferLeader,
        TransferLeaderResponse,
        OpenSession,
        OpenSessionResponse,
        KeepSession,
        KeepSessionResponse,
        CloseSession,
        CloseSessionResponse,
        GetMetrics,
        GetMetricsResponse,
        *PEER_REQUESTS,
        *PEER_RESPONSES,
    )
}


def is_peer_response(message: PeerMessage) -> bool:
    """Whether the replica's message answers another (and goes back with that one's id)."""
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


# Tuples of their own, not `PEER_REQUESTS`, so that the type checker sees the members.
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


def failure(error: QcoreError) -> tuple[Err, Detail]:
    """`response` and `detail` of a reply that reports `error`.

    Use: `InitResponse(request.id, *failure(error))`.
    """
    return Err(str(error)), error.detail()
