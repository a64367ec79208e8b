"""`SimListener`: accepts the connections to a port of a simulated computer. See `qcore.runtime.interface.Listening`."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable, Sequence
from typing import Final

from qcore.sim.world.hosts.host_loop import HostLoop
from qcore.sim.world.hosts.tcp_endpoint import TcpEndpoint
from qcore.sim.world.hosts.tcp_kernel import ListeningSocket, TcpKernel
from qcore.sim.world.hosts.transport import SimTransport

#: The most connections that the kernel holds until they are accepted, and the most accepted in one turn of the event
#: loop; as in `qcore.runtime.listener`.
_BACKLOG: Final = 256
_ACCEPTS_PER_TURN: Final = 8


class SimListener:
    """Listens for one process.

    Args:
        loop: the event loop of the process.
        kernel: the TCP of the computer.
        addresses: the addresses that the computer has.
        address_of: the address of a computer.
        factory: makes the protocol of a connection.
    """

    def __init__(
        self,
        loop: HostLoop,
        kernel: TcpKernel,
        addresses: Sequence[str],
        address_of: Callable[[int], str],
        factory: Callable[[], asyncio.Protocol],
    ) -> None:
        self._loop = loop
        self._kernel = kernel
        self._addresses = addresses
        self._address_of = address_of
        self._factory = factory
        self._handle = asyncio.Handle(self._accept, (), loop)
        self._socket = ListeningSocket(_BACKLOG, lambda: loop.signal(self._handle))
        self._port: int | None = None

    def start(self, addresses: Sequence[str], port: int) -> int:
        """See `Listening`."""
        if self._loop.is_closed() or not all(each in self._addresses for each in addresses):
            raise OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
        self._port = self._kernel.listen(port, self._socket)
        return self._port

    def close(self) -> None:
        """See `Listening`."""
        self._handle.cancel()
        if self._port is not None and not self._loop.is_closed():
            self._kernel.unlisten(self._port)
        self._port = None

    def _accept(self) -> None:
        waiting = self._socket.waiting
        for _ in range(min(_ACCEPTS_PER_TURN, len(waiting))):
            self._open(waiting.popleft())
        if waiting:
            self._loop.signal(self._handle)

    def _open(self, endpoint: TcpEndpoint) -> None:
        local_port, vertex, remote_port = endpoint.key
        SimTransport(
            self._loop,
            endpoint,
            self._factory(),
            (self._address_of(self._kernel.vertex), local_port),
            (self._address_of(vertex), remote_port),
        )
