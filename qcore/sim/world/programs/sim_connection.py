"""The client's end of a simulated connection: `SimWire` in the place of a WebSocket connection, and what is above it.

`ClientConnection` is the real one: it numbers requests, matches responses, notices silence and keeps deadlines.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from typing import Final, Protocol, cast

from pydantic import JsonValue
from pydantic_core import from_json

from qcore.errors import TransportError
from qcore.sim.world.network import Link, Network
from qcore.sim.world.programs.frames import (
    ClientFrame,
    Close,
    Envelope,
    FromNode,
    NodeFrame,
    Open,
    Opened,
    Ping,
    Requests,
    Reset,
    Service,
    ToNode,
)
from qcore.transport.address import Address
from qcore.transport.connection.client_connection import ClientConnection, Fields
from qcore.transport.connection.client_wire import WireOwner
from qcore.transport.limits import TransportLimits

#: The key under which a response carries its `Service` up to `SimConnection`. No message has such a field.
SERVICE: Final = "\0service"


class ServedOperation(Protocol):
    """The operation of the client that a request belongs to."""

    def served(self, message: str, service: Service) -> None:
        """A node has answered a message of this name."""
        ...

    def name_of(self, message: str) -> tuple[int, int] | None:
        """Client and number of the operation, if this message carries it; None for messages about sessions."""
        ...


#: The operation that the current task performs; None if it performs none.
CURRENT_OPERATION: Final[ContextVar[ServedOperation | None]] = ContextVar("operation", default=None)


class SimConnection(ClientConnection):
    """A `ClientConnection` that reports to the operation who served its request."""

    async def request(
        self,
        type_name: str,
        fields: Fields | None = None,
        *,
        timeout_s: float = 10.0,
        traceparent: str = "",
    ) -> dict[str, JsonValue]:
        """See `ClientConnection.request`."""
        content = await super().request(type_name, fields, timeout_s=timeout_s)
        service = cast("Service | None", content.pop(SERVICE, None))
        operation = CURRENT_OPERATION.get()
        if service is not None and operation is not None:
            operation.served(type_name, service)
        return content

    def _send_later(self, request_id: str, data: bytes) -> None:
        """See `ClientConnection`. The node learns of which operation the request is, for the trace."""
        operation = CURRENT_OPERATION.get()
        if operation is not None and isinstance(self._wire, SimWire):
            name = operation.name_of(self._waiting[request_id].type_name)
            if name is not None:
                self._wire.operations[request_id] = name
        super()._send_later(request_id, data)


class SimWire:
    """The frames of one connection to a simulated node; see `qcore.transport.connection.client_connection.ClientWire`.

    Args:
        address: the node's address.
        number: the number of the connection, which no other connection of the client has.
        link: from the client to the node.
        limits: when a silent node is pinged, and when it counts as dead.
        forget: called when the connection has ended.

    Attributes:
        owner: gets the envelopes, and the end.
        operations: the operations of the requests that are sent next, by the ids of their messages.
        opened: done once the node has accepted the connection.
        ended: done once the connection has ended.
    """

    def __init__(
        self,
        address: Address,
        number: int,
        link: Link,
        network: Network,
        limits: TransportLimits,
        forget: Callable[[int], None],
    ) -> None:
        self.owner: WireOwner | None = None
        self.operations: dict[str, tuple[int, int]] = {}
        self._loop = asyncio.get_running_loop()
        self.opened: asyncio.Future[None] = self._loop.create_future()
        self.ended: asyncio.Future[TransportError | None] = self._loop.create_future()
        self._address = address
        self._number = number
        self._link = link
        self._network = network
        self._limits = limits
        self._forget = forget
        self._sent = 0
        self._received = 0
        self._over = False
        self._heard_at = self._loop.time()
        self._life_timer = self._loop.call_later(limits.ping_interval_s, self._check_life)

    # -- what `ClientConnection` needs ---------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        """Whether frames can be sent."""
        return not self._over and self.opened.done()

    @property
    def remote(self) -> str:
        """The address of the node."""
        return str(self._address)

    @property
    def limits(self) -> TransportLimits:
        """See the class."""
        return self._limits

    @property
    def close_received(self) -> tuple[int, str] | None:
        """None: simulated nodes close no idle connection."""
        return None

    @property
    def last_received(self) -> float:
        """When the last message arrived, simulated seconds."""
        return self._heard_at

    def unsent_bytes(self) -> int:
        """0: the link takes everything."""
        return 0

    def unacknowledged_bytes(self) -> int:
        """0: see `unsent_bytes`."""
        return 0

    def ping(self) -> None:
        """Send a ping."""
        self._send(Ping())

    def send_together(self, envelopes: Iterable[bytes]) -> None:
        """Send envelopes in one message."""
        together = tuple(envelopes)
        if together:
            operations, self.operations = self.operations, {}
            self._send(Requests(together, operations))

    def close(self) -> None:
        """Close the connection."""
        self._end(None)

    def abort(self, reason: str) -> None:
        """Drop the connection."""
        self._end(TransportError(reason))

    # -- messages ------------------------------------------------------------------------------------

    def open(self, *, admin: bool) -> None:
        """Ask the node to accept the connection."""
        self._send(Open(admin))

    def receive(self, frame: NodeFrame) -> None:
        """Receive a message of the node."""
        content = frame.content
        if isinstance(content, Reset):
            self._end(TransportError(self._why_reset()), notify=False)
        elif frame.number <= self._received:
            return  # a copy
        elif frame.number > self._received + 1:
            self.abort(f"the connection to {self.remote} is broken: the network lost a message")
        else:
            self._received += 1
            self._heard_at = self._loop.time()
            self._take(content)

    def _take(self, content: FromNode) -> None:
        if isinstance(content, Opened):
            if not self.opened.done():
                self.opened.set_result(None)
        elif isinstance(content, Close):
            self._end(None, notify=False)
        elif isinstance(content, Envelope) and self.owner is not None:
            envelope = from_json(content.data)
            if content.service is not None:
                ((_, body),) = envelope.items()
                body[SERVICE] = content.service
            self.owner.received(envelope)

    def _why_reset(self) -> str:
        if self.opened.done():
            return f"{self.remote} closed the connection"
        return f"cannot connect to {self.remote}: connection refused"

    def _send(self, content: ToNode) -> None:
        if not self._over:
            self._sent += 1
            frame = ClientFrame(self._number, self._sent, content)
            self._network.send(self._link, frame, "")

    def _check_life(self) -> None:
        """Ping a node that was silent for long, and leave it if it does not answer; as a real connection does."""
        silent_s = self._loop.time() - self._heard_at
        if silent_s >= self._limits.dead_after_s:
            self.abort(f"no sign of life from {self.remote} for {silent_s:.3g} s")
            return
        if silent_s >= self._limits.ping_interval_s:
            self.ping()
        self._life_timer = self._loop.call_later(self._limits.ping_interval_s, self._check_life)

    # -- the end -------------------------------------------------------------------------------------

    def process_died(self) -> None:
        """Close the connection as the system does for a dead process. The client does not learn of it."""
        self._send(Close())
        self._over = True

    def _end(self, error: TransportError | None, *, notify: bool = True) -> None:
        if self._over:
            return
        if notify:
            self._send(Close())
        self._over = True
        self._life_timer.cancel()
        self._forget(self._number)
        self._loop.call_soon(self._report_end, error)

    def _report_end(self, error: TransportError | None) -> None:
        if not self.opened.done():
            self.opened.set_exception(error or TransportError(f"{self.remote} hung up"))
            self.opened.exception()  # mark it as retrieved: the caller may have stopped waiting
        self.ended.set_result(error)
        if self.owner is not None:
            self.owner.ended(error)
