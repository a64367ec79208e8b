"""Handing leadership over (dissertation 3.10): on request, by priority, and on leaving the cluster.

The leader stops taking proposals, brings the target up to date, and asks it to take over. The target finds out whether
it could win and then campaigns (see `qcore.core.leadership.takeover`). Its requests for votes say why, and are
granted although
a live leader is known. From the moment a `TimeoutNow` was sent, the leader's lease is void for the rest of
its term: delayed, it may let the target win at any later time.

By priority the leader hands over only to a voter that is likely to stay:

| the target | known from |
|---|---|
| has the whole log and answered within the shortest election timeout | its answers |
| was not silent for an election timeout within the last `STEADY` of them | its answers |
| did not fail lately, in this term or in earlier ones | `qcore.core.leadership.tenure` |
| reaches every voter that this leader reaches, at this moment | its pre-votes; see `qcore.core.leadership.takeover` |
| has a disk that was quick lately | its own refusal |
"""

from __future__ import annotations

from typing import Final

from qcore.core.effects import TransferRefused, TransferStarted
from qcore.core.leadership import election, priorities
from qcore.core.log import replication
from qcore.core.log.progress import Progress
from qcore.core.messages import TimeoutNow, TimeoutNowResponse
from qcore.core.server import Server, Transfer

#: A voter that was silent must have answered for so many of the longest election timeouts to take over by priority.
STEADY: Final = 20


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
    elif target in priorities.never_lead(server, (target,)):
        # It would not even ask for votes, and writes would wait for it in vain.
        server.emit(
            TransferRefused(
                "priorities",
                f"node {target} has priority 0 and never leads: restart it with another --priority first",
            )
        )
    else:
        _start(server, target, by_priority=False, to_the_best=to is None)


def _start(server: Server, target: int, *, by_priority: bool, to_the_best: bool = False) -> None:
    deadline = server.now + server.election_timeout_max_us
    server.transfer = Transfer(target, deadline, by_priority, to_the_best)
    server.emit(TransferStarted(target))
    advance(server)


def advance(server: Server) -> None:
    """On a leader, after each event: go on with a transfer, or give up a late one."""
    transfer = server.transfer
    if transfer is None:
        return
    if server.now >= transfer.deadline:
        # Proposals are taken again. The target may still win if it was asked, and that is safe.
        _end(
            server,
            f"node {transfer.target} did not take over in time"
            if transfer.asked
            else f"node {transfer.target} did not catch up with the log in time, and was not asked to take over",
        )
        return
    progress = server.progress.get(transfer.target)
    if progress is None:
        _end(server, f"node {transfer.target} left the cluster")
    elif progress.match == server.log.last_index and not transfer.asked:
        transfer.asked = True
        _ask(server, transfer.target, by_priority=transfer.by_priority)
    else:
        replication.send_appends(server, transfer.target, progress)


def _end(server: Server, why: str) -> None:
    """The transfer is over, and this server leads on."""
    server.transfer = None
    server.transfer_end = why


def _ask(server: Server, target: int, *, by_priority: bool) -> None:
    """Ask the target to take over. From here on it may win at any later time, unless it refuses."""
    server.lease_void = True
    asked = server.asked_to_take_over
    asked[target] = asked.get(target, 0) + 1
    server.tenures.attempted(target, server.now)
    must_reach = _reached(server) if by_priority and server.rules >= 2 else ()
    server.send(target, TimeoutNow(server.term, server.node_id, must_reach))


def _reached(server: Server) -> tuple[int, ...]:
    """The voters that this leader reaches: they answered within the shortest election timeout. It is one itself."""
    answered = [peer for peer, progress in server.progress.items() if _is_recent(server, progress)]
    reached = [server.node_id, *answered]
    return tuple(sorted(member for member in reached if server.membership.is_voter(member)))


def heed_priorities(server: Server) -> None:
    """At a heartbeat: hand over to a voter of higher priority, if one is likely to stay (see the module's table)."""
    if server.transfer is not None or server.now < server.next_priority_transfer:
        return
    better = [
        (progress.priority, -peer)
        for peer, progress in server.progress.items()
        if progress.priority > server.config.priority
        and server.membership.is_voter(peer)
        and progress.match == server.log.last_index
        and _is_recent(server, progress)
        and _is_steady(server, progress)
        and server.tenures.may_try(peer, server.now)
    ]
    if better:
        # If this one does not manage to win, let some proposals through before the next one is tried.
        server.next_priority_transfer = server.now + 2 * server.election_timeout_max_us
        _start(server, -max(better)[1], by_priority=True)


def hand_over(server: Server) -> None:
    """This leader left the cluster: let the best voter campaign, and step down."""
    target = _best_voter(server)
    if target is not None:
        _ask(server, target, by_priority=False)
    election.become_follower(server, server.term, None)


def on_timeout_now_response(server: Server, from_id: int, response: TimeoutNowResponse) -> None:
    """A target that cannot win ends the transfer at once, not only at its deadline.

    If no target was named, the next best voter is asked within the same deadline.
    """
    transfer, asked = server.transfer, server.asked_to_take_over
    if response.accepted or from_id not in asked:
        return
    asked[from_id] -= 1
    if not asked[from_id]:
        del asked[from_id]
    if transfer is None or transfer.target != from_id:
        server.transfer_end = f"node {from_id} refused to take over: it could not win now"
        return
    transfer.refused.append(from_id)
    target = _best_voter(server, transfer.refused) if transfer.to_the_best else None
    if target is None:
        nodes = " and ".join(f"node {refused}" for refused in transfer.refused)
        _end(server, f"{nodes} refused to take over: it could not win now")
    else:
        transfer.target = target
        transfer.asked = False


def _best_voter(server: Server, refused: list[int] | None = None) -> int | None:
    able = [
        (_is_recent(server, progress), progress.match, progress.priority, -peer)
        for peer, progress in server.progress.items()
        if peer in server.membership.voters
        and progress.priority > 0
        and peer not in (refused or ())
    ]
    return -max(able)[3] if able else None


def _is_recent(server: Server, progress: Progress) -> bool:
    return server.now - progress.last_answer_at < server.election_timeout_min_us


def _is_steady(server: Server, progress: Progress) -> bool:
    """Whether the voter was not silent lately: one that crashes again and again would not stay."""
    since = progress.answers_since
    return since is None or server.now - since >= STEADY * server.election_timeout_max_us
