"""After the trouble: everything up, nothing lost any more. The cluster must work again, soon."""

from __future__ import annotations

from qcore.core.events import LeaveJoint
from tests.core.support.cluster import Cluster

#: More deadlines than this must not pass before the cluster works: elections may split, but not for ever.
MAX_DEADLINES = 400


def recover(cluster: Cluster) -> None:
    """Heal the cluster, let time pass, and demand a leader that commits and serves everywhere.

    Raises:
        AssertionError: it does not come back to work.
    """
    cluster.cut.clear()
    for node in cluster.nodes.values():
        if node.core is None:
            cluster.restart(node.node_id)
    _set_clocks(cluster, max(node.now for node in cluster.nodes.values()))
    for _ in range(MAX_DEADLINES):
        cluster.settle()
        now = min(max(node.now, node.up.next_deadline()) for node in cluster.alive())
        _set_clocks(cluster, now)
        for node in cluster.alive():
            if node.up.next_deadline() <= now:
                cluster.timeout(node.node_id)
        cluster.settle()
        if _works(cluster):
            return
    raise AssertionError([node.up.status() for node in cluster.alive()])


def _set_clocks(cluster: Cluster, now: int) -> None:
    for node in cluster.nodes.values():
        node.now = now


def _works(cluster: Cluster) -> bool:
    """The newest leader takes a command and a read, and every member keeps up.

    A joint configuration must have been left by then, and the servers that are not in the new one may
    not even know it.
    """
    leaders = sorted(cluster.leaders(), key=lambda n: cluster.core(n).term)
    if not leaders:
        return False
    leader = cluster.nodes[leaders[-1]]
    if leader.up.membership.is_joint and not leader.up.membership.auto_leave:
        cluster.step(leader.node_id, LeaveJoint(leader.now))  # nobody else tells it
    members = [n for n in cluster.alive() if n.node_id in leader.up.membership.members()]
    if max(node.up.term for node in members) > leader.up.term or leader.up.membership.is_joint:
        return False
    cluster.propose(leader.node_id, "last")
    index = leader.up.status().last_log_index
    ready = len(leader.reads_ready)
    cluster.read(leader.node_id)
    cluster.settle()
    return (
        all(node.up.commit_index >= index - 1 for node in members)
        and leader.up.commit_index >= index
        and len(leader.reads_ready) > ready
    )
