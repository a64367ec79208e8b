"""The messages of the wire: one slotted dataclass each, named as on the wire, one module for each kind.

Every message carries `id`: chosen by the sender of a request, echoed by its reply. A reply holds
its result as `Ok` or `Err`; an error's structured form goes into `detail`, beside the text's key.

`REGISTRY` maps the name on the wire to the class, for `qcore.transport.codec.Codec`. An application
adds its own: `Codec({**REGISTRY, "Perform": Perform})`, where `Perform` is a dataclass with an
`id: str` and whatever fields it wants, validated strictly.
"""

from __future__ import annotations

from qcore.transport.wire.common import (
    INT_LIMIT,
    MAX_ID_LENGTH,
    PROTOCOL_VERSION,
    Detail,
    Err,
    Error,
    MessageId,
    NodeId,
    Ok,
    PositiveInt,
    SessionId,
    TimeoutMs,
    failure,
)
from qcore.transport.wire.handshake import (
    Hello,
    HelloReply,
    HelloResponse,
)
from qcore.transport.wire.management import (
    AddLearner,
    AddLearnerResponse,
    ChangeMembership,
    ChangeMembershipResponse,
    GetMetrics,
    GetMetricsResponse,
    Init,
    InitResponse,
    TransferLeader,
    TransferLeaderResponse,
)
from qcore.transport.wire.peers import (
    PEER_REQUESTS,
    PEER_RESPONSES,
    Forward,
    ForwardResponse,
    PeerRequest,
    PeerResponse,
    RaftAppend,
    RaftAppendResponse,
    RaftPreVote,
    RaftPreVoteResponse,
    RaftReadIndex,
    RaftReadIndexResponse,
    RaftSnapshot,
    RaftSnapshotResponse,
    RaftTimeoutNow,
    RaftTimeoutNowResponse,
    RaftVote,
    RaftVoteResponse,
    is_peer_response,
    unwrap,
    wrap_request,
    wrap_response,
)
from qcore.transport.wire.sessions import (
    CloseSession,
    CloseSessionResponse,
    KeepSession,
    KeepSessionResponse,
    OpenSession,
    OpenSessionResponse,
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

__all__ = [
    "INT_LIMIT",
    "MAX_ID_LENGTH",
    "PEER_REQUESTS",
    "PEER_RESPONSES",
    "PROTOCOL_VERSION",
    "REGISTRY",
    "AddLearner",
    "AddLearnerResponse",
    "ChangeMembership",
    "ChangeMembershipResponse",
    "CloseSession",
    "CloseSessionResponse",
    "Detail",
    "Err",
    "Error",
    "Forward",
    "ForwardResponse",
    "GetMetrics",
    "GetMetricsResponse",
    "Hello",
    "HelloReply",
    "HelloResponse",
    "Init",
    "InitResponse",
    "KeepSession",
    "KeepSessionResponse",
    "MessageId",
    "NodeId",
    "Ok",
    "OpenSession",
    "OpenSessionResponse",
    "PeerRequest",
    "PeerResponse",
    "PositiveInt",
    "RaftAppend",
    "RaftAppendResponse",
    "RaftPreVote",
    "RaftPreVoteResponse",
    "RaftReadIndex",
    "RaftReadIndexResponse",
    "RaftSnapshot",
    "RaftSnapshotResponse",
    "RaftTimeoutNow",
    "RaftTimeoutNowResponse",
    "RaftVote",
    "RaftVoteResponse",
    "SessionId",
    "TimeoutMs",
    "TransferLeader",
    "TransferLeaderResponse",
    "failure",
    "is_peer_response",
    "unwrap",
    "wrap_request",
    "wrap_response",
]
