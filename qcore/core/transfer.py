"""Handing leadership over (dissertation 3.10): on request, by priority, and on leaving the cluster.

The leader stops taking proposals, brings the target up to date, and tells it to campaign at once. The target's
requests for votes say so, and are granted although a live leader is known. From the moment a
transfer began, the leader's lease is void for the rest of its term: a delayed `TimeoutNow` may let
the target win at any later time.
"""

from __future__ import annotations

from qcore.core import election, replication
from qcore.core.effects import TransferRefused, TransferStarted
from qcore.core.messages import TimeoutNow, TimeoutNowResponse
from qcore.core.progress import Progress
from qcore.core.server import Server, Transfer


def begin(server: Server, to: int | None) -> None:
    """Start to hand over to `to`, or to the best of the voters."""
    target = _best_voter(server) if to is None else to
    if server.role != "leader":
        server.emit(TransferRefused("not_leader", "this node is not the leader"))
    elif target == server.node_id:
        server.emit(TransferStarted(server.node_id))
    elif target is None or not server.membership.is_voter(target):
        whom = "there is no other voter" if to is None else f"node {to} is not a voter"
        server.emit(TransferRefused("unknown_member", f"{whom}: nobody can take over"))
    else:
        _start(server, target)


def _start(server: Server, target: int) -> None:
    deadline = server.now + server.election_timeout_max_us
    server.transfer = Transfer(target, deadline)
    server.lease_void = True
    server.emit(TransferStarted(target))
    advance(server)


def advance(server: Server) -> None:
    """On a leader, after each event: go on with a transfer, or give up a late one."""
    transfer = server.transfer
    if transfer is None:
        return
    if server.now >= transfer.deadline:
        # Proposals are taken again. The target may still win, and that is safe.
        server.transfer = None
        return
    progress = server.progress.get(transfer.target)
    if progress is None:
        server.transfer = None
    elif progress.match == server.log.last_index and not transfer.asked:
        transfer.asked = True
        server.send(transfer.target, TimeoutNow(server.term, server.node_id))
    else:
        replication.send_appends(server, transfer.target, progress)


def heed_priorities(server: Server) -> None:
    """At a heartbeat: hand over to a voter of higher priority that has the whole log."""
    if server.transfer is not None or server.now < server.next_priority_transfer:
        return
    better = [
        (progress.priority, -peer)
        for peer, progress in server.progress.items()
        if progress.priority > server.config.priority
        and server.membership.is_voter(peer)
        and _is_current(server, progress)
    ]
    if better:
        # A target that does not manage to win is left alone for a while.
        server.next_priority_transfer = server.now + 10 * server.election_timeout_max_us
        _start(server, -max(better)[1])


def hand_over(server: Server) -> None:
    """This leader left the cluster: let the best voter campaign, and step down."""
    target = _best_voter(server)
    if target is not None:
        server.send(target, TimeoutNow(server.term, server.node_id))
    election.become_follower(server, server.term, None)


def on_timeout_now(server: Server, from_id: int, request: TimeoutNow) -> None:
    """The leader of the present term asks this server to take over."""
    leads = request.term == server.term and server.leader_id == from_id
    accepted = leads and election.may_campaign(server)
    # The answer comes first: it belongs to the term in which it was asked.
    server.send(from_id, TimeoutNowResponse(server.term, accepted), server.after_hard_state)
    if accepted:
        election.campaign(server, transfer=True)


def on_timeout_now_response(server: Server, from_id: int, response: TimeoutNowResponse) -> None:
    """A target that cannot campaign ends the transfer at once, not only at its deadline."""
    transfer = server.transfer
    if transfer is not None and transfer.target == from_id and not response.accepted:
        server.transfer = None


def _best_voter(server: Server) -> int | None:
    able = [
        (progress.match, progress.priority, -peer)
        for peer, progress in server.progress.items()
        if peer in server.membership.voters and progress.priority > 0
    ]
    return -max(able)[2] if able else None


def _is_current(server: Server, progress: Progress) -> bool:
    recent = server.now - progress.last_answer_at < server.election_timeout_min_us
    return recent and progress.match == server.log.last_index
