"""Executes the timeline actions that send one client operation to a given node, and keeps the outcomes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random

from qcore.sim.faults.ledger import Fault
from qcore.sim.faults.selector_resolver import ActionNotReady, SelectorResolver
from qcore.sim.scenario.actions.operation_actions import OperationAction
from qcore.sim.workload.operations import ClientOperation
from qcore.sim.workload.sim_client import ReadMix, SimClient
from qcore.sim.world.simulated_node import SimulatedNode


@dataclass(slots=True, frozen=True)
class TimelineOperation:
    """One operation that the timeline has sent, for the expectations.

    Attributes:
        name: the name of the timeline item.
        action: the item's action, with the outcome that it demands.
        op: the operation and its outcome.
    """

    name: str
    action: OperationAction
    op: ClientOperation


class OperationActions:
    """Sends the operations of the timeline.

    Args:
        resolver: resolves symbolic names.
        nodes: the simulated nodes, by id.
        client: sends the operations.

    Attributes:
        operations: the operations in the order in which they began.
    """

    def __init__(
        self, resolver: SelectorResolver, nodes: Mapping[int, SimulatedNode], client: SimClient
    ) -> None:
        self._resolver = resolver
        self._nodes = nodes
        self._client = client
        self._values = 0
        self.operations: list[TimelineOperation] = []

    def send(self, action: OperationAction, fault: Fault, rng: Random) -> None:
        """Send one operation to each node that the action names.

        Raises:
            ActionNotReady: it names nodes that cannot be resolved now, or the setup is not committed yet.
        """
        key = action.key or "k0"
        if not self._client.can_encode(key):
            raise ActionNotReady("the setup of the run is not committed yet")
        up = [node for node, sim_node in self._nodes.items() if sim_node.up]
        for node in self._resolver.resolve(action.node, rng, among=up):
            fault.acted += 1
            self._values += 1
            value = action.value if action.value is not None else f"v{self._values}"
            op = self._client.begin(
                action.op,
                key,
                value if action.op == "write" else None,
                timeout_ms=action.timeout_ms,
                node=node,
                reads=self._reads_of(action),
            )
            self.operations.append(TimelineOperation(fault.name, action, op))

    def _reads_of(self, action: OperationAction) -> ReadMix:
        default = self._client.reads
        bound = action.max_staleness_ms
        return ReadMix(
            default.kinds if action.read_kind is None else action.read_kind,
            default.max_staleness_ms if bound is None else bound,
        )
