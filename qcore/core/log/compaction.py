"""Snapshots in place of log prefixes: take, send, install (paper, section 7)."""

from __future__ import annotations

from typing import TypeVar
from zlib import crc32

from qcore.core.clocks import wall_time
from qcore.core.effects import MessageDropped, RestoreMachine, StoreSnapshot
from qcore.core.entry import Snapshot, SnapshotMeta
from qcore.core.events import SnapshotTaken
from qcore.core.log.compressed_text import text_checksum
from qcore.core.log.progress import OutgoingSnapshot, Progress
from qcore.core.messages import InstallSnapshot, InstallSnapshotResponse
from qcore.core.raft_server import IncomingSnapshot, RaftServer
from qcore.core.reads import freshness
from qcore.core.text_size import lone_surrogate, part_within

T = TypeVar("T")


def on_snapshot_taken(server: RaftServer, event: SnapshotTaken) -> None:
    """The driver took a snapshot of this server's state machine: store it, and compact the log."""
    known = server.snapshot.meta.last_included_index if server.snapshot else 0
    last = server.log.entry(event.index)
    if event.index <= known or event.index > server.applying_index or last is None:
        return
    membership = server.membership_at(event.index)
    meta = SnapshotMeta(
        event.index, last.term, last.time_us, membership, last.clock_us, event.version
    )
    server.snapshot = Snapshot(meta, event.data, event.checksum)
    keep = server.log.count_within(event.index, event.keep_bytes, max(event.keep_entries, 0))
    through = max(server.log.offset, event.index - keep)
    server.emit(StoreSnapshot(server.next_write_id(), server.snapshot, through, reset_log=False))
    server.log.compact(through)
    # The effective configuration keeps its index, because a change may name it.
    _forget_before(server.memberships, event.index)
    _forget_before(server.versions, event.index)
    for progress in server.progress.values():
        # There may be many silent followers: none of them keeps an old snapshot in memory beside the new one.
        if progress.snapshot is not None and not _is_active(server, progress):
            progress.become_probe(progress.match + 1)


def _forget_before(history: list[tuple[int, T]], index: int) -> None:
    """Keep the value that is effective at `index`, and all later ones."""
    covered = sum(1 for at, _ in history if at <= index)
    del history[: covered - 1]


def send_to_active(server: RaftServer, peer: int, progress: Progress) -> None:
    """Send the snapshot only if the follower responded recently; otherwise a dead one would get it again and again.

    A silent follower still gets heartbeats, and its first response leads here again.
    """
    if _is_active(server, progress) and not server.contained:
        send_snapshot(server, peer, progress)


def send_snapshot(server: RaftServer, peer: int, progress: Progress) -> None:
    """The follower needs entries that were compacted: begin to send the snapshot that replaced them."""
    snapshot = server.snapshot
    assert snapshot is not None, "entries are missing and no snapshot replaces them"
    checksum = snapshot.checksum
    if checksum is None:
        checksum = text_checksum(snapshot.data)
    through = progress.reinstall_through
    reinstall = through is not None and through <= snapshot.meta.last_included_index
    transfer = OutgoingSnapshot(snapshot, checksum, 0, server.now, reinstall)
    progress.become_snapshot(transfer)
    _send_chunk(server, peer, progress, transfer)


def resend_if_due(server: RaftServer, peer: int, progress: Progress) -> None:
    """Send a chunk again if it got no response for an election timeout.

    If the log no longer continues the snapshot that is being sent, begin with the newer one. A silent follower gets
    heartbeats only.
    """
    transfer = progress.snapshot
    assert transfer is not None, "the snapshot state always has a snapshot"
    waits = server.now - transfer.sent_at < server.election_timeout_max_us
    if waits or server.contained or not _is_active(server, progress):
        return
    if _superseded(server, transfer):
        send_snapshot(server, peer, progress)
    else:
        _send_chunk(server, peer, progress, transfer)


def on_install_snapshot_response(
    server: RaftServer, from_id: int, progress: Progress, response: InstallSnapshotResponse
) -> None:
    """The follower holds more of the snapshot, or all of it: send the next chunk, or entries again.

    One chunk is in flight at a time, so that appends to the other followers do not starve.
    """
    transfer = progress.snapshot
    if transfer is None:
        return
    index = transfer.snapshot.meta.last_included_index
    if response.match_index >= index:
        if transfer.reinstall and not response.reinstall:
            return  # to an earlier chunk, of a snapshot that replaces nothing
        if transfer.reinstall:
            progress.reinstall_through = None
        progress.update_match(min(response.match_index, server.log.last_index))
        progress.become_replicate(progress.match + 1)
    elif response.last_included_index == index and response.match_index == 0:
        if server.contained:
            return
        if _superseded(server, transfer):
            send_snapshot(server, from_id, progress)
        elif response.next_offset != transfer.offset:
            transfer.offset = min(max(response.next_offset, 0), len(transfer.snapshot.data))
            _send_chunk(server, from_id, progress, transfer)


def _is_active(server: RaftServer, progress: Progress) -> bool:
    return server.now - progress.last_response_at < server.election_timeout_max_us


def _superseded(server: RaftServer, transfer: OutgoingSnapshot) -> bool:
    return server.log.term(transfer.snapshot.meta.last_included_index) is None


def _send_chunk(
    server: RaftServer, peer: int, progress: Progress, transfer: OutgoingSnapshot
) -> None:
    transfer.sent_at = progress.last_sent_at = server.now
    meta, data = transfer.snapshot.meta, transfer.snapshot.data
    limit = server.config.max_snapshot_chunk
    server.send(
        peer,
        InstallSnapshot(
            term=server.term,
            leader_id=server.node_id,
            last_included_index=meta.last_included_index,
            last_included_term=meta.last_included_term,
            last_included_time_us=meta.last_included_time_us,
            membership=meta.membership,
            offset=transfer.offset,
            total=len(data),
            checksum=transfer.checksum,
            data=part_within(data[transfer.offset : transfer.offset + limit], 0, limit),
            round=server.reads.round,
            last_included_clock_us=meta.last_included_clock_us,
            version=meta.version,
            reinstall=transfer.reinstall,
        ),
    )


# -- the follower --------------------------------------------------------------------------------


def on_install_snapshot(server: RaftServer, from_id: int, request: InstallSnapshot) -> None:
    """A chunk from the leader of the current term; the caller has already recorded the sender as leader."""
    index, term = request.last_included_index, request.last_included_term
    invalid = (
        not 1 <= term <= request.term
        or request.last_included_time_us < 0
        or request.last_included_clock_us < 0
        or request.membership.invalid_reason() is not None
        or request.offset < 0
        or request.offset + len(request.data) > request.total
        or request.total > server.config.max_snapshot_size
        or lone_surrogate(request.data) is not None
        or server.membership.cluster_id not in ("", request.membership.cluster_id)
    )
    if invalid:
        server.emit(MessageDropped(from_id, request, "the snapshot chunk is senseless"))
        return
    if request.reinstall:
        if _is_late(server, request):
            server.emit(MessageDropped(from_id, request, "the log already continues this snapshot"))
            return
    elif index <= server.commit_index or server.log.matches(index, term):
        # The log already holds the entries that the snapshot covers. The snapshot only proves that they are committed.
        server.incoming_snapshot = None
        server.commit_to(index)
        _respond(server, from_id, request, request.total, server.commit_index)
        return
    incoming = _collect(server, request)
    if incoming.is_too_large:
        limit = server.config.max_snapshot_size
        why = f"the snapshot has more than {limit} bytes, the limit max_snapshot_size"
        server.emit(MessageDropped(from_id, request, why))
        return
    if incoming.received < incoming.total:
        _respond(server, from_id, request, incoming.received, 0)
        return
    server.incoming_snapshot = None
    if incoming.received_checksum != incoming.checksum:
        server.emit(MessageDropped(from_id, request, "the snapshot's checksum is wrong"))
        _respond(server, from_id, request, 0, 0)
        return
    snapshot = Snapshot(incoming.meta, incoming.text.build(), incoming.checksum)
    server.emit(
        StoreSnapshot(server.next_write_id(), snapshot, compact_through=index, reset_log=True)
    )
    server.reset_log(snapshot)
    server.emit(RestoreMachine(snapshot))
    _respond(server, from_id, request, request.total, index)


def _is_late(server: RaftServer, request: InstallSnapshot) -> bool:
    """Whether the log already continues a snapshot that is to replace it: see `qcore.core.log.reinstall`."""
    last = server.log.last_index
    return last > request.last_included_index and server.log.last_term >= request.term


def _collect(server: RaftServer, request: InstallSnapshot) -> IncomingSnapshot:
    """Keep the chunk if it is the next one. A chunk of another snapshot replaces the chunks held."""
    meta = SnapshotMeta(
        request.last_included_index,
        request.last_included_term,
        request.last_included_time_us,
        request.membership,
        request.last_included_clock_us,
        request.version,
    )
    incoming = server.incoming_snapshot
    if (
        incoming is None
        or incoming.meta != meta
        or (incoming.total, incoming.checksum) != (request.total, request.checksum)
    ):
        incoming = IncomingSnapshot(meta, request.total, request.checksum)
        server.incoming_snapshot = incoming
    if request.offset == incoming.received and not incoming.is_too_large:
        incoming.text.add(request.data)
        incoming.received += len(request.data)
        # Chunk by chunk: a checksum over a large text in one step would block the server.
        data = request.data.encode()
        incoming.received_bytes += len(data)
        incoming.received_checksum = crc32(data, incoming.received_checksum)
        missing = incoming.total - incoming.received  # each character has at least one byte
        if incoming.received_bytes + missing > server.config.max_snapshot_size:
            incoming.reject()
    return incoming


def _respond(
    server: RaftServer, from_id: int, request: InstallSnapshot, next_offset: int, match_index: int
) -> None:
    """Report how much of the snapshot or the log is here. A claim about the log waits until it is durable."""
    durable = match_index <= server.durable_index
    promise_ms = server.make_lease_promise()
    server.send(
        from_id,
        InstallSnapshotResponse(
            term=server.term,
            last_included_index=request.last_included_index,
            next_offset=next_offset,
            match_index=match_index,
            round=request.round,
            priority=server.config.priority,
            promise_ms=promise_ms,
            sent_us=freshness.response_clock_us(server),
            wall_us=wall_time.response_wall_us(server, request),
            reinstall=request.reinstall,
        ),
        server.after_hard_state if durable else server.last_write_id,
    )
