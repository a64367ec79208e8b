"""The identity of a node: how it introduces itself to peers, and to which cluster it belongs.

A node without a cluster accepts messages from the first cluster that connects to it, because this is how it becomes a
member. It accepts one cluster at a time, and belongs to it for good once the cluster's configuration is in its log.
From then on it refuses every other cluster.

While a node executes an `Init`, it offers that cluster to the others and accepts no other one. So if several clusters
are begun at the same time from one list of members, a majority accepts at most one of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from qcore.compiled_build import register_copies
from qcore.core.version import VersionSupport
from qcore.errors import RemoteProtocolError

#: Part of each refusal of a node of another cluster. 0.1.0 uses the same text.
IN_OTHER_CLUSTER: Final = "belongs to cluster"
#: Part of the refusal of a peer with the id of this node; it may be this node. 0.1.0 uses the same text.
DUPLICATE_NODE_ID: Final = "two nodes have the same id"
#: Part of each refusal that is only temporary. 0.1.0 uses the same text.
JOINING_OTHER_CLUSTER: Final = "is about to join cluster"


@dataclass(frozen=True)
class PeerHello:
    """How a node introduces itself when a connection to a peer begins.

    Attributes:
        node_id: the node.
        cluster_id: its cluster; empty while it belongs to none.
        incarnation: the incarnation of its data directory; empty if it did not name one.
        membership_index: the log index of its effective configuration.
        support: what its program can apply.
        public_key: the key that it has proved to own; empty if it has none, or no proof was demanded.
    """

    node_id: int
    cluster_id: str
    incarnation: str = ""
    membership_index: int = 0
    support: VersionSupport = VersionSupport()  # noqa: RUF009 - frozen
    public_key: str = ""


class ClusterIdentity:
    """The id and cluster of this node, and the rule for accepting peers.

    Args:
        node_id: this node.
        cluster_id: the cluster to which it belongs, or None.
        incarnation: the incarnation of its data directory.

    Attributes:
        founding_id: the cluster whose founding this node has accepted durably, or None. It joins no other one.
    """

    def __init__(self, node_id: int, cluster_id: str | None, incarnation: str = "") -> None:
        self.founding_id: str | None = None
        self.incarnation = incarnation
        self.node_id = node_id
        self.cluster_id = cluster_id
        self._joining_cluster_id: str | None = None
        self._joining_connections = 0
        self._init_cluster_id: str | None = None

    def join(self, cluster_id: str) -> bool:
        """Belong to this cluster from now on; return False if the node already belongs to it.

        Raises:
            RemoteProtocolError: the node belongs to another cluster; the text names both.
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
        """Offer a cluster that this node is about to begin, and accept no other one.

        This lasts until `end_init`, or until the node belongs to a cluster.

        Raises:
            RemoteProtocolError: the node belongs to a cluster, or has accepted another one.
        """
        accepted = self.cluster_id or self._joining_cluster_id
        if self.cluster_id is not None or accepted not in (None, cluster_id):
            raise RemoteProtocolError(
                f"node {self.node_id} cannot begin cluster {cluster_id}: it has accepted {accepted}"
            )
        self._init_cluster_id = cluster_id

    def end_init(self) -> None:
        """Stop offering a cluster."""
        self._init_cluster_id = None

    @property
    def is_in_init(self) -> bool:
        """True while this node is about to begin a cluster."""
        return self._init_cluster_id is not None

    @property
    def hello_cluster_id(self) -> str:
        """The cluster that this node names to peers: the one to which it belongs, or which it offers; empty if none."""
        return self.cluster_id or self._init_cluster_id or ""

    def accept(self, node_id: int, cluster_id: str) -> None:
        """Check a peer with `check_peer` and accept it. A node without a cluster must `release` the peer later.

        Raises:
            RemoteProtocolError: see `check_peer`.
        """
        self.check_peer(node_id, cluster_id)
        if self.cluster_id is None:
            self._joining_cluster_id = cluster_id
            self._joining_connections += 1

    def check_peer(self, node_id: int, cluster_id: str) -> None:
        """Accept or refuse a peer by its id and its cluster.

        Raises:
            RemoteProtocolError: the peer is refused; the text gives the reason and names both sides.
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
        for accepted, why in (
            (self._joining_cluster_id, ""),
            (self._init_cluster_id, " by its own Init"),
            (self.founding_id, ", whose founding it has accepted,"),
        ):
            if accepted not in (None, cluster_id):
                raise RemoteProtocolError(
                    f"node {self.node_id} {JOINING_OTHER_CLUSTER} {accepted}{why} and cannot listen to node "
                    f"{node_id} of cluster {cluster_id}"
                )

    def release(self, cluster_id: str) -> None:
        """An accepted connection has closed. After the last one, a node that did not become a member is free again."""
        if self._joining_cluster_id == cluster_id:
            self._joining_connections -= 1
            if self._joining_connections == 0:
                self._joining_cluster_id = None

    @property
    def joining_cluster_id(self) -> str | None:
        """The cluster that this node has accepted while it belongs to none."""
        return self._joining_cluster_id


register_copies(globals())
