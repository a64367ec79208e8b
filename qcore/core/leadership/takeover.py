"""The target's side of a transfer: could this server win, and could it stay? (dissertation 3.10, 9.6)

A server that is asked to take over first asks for pre-votes. These say that the leader wants it, so that voters
agree although they hear the leader. The server stays a follower of its leader meanwhile, and nothing changes
anywhere if it cannot win. It campaigns only with a majority, and tells the leader once that is decided.

A transfer by priority must not only succeed, it must last. So the leader names the voters that it reaches itself
(`TimeoutNow.must_reach`), and the target needs a pre-vote of each of them. A grant proves that messages reach this
voter and come back at that moment; it proves nothing about the next. The target also refuses if its own disk was
slow lately. `qcore.core.leadership.tenure` bounds the harm of what both tests miss.

Under apply rules 1 the flag does not exist, and the target campaigns at once, as 0.1.0 does.
"""

from __future__ import annotations

from qcore.core import quorum
from qcore.core.leadership import election
from qcore.core.messages import PreVoteResponse, TimeoutNow, TimeoutNowResponse
from qcore.core.raft_server import IncomingTransfer, RaftServer


def on_timeout_now(server: RaftServer, from_id: int, request: TimeoutNow) -> None:
    """The leader of the current term asks this server to take over."""
    leads = request.term == server.term and server.leader_id == from_id
    able = leads and election.may_campaign(server)
    if not able or (request.must_reach and not has_fast_disk(server)):
        _answer(server, from_id, accepted=False)
    elif server.rules < 2:
        # The answer comes first: it belongs to the term in which it was asked.
        _answer(server, from_id, accepted=True)
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
    """Whether this server's disk was quick lately: no sync took as long as the shortest election timeout.

    A sync is counted from when the write was issued, so that the wait for the one before is part of it.
    """
    return server.slowest_sync_us() < server.election_timeout_min_us


def on_pre_vote_response(server: RaftServer, from_id: int, response: PreVoteResponse) -> None:
    """A voter's answer, in the current term."""
    takeover = server.incoming_transfer
    if takeover is None or response.next_term != server.term + 1:
        return
    if server.now >= takeover.deadline:
        reject_transfer(server)  # this process was paused: what the answer says is old
        return
    takeover.votes.setdefault(from_id, response.vote_granted)
    _decide(server)


def reject_transfer(server: RaftServer) -> None:
    """The deadline passed, or the leader fell silent, before enough voters answered."""
    takeover = server.incoming_transfer
    assert takeover is not None, "there is a takeover to give up"
    server.incoming_transfer = None
    _answer(server, takeover.leader_id, accepted=False)


def _decide(server: RaftServer) -> None:
    takeover = server.incoming_transfer
    assert takeover is not None, "there is a takeover to decide"
    needed = [
        takeover.votes.get(voter)
        for voter in takeover.must_reach
        if server.membership.is_voter(voter)
    ]
    result = quorum.vote_result(server.membership, takeover.votes)
    if result == "lost" or False in needed:
        reject_transfer(server)
    elif result == "won" and None not in needed:
        _answer(server, takeover.leader_id, accepted=True)
        election.campaign(server, transfer=True)


def _answer(server: RaftServer, leader_id: int, *, accepted: bool) -> None:
    server.send(leader_id, TimeoutNowResponse(server.term, accepted), server.after_hard_state)
