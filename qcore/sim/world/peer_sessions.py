"""Connections between simulated nodes: what their `Hello` would say, judged by the rules of real nodes.

A simulated link carries single messages. Each of them stands for a connection that was opened before it: when one
arrives that is the first between two lives of two nodes, both judge each other
(`qcore.replica.peers.peer_admission`). A
message between nodes that refuse each other is dropped, and the next one is judged again.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from qcore.core.version import VersionSupport
from qcore.errors import RemoteProtocolError
from qcore.replica.peers.identity import ClusterIdentity
from qcore.replica.peers.known_members import KnownMember, KnownMembers
from qcore.replica.peers.peer_admission import PeerAdmission
from qcore.replica.replica import Replica


@dataclass(slots=True)
class StoredIdentity:
    """What the data directory of a simulated node says of itself, beside the log.

    Attributes:
        incarnation: counts the directories that the node has had.
        cluster_id: the cluster that it joined, or None.
        known: the members that it has met.
    """

    incarnation: int = 1
    cluster_id: str | None = None
    known: dict[int, KnownMember] = field(default_factory=dict)

    def wipe(self) -> None:
        """The directory is gone; the next one is another."""
        self.incarnation += 1
        self.cluster_id = None
        self.known = {}


class PeerConnections:
    """The peers that one life of a simulated node is connected with.

    Args:
        replica: the node's replica.
        stored: what its disk says; changed in place.
        life: tells this life of the node from its others.
    """

    def __init__(self, replica: Replica, stored: StoredIdentity, life: int) -> None:
        self.life = life
        self._stored = stored
        self._node_id = replica.config.raft.node_id
        self._accepted: dict[int, int] = {}  # peer -> its life
        identity = ClusterIdentity(
            self._node_id, stored.cluster_id, f"{self._node_id}/{stored.incarnation}"
        )
        known = KnownMembers(stored.known, lambda known: setattr(stored, "known", dict(known)))
        self.admission = PeerAdmission(replica, identity, known, lambda _error: None)

    @property
    def support(self) -> VersionSupport:
        """What this node's program can apply."""
        return self.admission.hello().support

    def is_connected(self, peer: PeerConnections) -> bool:
        """Whether the two lives have accepted each other."""
        return self._accepted.get(peer._node_id) == peer.life

    def connect(self, peer: PeerConnections) -> str | None:
        """Judge the peer that opens a connection, and let it judge this node; returns why one refuses, or None."""
        try:
            self.admission.admit(peer.admission.hello())
            peer.admission.admit_dialled(self.admission.hello())
        except RemoteProtocolError as error:
            return str(error)
        self._accepted[peer._node_id] = peer.life
        return None

    def disconnect(self, peer_id: int) -> None:
        """The peer's process died: the next message begins another connection."""
        self.admission.on_all_closed(peer_id)
        if self._accepted.pop(peer_id, None) is not None:
            self.admission.identity.release(self.admission.identity.joining_cluster_id or "")

    def joined(self, cluster_id: str) -> None:
        """The node's log names its cluster."""
        if cluster_id:
            self.admission.identity.join(cluster_id)
            self._stored.cluster_id = cluster_id
