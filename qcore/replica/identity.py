"""Who a node is: its introduction to peers, and which cluster it belongs to.

A node without a cluster takes the messages of the first cluster that speaks to it, because that is how it
is made a member; it listens to one cluster at a time, and belongs to it for good once the
cluster's configuration is in its log. From then on every other cluster is refused.
"""

from __future__ import annotations

from dataclasses import dataclass

from qcore.core.version import VersionSupport
from qcore.errors import RemoteProtocolError


@dataclass(slots=True, frozen=True)
class Introduction:
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
        self._courted_by: str | None = None
        self._courting_connections = 0

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
        self._courted_by = None
        return True

    def accept(self, node_id: int, cluster_id: str) -> None:
        """`examine` a peer and listen to it; a peer of a node without a cluster must be `release`d later.

        Raises:
            RemoteProtocolError: see `examine`.
        """
        self.examine(node_id, cluster_id)
        if self.cluster_id is None:
            self._courted_by = cluster_id
            self._courting_connections += 1

    def examine(self, node_id: int, cluster_id: str) -> None:
        """Decide on a peer by its id and its cluster.

        Raises:
            RemoteProtocolError: the peer is refused; says why and names both sides.
        """
        if node_id == self.node_id:
            raise RemoteProtocolError(
                f"the peer says that it is node {node_id}, and so does this node: two nodes have the same id, "
                "or a node has dialled itself; check --id and the addresses given to Init"
            )
        if not cluster_id:
            raise RemoteProtocolError(
                f"node {node_id} belongs to no cluster yet and has nothing to say to node {self.node_id}"
            )
        if self.cluster_id is not None:
            if cluster_id != self.cluster_id:
                raise RemoteProtocolError(
                    f"node {node_id} belongs to cluster {cluster_id}, node {self.node_id} to cluster "
                    f"{self.cluster_id}; check the addresses, or give the node that moves an empty data directory"
                )
        elif self._courted_by not in (None, cluster_id):
            raise RemoteProtocolError(
                f"node {self.node_id} is about to join cluster {self._courted_by} and cannot listen to node "
                f"{node_id} of cluster {cluster_id}"
            )

    def release(self, cluster_id: str) -> None:
        """A connection accepted before has closed; the last one frees a node that was not made a member."""
        if self._courted_by == cluster_id:
            self._courting_connections -= 1
            if self._courting_connections == 0:
                self._courted_by = None

    @property
    def courted_by(self) -> str | None:
        """The cluster that speaks to this node while it belongs to none."""
        return self._courted_by
