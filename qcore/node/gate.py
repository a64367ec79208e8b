"""Keeps out nodes that were members once and must not speak as such any more: removed ones, wiped ones."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from qcore.core.entry import Membership
from qcore.core.raft import RaftCore
from qcore.errors import RemoteProtocolError, StorageError
from qcore.node.acquaintances import Acquaintances
from qcore.node.identity import ClusterIdentity
from qcore.node.logs import NodeLog


@runtime_checkable
class Incarnate(Protocol):
    """A storage that knows its incarnation: a random name, drawn when its directory was made."""

    @property
    def incarnation(self) -> str: ...


class MembershipGate:
    """The `Gatekeeper` of a node.

    Only a leader that has committed in its own term says "removed": its configuration is the newest. Any
    other node may lag behind, and if it refused a node that was added (again) meanwhile, and that node led,
    it could never catch up.

    Args:
        core: looked at for role and configuration.
        identity: of this node.
        acquaintances: whom it has met.
        log: where to say that something could not be written down.
    """

    def __init__(
        self, core: RaftCore, identity: ClusterIdentity, acquaintances: Acquaintances, log: NodeLog
    ) -> None:
        self._core = core
        self._identity = identity
        self._acquaintances = acquaintances
        self._log = log

    def check(self, node_id: int, cluster_id: str, incarnation: str) -> None:
        """See `Gatekeeper`."""
        own = self._identity.cluster_id
        if own is None:
            return
        if cluster_id == own and self._was_removed(node_id):
            raise RemoteProtocolError(
                f"node {node_id} was removed from cluster {own}: stop it; to have it back, wipe its data "
                "directory and add it anew"
            )
        self._acquaintances.check(node_id, incarnation)

    def met(self, node_id: int, cluster_id: str, incarnation: str) -> None:
        """See `Gatekeeper`."""
        if cluster_id and cluster_id == self._identity.cluster_id:
            try:
                self._acquaintances.meet(node_id, incarnation, self._core.membership)
            except StorageError as error:
                self._log.warning("a member could not be remembered", peer=node_id, why=str(error))

    def follow(self, membership: Membership, index: int | None = None) -> None:
        """Another configuration is committed: who left it may come back as a new member.

        One that is not committed may be taken back, and with it a removal: the member is then the one that was met.
        `index`: see `Acquaintances.follow`.
        """
        try:
            self._acquaintances.follow(membership, index)
        except StorageError as error:
            self._log.warning("members could not be forgotten", why=str(error))

    def _was_removed(self, node_id: int) -> bool:
        core = self._core
        certain = core.has_committed_in_term and core.membership_index <= core.commit
        return certain and node_id not in core.membership.members()
