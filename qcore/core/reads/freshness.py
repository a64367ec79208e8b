"""The age of a server's committed state, for stale reads (bounded staleness).

A server knows that its state is *fresh as of* a moment on its clock: every write that any node acknowledged before
that moment lies at or before its commit index. The age of the state is the time since then.

**Leader.** Once it has committed in its current term, its commit index covers everything that earlier leaders
acknowledged (paper, 5.4.2). A later leader may have acknowledged more, but only after a quorum had left this leader's
term. So the state is fresh as of the newest moment at which a quorum is known to have followed. That is the *start* of
the newest read round (`qcore.core.reads.read_index`) to which a quorum has responded. The arrival of the responses
proves less: they may have waited on a link.

**Follower.** Its responses carry its clock (`sent_us`). The leader echoes the newest one and adds how long before
the arrival of that response a quorum was known to have followed the leader (`confirmed_ago_us`). So `leader_commit`
covers everything that was acknowledged before `echo_us - confirmed_ago_us`, however long the append waited on a link.
The state is fresh as of that moment once the follower's commit index has reached `leader_commit`.

Only `confirmed_ago_us` is measured by another clock. The two clocks' speeds may differ by `max_clock_drift_percent`,
as for leases, so the follower lengthens it accordingly. The age itself is measured by the clock of the server that
serves the read.

A follower ignores an echo from before its restart. Such an echo lies before the time of the restart or, after a reboot,
anywhere (a machine begins its monotonic clock at a random value).
"""

from __future__ import annotations

from typing import Final

from qcore.core import quorum
from qcore.core.log.progress import NOT_YET, Progress
from qcore.core.messages import AppendEntries
from qcore.core.raft_server import RaftServer

#: The newest rules of 0.1.0, under which followers do not learn how old their state is.
_FIRST_RULES: Final = 1

#: How many round starts are remembered, at most.
MAX_ROUND_TIMES: Final = 256


# -- the leader ----------------------------------------------------------------------------------


def record_round_start(server: RaftServer) -> None:
    """The round `server.reads.round` begins now.

    When there are many older rounds, every second one is forgotten. A response to a forgotten round counts for the
    round before it, which can only make the state look older.
    """
    times = server.reads.round_times
    if times and times[-1][1] == server.now:
        return  # a response to this round proves the same as a response to that one
    times.append((server.reads.round, server.now))
    if len(times) > MAX_ROUND_TIMES:
        half = MAX_ROUND_TIMES // 2
        times[:half] = times[:half:2]


def on_response(server: RaftServer, progress: Progress, round_number: int, sent_us: int) -> None:
    """A follower responded to a message of this round of the current term; its clock showed `sent_us`."""
    reads = server.reads
    if progress.acked_round < round_number:
        progress.acked_round = min(round_number, reads.round)
        times = reads.round_times
        # The newest round that is not later, nearly always one of the last. There is one: round 0 is never forgotten.
        position = len(times) - 1
        while times[position][0] > progress.acked_round:
            position -= 1
        progress.acked_round_started_at = max(progress.acked_round_started_at, times[position][1])
        reads.confirmed_under = -1
    # The newest, not the highest: the follower's clock begins at another value after a restart.
    progress.echo_us = sent_us
    progress.echo_arrived_at = server.now


def quorum_contact_at(server: RaftServer, now: int) -> int:
    """When this leader was last known to be in contact with a quorum, µs; its own clock shows `now`.

    The newest time at or after which a quorum, itself included, had responded. This proves less than `confirmed_at`,
    because the responses may have waited on a link.
    """
    contacts = {peer: progress.last_response_at for peer, progress in server.progress.items()}
    contacts[server.node_id] = now
    return quorum.quorum_value(server.membership, contacts)


def confirmed_at(server: RaftServer, now: int) -> int | None:
    """When a quorum is known to have followed this leader, µs; None if no quorum responded to any round."""
    reads = server.reads
    if reads.confirmed_under == server.membership_index:  # cached, because every append needs it
        return reads.confirmed_at
    followed = {server.node_id: now}
    for peer, progress in server.progress.items():
        followed[peer] = progress.acked_round_started_at
    moment = quorum.quorum_value(server.membership, followed)
    if moment == NOT_YET:
        return None
    if moment != now:  # it depends on the responses only, not on this server's clock
        reads.confirmed_under, reads.confirmed_at = server.membership_index, moment
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
    """Keep what the leader knows of its state's age: it remains true after the leader steps down."""
    if server.config.safeguards.freshness_check:
        server.fresh_as_of = fresh_as_of(server, server.now)


# -- the follower --------------------------------------------------------------------------------


def response_clock_us(server: RaftServer) -> int:
    """The field `sent_us` of a response to the leader."""
    return server.now if server.rules > _FIRST_RULES else 0


def on_append_entries(server: RaftServer, request: AppendEntries) -> None:
    """Learn from an append that was handled how fresh the state is, by its commit index and its echo.

    While this log does not reach the leader's commit index, moment and index are remembered until it does. Only one
    pair is remembered at a time, so that a follower that always lags a little still learns its age.
    """
    if not server.freshness_check:
        if server.commit_index >= request.leader_commit:
            server.fresh_as_of = server.now
        return
    echo_us, ago_us = request.echo_us, request.confirmed_ago_us
    if not request.is_current or ago_us < 0 or not server.started_at <= echo_us <= server.now:
        return
    if not echo_us:
        return  # the leader has no response of ours yet
    moment = echo_us - _longest_here(server, ago_us)
    _use_pending(server)
    if server.commit_index >= request.leader_commit:
        _advance(server, moment)
    elif server.pending_freshness is None:
        server.pending_freshness = (request.leader_commit, moment)


def _longest_here(server: RaftServer, there_us: int) -> int:
    """How much time may have passed on this clock while `there_us` passed on the leader's, at most."""
    percent = server.slowest_clock_percent
    return (there_us * 100 + percent - 1) // percent  # rounded up


def _use_pending(server: RaftServer) -> None:
    """Use the remembered moment once the commit index has reached its index."""
    if server.pending_freshness is not None and server.pending_freshness[0] <= server.commit_index:
        _advance(server, server.pending_freshness[1])
        server.pending_freshness = None


def _advance(server: RaftServer, moment: int) -> None:
    if server.fresh_as_of is None or server.fresh_as_of < moment:
        server.fresh_as_of = moment


# -- both ----------------------------------------------------------------------------------------


def fresh_as_of(server: RaftServer, now: int) -> int | None:
    """The moment on this server's clock, which shows `now`, at which the committed state is known to be fresh, µs.

    None if unknown. Such knowledge remains true: it survives elections, and only a restart forgets it.
    """
    if not server.config.safeguards.freshness_check:
        # What 0.1.0 used: the arrival of responses, however long ago they were sent.
        return quorum_contact_at(server, now) if server.role == "leader" else server.fresh_as_of
    _use_pending(server)
    if server.role == "leader" and server.commit_index >= server.term_start_index:
        moment = confirmed_at(server, now)
        if moment is not None:
            _advance(server, moment)
    return server.fresh_as_of
