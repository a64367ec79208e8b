"""What a node tells about itself: the metrics object, readiness, and the Prometheus page."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue

import qcore
from qcore.core.effects import Role, RoleChanged
from qcore.core.entry import Membership
from qcore.core.raft import RaftCore
from qcore.core.status import CoreStatus, SnapshotProgress
from qcore.core.version import ClusterVersion, VersionSupport
from qcore.node.observability.metrics import Exposition, NodeMetrics
from qcore.node.peers import divergence
from qcore.node.peers.peer_messages import first_rejection
from qcore.storage.log_size import Footprint
from qcore.transport.peers.peer_pool import PeerState
from qcore.transport.server.server import ServerStats

#: The states of the wire protocol by role. A pre-candidate has not left its term: still a follower.
STATES: Final[dict[Role, str]] = {
    "follower": "Follower",
    "pre_candidate": "Follower",
    "candidate": "Candidate",
    "leader": "Leader",
    "learner": "Learner",
}


class LeaderHistory:
    """Which node led in which term, as far as this node has seen it: log ids on the wire name both.

    Holds the newest terms only; an older one is answered with 0, which is no node's id.
    """

    _KEPT: Final = 1024

    def __init__(self) -> None:
        self._leaders: dict[int, int] = {}

    def note(self, change: RoleChanged) -> None:
        """Remember the leader of a term, once it is known."""
        if change.leader_id is not None:
            self._leaders[change.term] = change.leader_id
            if len(self._leaders) > self._KEPT:
                del self._leaders[min(self._leaders)]

    def log_id(self, term: int | None, index: int) -> JsonValue:
        """A log id of the wire protocol; None for the beginning of the log."""
        if index == 0:
            return None
        term = term or 0
        return {"leader_id": {"term": term, "node_id": self._leaders.get(term, 0)}, "index": index}


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
    comparison: divergence.Comparison[int] | None

    @property
    def rejection(self) -> str | None:
        """Why a member will have nothing to do with this node (removed, wiped), or None."""
        return first_rejection(self.rejections)


def metrics_object(
    core: RaftCore,
    status: CoreStatus,
    leaders: LeaderHistory,
    node_status: NodeStatus,
    state_hash: str,
    now: int,
) -> dict[str, JsonValue]:
    """The object of `GetMetricsResponse`; `now` in µs on the core's clock."""
    leads = status.role == "leader"
    voted_for = status.leader_id or status.voted_for or 0
    running: JsonValue = (
        {"Ok": None} if node_status.failure is None else {"Err": node_status.failure}
    )
    return {
        "running_state": running,
        "id": status.node_id,
        "current_term": status.term,
        "vote": {
            "leader_id": {"term": status.term, "node_id": voted_for},
            "committed": status.leader_id is not None,
        },
        "last_log_index": status.last_log_index or None,
        "last_applied": leaders.log_id(core.term_at(status.applied_index), status.applied_index),
        "snapshot": leaders.log_id(status.snapshot_term, status.snapshot_index),
        "purged": leaders.log_id(
            core.term_at(status.first_log_index - 1), status.first_log_index - 1
        ),
        "state": "Shutdown" if node_status.stopping else STATES[status.role],
        "current_leader": status.leader_id,
        "millis_since_quorum_ack": (
            max(0, now - status.quorum_contact_at) // 1000
            if leads and status.quorum_contact_at is not None
            else None
        ),
        "membership_config": {
            "log_id": leaders.log_id(
                core.term_at(status.membership_index), status.membership_index
            ),
            "membership": _membership(status.membership),
        },
        "replication": (
            {
                str(peer): leaders.log_id(core.term_at(progress.match), progress.match)
                for peer, progress in sorted(status.peers.items())
            }
            if leads
            else None
        ),
        "qcore": {
            "version": qcore.__version__,
            "cluster_id": node_status.cluster_id,
            "address": node_status.address,
            "peer_refusals": {str(peer): text for peer, text in node_status.rejections.items()},
            "apply_rules": {
                "active": node_status.version.rules,
                "supported": [node_status.support.rules_min, node_status.support.rules_max],
            },
            "machine": {
                "name": node_status.version.machine or node_status.support.machine,
                "recorded": bool(node_status.version.machine),
                "active": node_status.version.machine_version,
                "supported": [node_status.support.machine_min, node_status.support.machine_max],
            },
            "role": status.role,
            "removed": node_status.removal_reason,
            "leader_ready": core.has_committed_in_term if leads else None,
            "commit_index": status.commit_index,
            "applied_index": status.applied_index,
            "durable_index": status.durable_index,
            "first_log_index": status.first_log_index,
            "stored": {
                "first_log_index": node_status.stored.first_index,
                "last_log_index": node_status.stored.last_index,
                "log_bytes": node_status.stored.log_bytes,
                "snapshot_index": node_status.stored.snapshot_index,
            },
            "membership_index": status.membership_index,
            "priority": status.priority,
            "priorities": _priorities(status),
            "learners": list(status.membership.learners),
            "snapshot_transfers": {
                "receiving": _transfer(status.incoming_snapshot),
                "sending": {
                    str(peer): _transfer(progress.snapshot)
                    for peer, progress in sorted(status.peers.items())
                    if progress.snapshot is not None
                },
            },
            "state_hash": state_hash,
            "state_digests": {str(index): digest for index, digest in node_status.digests.items()},
            "state_comparison": (
                None if node_status.comparison is None else node_status.comparison.as_json()
            ),
            "disk_full": node_status.disk_full,
            "clock": _clock(core, status),
            "event_loop_stall_seconds_max": round(node_status.longest_stall_s, 6),
            "queues": dict(node_status.queues),
            "connections": dict(node_status.connections),
            "uptime_seconds": round(time.monotonic() - node_status.started_at, 3),
        },
    }


def _membership(membership: Membership) -> JsonValue:
    configs: list[JsonValue] = []
    if membership.voters:
        configs.append(list(membership.voters))
    if membership.is_joint:
        configs.append(list(membership.voters_outgoing))
    nodes: dict[str, JsonValue] = {
        str(node_id): {"addr": address} for node_id, address in membership.addresses
    }
    return {"configs": configs, "nodes": nodes}


def _clock(core: RaftCore, status: CoreStatus) -> JsonValue:
    peers: dict[str, JsonValue] = {
        str(peer): progress.wall_offset_us for peer, progress in sorted(status.peers.items())
    }
    return {
        "cluster_clock_us": status.clock_us,
        "wall_skew_us": status.wall_skew_us,
        "max_wall_skew_us": core.max_wall_skew_us,
        "log_time_ahead_us": status.log_time_ahead_us,
        "peer_wall_offsets_us": peers,
    }


def _priorities(status: CoreStatus) -> JsonValue:
    """By member as far as the leader knows, itself included; None elsewhere."""
    if status.role != "leader":
        return None
    known = {peer: progress.priority for peer, progress in status.peers.items()}
    known[status.node_id] = status.priority
    return {str(member): known[member] for member in sorted(known)}


def _transfer(progress: SnapshotProgress | None) -> JsonValue:
    if progress is None:
        return None
    return {"index": progress.index, "offset": progress.offset, "total": progress.total}


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


def exposition(
    status: CoreStatus,
    metrics: NodeMetrics,
    node_status: NodeStatus,
    peers: Sequence[PeerState],
    stats: ServerStats,
) -> str:
    """The Prometheus page."""
    page = Exposition()
    build = {
        "version": qcore.__version__,
        "cluster_id": node_status.cluster_id or "",
        "machine": node_status.support.machine,
    }
    page.family("qcore_build_info", "gauge", "Version, cluster and state machine.", [(build, 1)])
    uptime = time.monotonic() - node_status.started_at
    page.gauge("qcore_uptime_seconds", "Time since the process started serving.", uptime)
    page.gauge("qcore_apply_rules", "Active apply rules of the cluster.", node_status.version.rules)
    page.gauge(
        "qcore_apply_rules_supported",
        "Newest apply rules known here.",
        node_status.support.rules_max,
    )
    page.gauge(
        "qcore_machine_version",
        "Active version of the state machine.",
        node_status.version.machine_version,
    )
    page.gauge(
        "qcore_machine_version_supported",
        "Newest version of the state machine known here.",
        node_status.support.machine_max,
    )
    _raft(page, status)
    page.gauge(
        "qcore_raft_removed",
        "1 once this node is no member of its cluster any more.",
        int(node_status.removal_reason is not None),
    )
    _clocks(page, status)
    divergence.add_gauges(page, node_status.comparison)
    _peers(page, peers)
    page.family(
        "qcore_requests_total",
        "counter",
        "Clients' requests that ended, by kind and outcome.",
        [
            ({"kind": kind, "outcome": outcome}, number)
            for (kind, outcome), number in sorted(metrics.requests.items())
        ],
    )
    page.histogram(
        "qcore_request_duration_seconds",
        "From a request's arrival to its reply.",
        [({"kind": kind}, histogram) for kind, histogram in metrics.request_seconds.items()],
    )
    page.histogram(
        "qcore_step_events",
        "Events that one step of the replica took together.",
        [({}, metrics.step_events)],
    )
    page.histogram(
        "qcore_storage_commit_duration_seconds",
        "From handing writes to the disk to their being durable.",
        [({}, metrics.commit_seconds)],
    )
    _stalls(page, metrics)
    page.gauge(
        "qcore_storage_disk_full", "1 while writes wait for space.", int(node_status.disk_full)
    )
    _stored(page, status, node_status)
    _counters(page, metrics, stats)
    page.family(
        "qcore_queue_length",
        "gauge",
        "Items in each queue.",
        [({"queue": name}, length) for name, length in node_status.queues.items()],
    )
    page.family(
        "qcore_connections",
        "gauge",
        "Open connections to this node.",
        [({"kind": kind}, number) for kind, number in node_status.connections.items()],
    )
    return page.text()


def _stalls(page: Exposition, metrics: NodeMetrics) -> None:
    families = {
        "qcore_event_loop_stall_seconds": (
            "How late the event loop was to a timer, every 10 ms",
            metrics.stall_seconds,
        ),
        "qcore_event_loop_stall_own_seconds": (
            "That without the wait for a processor that something else had (Linux)",
            metrics.stall_own_seconds,
        ),
        "qcore_gc_pause_seconds": (
            "Computing time of each run of the garbage collector",
            metrics.gc_pause_seconds,
        ),
        "qcore_raft_leader_gap_seconds": (
            "Time between two messages of the leader, on a follower",
            metrics.leader_gap_seconds,
        ),
    }
    for name, (text, histogram) in families.items():
        page.histogram(name, f"{text}.", [({}, histogram)])
        page.gauge(f"{name}_max", f"{text}: the longest since the start.", histogram.largest)


def _stored(page: Exposition, status: CoreStatus, node_status: NodeStatus) -> None:
    """What is on disk, beside what is in memory: a large snapshot is stored some time after it was captured."""
    stored = node_status.stored
    gauges = {
        "qcore_log_bytes": ("Bytes of the entries that are on disk.", stored.log_bytes),
        "qcore_log_first_index": ("Lowest index of the log on disk.", stored.first_index),
        "qcore_log_last_index": ("Highest index of the log on disk.", stored.last_index),
        "qcore_snapshot_captured_index": (
            "Last index of the newest snapshot in memory, or 0.",
            status.snapshot_index,
        ),
        "qcore_snapshot_stored_index": (
            "Last index of the snapshot on disk, or 0.",
            stored.snapshot_index,
        ),
        "qcore_snapshot_stored_timestamp_seconds": (
            "When this process last stored a snapshot, seconds since the Unix epoch, or 0.",
            node_status.snapshot_stored_at,
        ),
    }
    for name, (text, value) in gauges.items():
        page.gauge(name, text, value)


def _raft(page: Exposition, status: CoreStatus) -> None:
    gauges = {
        "term": ("Current term.", status.term),
        "leader_id": ("Node id of the known leader, 0 while none is known.", status.leader_id or 0),
        "is_leader": ("1 on the leader.", int(status.role == "leader")),
        "commit_index": ("Highest committed index.", status.commit_index),
        "applied_index": ("Highest applied index.", status.applied_index),
        "last_log_index": ("Highest index in the log.", status.last_log_index),
        "first_log_index": ("Lowest index in the log.", status.first_log_index),
        "durable_index": ("Highest index on this node's stable storage.", status.durable_index),
        "snapshot_index": (
            "Last index of the newest snapshot in memory, or 0.",
            status.snapshot_index,
        ),
        "priority": ("This node's own priority; 0 never leads.", status.priority),
        "priority_zero_voters": (
            "Voters known here to have priority 0: on the leader all that told it, elsewhere this node if it is one. "
            "Without a leader the sum over all voters counts them.",
            len(status.never_lead),
        ),
        "voters": ("Voting members.", len(status.membership.voters)),
        "learners": ("Members without a vote.", len(status.membership.learners)),
    }
    for name, (text, value) in gauges.items():
        page.gauge(f"qcore_raft_{name}", text, value)
    roles = [({"role": role}, float(role == status.role)) for role in STATES]
    page.family("qcore_raft_role", "gauge", "1 for the present role.", roles)


def _clocks(page: Exposition, status: CoreStatus) -> None:
    page.gauge(
        "qcore_raft_cluster_clock_seconds",
        "The cluster clock, by which sessions expire: the leader's, elsewhere the newest in the log.",
        status.clock_us / 1e6,
    )
    # Only a leader knows the others' clocks: elsewhere, and until they are known, there is no sample.
    skew = status.wall_skew_us
    skews: list[tuple[dict[str, str], float]] = [] if skew is None else [({}, skew / 1e6)]
    page.family(
        "qcore_wall_clock_skew_seconds",
        "gauge",
        "How far this leader's wall clock is ahead of a quorum's, or of the others' where no quorum agrees.",
        skews,
    )
    page.gauge(
        "qcore_log_time_ahead_seconds",
        "How far the newest time stamp is ahead of a quorum's clocks, if that is beyond the bound; on the leader.",
        (status.log_time_ahead_us or 0) / 1e6,
    )
    page.family(
        "qcore_peer_wall_clock_offset_seconds",
        "gauge",
        "How far the peer's wall clock is ahead of this leader's.",
        [
            ({"peer": str(peer)}, progress.wall_offset_us / 1e6)
            for peer, progress in sorted(status.peers.items())
            if progress.wall_offset_us is not None
        ],
    )


def _peers(page: Exposition, peers: Sequence[PeerState]) -> None:
    page.family(
        "qcore_peer_connected",
        "gauge",
        "1 while our connection to the peer stands.",
        [({"peer": str(peer.peer_id)}, int(peer.connected)) for peer in peers],
    )
    page.family(
        "qcore_peer_queued_bytes",
        "gauge",
        "Handed to the connection and not yet taken by the socket.",
        [({"peer": str(peer.peer_id)}, peer.queued_bytes) for peer in peers],
    )


def _counters(page: Exposition, metrics: NodeMetrics, stats: ServerStats) -> None:
    counters = {
        "qcore_raft_role_changes": ("Changes of role, term or leader.", metrics.role_changes),
        "qcore_raft_entries_applied": ("Entries applied.", metrics.entries_applied),
        "qcore_peer_messages_sent": ("Messages sent to peers.", metrics.peer_messages_sent),
        "qcore_peer_messages_received": ("Messages from peers.", metrics.peer_messages_received),
        "qcore_peer_messages_dropped": (
            "Messages to peers lost here: no connection, or a full queue.",
            metrics.peer_messages_dropped,
        ),
        "qcore_snapshots_stored": ("Snapshots stored on disk.", metrics.snapshots_stored),
        "qcore_peers_refused": ("Peers whose Hello was refused.", metrics.rejected_peers),
        "qcore_frames_received": ("Frames from clients and peers.", stats.frames_received),
        "qcore_malformed_envelopes": (
            "Envelopes that could not be understood.",
            stats.malformed_received,
        ),
        "qcore_policy_violations": (
            "Connections closed with 1008: Raft messages without Hello.",
            stats.policy_violations,
        ),
        "qcore_connections_accepted": ("Connections accepted.", stats.connections_accepted),
        "qcore_connections_refused": (
            "Connections refused because there were too many.",
            stats.connections_refused,
        ),
    }
    for name, (text, value) in counters.items():
        page.counter(f"{name}_total", text, value)
    for what in ("log", "trace"):
        dropped = metrics.lines_dropped.get(what, lambda: 0)()
        text = f"Lines of the {what} that were dropped because nobody took them in time."
        page.counter(f"qcore_{what}_lines_dropped_total", text, dropped)
