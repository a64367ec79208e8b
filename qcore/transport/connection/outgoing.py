"""`OutgoingConnection`: the end that opens a connection, with look-up, connect and opening handshake."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import TypeVar, cast

from websockets.exceptions import InvalidStatus
from websockets.uri import parse_uri

from qcore.display import truncate
from qcore.errors import TlsFailed, TransportError
from qcore.runtime.interface import Runtime, TlsClient
from qcore.security.tls import explain_tls_failure
from qcore.transport.address import Address
from qcore.transport.connection.connection import Connection, library_logger
from qcore.transport.connection.masked_client import MaskedClient
from qcore.transport.connection.text_frames import masked_text_frame
from qcore.transport.limits import TransportLimits

#: The HTTP header that announces a connection's role.
ROLE_HEADER = "Qcore-Role"

#: The values of this header: a node that will send `Hello`, and an admin connection.
PEER, ADMIN = "peer", "admin"

#: The code of the close frame of an end that goes away.
GOING_AWAY = 1001

#: The reason, with code 1001, when a server closes a connection that had no request in progress for long. The server
#: has handled no request that it did not answer.
IDLE_REASON = "idle: no request for too long; connect again"

#: Ends an error about a node that hangs up without an answer.
_IT_MAY_USE_TLS = ": if this node uses TLS, connect with TLS (--tls-ca)"


class OutgoingConnection(Connection):
    """A connection that this process opens. Subclasses handle its frames and its end.

    Attributes:
        local: `host:port` of this end, once connected.
    """

    def __init__(
        self, address: Address, limits: TransportLimits, role: str | None, runtime: Runtime
    ) -> None:
        uri = parse_uri(f"ws://{address}/")
        self._runtime = runtime
        self._client = MaskedClient(
            uri, runtime.random_bytes, limits.max_frame_bytes, library_logger
        )
        super().__init__(self._client, limits)
        self.remote, self.local = str(address), "?"
        self.batches = self._masks = True
        self.opened: asyncio.Future[None] = self._loop.create_future()
        self.ended: asyncio.Future[TransportError | None] = self._loop.create_future()
        self._role = role
        self._was_answered = self._is_secured = False

    def ping(self) -> None:
        """Send a ping, whatever else is queued."""
        if self._can_send():
            self._client.send_ping(b"")
            self._write(self._client.data_to_send())

    def unacknowledged_bytes(self) -> int:
        """The bytes that the owner sent and the other machine has not acknowledged, if the system reports them."""
        transport = self._transport
        if transport is None:
            return 0
        return self.unsent_bytes() + self._runtime.unacknowledged_bytes(transport)

    def _masked(self, text: bytes) -> bytes:
        return masked_text_frame(text, self._client.new_mask())

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        address = self.remote  # a host name is clearer than its IP address
        super().connection_made(transport)
        self.remote = address
        self._is_secured = transport.get_extra_info("ssl_object") is not None
        own = transport.get_extra_info("sockname")
        if isinstance(own, tuple) and len(own) >= 2:
            self.local = str(Address(str(own[0]), int(own[1])))
        request = self._client.connect()
        if self._role is not None:
            request.headers[ROLE_HEADER] = self._role
        self._client.send_request(request)
        self._write(self._client.data_to_send())

    def _handshake_received(self, data: bytes) -> None:
        self._was_answered = True
        self._client.receive_data(data)
        failure = self._client.handshake_exc
        if isinstance(failure, InvalidStatus) and _demands_tls(failure):
            self._error = TlsFailed(f"{self.remote} uses TLS: connect with TLS (--tls-ca)")
            self.abort(str(self._error))
        elif failure is not None:
            self.abort(_explain(self.remote, failure))
        elif self._client.state is self._client.state.OPEN:
            self._opened()
            if not self.opened.done():
                self.opened.set_result(None)
            self._deliver_frames()

    def connection_lost(self, exc: Exception | None) -> None:
        if isinstance(exc, ssl.SSLError) and self._error is None:
            # With TLS 1.3 an end hears of its refused certificate only after the handshake.
            self._error = TlsFailed(explain_tls_failure(self.remote, exc))
        super().connection_lost(exc)

    def _closed(self, error: TransportError | None) -> None:
        if not self.opened.done() and isinstance(error, TlsFailed):
            self.opened.set_exception(TlsFailed(str(error)))
            self.opened.exception()  # as below
        if not self.opened.done():
            hint = "" if self._was_answered or self._is_secured else _IT_MAY_USE_TLS
            why = TransportError(f"{error or f'{self.remote} hung up'}{hint}")
            self.opened.set_exception(why)
            self.opened.exception()  # mark it as retrieved: the caller may have stopped waiting
        if not self.ended.done():
            self.ended.set_result(error)


C = TypeVar("C", bound=OutgoingConnection)


async def open_connection(
    factory: Callable[[], C],
    address: Address,
    timeout_s: float,
    runtime: Runtime,
    tls: ssl.SSLContext | None = None,
) -> C:
    """Look up the host, connect, and do the opening handshake. Of several addresses, use the first that answers.

    With `tls`, the certificate of the other end must name the host of the address.

    Raises:
        TlsFailed: one end uses TLS and the other does not, or an end does not accept the other's certificate.
        TransportError: no such host, refused, unreachable, not a WebSocket server, or too slow; the text states which.
    """
    loop = asyncio.get_running_loop()
    secured = None if tls is None else TlsClient(tls, address.host)
    deadline = loop.time() + timeout_s
    try:
        addresses = await runtime.resolve(address.host, timeout_s)
    except TransportError as error:
        raise TransportError(f"cannot connect to {address}: {error}") from None
    while True:
        ip = addresses.pop(0)
        left_s = max(0.0, deadline - loop.time())
        try:
            # Each address gets a share of the time, so a silent address leaves time for the next.
            share_s = left_s / (len(addresses) + 1)
            return await _open(factory, address, ip, share_s, runtime, secured)
        except TransportError:
            if not addresses:
                raise


async def _open(
    factory: Callable[[], C],
    address: Address,
    ip: str,
    timeout_s: float,
    runtime: Runtime,
    tls: TlsClient | None,
) -> C:
    connection: C | None = None
    done = False
    try:
        async with asyncio.timeout(timeout_s):
            # It has all methods of one.
            made = cast(Callable[[], asyncio.Protocol], factory)
            connection = cast(C, await runtime.connect(made, ip, address.port, tls))
            await connection.opened
        if not connection.is_open:
            raise TransportError(f"{address} hung up right after the handshake")
        done = True
        return connection
    except TimeoutError:
        raise TransportError(f"no answer from {address} within {timeout_s:.3g} s") from None
    except ssl.SSLError as error:
        raise TlsFailed(explain_tls_failure(str(address), error)) from None
    except OSError as error:
        raise TransportError(f"cannot connect to {address}: {error}") from None
    finally:
        if connection is not None and not done:
            connection.abort("abandoned while connecting")


def _demands_tls(error: InvalidStatus) -> bool:
    """Whether a node answers that this port is only for TLS (RFC 2817, section 4.2)."""
    response = error.response
    return response.status_code == 426 and "TLS" in response.headers.get("Upgrade", "")


def _explain(address: str, error: Exception) -> str:
    if isinstance(error, InvalidStatus):
        body = bytes(error.response.body).decode(errors="replace").strip()[:200]
        return f"{address} refused the connection: HTTP {error.response.status_code}: {body}"
    return f"{address} is not a qcore node: {truncate(str(error))}"
