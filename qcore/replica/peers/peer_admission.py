"""Which peers a node listens to: the rules that follow a node's introduction, in both worlds.

| refused | why |
|---|---|
| a node with this node's id | two nodes have one id, or a node dialled itself |
| a node of another cluster, or of none | it has nothing to say here |
| a removed member | only a leader that committed in its own term is sure of that |
| a node that is no member | it could raise the term; one with a newer configuration may have been added |
| a member whose data was wiped | it has forgotten its votes and its log (`qcore.replica.peers.known_members`) |
| another state machine, or a program that does not support the newest version in the log | the replicas would differ |
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from qcore.errors import RemoteProtocolError, StorageError
from qcore.replica.peers.identity import ClusterIdentity, PeerHello
from qcore.replica.peers.known_members import MAX_KNOWN_NON_MEMBERS, KnownMembers
from qcore.replica.replica import Replica


class PeerAdmission:
    """Decides on the introductions of peers to one node.

    Args:
        replica: looked at for role, configuration and version.
        identity: of this node.
        known: the members that it has met.
        on_unsaved: called when what was met, or forgotten, could not be made durable.
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
        #: Those that are connected, and named a cluster before this node belonged to one.
        self._early: dict[int, PeerHello] = {}
        #: Of these, the connections that they opened, and those whose connection this node opened.
        self._early_opened: Counter[int] = Counter()
        self._early_answered: set[int] = set()

    def hello(self) -> PeerHello:
        """This node, as it says Hello now."""
        return PeerHello(
            self.identity.node_id,
            self.identity.hello_cluster_id,
            self.identity.incarnation,
            self._core.membership_index,
            self._replica.versions.support,
        )

    def admit(self, peer: PeerHello) -> None:
        """Decide on a peer that opened a connection. A node without a cluster must `release` it later.

        Raises:
            RemoteProtocolError: the peer is refused; the text goes to the peer.
        """
        self.identity.check_peer(peer.node_id, peer.cluster_id)
        self.check(peer)
        self._check_member(peer)
        self.identity.accept(peer.node_id, peer.cluster_id)
        if self.identity.cluster_id is None:
            self._early_opened[peer.node_id] += 1
        self._meet(peer)

    def admit_dialled(self, peer: PeerHello) -> None:
        """Decide on a peer that answered on a connection which this node opened.

        Raises:
            RemoteProtocolError: it is not the member that was meant.
        """
        self.check(peer)
        if self.identity.cluster_id is None:
            self._early_answered.add(peer.node_id)
        self._meet(peer)

    def check(self, peer: PeerHello) -> None:
        """What holds in both directions: neither removed nor wiped, and able to apply what this node applies.

        Raises:
            RemoteProtocolError: the peer is refused.
        """
        own = self.identity.cluster_id
        if own is not None:
            if peer.cluster_id == own and self._was_removed(peer.node_id):
                raise RemoteProtocolError(
                    f"node {peer.node_id} was removed from cluster {own}: stop it; to have it back, give it an empty "
                    "data directory and add it again"
                )
            self._known.check(peer.node_id, peer.incarnation)
        if peer.cluster_id in ("", own or peer.cluster_id):
            self._check_version(peer)

    def on_committed_membership(self) -> None:
        """Forget those who left, once another configuration is committed.

        One that is not committed may be taken back, and with it a removal: the member is then the one that was met.
        Also meet those that said who they are before this node belonged to their cluster.
        """
        if self._early and self.identity.cluster_id is not None:
            early, self._early = self._early, {}
            self._early_opened.clear()
            self._early_answered.clear()
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
        """Try again to write down what could not be written down. Call now and then."""
        try:
            self._known.retry_save()
        except StorageError as error:
            self._on_unsaved(error)

    def on_closed(self, node_id: int, *, answered: bool = False) -> None:
        """A connection with this node has ended. While it has another one, it is the one that was met.

        Args:
            node_id: the peer.
            answered: this node had opened the connection, or tried to; else the peer had.
        """
        if answered:
            self._early_answered.discard(node_id)
        elif self._early_opened[node_id] > 1:
            self._early_opened[node_id] -= 1
        else:
            del self._early_opened[node_id]
        if node_id not in self._early_answered and node_id not in self._early_opened:
            self.on_all_closed(node_id)

    def on_all_closed(self, node_id: int) -> None:
        """All connections with this node have ended: before the next one its data may be wiped."""
        self._early.pop(node_id, None)
        del self._early_opened[node_id]
        self._early_answered.discard(node_id)

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
        """Only a leader that has committed in its own term is sure: its configuration is the newest.

        Any other node may lag behind, and if it refused a node that was added (again) meanwhile, and that node led,
        it could never catch up.
        """
        core = self._core
        certain = core.has_committed_in_term and core.membership_index <= core.commit_index
        return certain and node_id not in core.membership.members()

    def _check_member(self, peer: PeerHello) -> None:
        """Refuse a node that is no member. One of another cluster is refused elsewhere, with a better reason."""
        core, own = self._core, self.identity
        if peer.cluster_id != own.cluster_id or core.membership.is_empty:
            return
        members = core.membership.members()
        if peer.node_id in (own.node_id, *members):
            return
        if peer.membership_index > core.membership_index:
            return  # a newer configuration than ours: it may have been added meanwhile
        others = ", ".join(str(member) for member in members if member != own.node_id)
        raise RemoteProtocolError(
            f"node {peer.node_id} is not, or no longer, a member of cluster {peer.cluster_id}: node "
            f"{own.node_id} knows the members {others}"
        )

    def _check_version(self, peer: PeerHello) -> None:
        versions = self._replica.versions
        # The newest in the log, not the one applied so far: the peer will be sent that entry. A node that is about to
        # begin a cluster has none yet.
        newest = versions.initial_version() if self.identity.is_in_init else None
        fault = peer.support.incompatibility_with(newest or self._core.newest_version)
        if fault is None and peer.support.machine not in ("", versions.support.machine):
            # Not recorded yet (rules 1, or a node without a log): two programs that differ must not meet all the same.
            fault = (
                f"it runs the state machine {peer.support.machine!r}, node {self.identity.node_id} runs "
                f"{versions.support.machine!r}"
            )
        if fault is not None:
            raise RemoteProtocolError(
                f"node {peer.node_id} cannot be a member here: {fault}. Start it with the state machine and the "
                "program that the cluster runs"
            )
