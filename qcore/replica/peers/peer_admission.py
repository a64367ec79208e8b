"""Which peers a node accepts once they have introduced themselves: the rules for simulated and real nodes.

| refused | reason |
|---|---|
| a node with this node's id | two nodes have one id, or a node dialled itself |
| a node of another cluster, or of none | it takes no part in this cluster |
| a removed member | only by a leader that has committed in its current term: other nodes may lag behind |
| a node that is not a member | it could raise the term; but one with a newer configuration may have been added |
| a member whose data was wiped | it has forgotten its votes and its log (`qcore.replica.peers.known_members`) |
| another state machine, or a program that does not support the newest version in the log | the replicas would differ |

Simulated runs record the text of a refusal in their traces, so a changed text changes trace hashes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from qcore.errors import RemoteProtocolError, StorageError
from qcore.replica.peers.identity import ClusterIdentity, PeerHello
from qcore.replica.peers.known_members import MAX_KNOWN_NON_MEMBERS, KnownMembers
from qcore.replica.replica import Replica


class PeerAdmission:
    """Accepts or refuses the peers of one node.

    Args:
        replica: gives role, configuration and version.
        identity: the identity of this node.
        known: the members that it has met.
        on_unsaved: called when a change of `known` could not be saved.
    """

    def __init__(
        self,
        replica: Replica,
        identity: ClusterIdentity,
        known: KnownMembers,
        on_unsaved: Callable[[StorageError], None],
    ) -> None:
        self._replica = replica
        self._core = replica.core
        self.identity = identity
        self._known = known
        self._on_unsaved = on_unsaved
        self._followed_index = 0  # there is no configuration at 0
        #: Connected peers that named a cluster before this node belonged to one.
        self._early: dict[int, PeerHello] = {}
        #: How many connections each of these opened, and the peers to which this node opened a connection.
        self._early_opened: Counter[int] = Counter()
        self._early_dialled: set[int] = set()

    def hello(self) -> PeerHello:
        """The current introduction of this node."""
        return PeerHello(
            self.identity.node_id,
            self.identity.hello_cluster_id,
            self.identity.incarnation,
            self._core.membership_index,
            self._replica.versions.support,
        )

    def admit(self, peer: PeerHello) -> None:
        """Accept or refuse a peer that opened a connection. A node without a cluster must `release` it later.

        Raises:
            RemoteProtocolError: the peer is refused; the text goes to the peer.
        """
        self.check_opened(peer)
        self.identity.accept(peer.node_id, peer.cluster_id)
        if self.identity.cluster_id is None:
            self._early_opened[peer.node_id] += 1
        self._meet(peer)

    def check_opened(self, peer: PeerHello) -> None:
        """Check a peer that opened a connection, and remember nothing: it may not be who it says.

        Raises:
            RemoteProtocolError: the peer is refused.
        """
        self.identity.check_peer(peer.node_id, peer.cluster_id)
        self.check(peer)
        self._check_member(peer)

    def admit_dialled(self, peer: PeerHello) -> None:
        """Accept or refuse a peer on a connection that this node opened.

        Raises:
            RemoteProtocolError: the peer is refused.
        """
        self.check(peer)
        if self.identity.cluster_id is None:
            self._early_dialled.add(peer.node_id)
        self._meet(peer)

    def check(self, peer: PeerHello) -> None:
        """Check a peer, whichever side opened the connection: it is not removed, not wiped, and its version fits.

        Raises:
            RemoteProtocolError: the peer is refused.
        """
        own = self.identity.cluster_id
        if own is not None:
            if peer.cluster_id == own and self._was_removed(peer.node_id):
                raise RemoteProtocolError(
                    f"node {peer.node_id} is no member of cluster {own}. If it was removed from cluster {own}, stop "
                    "it; to have it back, give it an empty data directory and add it again"
                )
            self._known.check(peer.node_id, peer.incarnation)
        if peer.cluster_id in ("", own or peer.cluster_id):
            self._check_version(peer)

    def on_committed_membership(self) -> None:
        """Forget removed members once another configuration is committed.

        An uncommitted configuration may be replaced, and a removal with it. The member is then still the one that this
        node has met. Also remember the peers that introduced themselves before this node belonged to their cluster.
        """
        if self._early and self.identity.cluster_id is not None:
            early, self._early = self._early, {}
            self._early_opened.clear()
            self._early_dialled.clear()
            for peer in early.values():
                self._meet(peer)
        if self._core.membership_index == self._followed_index:
            return
        index, membership = self._core.committed_membership
        if index != self._followed_index:
            self._followed_index = index
            try:
                self._known.retain(membership, index)
            except StorageError as error:
                self._on_unsaved(error)

    def retry_save(self) -> None:
        """Save again if the last attempt failed. Call this from time to time."""
        try:
            self._known.retry_save()
        except StorageError as error:
            self._on_unsaved(error)

    def on_closed(self, node_id: int, *, dialled: bool = False) -> None:
        """A connection with a peer has ended. While it has another connection, its data cannot have been wiped.

        Args:
            node_id: the peer.
            dialled: this node opened the connection, or tried to; otherwise the peer did.
        """
        if dialled:
            self._early_dialled.discard(node_id)
        elif self._early_opened[node_id] > 1:
            self._early_opened[node_id] -= 1
        else:
            del self._early_opened[node_id]
        if node_id not in self._early_dialled and node_id not in self._early_opened:
            self.on_all_closed(node_id)

    def on_all_closed(self, node_id: int) -> None:
        """All connections with this peer have ended: its data may be wiped before the next one."""
        self._early.pop(node_id, None)
        del self._early_opened[node_id]
        self._early_dialled.discard(node_id)

    def _meet(self, peer: PeerHello) -> None:
        if (
            self.identity.cluster_id is None
            and peer.cluster_id
            and len(self._early) < MAX_KNOWN_NON_MEMBERS
        ):
            self._early[peer.node_id] = peer
        if peer.cluster_id and peer.cluster_id == self.identity.cluster_id:
            try:
                self._known.remember(peer.node_id, peer.incarnation, self._core.membership)
            except StorageError as error:
                self._on_unsaved(error)

    def _was_removed(self, node_id: int) -> bool:
        """True if a node was removed. Only a leader that has committed in its current term is sure of that.

        Any other node may lag behind. If it refused a node that was added again and now leads, it could never catch
        up.
        """
        core = self._core
        certain = core.has_committed_in_term and core.membership_index <= core.commit_index
        return certain and node_id not in core.membership.members()

    def _check_member(self, peer: PeerHello) -> None:
        """Refuse a node that is not a member. `check_peer` refuses nodes of other clusters, with a better reason."""
        core, own = self._core, self.identity
        if peer.cluster_id != own.cluster_id or core.membership.is_empty:
            return
        members = core.membership.members()
        if peer.node_id == own.node_id or peer.node_id in members:
            return
        if peer.membership_index > core.membership_index:
            return  # its configuration is newer: it may have been added
        others = ", ".join(str(member) for member in members if member != own.node_id)
        raise RemoteProtocolError(
            f"node {peer.node_id} is not, or no longer, a member of cluster {peer.cluster_id}: node "
            f"{own.node_id} knows the members {others}"
        )

    def _check_version(self, peer: PeerHello) -> None:
        versions = self._replica.versions
        # The newest version in the log, not the applied one: the peer will receive that entry. A node that is about to
        # begin a cluster has no version yet.
        newest = versions.initial_version() if self.identity.is_in_init else None
        fault = peer.support.incompatibility_with(newest or self._core.newest_version)
        if fault is None and peer.support.machine not in ("", versions.support.machine):
            # Not recorded yet (rules 1, or a node without a log): compare the two programs.
            fault = (
                f"it runs the state machine {peer.support.machine!r}, node {self.identity.node_id} runs "
                f"{versions.support.machine!r}"
            )
        if fault is not None:
            raise RemoteProtocolError(
                f"node {peer.node_id} cannot be a member here: {fault}. Start it with the state machine and the "
                "program that the cluster runs"
            )
