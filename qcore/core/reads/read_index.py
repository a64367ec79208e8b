"""Linearizable reads without log entries: ReadIndex (dissertation 6.4).

A read is safe at the commit index that the leader had when the read arrived, once two things hold. First, the leader
has committed in its current term (before that its commit index may lag behind what was acknowledged to clients).
Second, a quorum has responded to a message that was sent *after* the read arrived (so no other node led then).

The second condition is tracked in rounds. Each round has a number that is new in the term. Every append carries it,
and the response echoes it. A response confirms the reads of that round and of earlier ones, and never those of later
rounds, however late or often it arrives. Reads that arrive while a round is in flight share the next one.
"""

from __future__ import annotations

from qcore.core import quorum
from qcore.core.effects import ReadReady, ReadRejected
from qcore.core.events import ReadCancelled, ReadRequested
from qcore.core.log import replication
from qcore.core.log.progress import NOT_YET
from qcore.core.raft_server import RaftServer
from qcore.core.reads import freshness


def begin_term(server: RaftServer) -> None:
    """A new leader counts its rounds from 0: its first messages belong to round 0."""
    server.reads.round = 0
    server.reads.round_times = []
    server.reads.confirmed_under = -1
    freshness.record_round_start(server)


def on_read_requested(server: RaftServer, event: ReadRequested) -> None:
    read_id = event.read_id
    if server.role != "leader":
        server.emit(ReadRejected(read_id))
    elif event.lease and holds_lease(server, server.now):
        server.emit(ReadReady(read_id, server.commit_index))
    elif not _has_committed_in_term(server):
        server.reads.awaiting_commit[read_id] = None
    else:
        server.reads.queued[read_id] = None
        advance(server)


def cancel(server: RaftServer, event: ReadCancelled) -> None:
    """Forget a read that no client waits for. Otherwise a leader that cannot commit would keep every read."""
    reads, read_id = server.reads, event.read_id
    reads.awaiting_commit.pop(read_id, None)
    reads.queued.pop(read_id, None)
    if reads.in_flight is not None:
        reads.in_flight[2].pop(read_id, None)


def advance(server: RaftServer) -> None:
    """Continue reads after an event on a leader: a commit, a response, a new read."""
    reads = server.reads
    if reads.awaiting_commit and _has_committed_in_term(server):
        reads.queued.update(reads.awaiting_commit)
        reads.awaiting_commit = {}
    _finish_round(server)
    while reads.queued and reads.in_flight is None:
        _begin_round(server)
        _finish_round(server)


def begin_heartbeat_round(server: RaftServer) -> None:
    """At each heartbeat: begin a round whose confirmation renews the lease and shows how fresh the state is."""
    _number_round(server)


def holds_lease(server: RaftServer, now: int) -> bool:
    """True if no other server can have been elected until `now` (dissertation 6.4.1).

    A quorum responded to a message sent at a known time. From then on each of its voters rejects votes for the minimum
    election timeout of its clock, so the lease is shorter than that by the bound on clock drift. A voter that promised
    less than that, because its settings differ, does not count. The lease never holds before the first commit of the
    current term, nor once a transfer began.
    """
    config = server.config
    if not config.lease_reads or server.lease_void or not _has_committed_in_term(server):
        return False
    begun_at = quorum.quorum_value(server.membership, _promised_since(server, now))
    length = server.election_timeout_min_us
    if config.safeguards.lease_drift_margin:
        length = length * (100 - config.max_clock_drift_percent) // 100
    return now < begun_at + length


def reject_all(server: RaftServer) -> None:
    """This server no longer leads: it can confirm no read in progress."""
    reads = server.reads
    in_flight = reads.in_flight[2] if reads.in_flight else {}
    for read_id in [*in_flight, *reads.queued, *reads.awaiting_commit]:
        server.emit(ReadRejected(read_id))
    reads.in_flight = None
    reads.queued = {}
    reads.awaiting_commit = {}


def _finish_round(server: RaftServer) -> None:
    """If a quorum has responded to the round in flight, its reads are ready."""
    if server.reads.in_flight is None:
        return
    round_number, commit, read_ids = server.reads.in_flight
    answered = quorum.quorum_value(server.membership, _acknowledged_rounds(server))
    if answered < round_number and server.config.safeguards.read_confirmation:
        return
    server.reads.in_flight = None
    for read_id in read_ids:
        server.emit(ReadReady(read_id, commit))


def _begin_round(server: RaftServer) -> None:
    reads = server.reads
    _number_round(server)
    reads.in_flight = (reads.round, server.commit_index, reads.queued)
    reads.queued = {}
    for peer, progress in server.progress.items():
        if server.membership.is_voter(peer):  # only voters' responses confirm anything
            replication.send_heartbeat(server, peer, progress)


def _number_round(server: RaftServer) -> None:
    server.reads.round += 1
    freshness.record_round_start(server)


def _acknowledged_rounds(server: RaftServer) -> dict[int, int]:
    rounds = {peer: progress.acked_round for peer, progress in server.progress.items()}
    rounds[server.node_id] = server.reads.round
    return rounds


def _promised_since(server: RaftServer, now: int) -> dict[int, int]:
    """When the newest round began to which each voter responded, if its promise lasts as long as the lease needs."""
    needed = server.config.election_timeout_min_ms
    since = {
        peer: progress.acked_round_started_at if progress.promise_ms >= needed else NOT_YET
        for peer, progress in server.progress.items()
    }
    since[server.node_id] = now
    return since


def _has_committed_in_term(server: RaftServer) -> bool:
    return server.commit_index >= server.term_start_index
