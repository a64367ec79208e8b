"""`HostRuntime`: the `qcore.runtime.interface.Runtime` of one life of a process on a simulated computer."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable
from functools import partial
from random import Random
from typing import Final, Protocol, TypeVar

from qcore.errors import TransportError
from qcore.runtime.interface import TlsClient, TlsServer
from qcore.sim.world.clock.engine import Engine
from qcore.sim.world.hosts.host_loop import HostLoop, Processor
from qcore.sim.world.hosts.listening import SimListener
from qcore.sim.world.hosts.tcp_kernel import TcpKernel
from qcore.sim.world.hosts.transport import SimTransport
from qcore.sim.world.node.node_clock import NodeClock
from qcore.sim.world.random_streams import Streams

T = TypeVar("T")
P = TypeVar("P", bound=asyncio.Protocol)

#: How long the look-up of a name takes, seconds.
_LOOKUP_S: Final = 0.0002
_LOOPBACK: Final = "127.0.0.1"
_ALL_ADDRESSES: Final = "0.0.0.0"
_TOKEN_BITS: Final = 128


class Directory(Protocol):
    """The names and addresses of all computers."""

    def addresses_of(self, name: str) -> list[str]:
        """The addresses of a name; none if there is no such name. An address is its own name."""
        ...

    def vertex_at(self, ip: str) -> int | None:
        """The computer with this address."""
        ...

    def ip_of(self, vertex: int) -> str:
        """The address of a computer."""
        ...


class HostRuntime:
    """What a process takes from its simulated computer.

    Args:
        life: which life of the computer's process, from 1. Each life has other random numbers.
    """

    def __init__(
        self,
        engine: Engine,
        streams: Streams,
        directory: Directory,
        kernel: TcpKernel,
        clock: NodeClock,
        processor: Processor,
        loop: HostLoop,
        life: int,
    ) -> None:
        self._engine = engine
        self._directory = directory
        self._kernel = kernel
        self._clock = clock
        self._processor = processor
        self._loop = loop
        self._stream: Callable[[str], Random] = lambda name: streams.get(
            f"host/{kernel.vertex}/{life}/{name}"
        )
        self._rngs = 0
        self._tokens = self._stream("tokens")
        self.random_bytes = self._stream("bytes").randbytes
        self._looked_up: dict[str, int] = {}

    # -- clocks and entropy ---------------------------------------------------------------------------

    def monotonic_us(self) -> int:
        """See `Runtime`."""
        return self._clock.local(self._loop.now_us())

    def wall_us(self) -> int:
        """See `Runtime`."""
        return self._clock.wall_of(self.monotonic_us())

    def seconds(self) -> float:
        """See `Runtime`."""
        return self._loop.time()

    def new_rng(self) -> Random:
        """See `Runtime`."""
        self._rngs += 1
        return self._stream(f"rng/{self._rngs}")

    def new_token(self) -> str:
        """See `Runtime`."""
        return f"{self._tokens.getrandbits(_TOKEN_BITS):032x}"

    # -- threads --------------------------------------------------------------------------------------

    async def run_long(self, work: Callable[[], T]) -> T:
        """See `Runtime`. Other callbacks run meanwhile."""
        done: asyncio.Future[T] = self._loop.create_future()
        duration_us = round(self._processor.long_work_us * self._processor.slowdown)
        self._engine.after(duration_us, partial(self._work, work, done))
        return await done

    def _work(self, work: Callable[[], T], done: asyncio.Future[T]) -> None:
        if self._loop.is_closed() or done.done():
            return
        try:
            result = work()
        except Exception as error:  # noqa: BLE001  # whatever it raises belongs to its caller
            self._loop.call_soon(_fail, done, error)
        else:
            self._loop.call_soon(_succeed, done, result)

    # -- the network ----------------------------------------------------------------------------------

    async def resolve(self, host: str, timeout_s: float) -> list[str]:
        """See `Runtime`."""
        if self._directory.vertex_at(host) is not None or host in (_LOOPBACK, _ALL_ADDRESSES):
            return [host]
        self._looked_up[host] = self._looked_up.get(host, 0) + 1
        try:
            await asyncio.sleep(min(_LOOKUP_S, timeout_s))
        finally:
            self._looked_up[host] -= 1
        found = self._directory.addresses_of(host)
        if not found:
            raise TransportError(f"cannot look up the host {host!r}: there is no such name")
        return found

    def is_resolving(self, host: str) -> bool:
        """See `Runtime`."""
        return self._looked_up.get(host, 0) > 0

    async def connect(
        self, factory: Callable[[], P], ip: str, port: int, tls: TlsClient | None = None
    ) -> P:
        """See `Runtime`. There is no simulated TLS."""
        assert tls is None, "a scenario has no setting for TLS"
        loop, kernel = self._loop, self._kernel
        vertex = kernel.vertex if ip == _LOOPBACK else self._directory.vertex_at(ip)
        if vertex is None or loop.is_closed():
            raise OSError(errno.EHOSTUNREACH, os.strerror(errno.EHOSTUNREACH))
        endpoint = kernel.connect(vertex, port)
        opened: asyncio.Future[None] = loop.create_future()
        ready = asyncio.Handle(_succeed, (opened, None), loop)
        endpoint.on_opened = partial(loop.signal, ready)
        try:
            await opened
        except BaseException:
            endpoint.close()
            raise
        if endpoint.error is not None:
            raise endpoint.error
        protocol = factory()
        local = (self._directory.ip_of(kernel.vertex), endpoint.key[0])
        transport = SimTransport(loop, endpoint, protocol, local, (ip, port))
        made: asyncio.Future[None] = loop.create_future()
        loop.call_soon(_succeed, made, None)
        try:
            await made
        except BaseException:
            transport.abort()
            raise
        return protocol

    def unacknowledged_bytes(self, transport: asyncio.Transport) -> int:
        """See `Runtime`."""
        assert isinstance(transport, SimTransport), "it belongs to another runtime"
        return transport.unacknowledged_bytes()

    def listener(
        self,
        factory: Callable[[], asyncio.Protocol],
        refused: Callable[[], None],
        tls: TlsServer | None = None,
    ) -> SimListener:
        """See `Runtime`. A simulated computer has descriptors and memory for all connections."""
        assert tls is None, "a scenario has no setting for TLS"
        addresses = (self._directory.ip_of(self._kernel.vertex), _LOOPBACK, _ALL_ADDRESSES)
        return SimListener(self._loop, self._kernel, addresses, self._directory.ip_of, factory)


def _succeed(future: asyncio.Future[T], result: T) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[T], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
