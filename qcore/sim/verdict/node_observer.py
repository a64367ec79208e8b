"""Reports the roles, votes, commits and configurations of one node to the monitor and to the timeline's triggers."""

from __future__ import annotations

from qcore.core.effects import RoleChanged, VoteGranted
from qcore.core.entry import Membership
from qcore.sim.faults.triggers import NodeEvent, fire_matching
from qcore.sim.world.services import Services


class NodeObserver:
    """Reports the events of one node: to the monitor always, to triggers while any is armed.

    Args:
        node: the id of the node.
        services: the shared parts of the run.
    """

    def __init__(self, node: int, services: Services) -> None:
        self._node = node
        self._engine = services.engine
        self._monitor = services.monitor
        self._triggers = services.triggers

    def on_role(self, effect: RoleChanged) -> None:
        """The role, term or known leader of the node changed."""
        self._monitor.role_changed(self._engine.now, self._node, effect.role, effect.term)
        if self._triggers.role:
            fire_matching(
                self._triggers.role, NodeEvent(self._node, role=effect.role, term=effect.term)
            )

    def on_vote(self, effect: VoteGranted) -> None:
        """The node gave its vote."""
        if self._triggers.vote:
            fire_matching(
                self._triggers.vote,
                NodeEvent(self._node, peer=effect.candidate_id, term=effect.term),
            )

    def committed(self, commit: int) -> None:
        """The commit index of the node advanced."""
        self._monitor.committed(self._engine.now, self._node, commit)
        if self._triggers.commit:
            fire_matching(self._triggers.commit, NodeEvent(self._node, index=commit))

    def membership(self, membership: Membership) -> None:
        """The effective configuration of the node changed."""
        self._monitor.membership_changed(
            self._engine.now, self._node, membership.voters, membership.voters_outgoing
        )
