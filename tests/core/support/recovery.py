"""Recovery after faults: all nodes are up, and no message is lost any more. The cluster must soon work again."""

from __future__ import annotations

from qcore.core.events import LeaveJoint
from tests.driver.cores import CoreCluster

#: The cluster must work within this many deadlines: elections may split, but not for ever.
MAX_DEADLINES = 400


def recover(cluster: CoreCluster) -> None:
    """Heal the cluster, let time pass, and require a leader that commits and serves on every member.

    Raises:
        AssertionError: the cluster does not recover.
    """
    cluster.heal()
    for node in cluster.drivers.values():
        if not node.is_up:
            cluster.restart(node.node_id)
    _set_clocks(cluster, max(node.now for node in cluster.drivers.values()))
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


def _set_clocks(cluster: CoreCluster, now: int) -> None:
    for node in cluster.drivers.values():
        node.now = now


def _works(cluster: CoreCluster) -> bool:
    """Whether the newest leader serves a command and a read, and every member keeps up.

    By then a joint configuration must have been left. Servers that are not in the new configuration may
    not even know it.
    """
    leaders = sorted(cluster.leaders(), key=lambda n: cluster.core(n).term)
    if not leaders:
        return False
    leader = cluster.drivers[leaders[-1]]
    if leader.up.membership.is_joint and not leader.up.membership.auto_leave:
        cluster.step(leader.node_id, LeaveJoint(leader.now))  # no other node asks for it
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
