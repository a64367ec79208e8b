"""The messages of nodes that found a cluster (`--auto-init`). They go over connections like those of clients.

`qcore.node.discovery.protocol.founding` explains the votes, `qcore.security.keys.founding_proof` the signatures.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final

from pydantic import Field

from qcore.transport.limits import MAX_FOUNDERS
from qcore.transport.wire.common import INT_LIMIT, Detail, Err, KeyText, MessageId, NodeId, Ok

#: Round and id of the proposer.
BallotPair = tuple[
    Annotated[int, Field(ge=0, lt=INT_LIMIT)], Annotated[int, Field(ge=0, lt=INT_LIMIT)]
]
#: Id and public key.
FounderIdentity = tuple[NodeId, KeyText]
#: Id, `host:port` and public key.
FounderEntry = tuple[NodeId, Annotated[str, Field(max_length=300)], KeyText]
_IdText = Annotated[str, Field(max_length=64)]
_Why = Annotated[str, Field(max_length=2000)]


@dataclass(slots=True)
class GetFounder:
    """Ask a node who it is, and whether it founds a cluster.

    Attributes:
        nonce: drawn for this question.
    """

    id: MessageId
    nonce: KeyText


@dataclass(slots=True)
class FounderInfo:
    """A node that may found a cluster.

    Attributes:
        node_id: the node.
        address: the `host:port` at which others reach it.
        public_key: its key.
        expect: how many founders it expects; 0 if it founds no cluster.
        cluster_id: the cluster to which it belongs; empty if there is none.
        version: with what it would begin a cluster: its apply rules and state machine; empty if it founds none.
        signature: proves that the node owns its public key.
    """

    node_id: NodeId
    address: Annotated[str, Field(max_length=300)]
    public_key: KeyText
    expect: Annotated[int, Field(ge=0, le=MAX_FOUNDERS)]
    cluster_id: _IdText
    version: Annotated[str, Field(max_length=200)]
    signature: KeyText


@dataclass(slots=True)
class GetFounderResponse:
    id: MessageId
    response: Ok[FounderInfo] | Err
    detail: Detail | None = None


@dataclass(slots=True)
class PromiseFounding:
    """Ask a founder for its promise to take part in no lower ballot.

    Attributes:
        nonce: drawn for this question.
        ballot: round, and id of the node that asks.
        founders: id and public key of each founder, in the order of the ids.
        signature: of the node that asks.
    """

    id: MessageId
    nonce: KeyText
    ballot: BallotPair
    founders: Annotated[list[FounderIdentity], Field(max_length=MAX_FOUNDERS)]
    signature: KeyText


@dataclass(slots=True)
class FoundingList:
    """A cluster that may begin.

    Attributes:
        token: a random text.
        cluster_id: the digest of the token, the founders and the version that the log begins with.
        founders: id, address and public key of each member, in the order of the ids.
    """

    token: _IdText
    cluster_id: _IdText
    founders: Annotated[list[FounderEntry], Field(max_length=MAX_FOUNDERS)]


@dataclass(slots=True)
class AcceptFounding:
    """Ask a founder to accept a founding.

    Attributes:
        nonce, ballot, signature: as in `PromiseFounding`.
        founding: the cluster that may begin.
    """

    id: MessageId
    nonce: KeyText
    ballot: BallotPair
    founding: FoundingList
    signature: KeyText


@dataclass(slots=True)
class AcceptedFounding:
    """A founding that a node has accepted, and the ballot."""

    ballot: BallotPair
    founding: FoundingList


@dataclass(slots=True)
class FoundingVote:
    """The answer of a founder.

    Attributes:
        node_id: the founder.
        granted: whether it has promised or accepted what it was asked for.
        promised: the highest ballot that it has promised.
        accepted: the founding that it has accepted; null if there is none.
        why: why the vote is not granted; otherwise empty.
        signature: of the founder.
    """

    node_id: NodeId
    granted: bool
    promised: BallotPair
    accepted: AcceptedFounding | None
    why: _Why
    signature: KeyText


@dataclass(slots=True)
class PromiseFoundingResponse:
    id: MessageId
    response: Ok[FoundingVote] | Err
    detail: Detail | None = None


@dataclass(slots=True)
class AcceptFoundingResponse:
    id: MessageId
    response: Ok[FoundingVote] | Err
    detail: Detail | None = None


FOUNDING_REQUESTS: Final = (GetFounder, PromiseFounding, AcceptFounding)
FOUNDING_RESPONSES: Final = (
    GetFounderResponse,
    PromiseFoundingResponse,
    AcceptFoundingResponse,
)
