"""`Runtime`: what a node or a client takes from the world that it runs in: clocks, entropy, threads and TCP.

Timers, tasks and futures are those of the running event loop. A simulator gives another event loop and another runtime;
the code of nodes and clients is the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from random import Random
from ssl import SSLContext
from typing import NamedTuple, Protocol, TypeVar

T = TypeVar("T")
P = TypeVar("P", bound=asyncio.Protocol)


class TlsClient(NamedTuple):
    """TLS of a connection that this end opens.

    Attributes:
        context: what it presents and accepts.
        server_name: the host that the certificate of the other end must name.
    """

    context: SSLContext
    server_name: str


class TlsServer(NamedTuple):
    """TLS of the connections that this end accepts.

    Attributes:
        context: what it presents and accepts.
        timeout_s: how long a TLS handshake may take.
        max_handshakes: the most connections whose TLS handshake has not ended. Beyond it the oldest is dropped.
    """

    context: SSLContext
    timeout_s: float
    max_handshakes: int


class Listening(Protocol):
    """Accepts TCP connections on the addresses of a host."""

    def start(self, addresses: Sequence[str], port: int) -> int:
        """Bind and listen on IP addresses. Returns the port, a free one if 0 was given.

        Raises:
            OSError: an address cannot be bound.
        """
        ...

    def close(self) -> None:
        """Stop listening. Accepted connections stay open."""


class Runtime(Protocol):
    """The world that a node or a client runs in.

    `monotonic_us`, `wall_us` and `random_bytes` are on hot paths, so their users keep the bound method.
    """

    def monotonic_us(self) -> int:
        """The clock of the replica: microseconds that include the time in which the machine was suspended."""
        ...

    def wall_us(self) -> int:
        """Microseconds since the Unix epoch."""
        ...

    def seconds(self) -> float:
        """Monotonic seconds, for durations."""
        ...

    def new_rng(self) -> Random:
        """A generator with another seed than all others."""
        ...

    def random_bytes(self, number: int, /) -> bytes:
        """So many random bytes, for the masks and keys of WebSocket connections."""
        ...

    def new_token(self) -> str:
        """A text that nothing else has, of hexadecimal digits and hyphens."""
        ...

    async def run_long(self, work: Callable[[], T]) -> T:
        """Run work that takes longer than the event loop may wait. Returns its result, or raises its error."""
        ...

    async def resolve(self, host: str, timeout_s: float) -> list[str]:
        """The IP addresses of a host, in order of preference. For an IP address it is that address.

        Raises:
            TransportError: there is no such host, or no answer in time; the text names the host.
        """
        ...

    def is_resolving(self, host: str) -> bool:
        """Whether a look-up of this host is in progress."""
        ...

    async def connect(
        self, factory: Callable[[], P], ip: str, port: int, tls: TlsClient | None = None
    ) -> P:
        """Open a TCP connection, with TLS if given.

        Returns the protocol that the factory made, after its `connection_made`.

        Raises:
            OSError: refused, or unreachable; as `ssl.SSLError`, the TLS handshake failed.
        """
        ...

    def unacknowledged_bytes(self, transport: asyncio.Transport) -> int:
        """The bytes of a connection that the system has accepted and the other machine has not acknowledged.

        0 if the system does not report it.
        """
        ...

    def listener(
        self,
        factory: Callable[[], asyncio.Protocol],
        refused: Callable[[], None],
        tls: TlsServer | None = None,
    ) -> Listening:
        """What accepts connections. Call it inside the event loop.

        Args:
            factory: makes the protocol of a connection.
            refused: called for each connection that could not be accepted.
            tls: TLS for all connections; None for none.
        """
        ...
