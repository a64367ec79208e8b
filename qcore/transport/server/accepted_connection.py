"""`AcceptedConnection`: the server's end of a connection. It knows its role, what it may send, and its turns."""

from __future__ import annotations

import asyncio
import http
import logging
from collections.abc import Callable
from functools import partial

from websockets.http11 import Request, Response
from websockets.server import ServerProtocol

from qcore.errors import RemoteProtocolError, TransportError
from qcore.transport.codec.codec import Malformed
from qcore.transport.connection.connection import Connection, library_logger
from qcore.transport.connection.framing import allocated
from qcore.transport.connection.outgoing import ADMIN, GOING_AWAY, IDLE_REASON, PEER, ROLE_HEADER
from qcore.transport.server.connection_owner import ConnectionOwner
from qcore.transport.server.handler import (
    HttpResponse,
    PeerIdentity,
    Principal,
)
from qcore.transport.server.http_request import (
    RequestReader,
    dated,
    library_response,
)
from qcore.transport.server.peer_handshake import PeerHandshake
from qcore.transport.server.turns import HEAVY_BYTES
from qcore.transport.wire import (
    PEER_REQUESTS,
    PEER_RESPONSES,
    Error,
    Hello,
    HelloProof,
    error_envelope,
)

logger = logging.getLogger("qcore.transport")

#: The bytes of a client that are parsed before the clock is read: 680 of the smallest frames. The
#: second number applies if the bytes before them ended within a frame.
_PARSED_PER_STEP_BYTES = 4 * 1024
_PARSED_AFTER_PART_BYTES = 16 * 1024
#: The memory of each message of a partly handled frame: this factor for its bytes, and this much for the message.
_PARSED_BYTES = 4
_MESSAGE_BYTES = 512
#: A smaller amount of memory is not counted, bytes.
_COUNTED_FROM_BYTES = 16 * 1024
#: Messages of one frame that are handled before the clock is read.
_MESSAGES_PER_STEP = 32

_POLICY_VIOLATION = 1008
_INTERNAL_ERROR = 1011
#: For the log and for the other end, when the application raised.
_BUG = "handling a message of %s failed"
_SEE_LOG = "internal error: see the server's log"
_PEER_ONLY = frozenset({*PEER_REQUESTS, *PEER_RESPONSES})
_PEER_ONLY_NAMES = frozenset(cls.__name__ for cls in _PEER_ONLY)


class AcceptedConnection(Connection):
    """One accepted connection. The handler sees it as a `ServerConnection`.

    Attributes:
        connection_id: unique at this server.
        remote: `host:port` of the other end.
        peer: the node at the other end, once its `Hello` is accepted; None for a client.
        announced_as_peer: whether its HTTP request announced a peer.
        admin: whether its HTTP request announced an admin connection.
        watches, principal, failed_logins, message_bytes: see `ServerConnection`.
        opened_at: when the connection was opened, by the event loop's clock.
        last_request: when the last request arrived or, if none did, when the connection was opened; by the event loop's
            clock.
        used_s, used_since: how long its frames occupied the event loop since `used_since`, seconds; see
            `TurnScheduler`.
    """

    def __init__(self, server: ConnectionOwner[AcceptedConnection]) -> None:
        limits = server.limits
        self._protocol = ServerProtocol(
            max_size=min(limits.max_frame_bytes, limits.max_client_frame_bytes),
            logger=library_logger,
        )
        super().__init__(self._protocol, limits)
        self._held = server.held
        # What each message needs, without the way over the server.
        self._codec, self._counts, self._turns = server.codec, server.counts, server.turns
        self.connection_id = next(server.connection_ids)
        self.peer: PeerIdentity | None = None
        self.announced_as_peer = False
        self.admin = False
        self.watches = 0
        self.principal: Principal | None = None
        self.failed_logins = 0
        self._on_room: Callable[[], None] | None = None
        self.opened_at = 0.0
        self.last_request = 0.0
        self.used_s = 0.0
        self.used_since = 0.0
        self._takes_turns = True
        self._server = server
        self._handlers = server.requests
        self._handshake = PeerHandshake(server.handler, server.peers_need_certificates)
        #: None once the HTTP request is answered.
        self._request_reader: RequestReader | None = RequestReader(self._protocol)
        self._was_opened = False
        #: Bytes received and not yet parsed, while the connection waits for its turn.
        self._unread = bytearray()
        #: The remaining messages of a partly handled frame.
        self._rest: list[object] = []
        self._rest_bytes = 0
        self.message_bytes = 0
        self._may_handle_heavy = False
        self._first = False
        self._deadline: asyncio.TimerHandle | None = None

    def send(self, message: object) -> None:
        """See `ServerConnection.send`."""
        self.send_encoded(self._codec.encode(message))

    def push(self, envelope: bytes, *, last: bool = False) -> bool:
        """See `ServerConnection.push`."""
        waiting = self.unsent_bytes() + len(envelope)
        counts = waiting > _COUNTED_FROM_BYTES
        if waiting > self._limits.max_watch_queue_bytes:
            return False
        if counts and not last and not self._server.memory.may_push(self, waiting):
            return False
        if self.unanswered:
            self.unanswered += 1  # `send_encoded` counts a response
        self.send_encoded(envelope)
        if counts:
            self.report_held_bytes()
        return True

    def when_room(self, act: Callable[[], None]) -> None:
        """See `ServerConnection.when_room`."""
        self._on_room = act
        if not self._write_paused:
            self._loop.call_soon(self._report_room)

    def _report_room(self) -> None:
        act = self._on_room
        if act is not None and self._open and not self._write_paused:
            self._on_room = None
            self._guard(act)

    # --- the opening: an HTTP request -------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._set_deadline(self._limits.handshake_timeout_s, self._handshake_overdue)
        self._server.connection_made(self)

    def _handshake_received(self, data: bytes) -> None:
        reader = self._request_reader
        if reader is None:
            return  # the request was answered: ignore later bytes until the connection ends
        request = reader.receive(data)
        if request is not None:
            self._request_reader = None
            is_page = reader.head_only or "Upgrade" not in request.headers
            refusal = self._server.refusal(self, request, is_page=is_page)
            if refusal is not None or (is_page and self._server.is_open_page(request)):
                self._answer(request, reader, refusal)
                return
            self._read_paused = True
            self._pause_or_resume_reading()
            self._server.handler.on_request(
                self,
                request.headers.get_all("Authorization"),
                partial(self._answer, request, reader),
            )
        elif reader.refusal is not None:
            self._request_reader = None
            self._write(reader.refusal)
            self._end_after_response()

    def _answer(
        self, request: Request, reader: RequestReader, refusal: HttpResponse | None
    ) -> None:
        """Answer the HTTP request, once its user is known or does not matter."""
        if self._transport is None or self._error is not None:
            return  # the other end did not wait for it
        self._read_paused = False
        self._pause_or_resume_reading()
        head_only = reader.head_only
        response = (
            self._response(request, head_only) if refusal is None else library_response(refusal)
        )
        self._respond(response, head_only)
        if self._open and reader.rest:
            self.data_received(reader.rest)

    def _response(self, request: Request, head_only: bool) -> Response:
        """The response to an HTTP request; status 101 opens the WebSocket connection."""
        if head_only or "Upgrade" not in request.headers:
            return library_response(self._server.page(self, request))
        roles = request.headers.get_all(ROLE_HEADER)
        self.announced_as_peer, self.admin = roles == [PEER], roles == [ADMIN]
        refusal = self._server.no_room(self)
        return self._protocol.accept(request) if refusal is None else library_response(refusal)

    def _respond(self, response: Response, head_only: bool) -> None:
        if head_only:
            response.body = b""
        self._protocol.send_response(dated(response, self._server.runtime.wall_us()))
        self._write(self._protocol.data_to_send())
        if response.status_code != http.HTTPStatus.SWITCHING_PROTOCOLS:
            self._end_after_response()
            return
        self._was_opened = True
        self.opened_at = self.last_request = self._time()
        self._cancel_deadline()
        self._opened()
        self._server.connection_opened(self)
        if self.announced_as_peer:
            self._set_deadline(self._limits.hello_timeout_s, self._hello_overdue)
        self._guard(lambda: self._server.handler.on_open(self))

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
        self.abort(f"{self.remote} sent no complete HTTP request in time")

    def _hello_overdue(self) -> None:
        self.close(_POLICY_VIOLATION, "no complete Hello in time from a connection of a peer")

    def _check_life(self) -> None:
        idle_s = self._limits.idle_timeout_s
        if (
            self._open
            and idle_s
            and self.peer is None
            and not self.unanswered
            and not self.watches
            and not self._backlog
            and not self._waits
            and not self._unread
            and self._time() - self._last_progress() >= idle_s
        ):
            self.close(GOING_AWAY, IDLE_REASON)
        else:
            super()._check_life()

    def _last_progress(self) -> float:
        """When the last request, or the last part of one, arrived."""
        unfinished = self._ws.reader.buffer or self._fragments is not None
        return self._last_received if unfinished else self.last_request

    # --- turns: for clients, not for peers --------------------------------------------------------

    def _receive_in_turn(self, data: bytes) -> None:
        turns = self._turns
        if self._waits or not turns.begin(self._last_received):
            self._unread += data
            self._wait_for_turn(heavy=False)
            self.report_held_bytes()
            return
        self._first = True
        if len(data) <= _PARSED_PER_STEP_BYTES:
            self._receive(data)
        else:
            self._unread += data
            self._parse_unread()
            if self._unread:
                self.report_held_bytes()
        turns.end(self, self._time())

    def resume_frames(self, *, heavy: bool) -> None:
        """Handle waiting frames. Called by the server's `TurnScheduler`."""
        self._waits = False
        self._may_handle_heavy = heavy
        rest, self._rest, self._rest_bytes = self._rest, [], 0
        self._flush_expected = True
        try:
            self._handle_messages(rest)
        except Exception:  # noqa: BLE001 - boundary to the application, `_failed` logs it
            self._failed()
        self._deliver_frames()
        self._parse_unread()
        self._may_handle_heavy = False
        self._pause_or_resume_reading()
        self.report_held_bytes()

    def _parse_unread(self) -> None:
        """Parse the unread bytes in parts: even one part may hold hundreds of the smallest frames."""
        size = _PARSED_PER_STEP_BYTES
        while self._unread and self._open and not self._waits and not self._read_paused:
            if self._turns.slice_used(self._time()):
                self._wait_for_turn(heavy=False)
                return
            part = bytes(self._unread[:size])
            del self._unread[:size]
            buffered = len(self._ws.reader.buffer)
            self._receive(part)
            ended = len(self._ws.reader.buffer) < buffered + len(part)
            size = _PARSED_PER_STEP_BYTES if ended else _PARSED_AFTER_PART_BYTES

    def _must_wait(self, size: int, fin: bool) -> bool:
        if size + len(self._fragments or b"") > HEAVY_BYTES and fin:
            if not self._may_handle_heavy:
                self._wait_for_turn(heavy=True)
                return True
            self._may_handle_heavy = False
        elif self._first:
            self._first = False  # the turn has just begun
        elif self._turns.slice_used(self._time()):
            self._wait_for_turn(heavy=False)
            return True
        return False

    def _wait_for_turn(self, *, heavy: bool) -> None:
        if not self._waits:
            self._waits = True
            self._turns.wait(self, heavy=heavy)
            self._pause_or_resume_reading()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._report_room()
        if self._unread and not self._waits:
            self._wait_for_turn(heavy=False)

    def held_bytes(self) -> int:
        return super().held_bytes() + allocated(self._unread) + self._rest_bytes

    def _discard_queue(self) -> None:
        super()._discard_queue()
        self._unread.clear()
        self._rest.clear()
        self._rest_bytes = 0
        self._turns.forget(self)

    # --- messages ---------------------------------------------------------------------------------

    def report_held_bytes(self) -> None:
        if self.peer is None and self._transport is not None:
            held = self.held_bytes()
            held = held if held >= _COUNTED_FROM_BYTES else 0
            if held != self._reported_bytes:
                self._reported_bytes = held
                self._server.memory.update(self, held)

    def _pauses_reading(self) -> bool:
        # Not for peers, because two nodes that each wait for the other to read would wait forever.
        return self.peer is None

    def _frame_received(self, data: bytes | bytearray, is_text: bool) -> None:
        self._counts.frames_received += 1
        self.last_request = self._last_received
        try:
            if is_text:
                messages = self._codec.decode(data, from_peer=self.peer is not None)
                if data[:1] == b"[":
                    self.batches = True  # a client that sends array frames can read them
            else:
                messages = [self._codec.decode_binary(data)]
            self.message_bytes = len(data) // (len(messages) or 1)
            self._handle_messages(messages)
        except Exception:  # noqa: BLE001 - boundary to the application, `_failed` logs it
            self._failed()

    def _failed(self) -> None:
        """The application's code has raised. A bug in it ends this connection, not the server."""
        logger.exception(_BUG, self.remote)
        self.close(_INTERNAL_ERROR, _SEE_LOG)

    def _handle_messages(self, messages: list[object]) -> None:
        is_client = self.peer is None
        handlers = self._handlers
        for number, message in enumerate(messages):
            if not self._open:
                return  # ignore the messages after a violation
            if (
                number % _MESSAGES_PER_STEP == _MESSAGES_PER_STEP - 1
                and is_client
                and self._turns.slice_used(self._time())
            ):
                self._rest = messages[number:]
                memory = _PARSED_BYTES * self.message_bytes + _MESSAGE_BYTES
                self._rest_bytes = len(self._rest) * memory
                self._wait_for_turn(heavy=False)
                return
            handle = handlers.get(type(message))
            if handle is None:
                self._handle_other(message)
                # The message may have made this a connection of a peer.
                is_client, handlers = self.peer is None, self._handlers
            else:
                if is_client:
                    self.unanswered += 1
                handle(self, message)

    def _handle_other(self, message: object) -> None:
        """Handle a message that the table of this connection does not list."""
        if isinstance(message, Malformed):
            self._handle_malformed(message)
        elif isinstance(message, Hello | HelloProof):
            self._handle_handshake(message)
        elif self.peer is None and type(message) in _PEER_ONLY:
            self._violation(type(message).__name__)
        elif not isinstance(message, Error):  # answering an Error could go on forever
            name = type(message).__name__
            self._reject_message(message, f"{name}: a server accepts requests, not responses")

    def _handle_malformed(self, malformed: Malformed) -> None:
        self._counts.malformed_received += 1
        if self.peer is None and malformed.type_name in _PEER_ONLY_NAMES:
            self._violation(malformed.type_name)
            return
        logger.debug("%s sent an invalid message: %s", self.remote, malformed.reply.error)
        self.unanswered += 1
        self.send(malformed.reply_with_id(self._server.runtime.new_token))

    def _reject_message(self, message: object, text: str) -> None:
        self._counts.malformed_received += 1
        self.unanswered += 1
        self.send(error_envelope(str(getattr(message, "id", "")), RemoteProtocolError(text)))

    def _violation(self, type_name: str) -> None:
        """Close a connection that sent a message of a peer without an accepted `Hello`."""
        self._counts.policy_violations += 1
        logger.warning("%s sent %s without an accepted Hello: closed", self.remote, type_name)
        self.close(_POLICY_VIOLATION, f"{type_name} needs an accepted Hello first")

    def _handle_handshake(self, message: Hello | HelloProof) -> None:
        if self.peer is not None:
            self._reject_message(message, "Hello: one was accepted already on this connection")
            return
        progress = self._handshake.take(self, message, self._transport)
        if progress.peer is not None:
            self._become_peer(progress.peer)
        elif not self.announced_as_peer:
            self._set_deadline(self._limits.hello_timeout_s, self._hello_overdue)
        self.send(progress.response)
        if progress.refusal is not None:
            self._counts.policy_violations += 1
            self.close(_POLICY_VIOLATION, progress.refusal)

    def _become_peer(self, peer: PeerIdentity) -> None:
        self._cancel_deadline()
        self._protocol.max_message_size = self._limits.max_frame_bytes
        self.peer = peer
        self._handlers = self._server.peer_requests
        self._takes_turns = False
        self.batches = True
        self._server.peer_accepted(self, peer.node_id)

    def _guard(self, step: Callable[[], None]) -> None:
        """Run the application's code."""
        try:
            step()
        except Exception:  # noqa: BLE001 - boundary to the application, `_failed` logs it
            self._failed()

    # --- the end ----------------------------------------------------------------------------------

    def _closed(self, error: TransportError | None) -> None:
        self._cancel_deadline()
        self._on_room = None
        self._server.connection_closed(self)
        if self._was_opened:
            self._guard(lambda: self._server.handler.on_close(self, error))
