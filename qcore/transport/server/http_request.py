"""The HTTP request that begins a connection, and the response to a plain GET or a bad request."""

from __future__ import annotations

import http
import logging
from collections.abc import Callable
from email.utils import formatdate

from websockets.datastructures import Headers
from websockets.http11 import Request, Response
from websockets.server import ServerProtocol

from qcore.transport.server.handler import HttpResponse

logger = logging.getLogger("qcore.transport")

#: The paths that accept WebSocket connections.
WEBSOCKET_PATHS = ("/", "/ws")

#: The longest head of an HTTP request, bytes.
_MAX_HEAD_BYTES = 32 * 1024

_END_OF_HEAD = b"\r\n\r\n"

#: The first byte of a TLS connection.
_TLS_HANDSHAKE = b"\x16"


class RequestReader:
    """Reads the request of one connection. Bytes after the request must not reach the parser before the response is
    sent.

    Attributes:
        rest: the bytes after the request.
        head_only: whether it is a HEAD request, whose response has no body.
        refusal: the response, as chunks to write, to a request that the library's parser rejects or must not get.
    """

    def __init__(self, protocol: ServerProtocol) -> None:
        self.rest = b""
        self.head_only = False
        self.refusal: list[bytes] | None = None
        self._protocol = protocol
        self._head = bytearray()

    def receive(self, data: bytes) -> Request | None:
        """Add bytes. Returns the request once it is complete and valid; sets `refusal` if it is not valid."""
        self._head += data
        if self._head.startswith(_TLS_HANDSHAKE):
            # Immediately, because the other end waits for a response to it.
            self._refuse(HttpResponse(400, "TLS was offered, and this node uses none\n"))
            return None
        end = self._head.find(_END_OF_HEAD)
        if end < 0 and len(self._head) <= _MAX_HEAD_BYTES:
            return None
        split = end + len(_END_OF_HEAD)
        head, self.rest = bytes(self._head[:split]), bytes(self._head[split:])
        if not 0 <= end <= _MAX_HEAD_BYTES:
            self._refuse(HttpResponse(431, "the head of the request is too long\n"))
            return None
        self.head_only = head.startswith(b"HEAD ")
        if not self.head_only and not head.startswith(b"GET "):
            # Before the library gets it, because the library does not answer a request with a body.
            self._refuse(
                HttpResponse(
                    405, "only GET and HEAD are supported here\n", headers={"Allow": "GET, HEAD"}
                )
            )
            return None
        # The library does not know HEAD, which load balancers send: treat it as a GET whose response has no body.
        self._protocol.receive_data(b"GET" + head[4:] if self.head_only else head)
        events = self._protocol.events_received()
        if events and isinstance(events[0], Request):
            return events[0]
        self._refuse(HttpResponse(400, "not a valid HTTP request, or one with a body\n"))
        return None

    def _refuse(self, answer: HttpResponse) -> None:
        """Refuse with the library's response if its parser made one, else with `answer`."""
        chunks = self._protocol.data_to_send()
        self.refusal = chunks if any(chunks) else [library_response(answer).serialize(), b""]


def path_of(request: Request) -> str:
    """The request's path without its query."""
    return request.path.partition("?")[0]


def plain_response(path: str, on_http: Callable[[str], HttpResponse | None]) -> HttpResponse:
    """The response to a plain GET or HEAD. `on_http` is the method of the handler."""
    try:
        answer = on_http(path)
    except Exception:  # boundary to the application: a bug in it must not end the server
        logger.exception("the handler of GET %r failed", path)
        return HttpResponse(500, "internal error: see the server's log\n")
    if answer is not None:
        return answer
    if path not in WEBSOCKET_PATHS:
        return HttpResponse(404, "there is nothing at this path\n")
    return HttpResponse(426, "this is a WebSocket endpoint\n", headers={"Upgrade": "websocket"})


def library_response(answer: HttpResponse) -> Response:
    """The response as the WebSocket library sends it. The connection ends after it."""
    body = answer.text.encode()
    headers = Headers(
        {
            "Connection": "close",
            "Content-Length": str(len(body)),
            "Content-Type": answer.content_type,
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",  # no text may become a page of this origin
            **answer.headers,
        }
    )
    return Response(answer.status, _phrase(answer.status), headers, body)


def _phrase(status: int) -> str:
    try:
        return http.HTTPStatus(status).phrase
    except ValueError:
        return ""


def dated(response: Response, wall_us: int) -> Response:
    """The response with this time instead of that of the process, if the library has put one into it."""
    if "Date" in response.headers:
        del response.headers["Date"]
        response.headers["Date"] = formatdate(wall_us / 1e6, usegmt=True)
    return response
