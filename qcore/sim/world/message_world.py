"""`NodeWorld`: makes the nodes of a run and connects them and the clients; each fidelity has one.

`MessageWorld` is that of `fidelity: replica`: each message of Raft and each request crosses a link by itself.
That of `fidelity: node` is `qcore.sim.world.whole.whole_world.WholeWorld`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from qcore.compiled_build import register_copies
from qcore.machines.interface import StateMachine
from qcore.replica.config import ReplicaConfig
from qcore.sim.workload.sim_client import SimClient
from qcore.sim.workload.sim_watcher import SimWatcher
from qcore.sim.world.clock.engine import Engine
from qcore.sim.world.link_builder import LinkBuilder
from qcore.sim.world.network import Network
from qcore.sim.world.node.disk import SimDisk
from qcore.sim.world.node.node_clock import NodeClock
from qcore.sim.world.node.sim_node import SimNode
from qcore.sim.world.random_streams import Streams
from qcore.sim.world.services import Services
from qcore.sim.world.simulated_node import SimulatedNode

if TYPE_CHECKING:
    from qcore.sim.world.programs.program_place import ProgramPlaces
    from qcore.sim.world.programs.program_runner import ProgramRunner


#: About how long a real node waits between two attempts, in microseconds.
_RETRY_US: Final = 500_000


@dataclass(frozen=True)
class Ends:
    """What is connected with the nodes.

    Attributes:
        clients: the clients of the workload.
        timeline_client: the one that sends the operations of the timeline, over links without impairments.
        watchers: the watchers.
        programs: the client programs, if there are any.
    """

    clients: Sequence[SimClient]
    timeline_client: SimClient
    watchers: Sequence[SimWatcher]
    programs: ProgramRunner | None


class NodeWorld(Protocol):
    """The nodes of one run."""

    def first_key(self, node: int) -> str:
        """The public key that a node has on its first disk; empty if it needs none."""
        ...

    def make_node(
        self,
        config: ReplicaConfig,
        disk: SimDisk,
        clock: NodeClock,
        make_machine: Callable[[], StateMachine],
    ) -> SimulatedNode:
        """Make a node with this hardware."""
        ...

    def connect(self, builder: LinkBuilder, ends: Ends) -> None:
        """Make the links: between nodes, and between nodes and ends. `builder.finish` has not been called yet."""
        ...

    def attach(self, ends: Ends) -> None:
        """All links exist."""
        ...

    def program_places(self) -> ProgramPlaces:
        """The places of client programs. The nodes exist."""
        ...

    def begin(self) -> None:
        """The nodes have started."""
        ...


class MessageWorld:
    """The nodes of `fidelity: replica`.

    Args:
        services: the shared parts of the run.
        streams: give each node its random stream.

    Attributes:
        nodes: the nodes, by id.
    """

    def __init__(self, services: Services, streams: Streams) -> None:
        self.nodes: dict[int, SimNode] = {}
        self._services = services
        self._streams = streams

    def first_key(self, node: int) -> str:
        """See `NodeWorld`."""
        return ""

    def make_node(
        self,
        config: ReplicaConfig,
        disk: SimDisk,
        clock: NodeClock,
        make_machine: Callable[[], StateMachine],
    ) -> SimNode:
        """See `NodeWorld`."""
        node = config.raft.node_id
        rng = self._streams.get(f"node/{node}/replica")
        made = SimNode(config, self._services, disk, clock, rng, make_machine)
        self.nodes[node] = made
        return made

    def connect(self, builder: LinkBuilder, ends: Ends) -> None:
        """See `NodeWorld`."""
        nodes: Mapping[int, SimNode] = self.nodes
        builder.connect_nodes({node: nodes[node].receive for node in nodes})
        requests = {node: nodes[node].receive_request for node in nodes}
        for client in (*ends.clients, ends.timeline_client):
            is_impaired = client is not ends.timeline_client
            builder.connect_client(client, requests, is_impaired=is_impaired)
        watches = {node: nodes[node].receive_from_watcher for node in nodes}
        for watcher in ends.watchers:
            builder.connect_client(watcher, watches)
        if ends.programs is not None:
            ends.programs.connect(builder.connect_client)

    def attach(self, ends: Ends) -> None:
        """See `NodeWorld`."""
        for node in self.nodes.values():
            node.attach(self.nodes)
        for client in (*ends.clients, ends.timeline_client):
            client.attach()
        for watcher in ends.watchers:
            watcher.attach()
        if ends.programs is not None:
            ends.programs.attach()

    def program_places(self) -> ProgramPlaces:
        """See `NodeWorld`."""
        # Here, because it imports the client library and the request handlers of real nodes, which few runs need.
        from qcore.sim.world.programs.message_places import MessagePlaces

        return MessagePlaces(self._services, self.nodes)

    def begin(self) -> None:
        """See `NodeWorld`: the nodes dial each other."""
        Dialer(self._services.engine, self._services.network, self.nodes).dial()


class Dialer:
    """Connects the nodes of one run whenever the links between them are open in both directions.

    As real nodes do, each node dials every other member, even without a message to send. Therefore members meet before
    they need each other's votes, and a node recognises a wiped member that returns.

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


register_copies(globals())
