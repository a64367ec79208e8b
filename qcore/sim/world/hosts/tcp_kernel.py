"""`TcpKernel`: the TCP of one simulated computer: ports, connections, listeners, and what it sends and receives."""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Callable
from functools import partial
from random import Random
from typing import Final

from qcore.sim.world.clock.engine import Engine
from qcore.sim.world.hosts.host_loop import HostLoop
from qcore.sim.world.hosts.segments import Segment
from qcore.sim.world.hosts.tcp_endpoint import ConnectionKey, TcpEndpoint, reset_for
from qcore.sim.world.network import Network

#: Ports of outgoing connections, in turn; as in Linux.
_FIRST_PORT: Final = 32_768
_PORTS: Final = 28_232
#: How long a segment takes to the same computer, microseconds.
_LOOPBACK_US: Final = 15
_ISN_BITS: Final = 32


class ListeningSocket:
    """Collects the connections to one port until the process accepts them.

    Args:
        backlog: the most connections that wait.

    Attributes:
        on_acceptable: called when a connection waits.
        waiting: the connections that wait, oldest first.
    """

    def __init__(self, backlog: int, on_acceptable: Callable[[], None]) -> None:
        self.backlog = backlog
        self.on_acceptable = on_acceptable
        self.waiting: deque[TcpEndpoint] = deque()


class TcpKernel:
    """The TCP of one computer, from power on to power off.

    Args:
        vertex: its vertex in the network.
        rng: draws the first numbers and the first port.

    Attributes:
        loop: the event loop of its process; what a callback sends leaves at its end. None without a process.
        is_on: whether the computer has power.
        sent, received: the numbers of segments.
        on_segment: sees each segment that it sends, with the vertex of the other end; for tests.
    """

    def __init__(self, vertex: int, engine: Engine, network: Network, rng: Random) -> None:
        self.vertex = vertex
        self.loop: HostLoop | None = None
        self.is_on = True
        self.sent = self.received = 0
        self.on_segment: Callable[[int, Segment], None] | None = None
        self._engine = engine
        self._network = network
        self._rng = rng
        self._links = network.links_from(vertex) if vertex in network.graph else {}
        self._endpoints: dict[ConnectionKey, TcpEndpoint] = {}
        self._listeners: dict[int, ListeningSocket] = {}
        self._next_port = rng.randrange(_PORTS)

    # -- the process ----------------------------------------------------------------------------------

    def connect(self, vertex: int, port: int) -> TcpEndpoint:
        """Begin to connect to a port of another computer.

        Raises:
            OSError: there is no way to it, or no port is free.
        """
        if vertex != self.vertex and not self._can_reach(vertex):
            raise OSError(errno.EHOSTUNREACH, os.strerror(errno.EHOSTUNREACH))
        for _ in range(_PORTS):
            local = _FIRST_PORT + self._next_port
            self._next_port = (self._next_port + 1) % _PORTS
            key = (local, vertex, port)
            if key not in self._endpoints and local not in self._listeners:
                break
        else:
            raise OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
        endpoint = self._make(key)
        endpoint.connect()
        return endpoint

    def listen(self, port: int, listening: ListeningSocket) -> int:
        """Listen on a port; 0 means a free one. Returns the port.

        Raises:
            OSError: another socket listens there.
        """
        if port == 0:
            port = next(
                each
                for each in range(_FIRST_PORT, _FIRST_PORT + _PORTS)
                if each not in self._listeners
            )
        if port in self._listeners:
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
        self._listeners[port] = listening
        return port

    def unlisten(self, port: int) -> None:
        """Stop listening. The connections that nothing has accepted are reset."""
        listening = self._listeners.pop(port, None)
        if listening is None:
            return
        while listening.waiting:
            listening.waiting.popleft().reset()
        for endpoint in list(self._endpoints.values()):
            if endpoint.state == "accepting" and endpoint.key[0] == port:
                endpoint.reset()

    def process_died(self) -> None:
        """Close all sockets, as the kernel does for a process that has died."""
        self.loop = None
        for port in list(self._listeners):
            self.unlisten(port)
        for endpoint in list(self._endpoints.values()):
            endpoint.close()

    def power_off(self) -> None:
        """Forget everything, and send nothing more."""
        self.is_on = False
        self.loop = None
        self._endpoints.clear()
        self._listeners.clear()

    @property
    def endpoints(self) -> list[TcpEndpoint]:
        """The connections, oldest first."""
        return list(self._endpoints.values())

    def held_bytes(self) -> int:
        """The memory of what was received and not read, and of what was sent and not acknowledged."""
        return sum(
            each.held_bytes + each.sender.unacknowledged for each in self._endpoints.values()
        )

    # -- segments -------------------------------------------------------------------------------------

    def receive(self, source: int, segment: Segment) -> None:
        """Handle a segment that has arrived. A process that is frozen, or busy, does not delay this."""
        if not self.is_on:
            return
        self.received += 1
        endpoint = self._endpoints.get((segment.target_port, source, segment.source_port))
        if endpoint is not None:
            endpoint.receive(segment)
            return
        listening = self._listeners.get(segment.target_port)
        if segment.rst:
            return
        if listening is None or not segment.syn or segment.ack is not None:
            self.transmit(source, reset_for(segment))
        elif len(listening.waiting) < listening.backlog:  # else the other end sends its SYN again
            self._make((segment.target_port, source, segment.source_port)).accept(segment)

    def _make(self, key: ConnectionKey) -> TcpEndpoint:
        endpoint = TcpEndpoint(self, key, self._rng.getrandbits(_ISN_BITS))
        self._endpoints[key] = endpoint
        return endpoint

    def transmit(self, vertex: int, segment: Segment) -> None:
        """Send a segment: at the end of the callback that causes it, or now if the kernel does."""
        if self.loop is not None:
            self.loop.defer(partial(self._put_on_link, vertex, segment))
        else:
            self._put_on_link(vertex, segment)

    def _put_on_link(self, vertex: int, segment: Segment) -> None:
        if not self.is_on:
            return
        self.sent += 1
        if self.on_segment is not None:
            self.on_segment(vertex, segment)
        if vertex == self.vertex:
            self._engine.after(_LOOPBACK_US, partial(self.receive, vertex, segment))
        elif self._can_reach(vertex):
            self._network.send(self._links[vertex], segment, "")

    def _can_reach(self, vertex: int) -> bool:
        if vertex not in self._links and self._network.graph.has_edge(self.vertex, vertex):
            self._links[vertex] = self._network.link(self.vertex, vertex)
        return vertex in self._links

    # -- what endpoints need ---------------------------------------------------------------------------

    def now_us(self) -> int:
        """The simulated time."""
        return self._engine.now

    def after(self, delay_us: int, action: Callable[[], None]) -> None:
        """Do something later, unless the computer has lost power by then."""
        self._engine.after(delay_us, lambda: action() if self.is_on else None)

    def has_place(self, endpoint: TcpEndpoint) -> bool:
        """Whether a connection may open: its listener has a place for it, or is gone."""
        listening = self._listeners.get(endpoint.key[0])
        return listening is None or len(listening.waiting) < listening.backlog

    def opened(self, endpoint: TcpEndpoint) -> None:
        """Let an open connection wait until the process accepts it."""
        listening = self._listeners.get(endpoint.key[0])
        if listening is None:
            endpoint.reset()
        else:
            listening.waiting.append(endpoint)
            listening.on_acceptable()

    def forget(self, endpoint: TcpEndpoint) -> None:
        """Forget an endpoint that is gone."""
        if self._endpoints.get(endpoint.key) is endpoint:
            del self._endpoints[endpoint.key]
