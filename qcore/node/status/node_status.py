"""`NodeStatus`: what a node knows of itself besides its Raft status; and the reason why it cannot serve requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from qcore.core.effects import Role
from qcore.core.raft import RaftCore
from qcore.core.status import CoreStatus
from qcore.core.version import ClusterVersion, VersionSupport
from qcore.node.observability.backup_figures import BackupFigures
from qcore.node.peers.introductions import first_rejection
from qcore.node.status.watch_figures import WatchFigures
from qcore.replica.apply.active_version import Versions
from qcore.replica.divergence.member_comparison import Comparison
from qcore.replica.requests.storage_quotas import QuotaUse
from qcore.storage.log_size import Footprint

#: The states of the wire protocol by role. A pre-candidate counts as a follower: it has not raised its term.
STATES: Final[dict[Role, str]] = {
    "follower": "Follower",
    "pre_candidate": "Follower",
    "candidate": "Candidate",
    "leader": "Leader",
    "learner": "Learner",
}


@dataclass(slots=True, frozen=True)
class VersionStatus:
    """What is active, and what is supported.

    Attributes:
        active: the cluster version at the last applied entry.
        support: the versions that this program can apply.
        members: what each member announced that is connected to this node.
        raise_waits_for: on a leader: the members that prevent the raise of the apply rules, or None.
    """

    active: ClusterVersion
    support: VersionSupport
    members: Mapping[int, VersionSupport] = field(default_factory=dict)
    raise_waits_for: str | None = None

    @classmethod
    def of(cls, versions: Versions) -> VersionStatus:
        """The status of the versions of a replica now."""
        waits_for = versions.raise_waits_for()
        return cls(versions.active, versions.support, dict(versions.members), waits_for)


@dataclass(slots=True, frozen=True)
class NodeStatus:
    """What a node knows of itself besides its Raft status.

    Attributes:
        cluster_id: the cluster that it belongs to, or None.
        stopping: whether the node is shutting down.
        failure: the error that stopped the node, or None.
        rejections: by id of each member that this node reached: why one of the two rejects the other.
        removal_reason: why this node is no longer a member of its cluster, or None.
        address: the address at which others reach this node; empty before the node listens.
        disk_full: whether writes are rejected for lack of space.
        stored: what is on disk of the log and the snapshot.
        snapshot_stored_at: when this process last stored a snapshot, seconds since the Unix epoch, or 0.
        longest_stall_s: the longest stall of the event loop since the start, seconds.
        queues: length of each queue by name.
        connections: open connections by kind (`clients`, `peers`).
        watches: the watches of its clients.
        uptime_s: the time since the node started, seconds.
        versions: what is active, and what is supported.
        digests: digests of the state at the newest indexes that all members record.
        comparison: the comparison of the members' states, on a leader; None before the first one, and on other nodes.
        diverged_at: the index at which this node differs from a majority, so that it serves no reads; or None.
        quotas: the use of each quota.
        backups: its scheduled backups.
        founding: what it waits for, or does, to begin a cluster with other founders; None if it begins none.
    """

    cluster_id: str | None
    stopping: bool
    failure: str | None
    rejections: Mapping[int, str]
    removal_reason: str | None
    address: str
    disk_full: bool
    stored: Footprint
    snapshot_stored_at: float
    longest_stall_s: float
    queues: Mapping[str, int]
    connections: Mapping[str, int]
    watches: WatchFigures
    uptime_s: float
    versions: VersionStatus
    digests: Mapping[int, str]
    comparison: Comparison[int] | None
    diverged_at: int | None = None
    quotas: Sequence[QuotaUse] = ()
    backups: BackupFigures = field(default_factory=BackupFigures)
    founding: str | None = None

    @property
    def rejection(self) -> str | None:
        """Why a member rejects this node (because it was removed or wiped), or None."""
        return first_rejection(self.rejections)


def has_quorum(core: RaftCore, since_us: int) -> bool:
    """Whether a leader heard from a quorum, or another node from its leader, after this moment of its clock, µs."""
    if core.leader_id is None:
        return False
    is_leader = core.role == "leader"
    contact = core.status().quorum_contact_at if is_leader else core.last_leader_contact
    return contact is not None and contact > since_us


def unready_reason(status: CoreStatus, leader_ready: bool, node_status: NodeStatus) -> str | None:
    """Why this node cannot serve requests now; None if it can."""
    if node_status.failure is not None:
        return f"the node has failed: {node_status.failure}"
    if node_status.stopping:
        return "the node is shutting down"
    if node_status.removal_reason is not None:
        return node_status.removal_reason
    if status.membership.is_empty:
        if node_status.founding is not None:
            return f"the node begins a cluster with other founders (--auto-init): {node_status.founding}"
        return "the node belongs to no cluster yet: send Init, or add it to a cluster"
    if status.node_id not in status.membership.members():
        return f"node {status.node_id} is no member of cluster {node_status.cluster_id} as far as its log goes"
    if node_status.diverged_at is not None:
        return (
            f"the state of this node differs from that of a majority (index {node_status.diverged_at}): run "
            f"`qcore member reinstall {status.node_id}`"
        )
    if status.leader_id is None:
        why = f"; {node_status.rejection}" if node_status.rejection else ""
        if node_status.disk_full:
            why = f"; the disk is full: this node accepts no writes, and cannot vote or lead{why}"
        if status.priority == 0:
            why = f"; this node has priority 0 and never leads{why}"
        return f"no leader is known in term {status.term}{why}"
    if status.role == "leader" and not leader_ready:
        return "elected, and the first entry of the term is not committed yet"
    if node_status.disk_full:
        return (
            "the disk is full: writes are rejected; reads are served as long as there is a leader"
        )
    return None
