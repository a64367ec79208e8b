"""The metrics object: the JSON that `GetMetrics` and `/status` return."""

from __future__ import annotations

from typing import Final

from pydantic import JsonValue

from qcore.core.effects import RoleChanged
from qcore.core.entry import Membership
from qcore.core.raft import RaftCore
from qcore.core.status import CoreStatus, SnapshotProgress
from qcore.node.status.node_status import STATES, NodeStatus
from qcore.release import __version__
from qcore.replica.requests.storage_quotas import QuotaUse


class LeaderHistory:
    """The leader of each term, if this node knew it. A log id on the wire names the term and its leader.

    Only the newest terms are kept. For an older term the leader's id is 0, which no node has.
    """

    _KEPT: Final = 1024

    def __init__(self) -> None:
        self._leaders: dict[int, int] = {}

    def note(self, change: RoleChanged) -> None:
        """Remember the leader of a term once it is known."""
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


def metrics_object(
    core: RaftCore,
    status: CoreStatus,
    leaders: LeaderHistory,
    node_status: NodeStatus,
    state_hash: str,
    now: int,
) -> dict[str, JsonValue]:
    """The metrics object, as in `GetMetricsResponse`. `now` is in µs on the core's clock."""
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
            "version": __version__,
            "cluster_id": node_status.cluster_id,
            "address": node_status.address,
            "peer_refusals": {str(peer): text for peer, text in node_status.rejections.items()},
            "apply_rules": {
                "active": node_status.versions.active.rules,
                "supported": [
                    node_status.versions.support.rules_min,
                    node_status.versions.support.rules_max,
                ],
                "waits_for": node_status.versions.raise_waits_for,
            },
            "machine": {
                "name": node_status.versions.active.machine or node_status.versions.support.machine,
                "recorded": bool(node_status.versions.active.machine),
                "active": node_status.versions.active.machine_version,
                "supported": [
                    node_status.versions.support.machine_min,
                    node_status.versions.support.machine_max,
                ],
            },
            "members_support": {
                str(member): {
                    "rules": [support.rules_min, support.rules_max],
                    "machine": support.machine,
                    "machine_versions": [support.machine_min, support.machine_max],
                }
                for member, support in sorted(node_status.versions.members.items())
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
            "public_keys": {str(node): key for node, key in status.membership.keys},
            **_committed_membership(core, status),
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
            "diverged_at": node_status.diverged_at,
            "disk_full": node_status.disk_full,
            "quotas": {each.name: _quota(each) for each in node_status.quotas},
            "clock": _clock(core, status),
            "event_loop_stall_seconds_max": round(node_status.longest_stall_s, 6),
            "queues": dict(node_status.queues),
            "connections": dict(node_status.connections),
            "watches": node_status.watches.as_json(),
            **node_status.backups.as_json(),
            "uptime_seconds": round(node_status.uptime_s, 3),
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


def _committed_membership(core: RaftCore, status: CoreStatus) -> dict[str, JsonValue]:
    """The newest committed configuration, if it is another one than the effective configuration."""
    index, membership = core.committed_membership
    if index == status.membership_index:
        return {}
    committed = _membership(membership)
    return {
        "committed_membership": {
            "index": index,
            "membership": committed,
            "learners": list(membership.learners),
        }
    }


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
    """The priorities that the leader knows, by member, itself included; None on other nodes."""
    if status.role != "leader":
        return None
    known = {peer: progress.priority for peer, progress in status.peers.items()}
    known[status.node_id] = status.priority
    return {str(member): known[member] for member in sorted(known)}


def _quota(quota: QuotaUse) -> JsonValue:
    return {
        "limit": quota.limit,
        "use": quota.use,
        "refused": quota.refused,
        "reached": quota.reached,
    }


def _transfer(progress: SnapshotProgress | None) -> JsonValue:
    if progress is None:
        return None
    return {"index": progress.index, "offset": progress.offset, "total": progress.total}
