"""Which node takes the scheduled backups: the follower with the lowest id, as far as a node knows.

Each node decides for itself, from what it sees: the leader, its connections, and its state. If two nodes see different
connections, both may write a backup, which does no harm. `qcore cluster health` warns if no node has written one.
"""

from __future__ import annotations

from collections.abc import Set

from qcore.core.status import CoreStatus


def takes_backups(status: CoreStatus, connected: Set[int], *, diverged: bool) -> bool:
    """Whether this node takes the backups now.

    Args:
        status: of this node.
        connected: the peers to which it has a connection.
        diverged: whether its state differs from that of a majority.
    """
    voters = {*status.membership.voters, *status.membership.voters_outgoing}
    if diverged or status.leader_id is None or status.node_id not in voters:
        return False
    followers = sorted(voters - {status.leader_id})
    reachable = [voter for voter in followers if voter in connected or voter == status.node_id]
    if status.role == "leader":
        return not reachable
    return bool(reachable) and reachable[0] == status.node_id
