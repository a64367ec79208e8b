"""Who a node is: its introduction to peers, and which cluster it belongs to.

A node without a cluster takes the messages of the first cluster that speaks to it, because that is how it
is made a member; it listens to one cluster at a time, and belongs to it for good once the
cluster's configuration is in its log. From then on every other cluster is refused.

While an `Init` of its own is under way, a node offers that cluster to the others and listens to no other one. So of
several clusters that are begun at once from one list of members, at most one is accepted by a majority.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from qcore.core.version import VersionSupport
from qcore.errors import RemoteProtocolError

#: Part of each rejection by a node, or of one, that belongs to another cluster. 0.1.0 says the same.
IN_OTHER_CLUSTER: Final = "belongs to cluster"
#: Part of the rejection by a node that is dialled by itself, or by another one with its id. 0.1.0 says the same.
DUPLICATE_NODE_ID: Final = "two nodes have the same id"
#: Part of each rejection that passes by itself. 0.1.0 says the same.
JOINING_OTHER_CLUSTER: Final = "is about to join cluster"


@dataclass(slots=True, frozen=True)
class PeerHello:
    """What a node says of itself when a connection to a peer begins.

    Attributes:
        node_id: the node.
        cluster_id: its cluster; empty while it belongs to none.
        incarnation: of its data directory; empty if it does not say.
        membership_index: log index of its effective configuration.
        support: what its program can apply.
    """

    node_id: int
    cluster_id: str
    incarnation: str = ""
    membership_index: int = 0
    support: VersionSupport = VersionSupport()  # noqa: RUF009 - frozen


class ClusterIdentity:
    """The node's own id and cluster, and the rule for accepting peers.

    Args:
        node_id: this node.
        cluster_id: the cluster that it belongs to, or None.
        incarnation: of its data directory.
    """

    def __init__(self, node_id: int, cluster_id: str | None, incarnation: str = "") -> None:
        self.incarnation = incarnation
        self.node_id = node_id
        self.cluster_id = cluster_id
        self._joining_cluster_id: str | None = None
        self._joining_connections = 0
        self._init_cluster_id: str | None = None

    def join(self, cluster_id: str) -> bool:
        """Belong to this cluster from now on; False if that was so before.

        Raises:
            RemoteProtocolError: the node belongs to another; names both.
        """
        if self.cluster_id == cluster_id:
            return False
        if self.cluster_id is not None:
            raise RemoteProtocolError(
                f"node {self.node_id} belongs to cluster {self.cluster_id} and cannot join {cluster_id}"
            )
        self.cluster_id = cluster_id
        self._joining_cluster_id = self._init_cluster_id = None
        return True

    def begin_init(self, cluster_id: str) -> None:
        """Say that this node belongs to a cluster that it is about to begin, and listen to no other.

        Until `end_init`, or until it belongs to a cluster.

        Raises:
            RemoteProtocolError: it belongs to a cluster, or listens to another one.
        """
        present = self.cluster_id or self._joining_cluster_id
        if self.cluster_id is not None or present not in (None, cluster_id):
            raise RemoteProtocolError(
                f"node {self.node_id} cannot begin cluster {cluster_id}: it listens to {present}"
            )
        self._init_cluster_id = cluster_id

    def end_init(self) -> None:
        """Offer no cluster any more."""
        self._init_cluster_id = None

    @property
    def is_in_init(self) -> bool:
        """Whether this node is about to begin a cluster."""
        return self._init_cluster_id is not None

    @property
    def hello_cluster_id(self) -> str:
        """The cluster that this node names to peers: its own, or the one that it offers; empty if there is none."""
        return self.cluster_id or self._init_cluster_id or ""

    def accept(self, node_id: int, cluster_id: str) -> None:
        """`check_peer` a peer and listen to it; a peer of a node without a cluster must be `release`d later.

        Raises:
            RemoteProtocolError: see `check_peer`.
        """
        self.check_peer(node_id, cluster_id)
        if self.cluster_id is None:
            self._joining_cluster_id = cluster_id
            self._joining_connections += 1

    def check_peer(self, node_id: int, cluster_id: str) -> None:
        """Decide on a peer by its id and its cluster.

        Raises:
            RemoteProtocolError: the peer is refused; says why and names both sides.
        """
        if node_id == self.node_id:
            raise RemoteProtocolError(
                f"the peer says that it is node {node_id}, and so does this node: {DUPLICATE_NODE_ID}, "
                "or a node has dialled itself; check --id and the addresses given to Init"
            )
        if not cluster_id:
            raise RemoteProtocolError(
                f"node {node_id} belongs to no cluster yet and has nothing to say to node {self.node_id}"
            )
        if self.cluster_id is not None:
            if cluster_id != self.cluster_id:
                raise RemoteProtocolError(
                    f"node {node_id} {IN_OTHER_CLUSTER} {cluster_id}, node {self.node_id} to cluster "
                    f"{self.cluster_id}; check the addresses, or give the node that moves an empty data directory"
                )
            return
        for present, why in (
            (self._joining_cluster_id, ""),
            (self._init_cluster_id, " by an Init of its own"),
        ):
            if present not in (None, cluster_id):
                raise RemoteProtocolError(
                    f"node {self.node_id} {JOINING_OTHER_CLUSTER} {present}{why} and cannot listen to node "
                    f"{node_id} of cluster {cluster_id}"
                )

    def release(self, cluster_id: str) -> None:
        """A connection accepted before has closed; the last one frees a node that was not made a member."""
        if self._joining_cluster_id == cluster_id:
            self._joining_connections -= 1
            if self._joining_connections == 0:
                self._joining_cluster_id = None

    @property
    def joining_cluster_id(self) -> str | None:
        """The cluster that speaks to this node while it belongs to none."""
        return self._joining_cluster_id
