"""How old a server's committed state may be, for reads of bounded staleness.

A server knows that its state is *as of* a moment on its own clock: every write that was acknowledged to anybody before
that moment lies at or before its commit index. The age of the state is the time since then.

**Leader.** Once it has committed in its own term, its commit index covers all that earlier leaders acknowledged
(paper, 5.4.2). A later leader may have acknowledged more, but only after a quorum had left this leader's term. So
the state is as of the newest moment at which a quorum is known to have followed: the *start* of the newest read round
(`qcore.core.reads.read_index`) that a quorum has answered. The answer's arrival says less: it may have waited on a
link.

**Follower.** Its answers carry its own clock (`sent_us`). The leader echoes the newest one and adds how long before
that answer's arrival a quorum was known to have followed it (`confirmed_ago_us`). Whatever was acknowledged before
`echo_us - confirmed_ago_us` is therefore covered by `leader_commit`, however long the append waited on a link; and
the state is as of that moment once the follower's commit index has reached it.

The only interval that another clock measured is `confirmed_ago_us`. The two clocks' speeds may differ by
`max_clock_drift_percent`, as for leases, so the follower lengthens it accordingly. The age itself is measured by the
clock of the server that answers the read.

An echo of an earlier life of the follower is ignored: it lies before this life's start, or, after a reboot, anywhere
(hosts begin their monotonic clock at a random value).
"""

from __future__ import annotations

from bisect import bisect_right
from operator import itemgetter
from typing import Final

from qcore.core import quorum
from qcore.core.log.progress import NOT_YET, Progress
from qcore.core.messages import AppendEntries
from qcore.core.raft_server import RaftServer

#: The newest rules of 0.1.0, under which followers do not learn how old their state is.
_FIRST_RULES: Final = 1

#: Rounds whose start is remembered, at most.
MAX_ROUND_TIMES: Final = 256

_NUMBER = itemgetter(0)


# -- the leader ----------------------------------------------------------------------------------


def record_round_start(server: RaftServer) -> None:
    """The round `server.reads.round` begins now.

    Of older rounds every second one is forgotten when there are many. An answer to a forgotten round counts for the
    round before it, which can only make the state look older.
    """
    times = server.reads.round_times
    if times and times[-1][1] == server.now:
        return  # an answer to this round proves what an answer to that one would
    times.append((server.reads.round, server.now))
    if len(times) > MAX_ROUND_TIMES:
        half = MAX_ROUND_TIMES // 2
        times[:half] = times[:half:2]


def on_answer(server: RaftServer, progress: Progress, round_number: int, sent_us: int) -> None:
    """A follower answered a message of this round of the current term; its clock showed `sent_us`."""
    reads = server.reads
    if progress.acked_round < round_number:
        progress.acked_round = min(round_number, reads.round)
        position = bisect_right(reads.round_times, progress.acked_round, key=_NUMBER)
        if position:
            progress.acked_round_started_at = max(
                progress.acked_round_started_at, reads.round_times[position - 1][1]
            )
            reads.confirmed = None
    # Not the highest: the follower's clock begins elsewhere after a restart.
    progress.echo_us = sent_us
    progress.echo_arrived_at = server.now


def confirmed_at(server: RaftServer, now: int) -> int | None:
    """When a quorum is known to have followed this leader, µs; None if no round was answered by one."""
    known = server.reads.confirmed  # asked for with every append
    if known is not None and known[0] == server.membership_index:
        return known[1]
    followed = {peer: progress.acked_round_started_at for peer, progress in server.progress.items()}
    followed[server.node_id] = now
    moment = quorum.quorum_value(server.membership, followed)
    if moment == NOT_YET:
        return None
    if moment != now:  # it depends on the answers only, not on this server's own clock
        server.reads.confirmed = (server.membership_index, moment)
    return moment


def echo_fields(server: RaftServer, progress: Progress) -> tuple[int, bool, int]:
    """The fields `echo_us`, `is_current` and `confirmed_ago_us` of an append to this follower."""
    if server.rules <= _FIRST_RULES or server.commit_index < server.term_start_index:
        return 0, False, 0
    moment = confirmed_at(server, server.now)
    if moment is None or not progress.echo_us:
        return 0, True, 0
    return progress.echo_us, True, max(0, progress.echo_arrived_at - moment)


def on_step_down(server: RaftServer) -> None:
    """What the leader knows of its state's age stays true when it leads no more."""
    if server.config.safeguards.freshness_check:
        server.fresh_as_of = fresh_as_of(server, server.now)


# -- the follower --------------------------------------------------------------------------------


def response_clock_us(server: RaftServer) -> int:
    """The field `sent_us` of an answer to the leader."""
    return server.now if server.rules > _FIRST_RULES else 0


def on_append_entries(server: RaftServer, request: AppendEntries) -> None:
    """The leader's append was dealt with: its commit index and its echo may tell how fresh the state is.

    Where the commit index is still ahead of this log, moment and index are remembered until the log gets there: one
    pair at a time, so that a follower that always lags a little still learns its age.
    """
    if not server.config.safeguards.freshness_check:
        if server.commit_index >= request.leader_commit:
            server.fresh_as_of = server.now
        return
    echo_us, ago_us = request.echo_us, request.confirmed_ago_us
    if not request.is_current or ago_us < 0 or not server.started_at <= echo_us <= server.now:
        return
    if not echo_us:
        return  # the leader has no answer of ours yet
    moment = echo_us - _at_most_here(server, ago_us)
    _reach(server)
    if server.commit_index >= request.leader_commit:
        _fresher(server, moment)
    elif server.pending_freshness is None:
        server.pending_freshness = (request.leader_commit, moment)


def _at_most_here(server: RaftServer, there_us: int) -> int:
    """How much time may have passed on this clock while `there_us` passed on the leader's."""
    percent = 100 - server.config.max_clock_drift_percent
    return -(-there_us * 100 // percent)


def _reach(server: RaftServer) -> None:
    """The commit index may have come to where the state is known to be fresh."""
    if server.pending_freshness is not None and server.pending_freshness[0] <= server.commit_index:
        _fresher(server, server.pending_freshness[1])
        server.pending_freshness = None


def _fresher(server: RaftServer, moment: int) -> None:
    if server.fresh_as_of is None or server.fresh_as_of < moment:
        server.fresh_as_of = moment


# -- either --------------------------------------------------------------------------------------


def fresh_as_of(server: RaftServer, now: int) -> int | None:
    """As of which moment on this server's clock, which shows `now`, the committed state is known to be, µs.

    None if not at all. What was learned stays true: it survives elections, and is only forgotten in a restart.
    """
    if not server.config.safeguards.freshness_check:
        return _last_contact(server, now) if server.role == "leader" else server.fresh_as_of
    _reach(server)
    if server.role == "leader" and server.commit_index >= server.term_start_index:
        moment = confirmed_at(server, now)
        if moment is not None:
            _fresher(server, moment)
    return server.fresh_as_of


def _last_contact(server: RaftServer, now: int) -> int:
    """What 0.1.0 went by: when a quorum's answers arrived, whenever they were sent."""
    contacts = {peer: progress.last_answer_at for peer, progress in server.progress.items()}
    contacts[server.node_id] = now
    return quorum.quorum_value(server.membership, contacts)
