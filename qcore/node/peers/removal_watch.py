"""Does this node still belong to its cluster? One that was removed says so: in its log, its pages, and its exit code.

It goes on running: it may be added again, and a supervisor would only start it again. It takes part in nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from qcore.core.raft import RaftCore
from qcore.node.observability.logs import NodeLog

#: How often the node is to `check`, seconds.
CHECK_INTERVAL_S: Final = 1.0
#: What a leader says to a member that it has removed.
REMOVED: Final = "was removed from cluster"
_WHAT_TO_DO: Final = "stop it, or give it an empty data directory and add it again"


def removal_reason(
    core: RaftCore,
    node_id: int,
    cluster_id: str | None,
    rejection: str | None,
    now: int,
    silence_us: int,
) -> str | None:
    """Why this node is known to be no member of its cluster any more; None while it is, or while it cannot be known.

    A node that is being added has a log whose newest configuration is an older one, without it. But then a leader
    sends it more. A leader that removes itself leads on until another one takes over.

    Args:
        core: this node's.
        node_id: this node's.
        cluster_id: of the cluster that it belongs to, or belonged to.
        rejection: what a member said that will have nothing to do with this node.
        now: µs on the core's clock.
        silence_us: a leader that was heard within so long counts as one that sends more.
    """
    if rejection is not None and REMOVED in rejection:
        return rejection
    membership = core.membership
    if membership.is_empty or core.membership_index > core.commit_index or core.role == "leader":
        return None
    contact = core.last_leader_contact
    if node_id in membership.members() or (contact is not None and now - contact < silence_us):
        return None
    return f"node {node_id} is no member of cluster {cluster_id} any more: {_WHAT_TO_DO}"


class RemovalWatch:
    """Logs when the node was removed and when it is a member again.

    Args:
        reason: see `removal_reason`.
        log: takes the lines.
    """

    def __init__(self, reason: Callable[[], str | None], log: NodeLog) -> None:
        self._reason = reason
        self._log = log
        self._was_logged = False

    def check(self) -> None:
        """Write a line if something has changed."""
        why = self._reason()
        if why is not None and not self._was_logged:
            self._log.error("this node was removed: it takes part in nothing", why=why)
        elif why is None and self._was_logged:
            self._log.info("this node is a member again")
        self._was_logged = why is not None
