"""Connections between simulated nodes: which peers a node accepts, by the rules of real nodes.

A simulated link carries single messages, and each message implies that its sender has opened a connection. The first
message between two lives of two nodes makes both sides check each other's `Hello`
(`qcore.replica.peers.peer_admission`). A message between nodes that refuse each other is dropped, and the next message
is checked again.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from qcore.compiled_build import register_copies
from qcore.core.version import VersionSupport
from qcore.errors import RemoteProtocolError
from qcore.replica.peers.identity import ClusterIdentity
from qcore.replica.peers.known_members import KnownMember, KnownMembers
from qcore.replica.peers.peer_admission import PeerAdmission
from qcore.replica.replica import Replica


@dataclass
class StoredIdentity:
    """The identity that the data directory of a simulated node holds in addition to the log.

    Attributes:
        incarnation: counts the data directories that the node has had.
        cluster_id: the cluster that the node joined, or None.
        known: the members that the node has met.
        diverged_at: the index at which the node was found to differ from a majority, or None.
    """

    incarnation: int = 1
    cluster_id: str | None = None
    known: dict[int, KnownMember] = field(default_factory=dict)
    diverged_at: int | None = None

    def wipe(self) -> None:
        """Become the identity of a new, blank data directory."""
        self.incarnation += 1
        self.cluster_id = None
        self.known = {}
        self.diverged_at = None


class PeerConnections:
    """The connections of one life of a simulated node.

    Args:
        replica: the node's replica.
        stored: the identity on the node's disk; changed in place.
        life: the number of this life of the node.
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
        #: The number of the request that the replica forwarded with a number; see `Forwarder.request_of`.
        self.request_of = replica.forwarder.request_of
        self.admission = PeerAdmission(replica, identity, known, lambda _error: None)

    @property
    def support(self) -> VersionSupport:
        """The versions that this node's program supports."""
        return self.admission.hello().support

    def is_connected(self, peer: PeerConnections) -> bool:
        """Whether the two lives have accepted each other."""
        return self._accepted.get(peer._node_id, 0) == peer.life  # lives begin with 1

    def connect(self, peer: PeerConnections) -> str | None:
        """Accept a connection that the peer opens, if both sides agree.

        Returns:
            Why one side refuses, or None.
        """
        try:
            self.admission.admit(peer.admission.hello())
            peer.admission.admit_dialled(self.admission.hello())
        except RemoteProtocolError as error:
            return str(error)
        self._accepted[peer._node_id] = peer.life
        return None

    def disconnect(self, peer_id: int) -> None:
        """Close the connections of a peer whose process died. Its next message opens another one."""
        self.admission.on_all_closed(peer_id)
        if self._accepted.pop(peer_id, None) is not None:
            self.admission.identity.release(self.admission.identity.joining_cluster_id or "")

    def join_cluster(self, cluster_id: str) -> None:
        """Store the cluster id that the node's log names."""
        if cluster_id:
            self.admission.identity.join(cluster_id)
            self._stored.cluster_id = cluster_id


register_copies(globals())
