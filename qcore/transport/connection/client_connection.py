"""`ClientConnection`: sends requests to a node, many at a time, and matches responses by id. Values are plain JSON.

The requests of one turn of the event loop share array frames: a frame costs both ends more than a small request. A lone
request is sent as a plain envelope.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from ssl import SSLContext
from typing import Protocol

from pydantic import JsonValue
from pydantic_core import PydanticSerializationError, to_json
from websockets.frames import CloseCode

from qcore.errors import (
    ConnectionLost,
    ErrorReply,
    LocalProtocolError,
    OutcomeUnknown,
    Overloaded,
    PermissionDenied,
    QcoreError,
    QuotaExceeded,
    RequestNotReceived,
    TooLarge,
    TransportError,
    Unauthenticated,
    from_wire,
    scalars,
)
from qcore.runtime.interface import Runtime
from qcore.runtime.real import REAL
from qcore.transport.address import Address
from qcore.transport.connection.client_wire import SocketWire, WireOwner
from qcore.transport.connection.framing import check_size
from qcore.transport.connection.liveness import Liveness, MonitoredConnection
from qcore.transport.connection.outgoing import (
    ADMIN,
    GOING_AWAY,
    IDLE_REASON,
    open_connection,
)
from qcore.transport.connection.running_time import RunningTime
from qcore.transport.connection.sending_end import FLUSH_BYTES
from qcore.transport.limits import TransportLimits
from qcore.transport.trace_context import with_traceparent

logger = logging.getLogger("qcore.transport")

Fields = Mapping[str, JsonValue]

#: How often the deadlines of waiting requests are checked, seconds.
DEADLINE_CHECK_S = 0.02

#: What a node sends instead of the response of a message that its user may not send.
_REFUSALS = (Unauthenticated.code, PermissionDenied.code, QuotaExceeded.code)

#: The reason with which a node closes the connection after a frame that is too large.
_FRAME_LIMIT = re.compile(r"exceeds limit of ([0-9]{1,12}) bytes")

#: The longest retry hint of a full connection, milliseconds.
_LONGEST_HINT_MS = 1000


@dataclass(slots=True)
class _Waiting:
    """A request that waits for its response.

    Attributes:
        response: its response.
        began: when it was sent, seconds of the event loop.
        deadline: seconds of `RunningTime`.
        type_name: the name of the message.
        size: its bytes on the wire.
    """

    response: asyncio.Future[dict[str, JsonValue]]
    began: float
    deadline: float
    type_name: str
    size: int


class ClientWire(MonitoredConnection, Protocol):
    """The frames below a `ClientConnection`.

    Attributes:
        owner: gets the envelopes that arrive, and the end.
        ended: done once the connection has ended, with the reason.
    """

    owner: WireOwner | None
    ended: asyncio.Future[TransportError | None]

    @property
    def is_open(self) -> bool:
        """Whether frames can be sent."""
        ...

    @property
    def remote(self) -> str:
        """The `host:port` connected to."""
        ...

    @property
    def limits(self) -> TransportLimits:
        """The limits of the connection."""
        ...

    @property
    def close_received(self) -> tuple[int, str] | None:
        """Code and reason with which the node closed the connection, or None."""
        ...

    def unsent_bytes(self) -> int:
        """How much waits to be sent."""
        ...

    def send_together(self, envelopes: Iterable[bytes]) -> None:
        """Send envelopes now, in as few frames as possible."""

    def close(self) -> None:
        """Send what waits, then close."""

    def abort(self, reason: str) -> None:
        """Drop the connection."""


class ClientConnection:
    """One connection to a node. Make it with `await ClientConnection.connect(...)`.

    Attributes:
        on_push: called with (type name, value) for an envelope that answers no request.
        on_close: called once with the reason (None after an orderly close).
        was_unresponsive: whether the connection was dropped because the node gave no sign of life while a request
            waited.
    """

    def __init__(self, wire: ClientWire) -> None:
        self.on_push: Callable[[str, dict[str, JsonValue]], None] | None = None
        self.on_close: Callable[[TransportError | None], None] | None = None
        self.was_unresponsive = False
        self._wire = wire
        limits = wire.limits
        self._liveness = Liveness(wire, limits.probe_after_s, limits.silent_after_s)
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[str, _Waiting] = {}
        #: The requests of this turn of the event loop, by id. They are sent at its end.
        self._unsent: dict[str, bytes] = {}
        self._unsent_bytes = 0
        self._sending: asyncio.Handle | None = None
        self._time = RunningTime()
        self._deadline_timer: asyncio.TimerHandle | None = None
        self._ids = itertools.count(1)
        self._last_response_s = 0.0
        wire.owner = self

    @classmethod
    async def connect(
        cls,
        address: Address,
        *,
        timeout_s: float = 5.0,
        limits: TransportLimits | None = None,
        admin: bool = False,
        runtime: Runtime = REAL,
        tls: SSLContext | None = None,
    ) -> ClientConnection:
        """Open a connection. With `admin`, it is an admin connection, for which a node reserves a place.

        Args:
            address: the node.
            timeout_s: how long it may take.
            limits: sizes and times.
            admin: see above.
            runtime: the world that the client runs in.
            tls: makes it a TLS connection; see `qcore.security.tls.client_context`.

        Raises:
            TransportError: the node did not answer in time, refused the connection, or is not a qcore node; the text
                states which.
        """
        chosen = limits or TransportLimits()
        role = ADMIN if admin else None
        wire = await open_connection(
            lambda: SocketWire(address, chosen, role, runtime), address, timeout_s, runtime, tls
        )
        return cls(wire)

    @property
    def is_open(self) -> bool:
        """Whether requests can be sent."""
        return self._wire.is_open

    @property
    def remote(self) -> str:
        """The `host:port` connected to."""
        return self._wire.remote

    async def request(
        self,
        type_name: str,
        fields: Fields | None = None,
        *,
        timeout_s: float = 10.0,
        traceparent: str = "",
    ) -> dict[str, JsonValue]:
        """Send `{type_name: {"id": ..., **fields}}` and return the content of the response.

        The request is sent at the end of this turn of the event loop. If it is cancelled before that, it is not sent.

        Pauses of this process hardly count towards `timeout_s`. `traceparent`: see `qcore.transport.trace_context`.

        The content holds `id`, `response` and perhaps `detail`. An `Err` in `response` is returned, not raised:
        `qcore.errors.from_wire` makes the error of it.

        Raises:
            ErrorReply: the node answered with an `Error` envelope (a `RemoteProtocolError`).
            Unauthenticated, PermissionDenied: the node refused the request because of its user.
            QuotaExceeded: this connection or its user sends too much.
            LocalProtocolError: the fields cannot be sent as JSON.
            OutcomeUnknown: no response in time; the request may or may not have taken effect.
            Overloaded: too many requests of this connection wait for responses, or too many bytes wait to be sent; this
                request was not sent.
            TooLarge: the node takes no frame of this size. The request had no effect.
            ConnectionLost: the connection ended before the response arrived, or the node gave no sign of life; the
                request may or may not have taken effect (a `TransportError`).
            RequestNotReceived: the node closed the idle connection before the request reached it; it may be sent again.
            TransportError: the connection was closed already; nothing was sent.
        """
        if not self._wire.is_open:
            raise TransportError(f"the connection to {self.remote} is closed: connect again")
        request_id = str(next(self._ids))
        if traceparent:
            request_id = with_traceparent(request_id, traceparent)
        data = _encode(type_name, request_id, fields or {})
        check_size(data, self._wire.limits.max_frame_bytes)
        self._reject_if_full(len(data))
        response: asyncio.Future[dict[str, JsonValue]] = self._loop.create_future()
        now = self._loop.time()
        if self._deadline_timer is None:
            self._time.begin(now)
            self._liveness.begin(now)
            self._deadline_timer = self._loop.call_later(DEADLINE_CHECK_S, self._check_deadlines)
        deadline = self._time.at(now) + timeout_s
        self._waiting[request_id] = _Waiting(response, now, deadline, type_name, len(data))
        self._send_later(request_id, data)
        try:
            return await response
        finally:
            self._waiting.pop(request_id, None)
            self._leave_out(request_id)

    def _send_later(self, request_id: str, data: bytes) -> None:
        """Send the request with the others of this turn, or now if they are already large."""
        self._unsent[request_id] = data
        self._unsent_bytes += len(data)
        if self._unsent_bytes > FLUSH_BYTES:
            self._send_unsent()
        elif self._sending is None:
            self._sending = self._loop.call_soon(self._send_unsent)

    def _send_unsent(self) -> None:
        if self._sending is not None:
            self._sending.cancel()
            self._sending = None
        if not self._wire.is_open:
            self._fail_unsent(f"the connection to {self.remote} is closed: connect again")
            return
        unsent, self._unsent = self._unsent, {}
        self._unsent_bytes = 0
        waiting = self._waiting
        self._wire.send_together(
            data for each, data in unsent.items() if not waiting[each].response.done()
        )  # a request that was just cancelled has not run yet

    def _leave_out(self, request_id: str) -> None:
        """Do not send this request, if it is not sent yet."""
        data = self._unsent.pop(request_id, None)
        if data is not None:
            self._unsent_bytes -= len(data)

    def _fail_unsent(self, reason: str) -> None:
        """Fail the requests of this turn. They may be sent again, over another connection."""
        unsent, self._unsent = self._unsent, {}
        self._unsent_bytes = 0
        for request_id in unsent:
            response = self._waiting[request_id].response
            if not response.done():
                response.set_exception(TransportError(f"{reason}; nothing was sent"))

    def _reject_if_full(self, size: int) -> None:
        """Reject a request if too many bytes wait to be sent, or too many requests wait for responses."""
        limits, unsent = self._wire.limits, self._wire.unsent_bytes() + self._unsent_bytes
        waiting = len(self._waiting)
        if unsent and unsent + size > limits.max_queue_bytes:
            why = f"{unsent} bytes wait to be sent to {self.remote}"
        elif waiting >= limits.max_client_requests:
            why = f"{waiting} requests wait for responses from {self.remote}"
        else:
            return
        # The last response took this long, behind about as many requests. In half the time, about half of them are
        # done.
        hint_ms = int(self._last_response_s * 500)
        raise Overloaded.because(why, min(max(1, hint_ms), _LONGEST_HINT_MS))

    async def close(self, timeout_s: float | None = None) -> None:
        """Close the connection. Waiting requests fail with `ConnectionLost`, those of this turn with `TransportError`.

        Args:
            timeout_s: how long to wait for the node's close frame; None: as long as the connection's limits allow.
        """
        self._wire.close()
        if not (await asyncio.wait([self._wire.ended], timeout=timeout_s))[0]:
            self._wire.abort("the node did not close the connection in time")
            await asyncio.wait([self._wire.ended])

    def drop(self) -> None:
        """Drop the connection. It may belong to an event loop that does not run any more, or is closed."""
        if not self._loop.is_closed():  # an event loop that is closed has no more turns
            self._wire.abort("the client was used in another event loop")

    # --- called by the wire -----------------------------------------------------------------------

    def received(self, envelope: object) -> bool:
        """Handle one envelope, a response or a push. Returns False if the value is not an envelope."""
        if not (isinstance(envelope, dict) and len(envelope) == 1):
            return False
        ((name, value),) = envelope.items()
        if not isinstance(value, dict):
            return False
        request_id = value.get("id")
        waiting = self._waiting.get(request_id) if isinstance(request_id, str) else None
        if waiting is None:
            # A late response to a request that timed out is dropped.
            if self.on_push is not None and not name.endswith("Response"):
                self.on_push(name, value)
        elif not waiting.response.done():
            self._last_response_s = self._loop.time() - waiting.began
            if name == "Error":
                waiting.response.set_exception(_error_of(value.get("error"), value.get("detail")))
            else:
                waiting.response.set_result(value)
        return True

    def ended(self, error: TransportError | None) -> None:
        """Fail all waiting requests, because the connection is gone."""
        reason = str(error) if error is not None else f"the connection to {self.remote} was closed"
        idle = self._wire.close_received == (GOING_AWAY, IDLE_REASON)
        self._fail_unsent(reason)
        most = _largest_frame(self._wire.close_received)
        for waiting in self._waiting.values():
            if waiting.response.done():
                continue
            lost: QcoreError
            if idle:
                lost = RequestNotReceived(f"{reason}; the request was not received: send it again")
            elif most is not None and waiting.size > most:  # the node reads no such frame
                lost = TooLarge(
                    f"the request has {waiting.size} bytes, and {self.remote} takes frames of at most {most}: "
                    "split it. It had no effect"
                )
            else:
                lost = ConnectionLost(f"{reason}; the request may or may not have had effect")
            waiting.response.set_exception(lost)
        if self._deadline_timer is not None:
            self._deadline_timer.cancel()
        if self.on_close is not None:
            self.on_close(error)

    def _check_deadlines(self) -> None:
        """Fail the requests whose deadline has passed. One timer serves all, because one for each would cost more."""
        self._deadline_timer = None
        now = self._loop.time()
        running_s = self._time.look(now)
        for waiting in self._waiting.values():
            if waiting.deadline <= running_s and not waiting.response.done():
                waiting.response.set_exception(
                    OutcomeUnknown(
                        f"{self.remote} did not reply to {waiting.type_name} in time: it may or may not "
                        "have had effect"
                    )
                )
        if not self._waiting:
            return
        if self._liveness.is_dead(now):
            self.was_unresponsive = True
            limits = self._wire.limits
            after_s = limits.probe_after_s + limits.silent_after_s
            self._wire.abort(f"no sign of life from {self.remote} for {after_s:g} s")
        else:
            self._deadline_timer = self._loop.call_later(DEADLINE_CHECK_S, self._check_deadlines)


def _encode(type_name: str, request_id: str, fields: Fields) -> bytes:
    """The envelope of a request.

    Raises:
        LocalProtocolError: a value is not JSON, or the caller named an `id`.
    """
    if "id" in fields:
        raise LocalProtocolError("the field `id` is chosen by the connection: leave it out")
    try:
        data = to_json({type_name: {"id": request_id, **fields}}, inf_nan_mode="constants")
        if b"NaN" in data or b"Infinity" in data:
            json.dumps(fields, allow_nan=False)  # distinguishes a number from a text
    except (PydanticSerializationError, ValueError, TypeError) as error:
        raise LocalProtocolError(f"a {type_name} cannot be sent as JSON: {error}") from None
    return data


def _largest_frame(close_received: tuple[int, str] | None) -> int | None:
    """The size of the largest frame that a node takes, if it closed the connection because of a larger one."""
    code, reason = close_received or (0, "")
    limit = _FRAME_LIMIT.search(reason) if code == CloseCode.MESSAGE_TOO_BIG else None
    return None if limit is None else int(limit[1])


def _error_of(text: object, detail: object) -> QcoreError:
    """The error of an `Error` envelope."""
    code = scalars(detail).get("code")
    if code in _REFUSALS and isinstance(text, str):
        return from_wire(text, detail)
    return ErrorReply(text, detail)
