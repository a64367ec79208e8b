"""Connects the simulated nodes as real nodes do: each node dials every other member, even without a message to send.

Therefore members meet before they need each other's votes, and a node recognises a wiped member that returns.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from qcore.sim.world.engine import Engine
from qcore.sim.world.network import Network
from qcore.sim.world.node.sim_node import SimNode

#: About how long a real node waits between two attempts, in microseconds.
_RETRY_US: Final = 500_000


class Dialer:
    """Connects the nodes of one run whenever the links between them are open in both directions.

    Args:
        engine: the simulated clock.
        network: the network of the run.
        nodes: all nodes, by id.
    """

    def __init__(self, engine: Engine, network: Network, nodes: Mapping[int, SimNode]) -> None:
        self._engine = engine
        self._network = network
        self._nodes = nodes

    def dial(self) -> None:
        """Let every node dial the members that it is not connected to, now and at regular intervals."""
        for caller in self._nodes.values():
            if caller.replica is None or caller.paused:
                continue
            for member in caller.replica.core.membership.members():
                called = self._nodes.get(member)
                if called is None or called is caller or _are_connected(caller, called):
                    continue
                if self._can_reach(caller, called):
                    called.connect(caller.node_id)
        self._engine.after(_RETRY_US, self.dial)

    def _can_reach(self, caller: SimNode, called: SimNode) -> bool:
        there, back = caller.node_id, called.node_id
        links = (self._network.link(there, back), self._network.link(back, there))
        return called.up and not called.paused and all(link.is_open for link in links)


def _are_connected(one: SimNode, other: SimNode) -> bool:
    ends = one.peer_connections, other.peer_connections
    return ends[0] is not None and ends[1] is not None and ends[1].is_connected(ends[0])
