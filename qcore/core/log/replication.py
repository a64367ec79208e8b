"""Log replication: appends, acknowledgements, commit (paper 5.3, 5.4.2; dissertation 10.2.1)."""

from __future__ import annotations

from qcore.core import quorum
from qcore.core.clocks import wall_time
from qcore.core.effects import MessageDropped, ProposalAccepted, ProposalRejected
from qcore.core.entry import ENTRY_OVERHEAD_BYTES, Entry, EntryKind, Membership
from qcore.core.events import PeerUnreachable, Propose
from qcore.core.log import compaction
from qcore.core.log.progress import Progress
from qcore.core.messages import (
    AppendEntries,
    AppendEntriesResponse,
    InstallSnapshotResponse,
)
from qcore.core.raft_server import PROMISES_STORED_SINCE_RULES, RaftServer
from qcore.core.reads import freshness
from qcore.core.version import ClusterVersion

# -- the leader ----------------------------------------------------------------------------------


def propose(server: RaftServer, event: Propose) -> None:
    """Append clients' commands, all or none."""
    if server.role != "leader":
        server.emit(ProposalRejected("not_leader"))
        return
    if server.transfer is not None:
        server.emit(ProposalRejected("transferring"))
        return
    size = ENTRY_OVERHEAD_BYTES * len(event.commands)
    for command in event.commands:
        size += len(command)
    if server.uncommitted_bytes and server.uncommitted_bytes + size > server.max_uncommitted_bytes:
        # An idle leader accepts even one oversized batch: otherwise it could never be proposed.
        server.emit(ProposalRejected("overloaded"))
        return
    first = server.log.last_index + 1
    server.emit(ProposalAccepted(first, len(event.commands), server.term))
    if not event.commands:
        return
    append_as_leader(server, event.kinds or "command", event.commands, event.wall_us, event.users)
    broadcast(server)
    if server.durable_index == server.log.last_index:  # only without `append_durable_before_ack`
        maybe_commit(server)


def append_as_leader(
    server: RaftServer,
    kinds: EntryKind | list[EntryKind],
    data: list[str],
    wall_us: int,
    users: list[str] | None = None,
) -> None:
    """Append entries of the current term to the leader's log. Their times never go back.

    Args:
        kinds: one for all, or one for each.
        wall_us: this server's wall clock; 0 for entries that the core appends without a request.
        users: for each the name of its user; None if none has one.
    """
    time_us = wall_time.stamp(server, wall_us)
    server.stamped_at = server.now
    clock_us = (
        max(server.clock.value_us, server.last_clock_us, 1) if server.uses_cluster_clock else 0
    )
    log = server.log
    last, bytes_before = log.last_index, log.total_bytes
    made: list[Entry] = []
    for position, text in enumerate(data):
        kind = kinds if isinstance(kinds, str) else kinds[position]
        user = "" if users is None else users[position]
        made.append(Entry(last + 1 + position, server.term, kind, text, time_us, clock_us, user))
    server.append(made)
    server.uncommitted_bytes += log.total_bytes - bytes_before


def broadcast(server: RaftServer, *, allow_empty: bool = False) -> None:
    """Send every follower what may be sent to it now."""
    for peer, progress in server.progress.items():
        send_appends(server, peer, progress, allow_empty=allow_empty)


def send_appends(
    server: RaftServer, peer: int, progress: Progress, *, allow_empty: bool = False
) -> None:
    """Fill the follower's window with batches; in the probe state send one and wait."""
    log = server.log
    while not progress.paused(server.max_inflight_messages, server.max_inflight_bytes):
        through = progress.reinstall_through
        last_index = log.last_index if through is None else through
        first = progress.next
        if first > last_index and not allow_empty:
            return
        prev_log_term = log.term(first - 1)
        if prev_log_term is None:
            compaction.send_to_active(server, peer, progress)
            return
        entries = log.batch(first, server.max_batch_bytes)
        if through is not None:
            entries = [entry for entry in entries if entry.index <= through]
        _send_append(server, peer, progress, first - 1, prev_log_term, entries)
        if entries:
            last = entries[-1].index
            progress.record_sent(last, log.bytes_between(first, last))
        allow_empty = False


def heartbeat(server: RaftServer) -> None:
    """The heartbeat interval passed: send to each peer that got no message recently.

    A peer that was sent an append in the last half interval is skipped, and the next heartbeat comes
    correspondingly sooner. A heartbeat is sent whatever the state of the window. It names the entry before
    the next one to send. So a follower that lost appends rejects it and is probed again, and a follower whose
    acknowledgement was lost acknowledges again.
    """
    recently = server.now - server.heartbeat_us // 2
    oldest = server.now
    for peer, progress in server.progress.items():
        progress.unanswered_heartbeats += 1
        if progress.last_sent_at <= recently:
            send_heartbeat(server, peer, progress)
        oldest = min(oldest, progress.last_sent_at)
    server.heartbeat_deadline = oldest + server.heartbeat_us


def send_heartbeat(server: RaftServer, peer: int, progress: Progress) -> None:
    if progress.state == "snapshot":
        compaction.resend_if_due(server, peer, progress)
        prev_log_index = progress.match
    else:
        prev_log_index = progress.next - 1
    prev_log_term = server.log.term(prev_log_index)
    if prev_log_term is None:
        # The entry was compacted. All logs agree on their beginning, so name that. A window that waits for lost
        # appends would wait for ever, because the entry to send next is gone. So the state becomes probe, and
        # the response to this heartbeat leads to a snapshot.
        if progress.state == "replicate":
            progress.become_probe(progress.match + 1)
        prev_log_index = prev_log_term = 0
    _send_append(server, peer, progress, prev_log_index, prev_log_term, [])


def _send_append(
    server: RaftServer,
    peer: int,
    progress: Progress,
    prev_log_index: int,
    prev_log_term: int,
    entries: list[Entry],
) -> None:
    progress.last_sent_at = server.now
    echo_us, is_current, confirmed_ago_us = freshness.echo_fields(server, progress)
    server.send(
        peer,
        AppendEntries(
            term=server.term,
            leader_id=server.node_id,
            prev_log_index=prev_log_index,
            prev_log_term=prev_log_term,
            leader_commit=server.commit_index,
            entries=entries,
            round=server.reads.round,
            echo_us=echo_us,
            is_current=is_current,
            confirmed_ago_us=confirmed_ago_us,
        ),
    )


def on_unreachable(server: RaftServer, event: PeerUnreachable) -> None:
    """Messages in flight to the peer are probably lost: probe, or send the current chunk of its snapshot again."""
    progress = server.progress.get(event.peer_id)
    if progress is None:
        return
    if progress.snapshot is not None:
        progress.snapshot.sent_at = server.now - server.election_timeout_max_us
    elif progress.state == "replicate":
        progress.become_probe(progress.match + 1)


def on_response(server: RaftServer, from_id: int, response: AppendEntriesResponse) -> None:
    """A response in the current term."""
    progress = server.progress.get(from_id)
    if server.role != "leader" or progress is None:
        return
    progress.priority = response.priority
    _record_contact(
        server, progress, response.round, response.promise_ms, response.sent_us, response.wall_us
    )
    if not response.success:
        _on_rejected(server, from_id, progress, response)
    elif response.match_index > server.log.last_index:
        server.emit(MessageDropped(from_id, response, "match_index beyond the leader's log"))
    else:
        _on_accepted(server, from_id, progress, response)


def on_snapshot_response(
    server: RaftServer, from_id: int, response: InstallSnapshotResponse
) -> None:
    """A response to a chunk of a snapshot, in the current term."""
    progress = server.progress.get(from_id)
    if server.role != "leader" or progress is None:
        return
    progress.priority = response.priority
    _record_contact(
        server, progress, response.round, response.promise_ms, response.sent_us, response.wall_us
    )
    before = progress.match
    compaction.on_install_snapshot_response(server, from_id, progress, response)
    if progress.match > before:
        maybe_commit(server)
        send_appends(server, from_id, progress)


def _record_contact(
    server: RaftServer,
    progress: Progress,
    round_number: int,
    promise_ms: int,
    sent_us: int,
    wall_us: int,
) -> None:
    """Learn from the fields that every response has. See `AppendEntriesResponse` for their meaning."""
    progress.record_response(server.now, server.election_timeout_max_us)
    progress.promise_ms = _lasting_promise(server, promise_ms, sent_us)
    if wall_us:
        progress.wall_offset_us = wall_us - server.now
    freshness.on_response(server, progress, round_number, sent_us)


def _lasting_promise(server: RaftServer, promise_ms: int, sent_us: int) -> int:
    """The promise that a lease may rest on. Under rules that store promises, only a stored promise counts.

    A response without its sender's clock comes from a server that does not know these rules yet.
    """
    stored = sent_us > 0
    return promise_ms if stored or server.rules < PROMISES_STORED_SINCE_RULES else 0


def _on_accepted(
    server: RaftServer, from_id: int, progress: Progress, response: AppendEntriesResponse
) -> None:
    advanced = progress.update_match(response.match_index)
    if progress.state == "probe":
        # The follower's log agrees at least up to where the append began.
        agreed = min(max(response.match_index, response.prev_log_index), server.log.last_index)
        progress.become_replicate(agreed + 1)
    elif (
        progress.snapshot is not None
        and not progress.snapshot.reinstall
        and progress.match >= progress.snapshot.snapshot.meta.last_included_index
    ):
        progress.become_replicate(progress.match + 1)
    if advanced:
        maybe_commit(server)
    send_appends(server, from_id, progress)


def _on_rejected(
    server: RaftServer, from_id: int, progress: Progress, response: AppendEntriesResponse
) -> None:
    stale = (
        response.prev_log_index <= progress.match
        or progress.state == "snapshot"
        or (progress.state == "probe" and response.prev_log_index != progress.next - 1)
    )
    if stale:
        return
    guess = server.log.find_conflict_by_term(
        min(response.hint_index, response.prev_log_index - 1), response.hint_term
    )
    progress.become_probe(guess + 1)
    send_appends(server, from_id, progress, allow_empty=True)


def maybe_commit(server: RaftServer) -> None:
    """Commit what a quorum holds durably, if its last entry is of the current term (paper, 5.4.2 and figure 8)."""
    log, commit = server.log, server.commit_index
    if commit == log.last_index:
        return
    matches = {server.node_id: server.durable_index}
    for peer, progress in server.progress.items():
        matches[peer] = progress.match
    index = quorum.quorum_value(server.membership, matches)
    if index <= commit:
        return
    if server.commit_own_term_only and not log.matches(index, server.term):
        return
    freed = log.bytes_between(commit + 1, index)
    server.uncommitted_bytes = max(0, server.uncommitted_bytes - freed)
    server.commit_to(index)


# -- the follower --------------------------------------------------------------------------------


def on_append_entries(server: RaftServer, from_id: int, request: AppendEntries) -> None:
    """An append or heartbeat of the current term's leader; the caller has already recorded the sender as leader."""
    fault = _malformed_reason(request)
    if fault is not None:
        server.emit(MessageDropped(from_id, request, fault))
        return
    prev_log_index, entries = request.prev_log_index, request.entries
    if prev_log_index < server.commit_index:
        # Entries committed here agree with any leader's log (leader completeness), even where
        # a snapshot already replaced the entries.
        known = server.commit_index - prev_log_index
        if len(entries) >= known and not server.log.matches(
            server.commit_index, entries[known - 1].term
        ):
            server.emit(MessageDropped(from_id, request, "conflicts with a committed entry"))
            return
        entries = entries[known:]
        prev_log_index = min(server.commit_index, prev_log_index + len(request.entries))
    elif not server.log.matches(prev_log_index, request.prev_log_term):
        freshness.on_append_entries(server, request)
        _reject(server, from_id, request)
        return
    _store(server, entries)
    agreed = prev_log_index + len(entries)
    server.commit_to(min(request.leader_commit, agreed))
    freshness.on_append_entries(server, request)
    # Everything committed agrees, too (leader completeness). So the response to a heartbeat also replaces
    # the lost acknowledgement of a snapshot, which then need not be sent again.
    _accept(server, from_id, request, max(agreed, server.commit_index))


def _malformed_reason(request: AppendEntries) -> str | None:
    """Why no correct leader would send this, or None."""
    index, term = request.prev_log_index, request.prev_log_term
    if index < 0 or term < 0:
        return f"prev_log_index {index} and prev_log_term {term}: neither may be negative"
    term = max(term, 1)
    for entry in request.entries:
        index += 1
        if entry.index != index:
            return f"entry {entry.index} where {index} should follow"
        if not term <= entry.term <= request.term:
            return f"entry {entry.index} has term {entry.term}, out of order"
        term = entry.term
        if entry.kind == "membership":
            try:
                fault = Membership.from_json(entry.data).invalid_reason()
            except ValueError:
                fault = "it cannot be read"
            if fault is not None:
                return f"entry {entry.index} holds no membership: {fault}"
        elif entry.kind == "version":
            try:
                ClusterVersion.from_json(entry.data)
            except ValueError:
                return f"entry {entry.index} holds no version"
    return None


def _store(server: RaftServer, entries: list[Entry]) -> None:
    """Append the new entries, after removing those that conflict (paper, figure 2, AppendEntries 3 and 4).

    All entries lie after the commit index, so no committed entry is ever removed.
    """
    log = server.log
    for position, entry in enumerate(entries):
        index = entry.index
        if index <= log.last_index:
            if log.matches(index, entry.term):
                continue
            server.truncate(index)
        server.append(entries[position:])
        break


def _accept(server: RaftServer, from_id: int, request: AppendEntries, agreed: int) -> None:
    promise_ms = server.make_lease_promise()
    if request.entries and agreed > server.durable_index:
        match_index, after = agreed, server.last_write_id if server.durable_before_ack else 0
    else:
        # A heartbeat does not wait for the disk. It acknowledges what is durable by now, and
        # keeps the leader in contact while our disk is slow.
        match_index, after = min(agreed, server.durable_index), server.after_hard_state
    server.send(
        from_id,
        AppendEntriesResponse(
            term=server.term,
            success=True,
            match_index=match_index,
            prev_log_index=request.prev_log_index,
            hint_index=0,
            hint_term=0,
            round=request.round,
            priority=server.priority,
            promise_ms=promise_ms,
            sent_us=freshness.response_clock_us(server),
            wall_us=wall_time.response_wall_us(server, request),
        ),
        after,
    )


def _reject(server: RaftServer, from_id: int, request: AppendEntries) -> None:
    log = server.log
    hint_index = log.find_conflict_by_term(
        min(request.prev_log_index, log.last_index), request.prev_log_term
    )
    hint_index = max(hint_index, server.commit_index)
    promise_ms = server.make_lease_promise()
    server.send(
        from_id,
        AppendEntriesResponse(
            term=server.term,
            success=False,
            match_index=0,
            prev_log_index=request.prev_log_index,
            hint_index=hint_index,
            hint_term=log.term(hint_index) or 0,
            round=request.round,
            priority=server.priority,
            promise_ms=promise_ms,
            sent_us=freshness.response_clock_us(server),
            wall_us=wall_time.response_wall_us(server, request),
        ),
        server.after_hard_state,
    )
