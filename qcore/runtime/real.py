"""`REAL`: the runtime of a process of a real system, with sockets, threads, and the system's clocks and entropy."""

from __future__ import annotations

import asyncio
import fcntl
import os
import sys
import termios
import time
import uuid
from collections.abc import Callable
from random import Random
from typing import Final

from qcore.runtime.clock import now_us, wall_us
from qcore.runtime.interface import Listening, P, Runtime, T, TlsClient, TlsServer
from qcore.runtime.listener import Listener, use_small_tls_buffers
from qcore.runtime.resolver import resolver


class AsyncioRuntime:
    """See `Runtime`. Every generator and token is seeded by the system, so no two processes draw the same."""

    # Without a method in between, because they are on hot paths.
    monotonic_us = staticmethod(now_us)
    wall_us = staticmethod(wall_us)
    seconds = staticmethod(time.monotonic)
    random_bytes = staticmethod(os.urandom)
    use_small_tls_buffers = staticmethod(use_small_tls_buffers)

    def new_rng(self) -> Random:
        """See `Runtime`."""
        return Random()

    def new_token(self) -> str:
        """See `Runtime`."""
        return str(uuid.uuid4())

    async def run_long(self, work: Callable[[], T]) -> T:
        """See `Runtime`. A thread runs the work."""
        return await asyncio.get_running_loop().run_in_executor(None, work)

    async def resolve(self, host: str, timeout_s: float) -> list[str]:
        """See `Runtime`."""
        return await resolver.addresses(host, timeout_s)

    def is_resolving(self, host: str) -> bool:
        """See `Runtime`."""
        return resolver.is_resolving(host)

    async def connect(
        self, factory: Callable[[], P], ip: str, port: int, tls: TlsClient | None = None
    ) -> P:
        """See `Runtime`."""
        loop = asyncio.get_running_loop()
        if tls is None:
            _, protocol = await loop.create_connection(factory, ip, port)
        else:
            _, protocol = await loop.create_connection(
                factory, ip, port, ssl=tls.context, server_hostname=tls.server_name
            )
        return protocol

    def unacknowledged_bytes(self, transport: asyncio.Transport) -> int:
        """See `Runtime`."""
        socket = transport.get_extra_info("socket")
        if socket is None:
            return 0  # a TLS connection that has just broken: its protocol learns of it in the next turn
        try:
            unacknowledged = fcntl.ioctl(socket.fileno(), termios.TIOCOUTQ, bytes(4))
        except OSError:  # the system does not report it
            return 0
        return int.from_bytes(unacknowledged, sys.byteorder)

    def listener(
        self,
        factory: Callable[[], asyncio.Protocol],
        refused: Callable[[], None],
        tls: TlsServer | None = None,
    ) -> Listening:
        """See `Runtime`."""
        return Listener(factory, refused, tls)


#: The runtime of this process. It has no state.
REAL: Final[Runtime] = AsyncioRuntime()
