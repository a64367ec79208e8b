"""What each message does to the term of a server, before the parts of the algorithm see it.

The paper calls these "rules for servers" (figure 2):

| message's term | RequestVote | PreVote | append, snapshot | responses |
|---|---|---|---|---|
| above ours | adopt it, unless a leader is live | never adopted | adopt it and follow | adopt that of a member |
| ours | to its handler | to its handler | follow, to its handler | to its handler |
| below ours | rejected with our term | rejected with our term | rejected with our term | ignored |
| absurdly high | dropped | dropped | dropped | dropped |
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, cast

from qcore.core.effects import MessageDropped
from qcore.core.events import MessageReceived
from qcore.core.leadership import election, takeover, transfer
from qcore.core.log import compaction, replication
from qcore.core.messages import (
    AppendEntries,
    AppendEntriesResponse,
    InstallSnapshot,
    InstallSnapshotResponse,
    PreVote,
    PreVoteResponse,
    RaftMessage,
    RequestVote,
    RequestVoteResponse,
    TimeoutNow,
    TimeoutNowResponse,
)
from qcore.core.raft_server import RaftServer

#: No message has a term above this one, or that much above the server's: no cluster gets there by elections. A server
#: that adopted such a term would stop the cluster, because terms never go back and no higher ones would be left.
MAX_TERM: Final = 2**62
MAX_TERM_JUMP: Final = 2**32

_OTHER_LEADER: Final = "leader_id is not the sender"
_NO_MEMBER: Final = "a newer term of a server that is not a member"
_OTHER_CANDIDATE: Final = "candidate_id is not the sender"


def on_message(server: RaftServer, event: MessageReceived) -> None:
    """Handle a message."""
    from_id, message = event.from_id, event.message
    if from_id != server.node_id:
        # The usual messages, without a look into a table: most steps have one of them, in the current term.
        if isinstance(message, AppendEntries) and message.term == server.term:
            _on_append(server, from_id, message)
            return
        if isinstance(message, AppendEntriesResponse) and message.term == server.term:
            replication.on_response(server, from_id, message)
            return
    _on_other_message(server, from_id, cast(RaftMessage, message))  # a core gets no other


def _on_other_message(server: RaftServer, from_id: int, message: RaftMessage) -> None:
    if from_id == server.node_id:
        server.emit(MessageDropped(from_id, message, "the sender has this server's own id"))
    elif message.term > min(MAX_TERM, server.term + MAX_TERM_JUMP):
        why = f"no election leads to term {message.term} from term {server.term}"
        server.emit(MessageDropped(from_id, message, why))
    else:
        _ON_MESSAGE[type(message)](server, from_id, message)


def _on_append(server: RaftServer, from_id: int, message: AppendEntries) -> None:
    if _follow(server, from_id, message.leader_id, message.term, message):
        replication.on_append_entries(server, from_id, message)


def _on_install_snapshot(server: RaftServer, from_id: int, message: InstallSnapshot) -> None:
    if _follow(server, from_id, message.leader_id, message.term, message):
        compaction.on_install_snapshot(server, from_id, message)


def _on_append_response(server: RaftServer, from_id: int, message: AppendEntriesResponse) -> None:
    if _is_current_term(server, from_id, message):
        replication.on_response(server, from_id, message)


def _on_snapshot_response(
    server: RaftServer, from_id: int, message: InstallSnapshotResponse
) -> None:
    if _is_current_term(server, from_id, message):
        replication.on_snapshot_response(server, from_id, message)


def _on_pre_vote(server: RaftServer, from_id: int, message: PreVote) -> None:
    if message.candidate_id != from_id:
        server.emit(MessageDropped(from_id, message, _OTHER_CANDIDATE))
    else:
        election.on_pre_vote(server, from_id, message)


def _on_pre_vote_response(server: RaftServer, from_id: int, message: PreVoteResponse) -> None:
    # A grant is about the next term and carries the voter's current term, which may lag behind.
    if message.term <= server.term or _is_current_term(server, from_id, message):
        if server.incoming_transfer is not None:
            takeover.on_pre_vote_response(server, from_id, message)
        else:
            election.on_pre_vote_response(server, from_id, message)


def _on_timeout_now(server: RaftServer, from_id: int, message: TimeoutNow) -> None:
    if message.leader_id == from_id:
        takeover.on_timeout_now(server, from_id, message)
    else:
        server.emit(MessageDropped(from_id, message, _OTHER_LEADER))


def _on_timeout_now_response(server: RaftServer, from_id: int, message: TimeoutNowResponse) -> None:
    if _is_current_term(server, from_id, message):
        transfer.on_timeout_now_response(server, from_id, message)


def _on_vote_response(server: RaftServer, from_id: int, message: RequestVoteResponse) -> None:
    if _is_current_term(server, from_id, message):
        election.on_request_vote_response(server, from_id, message)


def _on_request_vote(server: RaftServer, from_id: int, request: RequestVote) -> None:
    if request.candidate_id != from_id:
        server.emit(MessageDropped(from_id, request, _OTHER_CANDIDATE))
        return
    if request.term < 1:
        server.emit(MessageDropped(from_id, request, "no node campaigns before term 1"))
        return
    if request.term > server.term:
        if not request.leadership_transfer and election.hears_live_leader(server):
            # Do not even adopt the term: otherwise one isolated server could depose a working leader.
            server.send(from_id, RequestVoteResponse(server.term, False), server.after_hard_state)
            return
        if request.leadership_transfer and request.term == server.term + 1:
            server.transfer_backoff.on_term_ended(server.now, by_transfer=True)
        election.become_follower(server, request.term, None)
    if request.leadership_transfer and server.membership.is_voter(from_id):
        server.transfer_backoff.on_attempt(from_id, server.now)
    election.on_request_vote(server, from_id, request)


def _follow(
    server: RaftServer,
    from_id: int,
    leader_id: int,
    term: int,
    message: AppendEntries | InstallSnapshot,
) -> bool:
    """Follow the sender if it leads in the message's term. Returns whether its message is to be handled."""
    if leader_id != from_id:
        server.emit(MessageDropped(from_id, message, _OTHER_LEADER))
    elif term < 1:
        server.emit(MessageDropped(from_id, message, "no node leads before term 1"))
    elif term < server.term:
        _reject_stale_leader(server, from_id, message)
    elif term == server.term and server.role == "leader":
        server.emit(MessageDropped(from_id, message, "a second leader in this term"))
    else:
        if (
            term > server.term
            or server.leader_id != from_id
            or server.role in ("pre_candidate", "candidate")
        ):
            election.become_follower(server, term, from_id)
        server.last_leader_contact = server.now
        server.leaderless_timeouts = 0
        server.transfer_backoff.on_leader_message(server.now)
        server.reset_election_deadline()
        return True
    return False


def _reject_stale_leader(
    server: RaftServer, from_id: int, message: AppendEntries | InstallSnapshot
) -> None:
    """Inform a leader of an older term of the current term, so that it steps down."""
    response: AppendEntriesResponse | InstallSnapshotResponse
    if isinstance(message, AppendEntries):
        response = AppendEntriesResponse(
            server.term, False, 0, message.prev_log_index, 0, 0, message.round
        )
    else:
        response = InstallSnapshotResponse(
            server.term, message.last_included_index, 0, 0, message.round
        )
    server.send(from_id, response, server.after_hard_state)


def _is_current_term(
    server: RaftServer,
    from_id: int,
    response: AppendEntriesResponse
    | InstallSnapshotResponse
    | PreVoteResponse
    | RequestVoteResponse
    | TimeoutNowResponse,
) -> bool:
    """Adopt a newer term of a member. True if the response belongs to the term that this server was already in.

    A late response of a removed server must not depose a leader that needs it no longer (dissertation 4.2.3).
    """
    if response.term > server.term:
        if from_id not in server.membership.members():
            server.emit(MessageDropped(from_id, response, _NO_MEMBER))
            return False
        election.become_follower(server, response.term, None)
        return False
    return response.term == server.term


#: What handles a message, by class. `Any`: each handler takes the class that it is listed under.
_ON_MESSAGE: Final[dict[type, Callable[[RaftServer, int, Any], None]]] = {
    AppendEntries: _on_append,
    AppendEntriesResponse: _on_append_response,
    InstallSnapshot: _on_install_snapshot,
    InstallSnapshotResponse: _on_snapshot_response,
    RequestVote: _on_request_vote,
    RequestVoteResponse: _on_vote_response,
    PreVote: _on_pre_vote,
    PreVoteResponse: _on_pre_vote_response,
    TimeoutNow: _on_timeout_now,
    TimeoutNowResponse: _on_timeout_now_response,
}
