"""Answers an end whose TLS handshake failed. Event loops close the connection and drop the answer."""

from __future__ import annotations

import contextlib
import socket
import ssl
import weakref
from contextvars import ContextVar
from typing import Final

#: For HTTP without TLS (RFC 2817, section 4.2).
_TEXT: Final = b"this port uses TLS: connect with TLS (https, wss, or --tls-ca of qcore)\n"
_USE_TLS: Final = (
    b"HTTP/1.1 426 Upgrade Required\r\nUpgrade: TLS/1.2\r\nConnection: Upgrade, close\r\n"
    b"Content-Type: text/plain\r\nContent-Length: %d\r\n\r\n%b" % (len(_TEXT), _TEXT)
)

#: The connection whose handshake begins. An event loop begins it in the context of the task that asked for it.
accepted_socket: Final[ContextVar[socket.socket | None]] = ContextVar("accepted", default=None)


class AnsweringContext(ssl.SSLContext):
    """A context whose connections send the alert of a handshake that fails, or HTTP to a client that uses it.

    Set `accepted_socket` before a handshake.
    """

    _inner: ssl.SSLContext

    @classmethod
    def of(cls, inner: ssl.SSLContext) -> AnsweringContext:
        """The same as `inner` otherwise."""
        self = cls(ssl.PROTOCOL_TLS_SERVER)  # of no meaning: `inner` makes the connections
        self._inner = inner
        return self

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """See `ssl.SSLContext.wrap_bio`."""
        found = self._inner.wrap_bio(incoming, outgoing, server_side, server_hostname, session)
        # A strong reference would be a cycle, which keeps the buffers until the garbage collector comes.
        accepted, held = accepted_socket.get(), weakref.ref(found)

        def do_handshake() -> None:
            handshaking = held()
            assert handshaking is not None, "its method runs"
            try:
                type(handshaking).do_handshake(handshaking)
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError, ssl.SSLSyscallError):
                raise
            except ssl.SSLError as error:
                answer = _USE_TLS if error.reason == "HTTP_REQUEST" else outgoing.read()
                if accepted is not None and answer:
                    with contextlib.suppress(OSError):  # it is gone, or does not read
                        accepted.send(answer)
                raise

        # Not a subclass: `inner` chooses the class.
        vars(found)["do_handshake"] = do_handshake
        return found
