"""`RemovalWatch`: finds out and logs that this node was removed from its cluster.

A removed node keeps running, because it may be added again, and a supervisor would only restart it. It takes part in
nothing. Its HTTP pages and its exit code report the removal, too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from qcore.core.raft import RaftCore
from qcore.node.observability.logs import NodeLog
from qcore.replica.peers.identity import ClusterIdentity

#: A part of the text with which a member rejects a removed node.
REMOVED: Final = "was removed from cluster"
_WHAT_TO_DO: Final = "stop it, or give it an empty data directory and add it again"


class RemovalWatch:
    """Knows whether the node was removed, and logs when that changes.

    Args:
        core: this node's core.
        identity: this node and the cluster that it belongs to, or belonged to.
        rejection: returns why a member rejects this node, or None.
        silence_us: if a leader was heard within this time, this node still receives entries.
        log: gets the lines.
        now_us: the clock of the replica, µs.
    """

    def __init__(
        self,
        core: RaftCore,
        identity: ClusterIdentity,
        rejection: Callable[[], str | None],
        silence_us: int,
        log: NodeLog,
        now_us: Callable[[], int],
    ) -> None:
        self._core = core
        self._identity = identity
        self._rejection = rejection
        self._silence_us = silence_us
        self._log = log
        self._now_us = now_us
        self._was_logged = False

    def reason(self) -> str | None:
        """Why this node is certainly no longer a member of its cluster; None if it is a member or may be one.

        The log of a node that is being added may end with an older configuration that does not name it. Such a node
        hears from a leader. A leader that removes itself stays leader until another one is elected.
        """
        rejection = self._rejection()
        if rejection is not None and REMOVED in rejection:
            return rejection
        core = self._core
        membership = core.membership
        if (
            membership.is_empty
            or core.membership_index > core.commit_index
            or core.role == "leader"
        ):
            return None
        node_id, contact = self._identity.node_id, core.last_leader_contact
        if node_id in membership.members():
            return None
        if contact is not None and self._now_us() - contact < self._silence_us:
            return None
        return f"node {node_id} is no member of cluster {self._identity.cluster_id} any more: {_WHAT_TO_DO}"

    def check(self) -> None:
        """Log a change. Call it about once a second."""
        why = self.reason()
        if why is not None and not self._was_logged:
            self._log.error("this node was removed: it takes part in nothing", why=why)
        elif why is None and self._was_logged:
            self._log.info("this node is a member again")
        self._was_logged = why is not None
