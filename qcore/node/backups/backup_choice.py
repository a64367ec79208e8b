"""Which node takes the scheduled backups: the follower with the lowest id, as far as a node knows.

Each node decides for itself, from what it sees: the leader, its connections, and what the members report of their
states. If two nodes see different things, both may write a backup, which does no harm. `qcore cluster health` warns if
no node has written one.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Final

from qcore.core.status import CoreStatus

#: A member that lags by more entries than this is passed over.
_MAX_LAG: Final = 10_000


def healthy_peers(
    connected: Set[int], diverged: Set[int], reported: Mapping[int, int], applied_index: int
) -> set[int]:
    """The peers that could take a backup, as far as this node knows.

    Args:
        connected: the peers to which it has a connection.
        diverged: those that reported that they differ from a majority.
        reported: the newest index that each has reported to have applied.
        applied_index: the index that this node has applied.
    """
    return {
        peer
        for peer in connected - diverged
        if applied_index - reported.get(peer, applied_index) <= _MAX_LAG
    }


def takes_backups(status: CoreStatus, healthy: Set[int], *, diverged: bool) -> bool:
    """Whether this node takes the backups now.

    Args:
        status: of this node.
        healthy: see `healthy_peers`.
        diverged: whether its state differs from that of a majority.
    """
    voters = {*status.membership.voters, *status.membership.voters_outgoing}
    if diverged or status.leader_id is None or status.node_id not in voters:
        return False
    followers = sorted(voters - {status.leader_id})
    reachable = [voter for voter in followers if voter in healthy or voter == status.node_id]
    if status.role == "leader":
        return not reachable
    return bool(reachable) and reachable[0] == status.node_id
