"""The messages of admin requests, `GetMetrics` and `GetActivity`: about members, leader and version of a cluster."""

from __future__ import annotations

from dataclasses import dataclass, field
from operator import not_
from typing import Annotated

from pydantic import Field, JsonValue

from qcore.transport.wire.common import (
    INT_LIMIT,
    Detail,
    Err,
    KeyText,
    MessageId,
    NodeId,
    Ok,
    TimeoutMs,
    VersionNumber,
)

#: The longest `token` of an `Init`, in characters.
MAX_TOKEN_LENGTH = 256
InitToken = Annotated[str, Field(max_length=MAX_TOKEN_LENGTH)]


def _absent(value: object) -> bool:
    return value is None


@dataclass(slots=True)
class Init:
    """Initialise a cluster of `nodes` (pairs of id and `host:port`), or of this node alone if there are none.

    Attributes:
        token: identifies the cluster, so the same `Init` may be sent to several nodes. Left out if there is none,
            because 0.1.0 does not know it.
        public_keys: pairs of id and public key of nodes whose key is not to be asked from the node itself.
    """

    id: MessageId
    nodes: list[tuple[NodeId, str]]
    token: Annotated[InitToken | None, Field(exclude_if=_absent)] = None
    public_keys: Annotated[list[tuple[NodeId, KeyText]], Field(exclude_if=not_)] = field(
        default_factory=list
    )


@dataclass(slots=True)
class InitResponse:
    id: MessageId
    response: Ok[None] | Err
    detail: Detail | None = None


@dataclass(slots=True)
class AddLearner:
    """Add a member that receives the log and does not vote. The response comes once it has caught up.

    Attributes:
        timeout_ms: how long to wait for that; None: the node's limit.
        public_key: of the node; left out if the cluster's members have none.
    """

    id: MessageId
    node_id: NodeId
    node_addr: str
    timeout_ms: TimeoutMs | None = None
    public_key: Annotated[KeyText | None, Field(exclude_if=_absent)] = None


@dataclass(slots=True)
class AddLearnerResponse:
    id: MessageId
    response: Ok[str] | Err
    detail: Detail | None = None


@dataclass(slots=True)
class MoveMember:
    """Change the address of a member, which must answer there and prove its key. Its data and its vote stay.

    Attributes:
        node_addr: the new `host:port`.
        timeout_ms: how long to wait for the new configuration; None: the node's limit.
    """

    id: MessageId
    node_id: NodeId
    node_addr: str
    timeout_ms: TimeoutMs | None = None


@dataclass(slots=True)
class MoveMemberResponse:
    id: MessageId
    response: Ok[str] | Err
    detail: Detail | None = None


@dataclass(slots=True)
class ChangeMembership:
    """Make `members` the voters. Each must be a current voter or learner.

    Attributes:
        learners: exactly these are the learners afterwards; None: the current ones that do not become voters.
        expected_index: reject the change unless the effective configuration is the one at this log index.
        timeout_ms: how long to wait for the final configuration; None: the node's limit.
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
    """Transfer leadership to the voter `to`; None: to the most suitable one."""

    id: MessageId
    to: NodeId | None = None


@dataclass(slots=True)
class TransferLeaderResponse:
    id: MessageId
    response: Ok[str] | Err
    detail: Detail | None = None


@dataclass(slots=True)
class ReinstallMember:
    """Replace the state of a member, and its log up to there, by a new snapshot of the leader.

    Attributes:
        timeout_ms: how long to wait for that; None: the node's limit.
    """

    id: MessageId
    node_id: NodeId
    timeout_ms: TimeoutMs | None = None


@dataclass(slots=True)
class ReinstallMemberResponse:
    """`Ok` holds the index of the snapshot."""

    id: MessageId
    response: Ok[int] | Err
    detail: Detail | None = None


@dataclass(slots=True)
class UpgradeMachine:
    """Raise the active version of the state machine; None: to the newest one that the leader supports.

    Attributes:
        timeout_ms: how long to wait for that; None: the node's limit.
    """

    id: MessageId
    version: VersionNumber | None = None
    timeout_ms: TimeoutMs | None = None


@dataclass(slots=True)
class ActiveVersion:
    """The active version of the cluster: its apply rules, and the name and version of its state machine."""

    rules: VersionNumber
    machine: str
    machine_version: VersionNumber


@dataclass(slots=True)
class UpgradeMachineResponse:
    id: MessageId
    response: Ok[ActiveVersion] | Err
    detail: Detail | None = None


@dataclass(slots=True)
class GetMetrics:
    """Get the metrics object of the node."""

    id: MessageId


@dataclass(slots=True)
class GetMetricsResponse:
    """`response` is the metrics object itself, without `Ok`."""

    id: MessageId
    response: dict[str, JsonValue]
    detail: Detail | None = None


#: The most log lines that a `GetActivityResponse` holds.
MAX_ACTIVITY_LINES = 200


@dataclass(slots=True)
class GetActivity:
    """Get the newest events of the node, and its counters. 0.1.0 answers it with an `Error`.

    Attributes:
        after: only events with a higher `sequence`; 0 for all that the node keeps.
        lines: the most log lines.
    """

    id: MessageId
    after: Annotated[int, Field(ge=0, lt=INT_LIMIT)] = 0
    lines: Annotated[int, Field(ge=0, le=MAX_ACTIVITY_LINES)] = 50


@dataclass(slots=True)
class GetActivityResponse:
    """`response` is an object, without `Ok`: `started_us`, `now_us`, `sequence`, `events`, `lines_hidden`, `rights`
    and `counters`."""

    id: MessageId
    response: dict[str, JsonValue]
    detail: Detail | None = None
