"""Messages about the cluster itself: its members, its leader, its metrics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field, JsonValue

from qcore.transport.wire.common import (
    INT_LIMIT,
    Detail,
    Err,
    MessageId,
    NodeId,
    Ok,
    TimeoutMs,
    VersionNumber,
)

#: Longest `token` of an `Init`, in characters.
MAX_TOKEN_LENGTH = 256
InitToken = Annotated[str, Field(max_length=MAX_TOKEN_LENGTH)]


def _absent(value: object) -> bool:
    return value is None


@dataclass(slots=True)
class Init:
    """Begin a cluster of `nodes`, pairs of id and `host:port`; empty: of this node alone.

    Attributes:
        token: names the cluster, so that several nodes may be given the same `Init`. Left out where there is none:
            0.1.0 does not know it.
    """

    id: MessageId
    nodes: list[tuple[NodeId, str]]
    token: Annotated[InitToken | None, Field(exclude_if=_absent)] = None


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
class UpgradeMachine:
    """Raise the state machine's active version; None: to the newest that the leader supports.

    Attributes:
        timeout_ms: how long to wait for that; None: the node's own limit.
    """

    id: MessageId
    version: VersionNumber | None = None
    timeout_ms: TimeoutMs | None = None


@dataclass(slots=True)
class ActiveVersion:
    """The version of a cluster: see `qcore.core.version.ClusterVersion`."""

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
    id: MessageId


@dataclass(slots=True)
class GetMetricsResponse:
    """`response` is the metrics object itself."""

    id: MessageId
    response: dict[str, JsonValue]
    detail: Detail | None = None
