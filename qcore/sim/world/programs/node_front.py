"""`NodeFront`: the node's end of the connections of client programs. The request handlers are those of a real node."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache, partial
from itertools import count
from pathlib import Path
from typing import Final, Never

from pydantic import JsonValue

from qcore.core.effects import RoleChanged
from qcore.errors import RemoteProtocolError
from qcore.machines.entity.entity_store import EntityStore
from qcore.machines.interface import StateMachine
from qcore.node.api.client_requests import RequestHandler
from qcore.node.application import (
    Application,
    EntityApplication,
    TextApplication,
    node_codec,
)
from qcore.node.config import NodeConfig
from qcore.node.observability.metrics import NodeMetrics
from qcore.node.peers.peer_router import ConnectionStatus
from qcore.node.status.metrics_object import LeaderHistory, metrics_object
from qcore.node.status.node_status import NodeStatus, VersionStatus
from qcore.replica.events import ClientRequest, Notice, ReplicaEvent, Reply, WatchEnded
from qcore.replica.peers.identity import ClusterIdentity
from qcore.replica.replica import Replica
from qcore.replica.request_details import RequestDetails
from qcore.sim.faults.admin_client import address_of
from qcore.sim.world.network import Link
from qcore.sim.world.node.sim_node import SimNode
from qcore.sim.world.program_front import FRONT_IDS
from qcore.sim.world.programs.frames import (
    ClientFrame,
    Close,
    Envelope,
    FromNode,
    NodeFrame,
    Open,
    Opened,
    Ping,
    Pong,
    Requests,
    Reset,
    Service,
)
from qcore.sim.world.programs.message_runtime import MessageRuntime
from qcore.sim.world.programs.sim_loop import SimLoop
from qcore.sim.world.services import Services
from qcore.storage.log_size import Footprint
from qcore.transport.codec.codec import Codec, Malformed
from qcore.transport.server.server import PeerIdentity, Principal
from qcore.transport.wire import error_envelope

_NO_DIRECTORY: Final = Path("simulated")  # nothing reads it


_NO_OPERATION: Final = (0, 0)


#: The codec of all nodes that run one kind of state machine.
shared_codec: Final = lru_cache(maxsize=8)(node_codec)


class NodeConnection:
    """One connection of a client program, as the request handlers see it; see `ServerConnection`.

    Args:
        connection_id: unique at this node.
        remote: names the other end.
        admin: whether it is an admin connection.
        codec: encodes messages.
        transmit: sends one message.

    Attributes:
        received: the number of the last message that arrived.
        is_over: whether the connection has ended.
        service: how the request was served that is answered now.
    """

    def __init__(
        self,
        connection_id: int,
        remote: str,
        admin: bool,
        codec: Codec,
        transmit: Callable[[FromNode], None],
    ) -> None:
        self.connection_id = connection_id
        self.remote = remote
        self.admin = admin
        self.watches = 0
        self.principal: Principal | None = None
        self.failed_logins = 0
        self.message_bytes = 0
        self.received = 1  # the request to open it
        self.is_over = False
        self.service: Service | None = None
        self.transmit = transmit
        self._codec = codec

    @property
    def peer(self) -> PeerIdentity | None:
        """None: it is a client."""
        return None

    @property
    def is_open(self) -> bool:
        """Whether messages can be sent."""
        return not self.is_over

    def send(self, message: object) -> None:
        """Send a message of the codec."""
        self.send_encoded(self._codec.encode(message))

    def send_encoded(self, envelope: bytes) -> None:
        """Send an encoded message."""
        if not self.is_over:
            self.transmit(Envelope(envelope, self.service))

    def push(self, envelope: bytes, *, last: bool = False) -> bool:
        """Send an encoded message that is no response. There is always room."""
        if not self.is_over:
            self.transmit(Envelope(envelope, None))
        return True

    def when_room(self, act: Callable[[], None]) -> None:
        """Never called: there is always room."""

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Close the connection."""
        if not self.is_over:
            self.transmit(Close())
            self.is_over = True

    def abort(self, reason: str) -> None:
        """Drop the connection."""
        self.close(reason=reason)


class _NoPeers:
    """The connections that `Init` would use. A simulated cluster is initialised already."""

    on_connection_change: Callable[[], None]
    public_key = ""

    awaited_cluster = None

    async def ask_nodes(
        self,
        nodes: Mapping[int, str],
        timeout_s: float,
        cluster_id: str = "",
        *,
        need_keys: bool = True,
    ) -> tuple[Mapping[int, Never], Mapping[int, str]]:
        """There are none."""
        return {}, {}

    def announced_by(self, peer: int) -> None:
        """No peer announces an address."""

    def connect_to(self, nodes: Mapping[int, str], keys: Mapping[int, str] | None = None) -> None:
        """Do nothing."""

    def connection_statuses(self) -> dict[int, ConnectionStatus]:
        """There are none."""
        return {}


class _Life:
    """One life of the node's process: its request handlers, and the events that they have for the replica."""

    def __init__(self, front: NodeFront, replica: Replica, machine: StateMachine) -> None:
        self.front = front
        self.replica = replica
        self.leaders = LeaderHistory()
        self.began_us = front.services.engine.now
        application: Application = (
            EntityApplication(machine)
            if isinstance(machine, EntityStore)
            else TextApplication(machine)
        )
        node = front.node
        config = NodeConfig(replica=replica.config, data_dir=_NO_DIRECTORY)
        self.codec = shared_codec(application.perform_type, config.replica.max_command_bytes)
        #: The requests in progress, for the checkers.
        self.requests: dict[int, ClientRequest] = {}
        #: The operation of the message that is handled now; 0 if it is not known.
        self.operation = _NO_OPERATION
        self._events: list[ReplicaEvent] = []
        self._tokens = count(1)
        self.handler = RequestHandler(
            application,
            ClusterIdentity(node.node_id, replica.core.membership.cluster_id, ""),
            self,
            self.metrics,
            NodeMetrics(),
            config,
            replica,
            _NoPeers(),
            None,
            runtime=MessageRuntime(
                front.loop,
                monotonic_us=lambda: node.clock.local(front.services.engine.now),
                new_token=self.new_token,
            ),
            first_id=FRONT_IDS,
        )

    def new_token(self) -> str:
        """A text that no other token of the run is equal to."""
        node = self.front.node
        return f"{node.node_id}-{self.began_us}-{next(self._tokens)}"

    # The inbox of the handlers: see `qcore.node.api.client_requests.EventInbox`.

    def add_event(self, event: ReplicaEvent) -> None:
        """Give the replica an event after the current one."""
        self._events.append(event)
        if len(self._events) == 1:
            self.front.services.engine.immediately(self._deliver)

    def add_request(self, request: ClientRequest) -> None:
        """As `add_event`."""
        self.requests[request.request_id] = request
        front = self.front
        front.request_details.took(front.services.engine.now, request, *self.operation)
        self.add_event(request)

    def _deliver(self) -> None:
        events, self._events = self._events, []
        for event in events:
            if self.front.life is self:
                self.front.node.deliver_event(event)

    def metrics(self) -> dict[str, JsonValue]:
        """The metrics object of the node."""
        replica, engine = self.replica, self.front.services.engine
        core = replica.core
        status = core.status()
        snapshot = core.snapshot
        node_status = NodeStatus(
            cluster_id=core.membership.cluster_id,
            stopping=False,
            failure=None,
            rejections={},
            removal_reason=None,
            address=address_of(self.front.node.node_id),
            disk_full=False,
            stored=Footprint(
                status.first_log_index,
                status.last_log_index,
                0,
                snapshot.meta.last_included_index if snapshot is not None else 0,
            ),
            snapshot_stored_at=0.0,
            longest_stall_s=0.0,
            queues={},
            connections={"clients": len(self.front.connections), "peers": 0},
            watches=self.handler.watches.figures(replica.watches.history),
            uptime_s=(engine.now - self.began_us) / 1e6,
            versions=VersionStatus.of(replica.versions),
            digests=replica.digests.kept,
            comparison=None,
            diverged_at=replica.containment.diverged_at,
            quotas=replica.quotas.uses(),
        )
        now = self.front.node.clock.local(engine.now)
        return metrics_object(
            core,
            status,
            self.leaders,
            node_status,
            replica.machine.state_hash(),
            now,
        )


class NodeFront:
    """The node's end of the connections of client programs, over all lives of its process.

    Args:
        node: the node.
        services: the shared parts of the run.
        loop: the event loop of the client programs, whose timers the handlers use.

    Attributes:
        node, services, loop: the arguments.
        life: the current life of the process; None while it is down.
        connections: by client's vertex and number.
        request_details: writes the requests of the programs to the trace.
    """

    request_details: RequestDetails

    def __init__(self, node: SimNode, services: Services, loop: SimLoop) -> None:
        self.node = node
        self.services = services
        self.life: _Life | None = None
        self.connections: dict[tuple[int, int], NodeConnection] = {}
        self.loop = loop
        self._ids = count(1)
        self._links: Mapping[int, Link] = {}
        #: What arrived while the process was frozen.
        self._backlog: list[tuple[int, ClientFrame]] = []

    def attach(self) -> None:
        """Record the node's links, once all of them exist."""
        self._links = self.services.network.links_from(self.node.node_id)

    # -- the life of the process ---------------------------------------------------------------------

    def begin_life(self, replica: Replica, machine: StateMachine) -> None:
        """See `qcore.sim.world.program_front.ProgramFront`."""
        self.connections.clear()
        self._backlog.clear()
        with self.loop.entered():
            self.life = _Life(self, replica, machine)

    def died(self) -> None:
        """See `ProgramFront`."""
        self.life = None
        self._backlog.clear()

    def break_connections(self) -> None:
        """See `ProgramFront`."""
        for (vertex, number), connection in self.connections.items():
            connection.is_over = True
            self._reset(vertex, number)
        self.connections.clear()

    def resumed(self) -> None:
        """See `ProgramFront`."""
        backlog, self._backlog = self._backlog, []
        for vertex, frame in backlog:
            self._handle(vertex, frame)

    # -- messages of clients -------------------------------------------------------------------------

    def receive(self, vertex: int, frame: object, _message_id: str) -> None:
        """Receive a message of a client program."""
        assert isinstance(frame, ClientFrame)
        if not self.node.up:
            if self.node.powered and not isinstance(frame.content, Close):
                self._reset(vertex, frame.connection)
        elif self.node.paused:
            self._backlog.append((vertex, frame))
        else:
            self._handle(vertex, frame)

    def _handle(self, vertex: int, frame: ClientFrame) -> None:
        life = self.life
        if life is None:  # it died while it handled earlier messages
            return
        key, content = (vertex, frame.connection), frame.content
        connection = self.connections.get(key)
        if connection is None:
            if isinstance(content, Open):
                self._open(life, key, content)
            elif not isinstance(content, Close):
                self._reset(*key)
            return
        if frame.number <= connection.received:
            return  # a copy
        if frame.number > connection.received + 1:
            self._drop(life, key)
            if not isinstance(content, Close):
                self._reset(*key)
            return
        connection.received += 1
        if isinstance(content, Ping):
            connection.transmit(Pong())
        elif isinstance(content, Close):
            self._drop(life, key)
        elif isinstance(content, Requests):
            with self.loop.entered():
                for envelope in content.envelopes:
                    self._take(life, connection, envelope, content.operations)

    def _open(self, life: _Life, key: tuple[int, int], content: Open) -> None:
        vertex, number = key
        transmit = partial(self._transmit, key, count(1))
        self.connections[key] = NodeConnection(
            next(self._ids), f"client-{-vertex}:{number}", content.admin, life.codec, transmit
        )
        transmit(Opened())

    def _take(
        self,
        life: _Life,
        connection: NodeConnection,
        envelope: bytes,
        operations: Mapping[str, tuple[int, int]],
    ) -> None:
        for message in life.codec.decode(envelope):
            if isinstance(message, Malformed):
                connection.send(message.reply_with_id(life.new_token))
                continue
            handle = life.handler.handlers.get(type(message))
            if handle is not None:
                life.operation = operations.get(getattr(message, "id", ""), _NO_OPERATION)
                handle(connection, message)
                life.operation = _NO_OPERATION
                continue
            text = f"{type(message).__name__}: a server accepts requests of clients"
            message_id = str(getattr(message, "id", ""))
            connection.send(error_envelope(message_id, RemoteProtocolError(text)))

    def _drop(self, life: _Life, key: tuple[int, int]) -> None:
        connection = self.connections.pop(key)
        connection.is_over = True
        with self.loop.entered():
            life.handler.watches.connection_closed(connection)

    def _transmit(self, key: tuple[int, int], numbers: Iterator[int], content: FromNode) -> None:
        vertex, connection = key
        frame = NodeFrame(connection, next(numbers), content)
        self.services.network.send(self._links[vertex], frame, "")

    def _reset(self, vertex: int, connection: int) -> None:
        self.services.network.send(self._links[vertex], NodeFrame(connection, 0, Reset()), "")

    # -- what the replica reports --------------------------------------------------------------------

    def reply(self, reply: Reply) -> None:
        """See `ProgramFront`."""
        life = self.life
        if life is None:
            return
        request = life.requests.pop(reply.request_id, None)
        kind, payload = (None, "") if request is None else (request.kind, request.payload)
        services = self.services
        term = services.histories.term_of(reply.index, payload)
        self.request_details.ended(services.engine.now, reply, term)
        service = Service(self.node.node_id, services.engine.now, reply.index, term, kind, payload)
        with self.loop.entered():
            for connection in self.connections.values():
                connection.service = service
            life.handler.on_reply(reply)
            for connection in self.connections.values():
                connection.service = None

    def notice(self, notice: Notice) -> None:
        """See `ProgramFront`."""
        if self.life is not None:
            with self.loop.entered():
                self.life.handler.watches.on_notice(notice)

    def watch_ended(self, ended: WatchEnded) -> None:
        """See `ProgramFront`."""
        if self.life is not None:
            with self.loop.entered():
                self.life.handler.watches.on_watch_ended(ended)

    def role_changed(self, change: RoleChanged) -> None:
        """See `ProgramFront`."""
        if self.life is not None:
            self.life.leaders.note(change)
