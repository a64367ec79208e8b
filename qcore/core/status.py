"""The status of a server as immutable values, for status pages, metrics and tests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from qcore.core.clocks import wall_time
from qcore.core.effects import Role
from qcore.core.entry import Membership
from qcore.core.leadership import priorities
from qcore.core.log.progress import Progress, ProgressState
from qcore.core.raft_server import RaftServer
from qcore.core.reads import freshness


@dataclass(slots=True, frozen=True)
class SnapshotProgress:
    """How much of a snapshot has reached a follower.

    Attributes:
        index: the last entry that it covers.
        offset: characters that the follower is known to hold (on the follower: that it holds).
        total: characters of the whole snapshot.
    """

    index: int
    offset: int
    total: int


@dataclass(slots=True, frozen=True)
class PeerStatus:
    """What a leader knows of one follower; see `qcore.core.log.progress`.

    `priority` is 1 until the follower reports it. `wall_offset_us` is how far its wall clock is ahead of the leader's,
    µs; None while unreported.
    """

    state: ProgressState
    match: int
    next: int
    inflight_messages: int
    inflight_bytes: int
    snapshot: SnapshotProgress | None = None
    priority: int = 1
    wall_offset_us: int | None = None


@dataclass(slots=True, frozen=True)
class CoreStatus:
    """The status of a server. Times in µs; `peers` and `quorum_contact_at` on leaders only.

    Attributes:
        priority: this server's priority.
        never_lead: the voters that it knows to have priority 0. A leader knows the most.
        priority_problem: why these are too many, and what to do (see `qcore.core.leadership.priorities`), or None.
        clock_us: on a leader the cluster clock, elsewhere its newest value in log or snapshot; 0 under rules 1.
        wall_skew_us: on a leader, how far its wall clock is ahead of a quorum's (negative: behind); None if unknown.
        log_time_ahead_us: on a leader, how far the newest time stamp is ahead of a quorum's wall clocks, if that is
            more than `RaftConfig.max_wall_skew_ms`; else None.
    """

    node_id: int
    role: Role
    term: int
    voted_for: int | None
    leader_id: int | None
    commit_index: int
    applied_index: int
    last_log_index: int
    last_log_term: int
    first_log_index: int
    durable_index: int
    snapshot_index: int
    snapshot_term: int
    membership: Membership
    membership_index: int
    quorum_contact_at: int | None
    peers: Mapping[int, PeerStatus]
    incoming_snapshot: SnapshotProgress | None
    priority: int = 1
    never_lead: tuple[int, ...] = ()
    priority_problem: str | None = None
    clock_us: int = 0
    wall_skew_us: int | None = None
    log_time_ahead_us: int | None = None


def status_of(server: RaftServer) -> CoreStatus:
    """The current status of the server."""
    meta = server.snapshot.meta if server.snapshot else None
    leads = server.role == "leader"
    return CoreStatus(
        node_id=server.node_id,
        role=server.role,
        term=server.term,
        voted_for=server.voted_for,
        leader_id=server.leader_id,
        commit_index=server.commit_index,
        applied_index=server.applying_index,
        last_log_index=server.log.last_index,
        last_log_term=server.log.last_term,
        first_log_index=server.log.offset + 1,
        durable_index=server.durable_index,
        snapshot_index=meta.last_included_index if meta else 0,
        snapshot_term=meta.last_included_term if meta else 0,
        membership=server.membership,
        membership_index=server.membership_index,
        quorum_contact_at=freshness.quorum_contact_at(server, server.now) if leads else None,
        peers={
            peer: PeerStatus(
                progress.state,
                progress.match,
                progress.next,
                len(progress.inflight),
                progress.inflight_bytes,
                _outgoing(progress),
                progress.priority,
                _wall_offset(server, progress),
            )
            for peer, progress in server.progress.items()
        },
        incoming_snapshot=_incoming(server),
        priority=server.config.priority,
        never_lead=tuple(
            priorities.never_lead(
                server, server.membership.voters + server.membership.voters_outgoing
            )
        ),
        priority_problem=priorities.effective_fault(server),
        clock_us=cluster_clock_us(server),
        wall_skew_us=wall_time.leader_skew_us(server),
        log_time_ahead_us=wall_time.log_time_ahead_us(server),
    )


def cluster_clock_us(server: RaftServer) -> int:
    """On a leader the cluster clock at its last step; elsewhere its newest value in log or snapshot, µs."""
    if server.role != "leader" or not server.uses_cluster_clock:
        return server.last_clock_us
    return max(server.clock.value_us, server.last_clock_us)


def _wall_offset(server: RaftServer, progress: Progress) -> int | None:
    if progress.wall_offset_us is None or not server.wall_us:
        return None
    return progress.wall_offset_us + server.now - server.wall_us


def _outgoing(progress: Progress) -> SnapshotProgress | None:
    transfer = progress.snapshot
    if transfer is None:
        return None
    snapshot = transfer.snapshot
    return SnapshotProgress(snapshot.meta.last_included_index, transfer.offset, len(snapshot.data))


def _incoming(server: RaftServer) -> SnapshotProgress | None:
    incoming = server.incoming_snapshot
    if incoming is None:
        return None
    return SnapshotProgress(incoming.meta.last_included_index, incoming.received, incoming.total)
