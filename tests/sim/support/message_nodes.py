"""The nodes of a run with `fidelity: replica`, for tests that look inside them."""

from __future__ import annotations

from collections.abc import Mapping

from qcore.sim.world.message_world import MessageWorld
from qcore.sim.world.node.sim_node import SimNode
from qcore.sim.world.simulated_cluster import SimulatedCluster


def message_nodes(world: SimulatedCluster) -> Mapping[int, SimNode]:
    """The nodes by id."""
    assert isinstance(world.node_world, MessageWorld)
    return world.node_world.nodes
