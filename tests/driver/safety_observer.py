"""`SafetyObserver`: the safety argument of Raft, checked after every step of every node."""

from __future__ import annotations

from collections.abc import Sequence

from qcore.core import DurableState
from qcore.core.effects import Effect, ReadReady, Send
from qcore.replica.events import ReplicaEffect, Reply
from tests.core.support.brute_force import check_node
from tests.core.support.safety_checks import Before, Safety
from tests.driver.disk import Disk
from tests.driver.observer import Node, Observer


class SafetyObserver(Observer):
    """Lets `Safety` see every step.

    Attributes:
        safety: the checks; None switches them off.
        brute_force: also compute log, configuration and commit index from scratch after every step.
    """

    def __init__(self, safety: Safety | None = None, *, brute_force: bool = False) -> None:
        self.safety = safety
        self.brute_force = brute_force
        self._disks: dict[int, Disk] = {}
        self._before: dict[int, Before] = {}

    def durable_states(self) -> dict[int, DurableState]:
        """What the disk of each node holds that has ever started."""
        return {node_id: disk.durable for node_id, disk in self._disks.items()}

    def before_step(self, node: Node) -> None:
        if self.safety:
            self._before[node.node_id] = self.safety.before(node.core)

    def executed(self, node: Node, effects: Sequence[Effect | ReplicaEffect]) -> None:
        if self.safety:
            before = self._before[node.node_id]
            self.safety.after(self.durable_states(), node.node_id, node.core, before, effects)
        if self.brute_force:
            self.check_node(node)

    def check_node(self, node: Node) -> None:
        """Compute the node's log, configuration and commit index from scratch."""
        check_node(node.node_id, node.core, self.durable_states(), node.disk.pending)

    def sent(self, node: Node, send: Send) -> None:
        if self.safety:
            self.safety.sent(node.node_id, send)

    def responded(self, node: Node, outcome: ReadReady | Reply) -> None:
        if self.safety and isinstance(outcome, ReadReady):
            self.safety.read_ready(node.node_id, node.life, outcome)

    def started(self, node: Node) -> None:
        self._disks[node.node_id] = node.disk
        if self.safety:
            self.safety.restarted(node.node_id, node.core)
        if self.brute_force:
            self.check_node(node)
