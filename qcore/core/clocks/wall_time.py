"""The time stamps of entries: the leader's wall clock, kept within a bound of a quorum's wall clocks.

From apply rules 2 on, responses to a leader or candidate carry the responder's wall clock. The leader stores each as an
offset from its *monotonic* clock, so that its estimates remain valid when its wall clock is set. Together with its wall
clock they give two bounds:

| bound | meaning |
|---|---|
| low | the latest time that the clocks of a quorum have reached |
| high | the earliest time that the clocks of a quorum have not passed |

If the clocks of all voters are known and the number of voters is odd, both bounds are the median. The clock of a voter
that has not responded may show any time. The leader stamps an entry with its wall clock, but never outside `low - B` to
`high + B`, where B is `RaftConfig.max_wall_skew_ms`.

If low and high differ (a voter is silent, and the others disagree), the leader cannot know whose clock is wrong. A
stamp that is too late cannot be taken back. So the leader then stamps no later than `low + B` or its last stamp plus
the time since then, whichever is later. While low is unknown, only the second limit applies. That happens only after
the rules were raised in this term, until a quorum responds. After any later election the votes have reported the
clocks.

A stamp is never earlier than the one before it. Under rules 1 the leader stamps entries with its clock as it is.
An estimate is late by the transit time of the response, so B must be well above that time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from qcore.core import quorum
from qcore.core.messages import AppendEntries, InstallSnapshot, RequestVote
from qcore.core.raft_server import RaftServer

#: Later than any clock shows, µs.
_FAR = 1 << 62


# -- the clock in responses -----------------------------------------------------------------------


def response_wall_us(
    server: RaftServer, request: AppendEntries | InstallSnapshot | RequestVote
) -> int:
    """This server's wall clock for its response; 0 if the receiver could not read that field.

    A server whose log is empty does not know the cluster's rules. It reports its clock if the request contains
    something that servers send only from rules 2 on.
    """
    if server.rules >= 2:
        return server.wall_us
    if isinstance(request, AppendEntries):
        new = request.is_current or request.echo_us > 0 or request.confirmed_ago_us > 0
    elif isinstance(request, RequestVote):
        new = request.rules >= 2
    else:
        new = request.version.rules >= 2
    return server.wall_us if new else 0


def offset_from_monotonic(server: RaftServer, wall_us: int) -> int | None:
    """How far a wall clock, as just reported, is ahead of this server's monotonic clock, µs; None if unreported (0)."""
    return wall_us - server.now if wall_us > 0 else None


# -- what the leader knows of the other clocks ------------------------------------------------------


def bounds(server: RaftServer, own_us: int) -> tuple[int | None, int | None]:
    """The bounds low and high at this moment, µs since the Unix epoch; None where no quorum has reported its clocks.

    Args:
        own_us: this server's wall clock.
    """
    offsets = _offsets(server, own_us)
    membership = server.membership
    voters = membership.voters + membership.voters_outgoing
    low = quorum.quorum_value(membership, {v: offsets.get(v, -_FAR) for v in voters})
    high = -quorum.quorum_value(membership, {v: -offsets.get(v, _FAR) for v in voters})
    return (
        None if low <= -_FAR else low + server.now,
        None if high >= _FAR else high + server.now,
    )


def leader_skew_us(server: RaftServer) -> int | None:
    """How far a leader's wall clock is ahead of `low`, µs, or behind `high` (negative) if it is not ahead.

    None if this server does not lead, under rules 1, and while a quorum's clocks are unknown.
    """
    own = server.wall_us
    if server.role != "leader" or server.rules < 2 or not own:
        return None
    low, high = bounds(server, own)
    if low is not None and own > low:
        return own - low
    return None if high is None else min(0, own - high)


def quorum_within(
    configs: Iterable[Sequence[int]], clocks: Mapping[int, int], bound_us: int
) -> bool:
    """Whether the clocks of a quorum are known and within the bound of one another.

    Then `low` and `high` both lie among them, and a clock far from these is wrong. Otherwise it is unknown which clock
    is wrong.

    Args:
        configs: the effective voters; two lists in a joint configuration.
        clocks: the known clocks by node id, all relative to the same clock, µs.
        bound_us: how far apart they may be.
    """
    majorities = [voters for voters in configs if voters]
    return any(
        all(
            2 * sum(v in clocks and 0 <= clocks[v] - first <= bound_us for v in voters)
            > len(voters)
            for voters in majorities
        )
        for first in clocks.values()
    )


def log_time_ahead_us(server: RaftServer) -> int | None:
    """How far the newest time stamp is ahead of a quorum's clocks, µs, if that is more than the bound; else None.

    A leader of 0.1.0 stamped with its wall clock, however wrong. Time stamps stand still until the clocks catch up.
    """
    own = server.wall_us
    if server.role != "leader" or server.rules < 2 or not own:
        return None
    high = bounds(server, own)[1]
    if high is None or server.last_time_us - high <= server.max_wall_skew_us:
        return None
    return server.last_time_us - high


def _offsets(server: RaftServer, own_us: int) -> dict[int, int]:
    offsets = {
        peer: progress.wall_offset_us
        for peer, progress in server.progress.items()
        if progress.wall_offset_us is not None
    }
    if own_us:
        offsets[server.node_id] = own_us - server.now
    return offsets


# -- stamps ---------------------------------------------------------------------------------------


def stamp(server: RaftServer, wall_us: int) -> int:
    """The time stamp of an entry that this leader appends now, µs since the Unix epoch.

    Args:
        wall_us: this server's wall clock; 0 for an entry that the core appends without a request.
    """
    last = server.last_time_us
    if server.rules < 2:
        return max(wall_us, last)
    own = wall_us or server.wall_us
    if _quorum_agrees(server, own):
        return max(own, last)
    low, high = bounds(server, own)
    bound = server.max_wall_skew_us
    latest = last + server.now - server.stamped_at
    if low is not None:
        latest = max(latest, low + bound)
    if high is not None:
        latest = min(latest, high + bound)
    stamped = min(own, latest)
    if low is not None:
        stamped = max(stamped, low - bound)
    return max(stamped, last)


def _quorum_agrees(server: RaftServer, own_us: int) -> bool:
    """Whether the clocks of a quorum are known and within the bound of this server's. Then no clamp applies.

    This is the usual case, and cheaper than the bounds.
    """
    membership, own_offset = server.membership, own_us - server.now
    return _majority_agrees(server, membership.voters, own_offset) and (
        not membership.voters_outgoing
        or _majority_agrees(server, membership.voters_outgoing, own_offset)
    )


def _majority_agrees(server: RaftServer, voters: tuple[int, ...], own_offset: int) -> bool:
    missing, bound = len(voters) // 2 + 1, server.max_wall_skew_us
    for voter in voters:
        if voter == server.node_id:
            missing -= 1
            continue
        progress = server.progress.get(voter)
        offset = progress.wall_offset_us if progress is not None else None
        if offset is not None and -bound <= offset - own_offset <= bound:
            missing -= 1
    return missing <= 0
