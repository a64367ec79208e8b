"""The steps that several pitfall tests share: make a node the leader, crash all, look at a log."""

from __future__ import annotations

from qcore.replica.messages import PeerMessage
from tests.driver.cores import CoreCluster
from tests.driver.replicas import ReplicaCluster


def lead(cluster: CoreCluster, node_id: int) -> None:
    """Make this node the leader, even if its first attempts only reveal a newer term."""
    if not may_lead(cluster, node_id):
        raise AssertionError([node.up.status() for node in cluster.alive()])


def may_lead(cluster: CoreCluster, node_id: int, attempts: int = 5) -> bool:
    """Let all leases expire, then let the node campaign a few times; True once it leads."""
    for _ in range(attempts):
        cluster.advance(1000)
        cluster.campaign(node_id)
        cluster.settle()
        if cluster.core(node_id).role == "leader":
            return True
    return False


def crash_all(cluster: CoreCluster) -> None:
    """Every server loses its memory and its unsynced writes, and the network loses all messages."""
    for node in cluster.alive():
        cluster.crash(node.node_id)
    cluster.network.clear()
    cluster.heal()


def is_served(cluster: CoreCluster, node_id: int, read_id: int) -> bool:
    """True if the node may answer the read."""
    return any(ready.read_id == read_id for ready in cluster.drivers[node_id].reads_ready)


def holds(cluster: CoreCluster, node_id: int, command: str) -> bool:
    """True if the node's log holds the command."""
    return any(entry.data == command for entry in cluster.core(node_id).log_entries())


def deliver_all_but(cluster: ReplicaCluster, kind: type[PeerMessage]) -> list[PeerMessage]:
    """Deliver the messages between the replicas, except those of one kind, which are returned."""
    kept: list[PeerMessage] = []
    while cluster.network:
        envelope = cluster.network.take()
        if isinstance(envelope.message, kind):
            kept.append(envelope.message)
        else:
            cluster.deliver_envelope(envelope)
    return kept
