"""Tells the monitor and the timeline's triggers what one node becomes, promises and commits."""

from __future__ import annotations

from qcore.core.effects import RoleChanged, VoteGranted
from qcore.core.entry import Membership
from qcore.sim.faults.triggers import NodeEvent, fire_matching
from qcore.sim.world.services import Services


class NodeObserver:
    """The onlookers of one node: the monitor always, triggers while any is armed.

    Args:
        node: its id.
        services: the shared parts of the run.
    """

    def __init__(self, node: int, services: Services) -> None:
        self._node = node
        self._engine = services.engine
        self._monitor = services.monitor
        self._triggers = services.triggers

    def on_role(self, effect: RoleChanged) -> None:
        """Role, term or known leader differ from before."""
        self._monitor.role_changed(self._engine.now, self._node, effect.role, effect.term)
        if self._triggers.role:
            fire_matching(
                self._triggers.role, NodeEvent(self._node, role=effect.role, term=effect.term)
            )

    def on_vote(self, effect: VoteGranted) -> None:
        """It gave its vote."""
        if self._triggers.vote:
            fire_matching(
                self._triggers.vote,
                NodeEvent(self._node, peer=effect.candidate_id, term=effect.term),
            )

    def committed(self, commit: int) -> None:
        """Its commit index moved."""
        self._monitor.committed(self._engine.now, self._node, commit)
        if self._triggers.commit:
            fire_matching(self._triggers.commit, NodeEvent(self._node, index=commit))

    def membership(self, membership: Membership) -> None:
        """It uses this configuration from now on."""
        self._monitor.membership_changed(
            self._engine.now, self._node, membership.voters, membership.voters_outgoing
        )
