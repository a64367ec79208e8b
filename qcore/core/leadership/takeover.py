"""The target's side of a transfer: it checks that it could win and would remain leader (dissertation 3.10, 9.6).

A server that is asked to take over first asks for pre-votes. These state that the leader asked for it, so voters
agree although they are in contact with the leader. Meanwhile the server follows its leader, and nothing changes
anywhere if it cannot win. It campaigns only with a majority, and reports the decision to the leader. It rejects any
transfer while its state differs from a majority's, or its disk is almost full.

A transfer by priority must not only succeed, it must last. So the leader names the voters that it reaches itself
(`TimeoutNow.must_reach`), and the target needs a pre-vote from each of them. A grant proves that messages reach this
voter and come back now; it proves nothing about later. The target also rejects if its disk was slow recently. Where
both checks miss a problem, `qcore.core.leadership.transfer_backoff` bounds the harm.

Under apply rules 1 pre-votes cannot state that, and the target campaigns immediately, as 0.1.0 does.
"""

from __future__ import annotations

from qcore.core import quorum
from qcore.core.leadership import election
from qcore.core.leadership.transfer_state import IncomingTransfer
from qcore.core.messages import PreVoteResponse, TimeoutNow, TimeoutNowResponse
from qcore.core.raft_server import RaftServer


def on_timeout_now(server: RaftServer, from_id: int, request: TimeoutNow) -> None:
    """The leader of the current term asks this server to take over."""
    leads = request.term == server.term and server.leader_id == from_id
    fit = not (server.contained or server.short_of_space)
    able = leads and fit and election.may_campaign(server)
    if not able or (request.must_reach and not has_fast_disk(server)):
        _respond(server, from_id, accepted=False)
    elif server.rules < 2:
        # Respond first: the response belongs to the term of the request.
        _respond(server, from_id, accepted=True)
        election.campaign(server, transfer=True)
    else:
        server.incoming_transfer = IncomingTransfer(
            leader_id=from_id,
            must_reach=request.must_reach,
            deadline=server.now + server.election_timeout_min_us // 2,
            votes={server.node_id: True},
        )
        election.send_pre_votes(server, transfer=True)
        _decide(server)


def has_fast_disk(server: RaftServer) -> bool:
    """Whether this server's disk was fast recently: no sync took as long as the shortest election timeout.

    A sync is counted from when its write was issued, so it includes the wait for the sync before.
    """
    return server.slowest_sync_us() < server.election_timeout_min_us


def on_pre_vote_response(server: RaftServer, from_id: int, response: PreVoteResponse) -> None:
    """A voter's response, in the current term."""
    takeover = server.incoming_transfer
    assert takeover is not None, "no takeover to vote for"
    if response.next_term != server.term + 1:
        return
    if server.now >= takeover.deadline:
        reject_transfer(server)  # this process was paused, and the response is out of date
        return
    takeover.votes.setdefault(from_id, response.vote_granted)
    _decide(server)


def reject_transfer(server: RaftServer) -> None:
    """The deadline passed, the leader fell silent, or the votes decided against this server."""
    takeover = server.incoming_transfer
    assert takeover is not None, "no takeover to reject"
    server.incoming_transfer = None
    _respond(server, takeover.leader_id, accepted=False)


def _decide(server: RaftServer) -> None:
    takeover = server.incoming_transfer
    assert takeover is not None, "no takeover to decide"
    needed = [
        takeover.votes.get(voter)
        for voter in takeover.must_reach
        if server.membership.is_voter(voter)
    ]
    result = quorum.vote_result(server.membership, takeover.votes)
    if result == "lost" or False in needed:
        reject_transfer(server)
    elif result == "won" and None not in needed:
        _respond(server, takeover.leader_id, accepted=True)
        election.campaign(server, transfer=True)


def _respond(server: RaftServer, leader_id: int, *, accepted: bool) -> None:
    server.send(leader_id, TimeoutNowResponse(server.term, accepted), server.after_hard_state)
