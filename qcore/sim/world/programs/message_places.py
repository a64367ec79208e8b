"""`MessagePlaces`: the places of client programs with `fidelity: replica`.

Without faults of processes, all programs share one event loop.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from random import Random

from qcore.sim.faults.admin_client import address_of
from qcore.sim.world.network import Receiver
from qcore.sim.world.node.node_clock import NodeClock
from qcore.sim.world.node.sim_node import SimNode
from qcore.sim.world.programs.client_vertex import ClientVertex
from qcore.sim.world.programs.lives.process_loop import new_program_loop
from qcore.sim.world.programs.node_front import NodeFront
from qcore.sim.world.programs.sim_loop import new_loop
from qcore.sim.world.services import Services


class MessagePlaces:
    """See `ProgramPlaces`.

    Args:
        services: the shared parts of the run.
        nodes: all nodes of the run.
    """

    def __init__(self, services: Services, nodes: Mapping[int, SimNode]) -> None:
        self._network = services.network
        self._engine = services.engine
        self._loop = new_loop(services.engine)
        self._addresses = {address_of(node): node for node in nodes}
        self._fronts = {node: NodeFront(each, services, self._loop) for node, each in nodes.items()}
        for node, each in nodes.items():
            each.front = self._fronts[node]

    def place(
        self, number: int, new_rng: Callable[[], Random], clock: NodeClock, *, has_faults: bool
    ) -> ClientVertex:
        """See `ProgramPlaces`."""
        engine = self._engine
        return ClientVertex(
            number,
            partial(new_program_loop, engine) if has_faults else lambda: self._loop,
            clock,
            lambda: engine.now,
            self._network,
            self._addresses,
            new_rng,
        )

    def receivers(self) -> Mapping[int, Receiver]:
        """See `ProgramPlaces`."""
        return {node: front.receive for node, front in self._fronts.items()}

    def attach(self) -> None:
        """See `ProgramPlaces`."""
        for front in self._fronts.values():
            front.attach()
