"""The steps that several pitfall tests share: make a node the leader, hold messages back, crash all, lease reads."""

from __future__ import annotations

from collections.abc import Callable

from qcore.core.events import MessageReceived, ReadRequested
from qcore.replica.messages import PeerMessage
from tests.core.support.cluster import Cluster, Envelope
from tests.replica.support.cluster import Cluster as ReplicaCluster


def lead(cluster: Cluster, node_id: int) -> None:
    """Make this node the leader, even if its first attempts only reveal a newer term."""
    if not may_lead(cluster, node_id):
        raise AssertionError([node.up.status() for node in cluster.alive()])


def may_lead(cluster: Cluster, node_id: int, attempts: int = 5) -> bool:
    """Let all leases expire, then let the node campaign a few times; True once it leads."""
    for _ in range(attempts):
        cluster.advance(1000)
        cluster.campaign(node_id)
        cluster.settle()
        if cluster.core(node_id).role == "leader":
            return True
    return False


def hold_back(cluster: Cluster, wanted: Callable[[Envelope], bool]) -> list[Envelope]:
    """Remove messages from the network and return them: they are late, or lost."""
    taken = [envelope for envelope in cluster.network if wanted(envelope)]
    cluster.network = [envelope for envelope in cluster.network if not wanted(envelope)]
    return taken


def crash_all(cluster: Cluster) -> None:
    """Every server loses its memory and its unsynced writes, and the network loses all messages."""
    for node in cluster.alive():
        cluster.crash(node.node_id)
    cluster.network.clear()
    cluster.cut.clear()


def lease_read(cluster: Cluster, node_id: int) -> int:
    """Request a lease read; return its id."""
    node = cluster.nodes[node_id]
    node.next_read_id += 1
    if cluster.safety:
        cluster.safety.read_requested(node_id, node.incarnation, node.next_read_id)
    cluster.step(node_id, ReadRequested(node.next_read_id, lease=True))
    return node.next_read_id


def is_served(cluster: Cluster, node_id: int, read_id: int) -> bool:
    """True if the node may answer the read."""
    return any(ready.read_id == read_id for ready in cluster.nodes[node_id].reads_ready)


def holds(cluster: Cluster, node_id: int, command: str) -> bool:
    """True if the node's log holds the command."""
    return any(entry.data == command for entry in cluster.core(node_id).log_entries())


def deliver_all_but(cluster: ReplicaCluster, kind: type[PeerMessage]) -> list[PeerMessage]:
    """Deliver the messages between the replicas, except those of one kind, which are returned."""
    kept: list[PeerMessage] = []
    while cluster.mail:
        from_id, send = cluster.mail.popleft()
        if isinstance(send.message, kind):
            kept.append(send.message)
        else:
            cluster.drivers[send.to].step(MessageReceived(from_id, send.message))
    return kept
