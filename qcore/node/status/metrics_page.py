"""The page `/metrics`: all metrics of a node in the text format of Prometheus."""

from __future__ import annotations

from collections.abc import Sequence

from qcore.compiled_build import BUILD
from qcore.core.status import CoreStatus
from qcore.node.observability.backup_figures import BackupFigures
from qcore.node.observability.metrics import NodeMetrics
from qcore.node.status.exposition import Exposition
from qcore.node.status.node_status import STATES, NodeStatus
from qcore.release import __version__
from qcore.replica.divergence.member_comparison import Comparison
from qcore.replica.requests.storage_quotas import QuotaUse
from qcore.transport.peers.peer_pool import PeerState
from qcore.transport.server.server import ServerStats


def metrics_page(
    status: CoreStatus,
    metrics: NodeMetrics,
    node_status: NodeStatus,
    peers: Sequence[PeerState],
    stats: ServerStats,
) -> str:
    """The Prometheus page."""
    page = Exposition()
    build = {
        "version": __version__,
        "build": BUILD,
        "cluster_id": node_status.cluster_id or "",
        "machine": node_status.versions.support.machine,
    }
    page.gauges(
        "qcore_build_info",
        "Version, build (compiled or pure), cluster and state machine.",
        list(build),
        [(list(build.values()), 1)],
    )
    page.gauge(
        "qcore_uptime_seconds", "Time since the process started serving.", node_status.uptime_s
    )
    page.gauge(
        "qcore_apply_rules", "Active apply rules of the cluster.", node_status.versions.active.rules
    )
    page.gauge(
        "qcore_apply_rules_supported",
        "Newest apply rules known here.",
        node_status.versions.support.rules_max,
    )
    page.gauge(
        "qcore_machine_version",
        "Active version of the state machine.",
        node_status.versions.active.machine_version,
    )
    page.gauge(
        "qcore_machine_version_supported",
        "Newest version of the state machine known here.",
        node_status.versions.support.machine_max,
    )
    _raft(page, status)
    page.gauge(
        "qcore_raft_removed",
        "1 once this node is no longer a member of its cluster.",
        int(node_status.removal_reason is not None),
    )
    _clocks(page, status)
    page.gauge(
        "qcore_state_diverged",
        "1 while this node differs from a majority of the voters, and serves no reads.",
        int(node_status.diverged_at is not None),
    )
    comparison_gauges(page, node_status.comparison)
    _peers(page, peers)
    _followers(page, status)
    page.counters(
        "qcore_requests",
        "Clients' requests that ended, by kind and outcome.",
        ["kind", "outcome"],
        sorted(metrics.requests.items()),
    )
    page.counters(
        "qcore_failed_logins",
        "Logins of clients that failed, by reason: a wrong password, no token of this cluster, an ended token, a "
        "header that cannot be read, too many attempts.",
        ["reason"],
        sorted(metrics.failed_logins.items()),
    )
    page.histogram(
        "qcore_request_duration_seconds",
        "From a request's arrival to its response.",
        [([kind], histogram) for kind, histogram in metrics.request_seconds.items()],
        ["kind"],
    )
    page.histogram(
        "qcore_step_events",
        "Events that one step of the replica took together.",
        [((), metrics.step_events)],
    )
    page.histogram(
        "qcore_storage_commit_duration_seconds",
        "Time from the submission of writes until they are durable.",
        [((), metrics.commit_seconds)],
    )
    _stalls(page, metrics)
    page.gauge(
        "qcore_storage_disk_full", "1 while writes wait for space.", int(node_status.disk_full)
    )
    _stored(page, status, node_status)
    _quotas(page, node_status.quotas)
    page.families(metrics.of_process())
    _counters(page, metrics, stats)
    node_status.watches.add_to(page)
    _backups(page, node_status.backups)
    page.gauges(
        "qcore_queue_length",
        "Items in each queue.",
        ["queue"],
        [([name], length) for name, length in node_status.queues.items()],
    )
    page.gauges(
        "qcore_connections",
        "Open connections to this node.",
        ["kind"],
        [([kind], number) for kind, number in node_status.connections.items()],
    )
    return page.text()


def _stalls(page: Exposition, metrics: NodeMetrics) -> None:
    families = {
        "qcore_event_loop_stall_seconds": (
            "How late a timer of the event loop was, every 25 ms",
            metrics.stall_seconds,
        ),
        "qcore_event_loop_stall_own_seconds": (
            "The same without the time in which another process had the processor (Linux)",
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
        page.histogram(name, f"{text}.", [((), histogram)])
        page.gauge(f"{name}_max", f"{text}: the longest since the start.", histogram.largest)


def _stored(page: Exposition, status: CoreStatus, node_status: NodeStatus) -> None:
    """Add what is on disk and in memory of log and snapshot. A large snapshot is stored some time after its capture."""
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


def _quotas(page: Exposition, quotas: Sequence[QuotaUse]) -> None:
    """Add the quotas. Only those with a limit have a sample of it."""
    page.gauges(
        "qcore_quota_limit",
        "The configured limit: bytes, or requests or bytes a second.",
        ["quota"],
        [([each.name], each.limit) for each in quotas if each.limit],
    )
    page.gauges(
        "qcore_quota_use",
        "Bytes of the state and of the log in memory; for the disk, free bytes.",
        ["quota"],
        [([each.name], each.use) for each in quotas if each.use is not None],
    )
    page.gauges(
        "qcore_quota_reached",
        "1 while the quota is used up.",
        ["quota"],
        [([each.name], int(each.reached)) for each in quotas],
    )
    page.counters(
        "qcore_quota_refused",
        "Requests that this node rejected because of the quota.",
        ["quota"],
        [((each.name,), each.refused) for each in quotas],
    )


def _backups(page: Exposition, figures: BackupFigures) -> None:
    """Add the metrics of scheduled backups, if the node has a directory for them."""
    if not figures.interval_s:
        return
    gauges = {
        "qcore_backup_index": (
            "Last index of the newest backup of this node, or 0.",
            figures.last_index,
        ),
        "qcore_backup_timestamp_seconds": (
            "When it was taken, seconds since the Unix epoch, or 0.",
            figures.last_at,
        ),
        "qcore_backup_bytes": (
            "Size of the last backup that this process wrote, or 0.",
            figures.last_bytes,
        ),
        "qcore_backup_duration_seconds": (
            "How long this process took for its last backup.",
            figures.last_seconds,
        ),
    }
    for name, (text, value) in gauges.items():
        page.gauge(name, text, value)
    page.counter("qcore_backups", "Backups that this process wrote.", figures.taken)
    page.counter("qcore_backup_failures", "Attempts of a backup that failed.", figures.failures)


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
        "priority": ("This node's priority; with 0 it never leads.", status.priority),
        "priority_zero_voters": (
            "Voters known here to have priority 0: on the leader all that reported it, elsewhere this node if it "
            "is one. Without a leader the sum over all voters counts them.",
            len(status.never_lead),
        ),
        "voters": ("Voting members.", len(status.membership.voters)),
        "learners": ("Members without a vote.", len(status.membership.learners)),
    }
    for name, (text, value) in gauges.items():
        page.gauge(f"qcore_raft_{name}", text, value)
    roles = [([role], float(role == status.role)) for role in STATES]
    page.gauges("qcore_raft_role", "1 for the current role.", ["role"], roles)


def _clocks(page: Exposition, status: CoreStatus) -> None:
    page.gauge(
        "qcore_raft_cluster_clock_seconds",
        "The cluster clock, by which sessions expire: on the leader its current time, elsewhere the newest in the log.",
        status.clock_us / 1e6,
    )
    # Only a leader knows the others' clocks. There is no sample on other nodes, or while the clocks are not known.
    skew = status.wall_skew_us
    page.gauge(
        "qcore_wall_clock_skew_seconds",
        "How far this leader's wall clock is ahead of a quorum's, or of the others' if no quorum agrees.",
        None if skew is None else skew / 1e6,
    )
    page.gauge(
        "qcore_log_time_ahead_seconds",
        "How far the newest time stamp is ahead of a quorum's clocks, if that is beyond the bound; on the leader.",
        (status.log_time_ahead_us or 0) / 1e6,
    )
    page.gauges(
        "qcore_peer_wall_clock_offset_seconds",
        "How far the peer's wall clock is ahead of this leader's.",
        ["peer"],
        [
            ([str(peer)], progress.wall_offset_us / 1e6)
            for peer, progress in sorted(status.peers.items())
            if progress.wall_offset_us is not None
        ],
    )


def comparison_gauges(page: Exposition, found: Comparison[int] | None) -> None:
    """Add the gauges of the comparison. They have no sample before the first one, nor on nodes that do not lead."""
    values: Sequence[int | None] = (
        (None, None, None, None)
        if found is None
        else (found.different, found.differs_at or 0, len(found.compared), found.index)
    )
    gauges = {
        "qcore_state_different_members": (
            "Members whose state differs from that of the largest group that agrees; above 0 is a fault."
        ),
        "qcore_state_difference_index": "Newest index at which members were seen to differ, or 0.",
        "qcore_state_compared_members": "Members that could be compared, this leader included.",
        "qcore_state_compared_index": "Newest index at which members were compared, or 0.",
    }
    for (name, text), value in zip(gauges.items(), values, strict=True):
        page.gauge(name, text, value)


def _peers(page: Exposition, peers: Sequence[PeerState]) -> None:
    page.gauges(
        "qcore_peer_connected",
        "1 while this node's connection to the peer is open.",
        ["peer"],
        [([str(peer.peer_id)], int(peer.connected)) for peer in peers],
    )
    page.gauges(
        "qcore_peer_queued_bytes",
        "Bytes given to the connection and not yet accepted by the socket.",
        ["peer"],
        [([str(peer.peer_id)], peer.queued_bytes) for peer in peers],
    )


def _followers(page: Exposition, status: CoreStatus) -> None:
    """Add how far the other members are behind. Only a leader knows it, so other nodes have no sample."""
    followers = sorted(status.peers.items())
    page.gauges(
        "qcore_peer_match_index",
        "Highest index at which the peer's log is known to agree with this leader's.",
        ["peer"],
        [([str(peer)], progress.match) for peer, progress in followers],
    )
    page.gauges(
        "qcore_peer_lag_entries",
        "Entries of this leader's log that the peer is not known to have.",
        ["peer"],
        [([str(peer)], status.last_log_index - progress.match) for peer, progress in followers],
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
        "qcore_peer_messages_rejected": (
            "Messages of peers that no correct peer sends: absurd terms, malformed snapshots. They changed nothing.",
            metrics.messages_rejected,
        ),
        "qcore_snapshots_stored": ("Snapshots stored on disk.", metrics.snapshots_stored),
        "qcore_peers_refused": ("Peers whose Hello was rejected.", metrics.rejected_peers),
        "qcore_frames_received": ("Frames from clients and peers.", stats.frames_received),
        "qcore_malformed_envelopes": (
            "Envelopes that could not be understood.",
            stats.malformed_received,
        ),
        "qcore_policy_violations": (
            "Connections closed with 1008 (Raft messages without Hello), and web pages refused with 403.",
            stats.policy_violations,
        ),
        "qcore_connections_accepted": ("Connections accepted.", stats.connections_accepted),
        "qcore_connections_refused": (
            "Connections refused because there were too many.",
            stats.connections_refused,
        ),
    }
    for name, (text, value) in counters.items():
        page.counter(name, text, value)
    for what in ("log", "audit", "trace", "recording"):
        dropped = metrics.lines_dropped.get(what, lambda: 0)()
        name = "audit log" if what == "audit" else what
        text = f"Lines of the {name} that were dropped because the reader was too slow."
        page.counter(f"qcore_{what}_lines_dropped", text, dropped)
