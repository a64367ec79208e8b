"""Leadership transfer (dissertation 3.10): on request, by priority, and when the leader is no good leader any more.

The leader stops accepting proposals, brings the target up to date, and asks it to take over. The target finds out
whether it could win and then campaigns (see `qcore.core.leadership.takeover`). Its vote requests give the reason, and
voters grant them although they know a live leader. Once a `TimeoutNow` has been sent, the leader's lease is void for
the rest of its term: a delayed `TimeoutNow` may let the target win at any later time.

By priority the leader transfers only to a voter that is likely to remain leader:

| the target | known from |
|---|---|
| has the whole log and responded within the shortest election timeout | its responses |
| was never silent for an election timeout in the last `STEADY_TIMEOUTS` timeouts | its responses |
| did not fail recently, in this term or in earlier ones | `qcore.core.leadership.transfer_backoff` |
| reaches every voter that this leader reaches, at this moment | its pre-votes; see `qcore.core.leadership.takeover` |
| has had a fast disk recently | its rejection |

A leader whose disk is almost full rejects most commands, so it hands over to any other voter. A voter whose disk is
almost full, too, rejects. If all do, the leader leads on, and asks again after `FULL_DISK_TIMEOUTS`.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from qcore.core.effects import TransferRejected, TransferStarted
from qcore.core.events import TransferLeadership
from qcore.core.leadership import election, priorities
from qcore.core.leadership.transfer_state import OutgoingTransfer
from qcore.core.log import replication
from qcore.core.log.progress import Progress
from qcore.core.messages import TimeoutNow, TimeoutNowResponse
from qcore.core.raft_server import RaftServer

#: A voter takes over by priority only if it has responded without a break for this many of the longest election
#: timeouts.
STEADY_TIMEOUTS: Final = 20

#: A leader whose disk is almost full lets this many of the longest election timeouts pass between two attempts.
FULL_DISK_TIMEOUTS: Final = 20

_REJECTED_TRANSFER: Final = (
    "rejected the transfer: it could not win an election now, or its disk is almost full"
)


def begin(server: RaftServer, event: TransferLeadership) -> None:
    """Start to transfer leadership to `event.to`, or to the best voter if that is None."""
    to = event.to
    target = _best_voter(server) if to is None else to
    if server.role != "leader":
        server.emit(TransferRejected("not_leader", "this node is not the leader"))
    elif target == server.node_id:
        server.emit(TransferStarted(server.node_id))
    elif target is None or not server.membership.is_voter(target):
        whom = f"node {to} is not a voter"
        if to is None:
            alone = not any(map(server.membership.is_voter, server.peers()))
            whom = (
                "there is no other voter"
                if alone
                else "each other voter has priority 0 or is diverged"
            )
        server.emit(TransferRejected("unknown_member", f"{whom}: no node can take over"))
    elif target in priorities.never_lead(server, (target,)):
        # It would not even ask for votes, and writes would wait for nothing.
        server.emit(
            TransferRejected(
                "priorities",
                f"node {target} has priority 0 and never leads: restart it with another --priority first",
            )
        )
    elif target in server.contained_peers:
        server.emit(
            TransferRejected(
                "diverged",
                f"the state of node {target} differs from that of a majority, so it would not take over: reinstall it "
                f"first (`qcore member reinstall {target}`)",
            )
        )
    else:
        _start(server, target, by_priority=False, may_retarget=to is None)


def _start(
    server: RaftServer, target: int, *, by_priority: bool, may_retarget: bool = False
) -> None:
    deadline = server.now + server.election_timeout_max_us
    server.transfer = OutgoingTransfer(target, deadline, by_priority, may_retarget)
    server.emit(TransferStarted(target))
    advance(server)


def advance(server: RaftServer) -> None:
    """On a leader, after each event: continue its transfer, or end one whose deadline has passed."""
    transfer = server.transfer
    assert transfer is not None, "no transfer to continue"
    if server.now >= transfer.deadline:
        # The leader accepts proposals again. A target that was asked may still win, and that is safe.
        _end(
            server,
            f"node {transfer.target} did not take over in time"
            if transfer.timeout_now_sent
            else f"node {transfer.target} did not catch up with the log in time, and was not asked to take over",
        )
        return
    progress = server.progress.get(transfer.target)
    if progress is None:
        _end(server, f"node {transfer.target} left the cluster")
    elif progress.match == server.log.last_index and not transfer.timeout_now_sent:
        transfer.timeout_now_sent = True
        _ask(server, transfer.target, by_priority=transfer.by_priority)
    else:
        replication.send_appends(server, transfer.target, progress)


def _end(server: RaftServer, why: str) -> None:
    """End the transfer: this server continues to lead."""
    server.transfer = None
    server.last_transfer_failure = why


def _ask(server: RaftServer, target: int, *, by_priority: bool) -> None:
    """Ask the target to take over. From now on it may win at any later time, unless it rejects."""
    server.lease_void = True
    asked = server.unanswered_timeout_now
    asked[target] = asked.get(target, 0) + 1
    server.transfer_backoff.on_attempt(target, server.now)
    must_reach = _reached(server) if by_priority and server.rules >= 2 else ()
    server.send(target, TimeoutNow(server.term, server.node_id, must_reach))


def _reached(server: RaftServer) -> tuple[int, ...]:
    """The voters that responded within the shortest election timeout, and this leader if it is a voter."""
    answered = [peer for peer, progress in server.progress.items() if _is_recent(server, progress)]
    reached = [server.node_id, *answered]
    return tuple(sorted(member for member in reached if server.membership.is_voter(member)))


def transfer_unasked(server: RaftServer) -> None:
    """At a heartbeat: transfer by priority, or because the disk of this leader is almost full."""
    if server.transfer is not None or server.now < server.next_unasked_transfer_at:
        return
    if server.short_of_space:
        target = _best_voter(server)
        if target is not None:
            wait_us = FULL_DISK_TIMEOUTS * server.election_timeout_max_us
            server.next_unasked_transfer_at = server.now + wait_us
            _start(server, target, by_priority=False, may_retarget=True)
    else:
        _transfer_by_priority(server)


def _transfer_by_priority(server: RaftServer) -> None:
    """Transfer to a voter of higher priority that is likely to remain leader (see the table above)."""
    better = [
        (progress.priority, -peer)
        for peer, progress in server.progress.items()
        if progress.priority > server.config.priority
        and server.membership.is_voter(peer)
        and peer not in server.contained_peers
        and progress.match == server.log.last_index
        and _is_recent(server, progress)
        and _is_steady(server, progress)
        and server.transfer_backoff.allows_transfer_to(peer, server.now)
    ]
    if better:
        # If this target does not win, let some proposals through before the next one is tried.
        server.next_unasked_transfer_at = server.now + 2 * server.election_timeout_max_us
        _start(server, -max(better)[1], by_priority=True)


def transfer_on_removal(server: RaftServer) -> None:
    """This leader left the cluster: ask the best voter to campaign, and step down."""
    target = _best_voter(server)
    if target is not None:
        _ask(server, target, by_priority=False)
    election.become_follower(server, server.term, None)


def on_timeout_now_response(server: RaftServer, from_id: int, response: TimeoutNowResponse) -> None:
    """A target that cannot win ends the transfer immediately, before its deadline.

    If the request named no target, the next best voter is asked within the same deadline.
    """
    transfer, asked = server.transfer, server.unanswered_timeout_now
    if response.accepted or from_id not in asked:
        return
    asked[from_id] -= 1
    if not asked[from_id]:
        del asked[from_id]
    if transfer is None or transfer.target != from_id:
        server.last_transfer_failure = f"node {from_id} {_REJECTED_TRANSFER}"
        return
    transfer.rejected_by.append(from_id)
    target = _best_voter(server, transfer.rejected_by) if transfer.may_retarget else None
    if target is None:
        nodes = " and ".join(f"node {rejecting}" for rejecting in transfer.rejected_by)
        _end(server, f"{nodes} {_REJECTED_TRANSFER}")
    else:
        transfer.target = target
        transfer.timeout_now_sent = False


def _best_voter(server: RaftServer, rejected_by: Collection[int] = ()) -> int | None:
    able = [
        (_is_recent(server, progress), progress.match, progress.priority, -peer)
        for peer, progress in server.progress.items()
        if peer in server.membership.voters
        and progress.priority > 0
        and peer not in rejected_by
        and peer not in server.contained_peers
    ]
    return -max(able)[3] if able else None


def _is_recent(server: RaftServer, progress: Progress) -> bool:
    return server.now - progress.last_response_at < server.election_timeout_min_us


def _is_steady(server: RaftServer, progress: Progress) -> bool:
    """Whether the voter was not silent recently: one that crashes again and again would not remain leader."""
    since = progress.responding_since
    return since is None or server.now - since >= STEADY_TIMEOUTS * server.election_timeout_max_us
