"""`Listener`: accepts TCP connections, and keeps working when the system has no file descriptor left.

The servers of the event loops do not: that of asyncio retries hundreds of times in a row, each time with a traceback.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import ssl
import traceback
from asyncio import sslproto
from collections.abc import Callable, Sequence
from typing import Final

from qcore.runtime.interface import TlsServer
from qcore.runtime.tls_answers import AnsweringContext, accepted_socket

logger = logging.getLogger("qcore.transport")

#: The most connections that the operating system holds until they are accepted.
_BACKLOG: Final = 256
#: The number of attempts to find a port that is free on all addresses of a host.
_FREE_PORT_ATTEMPTS: Final = 20
#: The most connections accepted in one turn of the event loop, and the most that wait for their protocol.
ACCEPTS_PER_TURN: Final = 8
#: The buffer of a TLS connection, bytes. That of asyncio has 256 KiB from the first byte on, so that a stranger who
#: begins handshakes costs most.
TLS_BUFFER_BYTES: Final = 64 * 1024
#: Errors that mean that descriptors (of the process or the system) or memory are exhausted.
_EXHAUSTED: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
#: The pause after such an error if waiting connections cannot even be closed, seconds.
_PAUSE_S: Final = 1.0
#: The time between two log lines about such errors, seconds.
_LOG_INTERVAL_S: Final = 60.0


def use_small_tls_buffers() -> None:
    """Let all TLS connections of this process that begin later have smaller buffers. It does not change uvloop's.

    For a process that is a node. An embedded node leaves the settings of its program alone.
    """
    sslproto.SSLProtocol.max_size = min(sslproto.SSLProtocol.max_size, TLS_BUFFER_BYTES)


def _certificate_problem(error: ssl.SSLError) -> str | None:
    """What is wrong with the certificate of the other end; None if the TLS handshake failed for another reason."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"its certificate is not accepted ({error.verify_message.rstrip('.')}): it needs one that an authority in "
            "--tls-ca of this node has signed, that is valid now, and that allows its purpose, client"
        )
    if error.reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE":
        return "it has shown no certificate, and --tls-client-certs asks for one"
    return None


class _CountedLines:
    """Log lines of one kind, written at intervals, because strangers can cause them as often as they like."""

    def __init__(self, level: int) -> None:
        self._level = level
        self._count = 0  # since the last line
        self._logged_at = float("-inf")

    def add(self, now: float, text: str, *values: str) -> None:
        """Count a line, and write it if the last one is old enough. The count is the last value of the text."""
        self._count += 1
        if now - self._logged_at >= _LOG_INTERVAL_S:
            logger.log(self._level, text, *values, self._count)
            self._logged_at, self._count = now, 0


class Listener:
    """Listens on the addresses of a host. Create it inside the event loop.

    Args:
        factory: makes the protocol of a connection.
        refused: called for each connection that could not be accepted.
        tls: TLS for all connections; None for none.
    """

    def __init__(
        self,
        factory: Callable[[], asyncio.Protocol],
        refused: Callable[[], None],
        tls: TlsServer | None = None,
    ) -> None:
        self._factory = factory
        self._refused = refused
        self._tls = tls if tls is None else tls._replace(context=AnsweringContext.of(tls.context))
        self._loop = asyncio.get_running_loop()
        self._sockets: list[socket.socket] = []
        #: Connections that wait for their protocol, oldest first. With TLS this takes as long as the other end likes.
        self._opening: dict[asyncio.Task[None], socket.socket] = {}
        #: Those that were dropped and have not ended yet. This takes a few turns of the event loop.
        self._dropped: dict[asyncio.Task[None], socket.socket] = {}
        self._paused: dict[socket.socket, asyncio.TimerHandle] = {}
        self._spare = -1
        self._failures = _CountedLines(logging.ERROR)
        self._bad_certificates = _CountedLines(logging.WARNING)

    def start(self, addresses: Sequence[str], port: int) -> int:
        """Bind and listen on IP addresses. Returns the port, a free one if 0 was given.

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
        """Listen on one port of all addresses, and return it.

        With port 0, the system chooses a port that is free on the first address, but perhaps not on the others.
        """
        for host in dict.fromkeys(addresses):
            family, _, _, _, address = socket.getaddrinfo(
                host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_NUMERICHOST
            )[0]
            # IPPROTO_TCP lets the event loops recognise TCP and switch off Nagle's algorithm.
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
        """Stop listening. Accepted connections stay open."""
        for timer in self._paused.values():
            timer.cancel()
        for listening in self._sockets:
            self._loop.remove_reader(listening)
            listening.close()
        self._sockets.clear()
        if self._tls is not None:  # a handshake may take long
            for task in self._opening:
                task.cancel()
        if self._spare >= 0:
            os.close(self._spare)
            self._spare = -1

    def _accept(self, listening: socket.socket) -> None:
        waiting = 0 if self._tls is not None else len(self._opening)
        for _ in range(ACCEPTS_PER_TURN - waiting):
            try:
                accepted, remote = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self._failed(listening, error)
                return
            accepted.setblocking(False)
            task = self._loop.create_task(self._open(accepted, str(remote[0])))
            self._opening[task] = accepted
            task.add_done_callback(self._opened)
            if self._tls is not None and len(self._opening) > self._tls.max_handshakes:
                oldest = next(iter(self._opening))
                self._dropped[oldest] = self._opening.pop(oldest)
                oldest.cancel()

    def _opened(self, task: asyncio.Task[None]) -> None:
        accepted = self._opening.pop(task, None) or self._dropped.pop(task)
        if task.cancelled():  # it was the oldest of too many, or the listener is closed
            self._refused()
            accepted.close()

    async def _open(self, accepted: socket.socket, remote: str) -> None:
        tls = self._tls
        try:
            if tls is None:
                await self._loop.connect_accepted_socket(self._factory, accepted)
            else:
                accepted_socket.set(accepted)
                await self._loop.connect_accepted_socket(
                    self._factory,
                    accepted,
                    ssl=tls.context,
                    ssl_handshake_timeout=tls.timeout_s,
                    ssl_shutdown_timeout=tls.timeout_s,
                )
        except (
            OSError
        ) as error:  # closed meanwhile, memory is exhausted, or the TLS handshake failed
            if tls is not None:
                self._refused()
            if isinstance(error, ssl.SSLError) and (why := _certificate_problem(error)):
                text = (
                    "refused a connection from %s: %s; %d refused so since the last line like this"
                )
                self._bad_certificates.add(self._loop.time(), text, remote, why)
            logger.debug("an accepted connection could not be opened: %s", error)
            accepted.close()
            # The traceback of a failed TLS handshake is part of a cycle that holds a buffer of 256 KiB, and the garbage
            # collector may come late.
            traceback.clear_frames(error.__traceback__)

    # -- exhaustion ------------------------------------------------------------------------------

    def _failed(self, listening: socket.socket, error: OSError) -> None:
        self._refused()
        text = "connections cannot be accepted: %s; %d refused since the last line like this"
        self._failures.add(self._loop.time(), text, os.strerror(error.errno or 0))
        if not (error.errno in _EXHAUSTED and self._accept_and_close(listening)):
            # Otherwise the socket would stay readable, and the event loop would repeat the attempt without end.
            self._loop.remove_reader(listening)
            self._paused[listening] = self._loop.call_later(_PAUSE_S, self._resume, listening)

    def _accept_and_close(self, listening: socket.socket) -> bool:
        """Accept one connection with the spare descriptor and close it, so its client does not wait."""
        self._keep_spare()
        if self._spare < 0:
            return False
        os.close(self._spare)
        self._spare = -1
        try:
            listening.accept()[0].close()
        except BlockingIOError:
            pass  # the client is gone already
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

    def _resume(self, listening: socket.socket) -> None:
        del self._paused[listening]
        self._loop.add_reader(listening, self._accept, listening)
