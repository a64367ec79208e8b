"""`WholeWorld`: the computers of a run whose nodes are whole, and the processes on them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from qcore.core.entry import Membership
from qcore.machines.entity.entity_store import EntityStore
from qcore.machines.interface import StateMachine
from qcore.node.application import Application, EntityApplication, TextApplication
from qcore.node.observability.simulated_lines import leave_out_lines
from qcore.replica.config import ReplicaConfig
from qcore.replica.events import ClientRequest, Reply
from qcore.sim.faults.admin_client import address_of
from qcore.sim.scenario.specs.cluster_spec import ClusterSpec
from qcore.sim.workload.sim_client import RequestMessage, ResponseMessage, SimClient
from qcore.sim.workload.sim_watcher import SimWatcher
from qcore.sim.world.hosts.host import Host, HostTable
from qcore.sim.world.hosts.host_loop import HostLoop, Processor
from qcore.sim.world.link_builder import LinkBuilder
from qcore.sim.world.message_world import Ends
from qcore.sim.world.node.disk import SimDisk
from qcore.sim.world.node.node_clock import NodeClock
from qcore.sim.world.node.peer_connections import StoredIdentity
from qcore.sim.world.programs.program_place import ProgramPlaces
from qcore.sim.world.random_streams import Streams
from qcore.sim.world.services import Services
from qcore.sim.world.whole.answers import Answers
from qcore.sim.world.whole.disk_storage import simulated_key
from qcore.sim.world.whole.host_places import HostPlaces
from qcore.sim.world.whole.whole_node import WholeNode
from qcore.sim.world.whole.wire_client import WireClient
from qcore.sim.world.whole.wire_watcher import WireWatcher


class WholeWorld:
    """Makes whole nodes, and gives clients real connections to them.

    Args:
        services: the shared parts of the run.
        streams: give each computer its random streams.
        cluster: what the work of a node costs.
        nodes: all nodes of the run.
        has_program: whether the clients run a program, which uses the messages of the entity store.

    Attributes:
        nodes: the nodes, by id.
        answers: what the checkers know about the answers of nodes.
    """

    def __init__(
        self,
        services: Services,
        streams: Streams,
        cluster: ClusterSpec,
        nodes: tuple[int, ...],
        has_program: bool,
    ) -> None:
        leave_out_lines(_take_line)
        self.answers = Answers(services.histories, lambda: services.engine.now)
        self.nodes: dict[int, WholeNode] = {}
        self._services = services
        self._cluster = cluster
        self._has_program = has_program
        self._hosts = HostTable(services.engine, services.network, streams)
        self._addresses = {node: address_of(node) for node in nodes}

    def first_key(self, node: int) -> str:
        """See `NodeWorld`."""
        return simulated_key(node, StoredIdentity().incarnation).public

    def make_node(
        self,
        config: ReplicaConfig,
        disk: SimDisk,
        clock: NodeClock,
        make_machine: Callable[[], StateMachine],
    ) -> WholeNode:
        """A node with its computer."""
        node = config.raft.node_id
        name = self._addresses[node].partition(":")[0]
        cluster = self._cluster
        processor = Processor(callback_us=cluster.callback_us)
        host = self._hosts.add(node, name, clock=clock, processor=processor)
        made = WholeNode(
            config,
            self._services,
            disk,
            host,
            self._addresses[node],
            make_machine,
            self._application,
            self.answers,
            cluster.event_us,
        )
        self.nodes[node] = made
        return made

    def _application(self, machine: StateMachine) -> Application:
        """What serves a machine. For the built-in workloads, commands and queries are texts."""
        if self._has_program and isinstance(machine, EntityStore):
            return EntityApplication(machine)
        return TextApplication(machine)

    def connect(self, builder: LinkBuilder, ends: Ends) -> None:
        """See `NodeWorld`."""
        nodes = self.nodes
        receivers = {node: nodes[node].receive for node in nodes}
        builder.connect_nodes(receivers)
        for client in (*ends.clients, ends.timeline_client):
            is_impaired = client is not ends.timeline_client
            end = self._add_client(client)
            builder.connect_client(end, receivers, is_impaired=is_impaired)
        if self._has_program:
            # Its requests are texts for the machine, which the messages of a program's machine may not carry.
            ends.timeline_client.transmit = partial(self._submit, ends.timeline_client)
        for watcher in ends.watchers:
            builder.connect_client(self._add_watcher(watcher), receivers)
        if ends.programs is not None:
            ends.programs.connect(builder.connect_client)

    def attach(self, ends: Ends) -> None:
        """See `NodeWorld`."""
        for node in self.nodes.values():
            node.attach()

    def program_places(self) -> ProgramPlaces:
        """See `NodeWorld`."""
        return HostPlaces(self._hosts, self.nodes, self.answers)

    def begin(self) -> None:
        """See `NodeWorld`: the nodes dial each other by themselves."""

    def _add_client(self, client: SimClient) -> Host:
        """A computer for a client, which sends its requests over real connections from now on."""
        host = self._add_host(client.vertex)
        deliver = partial(_deliver, client)
        client.transmit = WireClient(host, self._addresses, self.answers, deliver).send
        return host

    def _submit(self, client: SimClient, node: int, request: RequestMessage) -> None:
        """Give a node a request of the timeline, without a connection."""
        op = request.op
        response = ResponseMessage(op, request.attempt)

        def make(request_id: int, _membership: Membership) -> ClientRequest:
            return ClientRequest(
                request_id, op.request, op.payload, request.timeout_ms, request.max_staleness_ms
            )

        def answer(reply: Reply | None) -> None:
            if reply is not None:
                response.result, response.error = reply.result, reply.error
                response.index = reply.index
                response.term = self._services.histories.term_of(reply.index, op.payload)
                response.served_by, response.served_us = node, self._services.engine.now
            client.receive(node, response, "")

        if not self.nodes[node].receive_admin_request(make, answer):
            response.connection_refused = True
            self._services.engine.immediately(partial(client.receive, node, response, ""))

    def _add_watcher(self, watcher: SimWatcher) -> Host:
        """A computer for a watcher, which watches over real connections from now on."""
        host = self._add_host(watcher.vertex)
        deliver = partial(_deliver, watcher)
        now = partial(getattr, self._services.engine, "now")
        watcher.transmit = WireWatcher(host, self._addresses, self.answers, now, deliver).send
        return host

    def _add_host(self, vertex: int) -> Host:
        """A fast computer, with a process."""
        host = self._hosts.add(
            vertex, f"client-{-vertex}", processor=Processor(callback_us=1, socket_us=1)
        )
        host.boot()
        return host


def _take_line(text: str, error: BaseException | None) -> bool:
    """Take a log line if a simulated process writes it. One about a bug counts as an error that escaped."""
    loop = asyncio._get_running_loop()
    if not isinstance(loop, HostLoop):
        return False
    if error is not None:
        loop.on_error(0, error, f"logged: {text}")
    return True


def _deliver(end: SimClient | SimWatcher, node: int, message: object) -> None:
    end.receive(node, message, "")
