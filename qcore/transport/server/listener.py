"""Accepts connections, and goes on in peace when the system has no descriptor left for one more.

The event loops' own servers fall short there: asyncio's tries again hundreds of times at once, each with a traceback.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
from collections.abc import Callable, Sequence
from typing import Final

logger = logging.getLogger("qcore.transport")

#: Connections that the operating system holds until they are accepted.
_BACKLOG: Final = 256
#: How often a free port is looked for that is free on all addresses of a host.
_FREE_PORT_ATTEMPTS: Final = 20
#: Accepted in one turn of the event loop, and at most on their way to their protocol.
ACCEPTS_PER_TURN: Final = 8
#: Without the descriptor for one more connection, of a process or of the system, or the memory.
_EXHAUSTED: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
#: How long nothing is accepted after that, if those who wait cannot even be sent away, seconds.
_PAUSE_S: Final = 1.0
#: How often it is logged, seconds.
_LOG_INTERVAL_S: Final = 60.0


class Listener:
    """Listens on the addresses of a host. Make it inside the event loop.

    Args:
        factory: makes the protocol of a connection.
        refused: called for each connection that could not be taken.
    """

    def __init__(
        self, factory: Callable[[], asyncio.Protocol], refused: Callable[[], None]
    ) -> None:
        self._factory = factory
        self._refused = refused
        self._loop = asyncio.get_running_loop()
        self._sockets: list[socket.socket] = []
        self._opening: set[asyncio.Task[None]] = set()
        self._paused: dict[socket.socket, asyncio.TimerHandle] = {}
        self._spare = -1
        self._failures = 0  # since the last line
        self._logged_at = float("-inf")

    def start(self, addresses: Sequence[str], port: int) -> int:
        """Bind and listen on IP addresses; returns the port, which is a free one if 0 was given.

        Raises:
            OSError: an address cannot be bound.
        """
        for attempt in range(_FREE_PORT_ATTEMPTS):
            try:
                bound = self._bind(addresses, port)
                break
            except OSError as error:
                self.close()
                taken = port == 0 and error.errno == errno.EADDRINUSE
                if not taken or attempt == _FREE_PORT_ATTEMPTS - 1:
                    raise
        self._keep_spare()
        for listening in self._sockets:
            self._loop.add_reader(listening, self._accept, listening)
        return bound

    def _bind(self, addresses: Sequence[str], port: int) -> int:
        """Listen on one port of all addresses; returns it. A free one is free on the first, and maybe not on others."""
        for host in dict.fromkeys(addresses):
            family, _, _, _, address = socket.getaddrinfo(
                host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_NUMERICHOST
            )[0]
            # The event loops turn Nagle's algorithm off where they see that a socket is one of TCP.
            listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
            self._sockets.append(listening)
            listening.setblocking(False)
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listening.bind(address)
            listening.listen(_BACKLOG)
            port = listening.getsockname()[1]
        return port

    def close(self) -> None:
        """Listen no more. Connections that were taken stay."""
        for timer in self._paused.values():
            timer.cancel()
        for listening in self._sockets:
            self._loop.remove_reader(listening)
            listening.close()
        self._sockets.clear()
        if self._spare >= 0:
            os.close(self._spare)
            self._spare = -1

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(ACCEPTS_PER_TURN - len(self._opening)):
            try:
                accepted, _ = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self._failed(listening, error)
                return
            accepted.setblocking(False)
            task = self._loop.create_task(self._open(accepted))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    async def _open(self, accepted: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._factory, accepted)
        except OSError as error:  # it was closed meanwhile, or there is no memory for it
            logger.debug("an accepted connection could not be opened: %s", error)
            accepted.close()

    # -- exhaustion ------------------------------------------------------------------------------

    def _failed(self, listening: socket.socket, error: OSError) -> None:
        self._failures += 1
        self._refused()
        now = self._loop.time()
        if now - self._logged_at >= _LOG_INTERVAL_S:
            logger.error(
                "connections cannot be accepted: %s; %d refused since the last such line",
                os.strerror(error.errno or 0),
                self._failures,
            )
            self._logged_at, self._failures = now, 0
        if not (error.errno in _EXHAUSTED and self._send_away(listening)):
            # Else the socket would stay readable, and the loop would do nothing but try.
            self._loop.remove_reader(listening)
            self._paused[listening] = self._loop.call_later(_PAUSE_S, self._again, listening)

    def _send_away(self, listening: socket.socket) -> bool:
        """Use the spare descriptor to take one connection and close it: whoever it is need not wait in vain."""
        self._keep_spare()
        if self._spare < 0:
            return False
        os.close(self._spare)
        self._spare = -1
        try:
            listening.accept()[0].close()
        except BlockingIOError:
            pass  # it went away by itself
        except OSError:
            return False
        finally:
            self._keep_spare()
        return True

    def _keep_spare(self) -> None:
        if self._spare < 0:
            try:
                self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
            except OSError:
                self._spare = -1

    def _again(self, listening: socket.socket) -> None:
        del self._paused[listening]
        self._loop.add_reader(listening, self._accept, listening)
