"""`NodeStatus`: what a node knows of itself besides its Raft status, and whether it can serve requests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from qcore.core.effects import Role
from qcore.core.status import CoreStatus
from qcore.core.version import ClusterVersion, VersionSupport
from qcore.node.peers.divergence import Comparison
from qcore.node.peers.peer_messages import first_rejection
from qcore.storage.log_size import Footprint

#: The states of the wire protocol by role. A pre-candidate has not left its term: still a follower.
STATES: Final[dict[Role, str]] = {
    "follower": "Follower",
    "pre_candidate": "Follower",
    "candidate": "Candidate",
    "leader": "Leader",
    "learner": "Learner",
}


@dataclass(slots=True, frozen=True)
class NodeStatus:
    """What a node knows besides its Raft status.

    Attributes:
        cluster_id: the cluster it belongs to, or None.
        stopping: the node is shutting down.
        failure: why the node has stopped working, or None.
        rejections: by id, what stands between this node and each member that it has reached and does not get on with.
        removal_reason: why this node is no member of its cluster any more, or None.
        address: what others are to dial; empty before the node listens.
        disk_full: writes are refused for lack of space.
        stored: what of log and snapshots is on disk.
        snapshot_stored_at: when this process last stored a snapshot, seconds since the Unix epoch, or 0.
        longest_stall_s: the longest stall of the event loop since the start, seconds.
        queues: length of each queue by name.
        connections: open connections by kind (`clients`, `peers`).
        started_at: monotonic clock at the start, seconds.
        version: the version of the cluster as of the last applied entry.
        support: what this program can apply.
        digests: of the state at the newest indexes that all members agree on.
        comparison: of the members' states, on a leader; None before the first, and elsewhere.
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
    started_at: float
    version: ClusterVersion
    support: VersionSupport
    digests: Mapping[int, str]
    comparison: Comparison[int] | None

    @property
    def rejection(self) -> str | None:
        """Why a member will have nothing to do with this node (removed, wiped), or None."""
        return first_rejection(self.rejections)


def unready_reason(status: CoreStatus, leader_ready: bool, node_status: NodeStatus) -> str | None:
    """Why requests cannot be served here now; None when they can."""
    if node_status.failure is not None:
        return f"the node has failed: {node_status.failure}"
    if node_status.stopping:
        return "the node is shutting down"
    if node_status.removal_reason is not None:
        return node_status.removal_reason
    if status.membership.is_empty:
        return "the node belongs to no cluster yet: send Init, or add it to a cluster"
    if status.node_id not in status.membership.members():
        return f"node {status.node_id} is no member of cluster {node_status.cluster_id} as far as its log goes"
    if status.leader_id is None:
        said = f"; {node_status.rejection}" if node_status.rejection else ""
        if node_status.disk_full:
            said = f"; the disk is full: this node takes no writes, and cannot vote or lead{said}"
        if status.priority == 0:
            said = f"; this node has priority 0 and never leads{said}"
        return f"no leader is known in term {status.term}{said}"
    if status.role == "leader" and not leader_ready:
        return "elected, and the first entry of the term is not committed yet"
    if node_status.disk_full:
        return "the disk is full: writes are refused; reads are served as long as there is a leader"
    return None
