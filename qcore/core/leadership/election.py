"""Elections: timeouts, PreVote, RequestVote, CheckQuorum (paper 5.2, 5.4.1; dissertation 4.2.3, 9.6).

A server that hears from no leader first asks whether it *could* win (PreVote). This changes no state on any server.
Only if it could win does it raise its term. So a server that was cut off, or hears from no other, cannot disturb a
working cluster. Servers in contact with a leader reject both kinds of request, and a leader without contact to a
quorum steps down. Together, these rules make one-way and partial partitions harmless.
"""

from __future__ import annotations

from typing import Final

from qcore.core import quorum
from qcore.core.clocks import wall_time
from qcore.core.effects import VoteGranted
from qcore.core.log import replication
from qcore.core.log.progress import Progress
from qcore.core.messages import PreVote, PreVoteResponse, RequestVote, RequestVoteResponse
from qcore.core.raft_server import NEVER, RaftServer
from qcore.core.reads import freshness, read_index

#: A contained server lets this many election timeouts pass without a leader before it campaigns: time for the others,
#: unless only its log holds what was committed. As leader it transfers leadership as soon as another log is as long.
CONTAINED_TIMEOUTS: Final = 8


def campaign(server: RaftServer, *, transfer: bool = False) -> None:
    """The election timeout passed: campaign, with or without pre-votes first.

    With `transfer` the leader itself asked for it: this server already has the pre-votes, and voters need not wait
    until the leader is silent (dissertation 3.10, 4.2.3).
    """
    server.incoming_transfer = None
    server.reset_election_deadline()
    if not server.is_electable() or (server.now < server.no_vote_before and not transfer):
        return
    server.leader_id = None
    server.last_leader_contact = None
    server.leaderless_timeouts += 1
    waits = server.contained and server.leaderless_timeouts <= CONTAINED_TIMEOUTS
    if waits or not may_campaign(server):
        server.emit_role_change()  # it no longer knows a leader
        return
    if server.config.pre_vote and not transfer:
        _ask_pre_votes(server)
    else:
        _ask_votes(server, transfer=transfer)


def may_campaign(server: RaftServer) -> bool:
    """Whether this server is electable, has a positive priority, and has a working disk."""
    return server.is_electable() and server.config.priority > 0 and not server.disk_stalled()


def _ask_pre_votes(server: RaftServer) -> None:
    server.role = "pre_candidate"
    server.votes = {server.node_id: True}
    server.emit_role_change()
    send_pre_votes(server)
    _count_votes(server)


def send_pre_votes(server: RaftServer, *, transfer: bool = False) -> None:
    """Ask every voter whether it would vote for this server; with `transfer`, because the leader asked for it."""
    _send_to_voters(
        server,
        PreVote(
            term=server.term,
            next_term=server.term + 1,
            candidate_id=server.node_id,
            last_log_index=server.log.last_index,
            last_log_term=server.log.last_term,
            leadership_transfer=transfer,
        ),
    )


def _ask_votes(server: RaftServer, *, transfer: bool = False) -> None:
    server.transfer_backoff.on_term_ended(server.now, by_transfer=transfer)
    server.term += 1
    server.voted_for = server.node_id
    server.role = "candidate"
    server.votes = {}
    server.voter_wall_offset_us = {}
    server.save_hard_state()
    server.own_vote_write_id = server.after_hard_state
    server.emit_role_change()
    server.emit(VoteGranted(server.term, server.node_id))
    _send_to_voters(
        server,
        RequestVote(
            term=server.term,
            candidate_id=server.node_id,
            last_log_index=server.log.last_index,
            last_log_term=server.log.last_term,
            leadership_transfer=transfer,
            rules=server.rules if server.rules >= 2 else 0,
        ),
    )
    count_own_vote(server)


def _send_to_voters(server: RaftServer, request: PreVote | RequestVote) -> None:
    for peer in server.peers():
        if server.membership.is_voter(peer):
            server.send(peer, request, server.after_hard_state)


def count_own_vote(server: RaftServer) -> None:
    """The candidate's vote for itself counts, like any other, once it is durable."""
    if server.role == "candidate" and server.durable_write_id >= server.own_vote_write_id:
        server.votes[server.node_id] = True
        _count_votes(server)


def _count_votes(server: RaftServer) -> None:
    result = quorum.vote_result(server.membership, server.votes)
    if result == "lost":
        become_follower(server, server.term, None)
    elif result == "won" and server.role == "pre_candidate":
        _ask_votes(server)
    elif result == "won":
        _become_leader(server)


def become_follower(server: RaftServer, term: int, leader_id: int | None) -> None:
    """Follow `leader_id` (None: no leader is known yet) in `term`, which is the current term or a later one."""
    assert term >= server.term, "terms never go back"
    was_leader = server.role == "leader"
    server.incoming_transfer = None
    if term > server.term:
        server.transfer_backoff.on_term_ended(server.now, by_transfer=False)
        server.term = term
        server.voted_for = None
        server.save_hard_state()
    if not was_leader and server.config.lease_reads and server.last_leader_contact is not None:
        # The last known leader may continue to read under its lease, whatever newer term this server learns of.
        promised = server.last_leader_contact + server.election_timeout_min_us
        server.no_vote_before = max(server.no_vote_before, promised)
    if was_leader:
        freshness.on_step_down(server)
    server.role = server.passive_role()
    server.leader_id = leader_id
    server.last_leader_contact = None if leader_id is None else server.now
    if leader_id is not None:
        server.transfer_backoff.on_leader(leader_id, term, server.now)
    server.votes = {}
    if was_leader:
        # A candidate that loses keeps the deadline that it drew when it began (paper, 5.2): drawing
        # again would make split votes last longer.
        server.reset_election_deadline()
        server.heartbeat_deadline = NEVER
        server.progress = {}
        server.uncommitted_bytes = 0
        server.transfer = None
        read_index.reject_all(server)
    server.emit_role_change()


def _become_leader(server: RaftServer) -> None:
    server.role = "leader"
    server.leader_id = server.node_id
    server.last_leader_contact = server.now
    server.votes = {}
    server.progress = {
        peer: Progress(server.log.last_index + 1, server.now) for peer in server.peers()
    }
    for peer, progress in server.progress.items():
        progress.wall_offset_us = server.voter_wall_offset_us.get(peer)
    server.clock.begin(server.last_clock_us, server.now)
    server.stamped_at = server.now
    server.uncommitted_bytes = 0
    server.transfer = None
    server.unanswered_timeout_now = {}
    server.lease_void = False
    server.settled_membership_index = -1
    server.next_unasked_transfer_at = server.now + 2 * server.election_timeout_max_us
    read_index.begin_term(server)
    server.term_start_index = server.log.last_index + 1
    server.heartbeat_deadline = server.now + server.heartbeat_us
    server.emit_role_change()
    if server.config.safeguards.noop_on_election:
        replication.append_as_leader(server, "noop", [""], 0)
    replication.broadcast(server, allow_empty=True)
    replication.maybe_commit(server)


# -- requests ------------------------------------------------------------------------------------


def hears_live_leader(server: RaftServer) -> bool:
    """True while a vote for another server would only disturb a working leader (dissertation 4.2.3).

    Contact with a leader counts only with CheckQuorum. Without it, a leader that lost its quorum would be protected
    for ever. A promise always counts.
    """
    if server.now < server.no_vote_before:
        return True
    if not server.config.check_quorum:
        return False
    if server.role == "leader":
        contact: int | None = freshness.quorum_contact_at(server, server.now)
    else:
        contact = server.last_leader_contact if server.leader_id is not None else None
    return contact is not None and server.now < contact + server.election_timeout_min_us


def is_bound_by_lease(server: RaftServer) -> bool:
    """True while a leader may read under a lease that rests on this server: it may not even vote for itself."""
    if server.now < server.no_vote_before:
        return True
    return server.config.lease_reads and hears_live_leader(server)


def agrees_to_transfer(server: RaftServer, request: PreVote) -> bool:
    """True if a pre-vote may be granted despite a live leader, because that leader asked for the transfer.

    The leader agrees only while it is transferring to this candidate. Any other voter relies on the candidate's claim.
    """
    if not request.leadership_transfer:
        return False
    if server.role != "leader":
        return True
    return server.transfer is not None and server.transfer.target == request.candidate_id


def on_pre_vote(server: RaftServer, from_id: int, request: PreVote) -> None:
    """Respond whether the candidate would get this server's vote. Changes no term, vote or role."""
    if request.leadership_transfer and server.membership.is_voter(from_id):
        server.transfer_backoff.on_attempt(from_id, server.now)
    granted = (
        request.next_term > server.term
        and _log_is_up_to_date(server, request.last_log_index, request.last_log_term)
        and (agrees_to_transfer(server, request) or not hears_live_leader(server))
    )
    # A rejection carries our term. A candidate that lags behind adopts it and can win the next
    # time. Otherwise a server with the newest log and an old term could never be elected.
    server.send(
        from_id,
        PreVoteResponse(server.term, request.next_term, granted),
        server.after_hard_state,
    )


def on_request_vote(server: RaftServer, from_id: int, request: RequestVote) -> None:
    """Grant or reject a vote for the current term. The caller has handled newer and older terms."""
    safeguards = server.config.safeguards
    free = server.voted_for in (None, request.candidate_id)
    granted = (
        request.term == server.term
        and (request.leadership_transfer or server.now >= server.no_vote_before)
        and server.role in ("follower", "learner", "pre_candidate")
        and (free or not safeguards.one_vote_per_term)
        and (server.leader_id is None or not safeguards.one_vote_per_term)
        and _log_is_up_to_date(server, request.last_log_index, request.last_log_term)
    )
    if granted and server.voted_for != request.candidate_id:
        server.voted_for = request.candidate_id
        server.save_hard_state()
        server.emit(VoteGranted(server.term, request.candidate_id))
    if granted and server.role == "pre_candidate":
        become_follower(server, server.term, None)  # the other is already a candidate: yield to it
    if granted:
        server.reset_election_deadline()
    server.send(
        from_id,
        RequestVoteResponse(server.term, granted, wall_time.response_wall_us(server, request)),
        server.after_hard_state,
    )


def _log_is_up_to_date(server: RaftServer, last_index: int, last_term: int) -> bool:
    """Whether a leader with this log would hold every committed entry (paper, 5.4.1)."""
    if not server.config.safeguards.log_freshness_check:
        return True
    return (last_term, last_index) >= (server.log.last_term, server.log.last_index)


# -- responses -----------------------------------------------------------------------------------


def on_pre_vote_response(server: RaftServer, from_id: int, response: PreVoteResponse) -> None:
    if server.role == "pre_candidate" and response.next_term == server.term + 1:
        server.votes.setdefault(from_id, response.vote_granted)
        _count_votes(server)


def on_request_vote_response(
    server: RaftServer, from_id: int, response: RequestVoteResponse
) -> None:
    if server.role == "candidate" and response.term == server.term:
        server.votes.setdefault(from_id, response.vote_granted)
        server.voter_wall_offset_us[from_id] = wall_time.offset_from_monotonic(
            server, response.wall_us
        )
        _count_votes(server)


# -- CheckQuorum ---------------------------------------------------------------------------------


def check_quorum(server: RaftServer) -> bool:
    """Step down if no quorum responded, or this server's disk stalled, for a whole election timeout (6.2).

    Returns:
        True if this server still leads.
    """
    silent_us = server.now - freshness.quorum_contact_at(server, server.now)
    if server.config.check_quorum and silent_us >= server.election_timeout_max_us:
        become_follower(server, server.term, None)
        return False
    if server.config.check_quorum and server.disk_stalled():
        # The followers could continue without this disk, but nothing that this leader appends is safe on it,
        # and a healthy leader serves better.
        become_follower(server, server.term, None)
        return False
    return True
