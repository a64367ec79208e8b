"""Snapshots in place of log prefixes (paper, section 7)."""

from __future__ import annotations

from qcore.core.effects import MessageDropped, RestoreMachine, StoreSnapshot
from qcore.core.entry import Snapshot, SnapshotMeta
from qcore.core.events import SnapshotTaken
from qcore.core.messages import InstallSnapshot, InstallSnapshotResponse
from qcore.core.progress import Progress
from qcore.core.server import Server


def on_snapshot_taken(server: Server, event: SnapshotTaken) -> None:
    """The own state machine was captured: store that and drop the log behind it."""
    known = server.snapshot.meta.last_included_index if server.snapshot else 0
    term = server.log.term(event.index)
    if event.index <= known or event.index > server.applied or term is None:
        return
    membership = server.membership_at(event.index)
    meta = SnapshotMeta(event.index, term, membership)
    server.snapshot = Snapshot(meta, event.data)
    through = max(server.log.offset, event.index - max(event.keep_entries, 0))
    server.emit(StoreSnapshot(server.next_write_id(), server.snapshot, through, reset_log=False))
    server.log.compact(through)
    newer = [(at, later) for at, later in server.memberships if at > event.index]
    server.memberships = [(event.index, membership), *newer]


def send_to_active(server: Server, peer: int, progress: Progress) -> None:
    """Send the snapshot if the follower answered lately: to a dead one it would go again and again.

    A follower that is silent still gets heartbeats, and its first answer brings us back here.
    """
    if server.now - progress.last_answer_at < server.election_timeout_max_us:
        send_snapshot(server, peer, progress)


def send_snapshot(server: Server, peer: int, progress: Progress) -> None:
    """The follower needs entries that are gone: send the snapshot that replaced them."""
    snapshot = server.snapshot
    assert snapshot is not None, "entries are missing and no snapshot replaces them"
    progress.become_snapshot(snapshot.meta.last_included_index, server.now)
    progress.last_sent_at = server.now
    meta = snapshot.meta
    server.send(
        peer,
        InstallSnapshot(
            term=server.term,
            leader_id=server.node_id,
            last_included_index=meta.last_included_index,
            last_included_term=meta.last_included_term,
            membership=meta.membership,
            data=snapshot.data,
            round=server.reads.round,
        ),
    )


def resend_if_due(server: Server, peer: int, progress: Progress) -> None:
    """A snapshot that was not acknowledged for an election timeout is taken as lost."""
    if server.now - progress.snapshot_sent_at >= server.election_timeout_max_us:
        send_to_active(server, peer, progress)


def on_install_snapshot(server: Server, from_id: int, request: InstallSnapshot) -> None:
    """A snapshot of the present term's leader, who was noted as such before."""
    index, term = request.last_included_index, request.last_included_term
    if not 1 <= term <= request.term or request.membership.fault() is not None:
        server.emit(
            MessageDropped(from_id, request, "the snapshot's term or membership is senseless")
        )
        return
    if index <= server.commit:
        _acknowledge(server, from_id, request, server.commit)
        return
    if server.log.matches(index, term):
        # The log already holds what the snapshot replaces: it only proves that this is committed.
        server.commit_to(index)
        _acknowledge(server, from_id, request, index)
        return
    snapshot = Snapshot(SnapshotMeta(index, term, request.membership), request.data)
    write_id = server.next_write_id()
    server.emit(StoreSnapshot(write_id, snapshot, compact_through=index, reset_log=True))
    server.reset_log(snapshot)
    server.emit(RestoreMachine(snapshot))
    server.send(from_id, InstallSnapshotResponse(server.term, index, request.round), write_id)


def _acknowledge(server: Server, from_id: int, request: InstallSnapshot, match_index: int) -> None:
    durable = match_index <= server.durable_index
    server.send(
        from_id,
        InstallSnapshotResponse(server.term, match_index, request.round),
        server.after_hard_state if durable else server.last_write_id,
    )
