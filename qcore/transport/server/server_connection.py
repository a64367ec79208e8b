"""One accepted connection: its HTTP request, who is at the other end, what it may send."""

from __future__ import annotations

import asyncio
import http
import itertools
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from websockets.datastructures import Headers
from websockets.frames import Frame
from websockets.http11 import Request, Response
from websockets.server import ServerProtocol

from qcore.errors import QcoreError, RemoteProtocolError, TransportError
from qcore.transport.codec.codec import Malformed
from qcore.transport.connection.connection import Connection, allocated, library_logger
from qcore.transport.connection.outgoing import ADMIN, GOING_AWAY, IDLE_REASON, PEER, ROLE_HEADER
from qcore.transport.server.handler import PeerIdentity
from qcore.transport.server.turns import HEAVY_BYTES
from qcore.transport.wire import (
    PEER_REQUESTS,
    PEER_RESPONSES,
    PROTOCOL_VERSION,
    Error,
    Hello,
    HelloResponse,
    Ok,
    failure,
)

if TYPE_CHECKING:
    from qcore.transport.server.server import Server

logger = logging.getLogger("qcore.transport")

#: Where WebSocket connections are accepted.
WEBSOCKET_PATHS = ("/", "/ws")

#: A longer HTTP request head is refused.
_MAX_HEAD_BYTES = 32 * 1024

#: So much of what a client sent is parsed before the time is looked at: 680 of the smallest frames. More, if what came
#: before it was not the end of a frame.
_PARSED_AT_ONCE_BYTES = 4 * 1024
_PARSED_AFTER_PART_BYTES = 16 * 1024

#: What a message of a frame that was taken in part holds: so much for each byte of the frame, and for itself.
_PARSED_BYTES = 4
_MESSAGE_BYTES = 512

#: Less than this is not worth counting.
_NOTED_BYTES = 16 * 1024

#: So many messages of one frame are handled before the time is looked at.
_MESSAGES_AT_ONCE = 32

_END_OF_HEAD = b"\r\n\r\n"
_POLICY_VIOLATION = 1008
_INTERNAL_ERROR = 1011
_PEER_ONLY = frozenset({*PEER_REQUESTS, *PEER_RESPONSES})
_PEER_ONLY_NAMES = frozenset(cls.__name__ for cls in _PEER_ONLY)
_connection_ids = itertools.count(1)


class ServerConnection(Connection):
    """One accepted WebSocket connection.

    Attributes:
        connection_id: unique within this process.
        remote: `host:port` of the other end.
        peer: who it is, once its `Hello` was accepted; None for a client.
        announced_as_peer: it said in its HTTP request that it is a peer.
        admin: it said there that it is an operator's.
        unanswered: requests that came over it and were not answered yet.
        last_request: when the last one came, or else when it was opened, by the loop's clock.
        used_s, used_since: what its frames used of the event loop since then, seconds; see `TurnScheduler`.
    """

    def __init__(self, server: Server) -> None:
        limits = server.limits
        self._protocol = ServerProtocol(
            max_size=min(limits.max_frame_bytes, limits.max_client_frame_bytes),
            logger=library_logger,
        )
        super().__init__(self._protocol, server.limits)
        self.connection_id = next(_connection_ids)
        self.peer: PeerIdentity | None = None
        self.announced_as_peer = False
        self.admin = False
        self.unanswered = 0
        self.last_request = 0.0
        self.used_s = 0.0
        self.used_since = 0.0
        self._server = server
        self._head: bytearray | None = bytearray()
        self._head_only = False
        self._was_opened = False
        #: Received and not yet parsed, while it waits for its turn.
        self._unread = bytearray()
        #: Messages of a frame that was taken in part.
        self._rest: list[object] = []
        self._rest_bytes = 0
        self._message_bytes = 0
        self._may_take_heavy = False
        self._first = False
        self._deadline: asyncio.TimerHandle | None = None

    def send(self, message: object) -> None:
        """Queue a message of the codec; goes out at the end of this turn of the event loop.

        On a connection that is closed already it does nothing.

        Raises:
            qcore.errors.LocalProtocolError: the message cannot be encoded, or is too large.
        """
        self.send_encoded(self._server.codec.encode(message))

    def send_encoded(self, envelope: bytes) -> None:
        if self.unanswered:  # a server sends nothing that is no answer, except to peers
            self.unanswered -= 1
        super().send_encoded(envelope)

    # --- the opening: an HTTP request -------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._set_deadline(self._limits.handshake_timeout_s, self._handshake_overdue)
        self._server.connection_made(self)

    def _handshake_received(self, data: bytes) -> None:
        """Collect the request's head; nothing behind it may reach the parser before the answer."""
        if self._head is None:
            return  # answered already: what else comes is ignored until the connection ends
        self._head += data
        end = self._head.find(_END_OF_HEAD)
        if end < 0 and len(self._head) <= _MAX_HEAD_BYTES:
            return
        split = end + len(_END_OF_HEAD)
        head, rest = bytes(self._head[:split]), bytes(self._head[split:])
        self._head = None
        if not 0 <= end <= _MAX_HEAD_BYTES:
            self._refuse_unread(431, "the head of the request is too long")
            return
        self._head_only = head.startswith(b"HEAD ")
        if not self._head_only and not head.startswith(b"GET "):
            # Before the library sees it: it leaves a request with a body unanswered.
            self._refuse_unread(405, "only GET and HEAD are understood here")
            return
        # The library knows no HEAD, which load balancers like to send: a GET whose answer has no body.
        self._protocol.receive_data(b"GET" + head[4:] if self._head_only else head)
        events = self._protocol.events_received()
        if events and isinstance(events[0], Request):
            self._respond(self._answer(events[0]))
            if self._open and rest:
                self.data_received(rest)
        else:
            self._refuse_unread(400, "not a valid HTTP request, or one with a body")

    def _answer(self, request: Request) -> Response:
        """Decide what to say to an HTTP request; status 101 opens the WebSocket connection."""
        reject = self._protocol.reject
        path = request.path.partition("?")[0]
        if self._head_only or "Upgrade" not in request.headers:
            return self._answer_plain(path)
        if path not in WEBSOCKET_PATHS:
            return reject(404, f"WebSocket connections go to {' or '.join(WEBSOCKET_PATHS)}\n")
        said = request.headers.get_all(ROLE_HEADER)
        self.announced_as_peer, self.admin = said == [PEER], said == [ADMIN]
        if not self._server.admit(self):
            return reject(503, "too many connections: try again later\n")
        return self._protocol.accept(request)

    def _answer_plain(self, path: str) -> Response:
        reject = self._protocol.reject
        self._server.counts.http_requests += 1
        try:
            answer = self._server.handler.on_http(path)
        except Exception:  # boundary: a bug of the application must not end the server
            logger.exception("the handler of GET %r failed", path)
            return reject(500, "internal error: see the server's log\n")
        if answer is None:
            if path not in WEBSOCKET_PATHS:
                return reject(404, "there is nothing at this path\n")
            response = reject(426, "this is a WebSocket endpoint\n")
            response.headers["Upgrade"] = "websocket"
            return response
        headers = Headers(
            {
                "Connection": "close",
                "Content-Length": str(len(answer.body)),
                "Content-Type": answer.content_type,
                "Cache-Control": "no-store",
            }
        )
        return Response(answer.status, _phrase(answer.status), headers, answer.body)

    def _respond(self, response: Response) -> None:
        if self._head_only:
            response.body = b""
        self._protocol.send_response(response)
        self._write(self._protocol.data_to_send())
        if response.status_code != http.HTTPStatus.SWITCHING_PROTOCOLS:
            self._end_after_response()
            return
        self._was_opened = True
        self.last_request = self._loop.time()
        self._cancel_deadline()
        self._opened()
        self._server.connection_opened(self)
        if self.announced_as_peer:
            self._set_deadline(self._limits.hello_timeout_s, self._hello_overdue)
        self._guard(lambda: self._server.handler.on_open(self))

    def _refuse_unread(self, status: int, text: str) -> None:
        """Answer a request that the library's parser gave up on, or must not see."""
        chunks = self._protocol.data_to_send()
        if not any(chunks):
            response = self._protocol.reject(status, text + "\n")
            if status == http.HTTPStatus.METHOD_NOT_ALLOWED:
                response.headers["Allow"] = "GET, HEAD"
            chunks = [response.serialize(), b""]
        self._write(chunks)
        self._end_after_response()

    def _end_after_response(self) -> None:
        self._closed_here = True
        self._cancel_deadline()
        self._expect_end()

    # --- deadlines --------------------------------------------------------------------------------

    def _set_deadline(self, after_s: float, overdue: Callable[[], None]) -> None:
        self._cancel_deadline()
        self._deadline = self._loop.call_later(after_s, overdue)

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _handshake_overdue(self) -> None:
        self.abort(f"{self.remote} sent no whole HTTP request in time")

    def _hello_overdue(self) -> None:
        self.close(_POLICY_VIOLATION, "no Hello in time from a connection announced as a peer's")

    def _check_life(self) -> None:
        idle_s = self._limits.idle_timeout_s
        if (
            self._open
            and idle_s
            and self.peer is None
            and not self.unanswered
            and not self._backlog
            and not self._waits
            and not self._unread
            and self._loop.time() - self._last_progress() >= idle_s
        ):
            self.close(GOING_AWAY, IDLE_REASON)
        else:
            super()._check_life()

    def _last_progress(self) -> float:
        """When the last request came, or the last piece of one."""
        unfinished = self._ws.reader.buffer or self._fragments is not None
        return self._last_received if unfinished else self.last_request

    # --- a client takes turns, a peer does not ----------------------------------------------------

    def _receive(self, data: bytes) -> None:
        if self.peer is not None and not self._waits:
            super()._receive(data)
            return
        turns = self._server.turns
        if self._waits or not turns.begin(self._last_received):
            self._unread += data
            self._wait(heavy=False)
            self._report_held_bytes()
            return
        self._first = True
        if len(data) <= _PARSED_AT_ONCE_BYTES:
            super()._receive(data)
        else:
            self._unread += data
            self._take_unread()
            if self._unread:
                self._report_held_bytes()
        turns.end(self, self._loop.time())

    def resume_frames(self, *, heavy: bool) -> None:
        """Take frames that waited. Called by the server's `TurnScheduler`."""
        self._waits = False
        self._may_take_heavy = heavy
        rest, self._rest, self._rest_bytes = self._rest, [], 0
        self._flush_expected = True
        self._guard(lambda: self._take_messages(rest))
        self._deliver_and_flush()
        self._take_unread()
        self._may_take_heavy = False
        self._pause_or_resume_reading()
        self._report_held_bytes()

    def _take_unread(self) -> None:
        """Parse what came in parts: of the smallest frames, even one part holds thousands."""
        size = _PARSED_AT_ONCE_BYTES
        while self._unread and self._open and not self._waits and not self._read_paused:
            if self._server.turns.slice_used(self._loop.time()):
                self._wait(heavy=False)
                return
            part = bytes(self._unread[:size])
            del self._unread[:size]
            buffered = len(self._ws.reader.buffer)
            super()._receive(part)
            ended = len(self._ws.reader.buffer) < buffered + len(part)
            size = _PARSED_AT_ONCE_BYTES if ended else _PARSED_AFTER_PART_BYTES

    def _must_wait(self, frame: Frame) -> bool:
        if self.peer is not None and not self._waits:
            return False
        if self._waits:
            return True
        if len(frame.data) + len(self._fragments or b"") > HEAVY_BYTES and frame.fin:
            if not self._may_take_heavy:
                self._wait(heavy=True)
                return True
            self._may_take_heavy = False
        elif self._first:
            self._first = False  # the turn has just begun
        elif self._server.turns.slice_used(self._loop.time()):
            self._wait(heavy=False)
            return True
        return False

    def _wait(self, *, heavy: bool) -> None:
        if not self._waits:
            self._waits = True
            self._server.turns.wait(self, heavy=heavy)
            self._pause_or_resume_reading()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._unread and not self._waits:
            self._wait(heavy=False)

    def held_bytes(self) -> int:
        return super().held_bytes() + allocated(self._unread) + self._rest_bytes

    def _discard_queue(self) -> None:
        super()._discard_queue()
        self._unread.clear()
        self._rest.clear()
        self._rest_bytes = 0
        self._server.turns.forget(self)

    # --- messages ---------------------------------------------------------------------------------

    def _report_held_bytes(self) -> None:
        if self.peer is None and self._transport is not None:
            held = self.held_bytes()
            if held < _NOTED_BYTES:
                held = 0
            if held != self._noted_bytes:
                self._noted_bytes = held
                self._server.update_held_bytes(self, held)

    def _pauses_reading(self) -> bool:
        # Not towards peers: two nodes that both wait for the other to read would wait for ever.
        return self.peer is None

    def _frame_received(self, data: bytes | bytearray, is_text: bool) -> None:
        self._guard(lambda: self._take_frame(data, is_text))

    def _take_frame(self, data: bytes | bytearray, is_text: bool) -> None:
        server = self._server
        server.counts.frames_received += 1
        self.last_request = self._last_received
        if is_text:
            messages = server.codec.decode(data, from_peer=self.peer is not None)
            if data[:1] == b"[":
                self.batches = True  # who sends arrays can read them
        else:
            messages = [server.codec.decode_binary(data)]
        self._message_bytes = _PARSED_BYTES * len(data) // (len(messages) or 1) + _MESSAGE_BYTES
        self._take_messages(messages)

    def _take_messages(self, messages: list[object]) -> None:
        server = self._server
        for number, message in enumerate(messages):
            if not self._open:
                return  # what stands behind a violation is not looked at
            if (
                number % _MESSAGES_AT_ONCE == _MESSAGES_AT_ONCE - 1
                and self.peer is None
                and server.turns.slice_used(self._loop.time())
            ):
                self._rest = messages[number:]
                self._rest_bytes = len(self._rest) * self._message_bytes
                self._wait(heavy=False)
                return
            kind = type(message)
            if kind in server.requests:
                server.counts.messages_received += 1
                self.unanswered += 1
                server.handler.on_message(self, message)
            elif kind in _PEER_ONLY:
                self._take_peer_message(message)
            elif isinstance(message, Malformed):
                self._take_malformed(message)
            elif isinstance(message, Hello):
                self._take_hello(message)
            elif not isinstance(
                message, Error
            ):  # an Error is not answered: that could go on for ever
                self._refuse_message(
                    message, f"{kind.__name__}: a server takes requests, not replies"
                )

    def _take_peer_message(self, message: object) -> None:
        if self.peer is None:
            self._violation(type(message).__name__)
            return
        self._server.counts.messages_received += 1
        self._server.handler.on_message(self, message)

    def _take_malformed(self, malformed: Malformed) -> None:
        self._server.counts.malformed_received += 1
        if self.peer is None and malformed.type_name in _PEER_ONLY_NAMES:
            self._violation(malformed.type_name)
            return
        logger.debug("%s sent what cannot be understood: %s", self.remote, malformed.reply.error)
        self.unanswered += 1
        self.send(malformed.reply)

    def _refuse_message(self, message: object, text: str) -> None:
        self._server.counts.malformed_received += 1
        error = RemoteProtocolError(text)
        self.unanswered += 1
        self.send(Error(str(getattr(message, "id", "")), text, error.detail()))

    def _violation(self, type_name: str) -> None:
        """A message that only a peer may send came from a connection that is not one's."""
        self._server.counts.policy_violations += 1
        logger.warning("%s sent %s without an accepted Hello: closed", self.remote, type_name)
        self.close(_POLICY_VIOLATION, f"{type_name} needs an accepted Hello first")

    def _take_hello(self, hello: Hello) -> None:
        if self.peer is not None:
            self._refuse_message(hello, "Hello: it was said and accepted already")
            return
        try:
            _check_hello(hello)
            reply = self._server.handler.on_hello(self, hello)
        except QcoreError as error:
            self._server.counts.policy_violations += 1
            logger.warning("%s: Hello of node %d refused: %s", self.remote, hello.node_id, error)
            self.send(HelloResponse(hello.id, *failure(error)))
            self.close(_POLICY_VIOLATION, str(error))
            return
        self._cancel_deadline()
        self._protocol.max_message_size = self._limits.max_frame_bytes
        self.peer = PeerIdentity(hello.node_id, hello.cluster_id)
        self.batches = True
        self._server.peer_accepted(self, hello.node_id)
        self.send(HelloResponse(hello.id, Ok(reply)))

    def _guard(self, step: Callable[[], None]) -> None:
        """Run the application's code: its bug costs this connection, not the server."""
        try:
            step()
        except Exception:  # boundary to the application, see above
            logger.exception("handling what %s sent failed", self.remote)
            self.close(_INTERNAL_ERROR, "internal error: see the server's log")

    # --- the end ----------------------------------------------------------------------------------

    def _closed(self, error: TransportError | None) -> None:
        self._cancel_deadline()
        self._server.connection_closed(self)
        if self._was_opened:
            self._guard(lambda: self._server.handler.on_close(self, error))


def _check_hello(hello: Hello) -> None:
    if hello.protocol != PROTOCOL_VERSION:
        raise RemoteProtocolError(
            f"protocol version {hello.protocol} is not spoken here: this node speaks {PROTOCOL_VERSION}"
        )
    if hello.role != "peer":
        raise RemoteProtocolError(f"role {hello.role[:40]!r} is unknown: a node says 'peer'")


def _phrase(status: int) -> str:
    try:
        return http.HTTPStatus(status).phrase
    except ValueError:
        return ""
