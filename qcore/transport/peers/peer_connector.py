"""`PeerConnector`: keeps one connection to a peer open, and reconnects when it is lost."""

from __future__ import annotations

import asyncio
import logging
import random
from asyncio import FIRST_COMPLETED
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ssl import SSLContext
from typing import Any, Final, Protocol

from qcore.compiled_build import register_copies
from qcore.display import MAX_SENTENCE_CHARS, truncate
from qcore.errors import (
    ConfigError,
    HelloRejected,
    LocalProtocolError,
    RemoteProtocolError,
    TransportError,
)
from qcore.runtime.interface import Runtime
from qcore.transport.address import Address
from qcore.transport.codec.codec import Codec, Malformed
from qcore.transport.connection.held_sends import HeldSends
from qcore.transport.connection.outgoing import PEER, OutgoingConnection, open_connection
from qcore.transport.limits import TransportLimits
from qcore.transport.wire import (
    PEER_REQUESTS,
    PROTOCOL_VERSION,
    Err,
    Error,
    Hello,
    HelloProof,
    HelloProofResponse,
    HelloReply,
    HelloResponse,
    Ok,
    PeerRequest,
)

logger = logging.getLogger("qcore.transport")

_POLICY_VIOLATION = 1008

#: Part of the error about an address at which another node listens than expected.
WRONG_NODE_HINT: Final = "check the addresses of the members"

#: The messages that a peer may send only on a connection that it opened.
_NOT_FOR_US = (Hello, *PEER_REQUESTS)


class PeerHandler(Protocol):
    """What a `PeerPool` calls on the event loop. Every method must be quick.

    Attributes:
        responses: by class, handlers of the messages that arrive on a connection to a peer. They get the peer's id. A
            message of another class is ignored. `Any`: each handler takes the class that it is listed under.
    """

    responses: dict[type, Callable[[int, Any], None]]

    def prove(self, hello: Hello, reply: HelloReply) -> HelloProof | None:
        """The expected node has answered our `Hello`. Returns our proof if it asks for one; the id is not set.

        Raises:
            RemoteProtocolError: to reject the peer; the connection is closed.
        """

    def on_hello_reply(self, reply: HelloReply) -> None:
        """The peer has accepted our `Hello`, and our proof.

        Raises:
            RemoteProtocolError: to reject the peer; the connection is closed.
        """

    def on_unreachable(self, peer_id: int) -> None:
        """The peer cannot be reached. Called once, and again only after a connection in between."""

    def on_connected(self, peer_id: int) -> None:
        """The peer has accepted our `Hello`, so messages can be sent."""


@dataclass(frozen=True)
class PeerContext:
    """What all connectors of a pool share.

    Attributes:
        codec: the messages that the connections understand.
        handler: handles messages and changes of the connections.
        hello: makes the `Hello` of this node with the given id; called for each connection.
        rng: for the jitter of pauses.
        limits: times and sizes of connections.
        next_id: a new message id, unique within the pool.
        runtime: the world that the node runs in.
        held: holds back what is sent during a step of the node.
        tls: makes the connections TLS connections.
    """

    codec: Codec
    handler: PeerHandler
    hello: Callable[[str], Hello]
    rng: random.Random
    limits: TransportLimits
    next_id: Callable[[], str]
    runtime: Runtime
    held: HeldSends
    tls: SSLContext | None = None


@dataclass(frozen=True)
class PeerState:
    """The state of the connection to one peer.

    Attributes:
        peer_id: the peer's node id.
        address: the `host:port` of the connection or of the last attempt.
        connected: whether the peer has accepted our `Hello`.
        last_error: why the last attempt or connection ended, or None.
        retry_in_s: pause before the next attempt, or None while connected or connecting.
        queued_bytes: bytes sent and not yet accepted by the operating system.
        sent, received, dropped: numbers of messages since the peer was added.
        refused: whether the last attempt reached a node, and one of the two nodes rejected the other.
    """

    peer_id: int
    address: str
    connected: bool
    last_error: str | None
    retry_in_s: float | None
    queued_bytes: int
    sent: int
    received: int
    dropped: int
    refused: bool = False


class PeerConnection(OutgoingConnection):
    """One connection of a connector, from the attempt to its end."""

    def __init__(self, connector: PeerConnector, address: Address) -> None:
        context = connector.context
        super().__init__(address, context.limits, PEER, context.runtime)
        self._held = context.held
        self.answer: asyncio.Future[HelloResponse | HelloProofResponse] = self._loop.create_future()
        self._connector, self._codec = connector, context.codec

    def _frame_received(self, data: bytes | bytearray, is_text: bool) -> None:
        if not is_text:
            logger.warning("node %d sent a binary frame: ignored", self._connector.peer_id)
            return
        for message in self._codec.decode(data, from_peer=True):
            if not self._open:
                return
            if self.answer.done():
                self._connector.received_message(message)
            elif isinstance(message, HelloResponse | HelloProofResponse):
                self.answer.set_result(message)
            elif isinstance(message, Error):
                self.answer.set_result(HelloResponse(message.id, Err(message.error)))
            else:
                self._connector.received_message(message)

    def ask(self, message: Hello | HelloProof) -> None:
        """Send a message of the handshake; `answer` gets the response."""
        if self.answer.done():
            self.answer = self._loop.create_future()
        self.send_encoded(self._codec.encode(message))

    def try_send(self, envelope: bytes) -> bool:
        """Queue an envelope if the connection is open and its queue is not full. Returns whether it is queued.

        Raises:
            qcore.errors.LocalProtocolError: the envelope is too large for a frame.
        """
        if (
            not self._open
            or len(self._queue) >= self._limits.max_peer_queue_messages
            or self.unsent_bytes() + len(envelope) > self._limits.max_queue_bytes
        ):
            return False
        self.send_encoded(envelope)
        return True

    def _closed(self, error: TransportError | None) -> None:
        super()._closed(error)
        self.answer.cancel()


class PeerConnector:
    """Keeps one peer connected until it is stopped.

    Args:
        context: what all connectors share.
        peer_id: the peer's node id.
        addresses: `host:port`, at least one. They are tried in this order, without a pause in between.

    Attributes:
        addresses: see above. While the connection is open they may be replaced by others that include its address.
        address: the one that was tried last; of the connection, if there is one.
        task: runs as long as the connector does.
    """

    def __init__(self, context: PeerContext, peer_id: int, addresses: Sequence[str]) -> None:
        self.context = context
        self.peer_id = peer_id
        self.addresses = tuple(addresses)
        self.address = self.addresses[0]
        self.sent = 0
        self.received = 0
        self.dropped = 0
        self.last_error: str | None = None
        self._connection: PeerConnection | None = None
        self._codec, self._responses = context.codec, context.handler.responses
        self._refused = self._served = False
        self._reported_unreachable = False
        self._stopped = False
        self._retry_in_s: float | None = None
        self._wake = asyncio.Event()
        self.task = asyncio.get_running_loop().create_task(
            self._run(), name=f"qcore peer {peer_id} at {self.address}"
        )
        self.task.add_done_callback(self._ended)

    # --- sending and receiving --------------------------------------------------------------------

    def send(self, message: PeerRequest) -> bool:
        """Queue a message if there is a connection and its queue is not full. Returns whether it is queued."""
        connection = self._connection
        if connection is None:
            self.dropped += 1  # checked first, which saves encoding the message
            return False
        try:
            queued = connection.try_send(self._codec.encode(message))
        except LocalProtocolError as error:
            self.last_error = str(error)
            logger.error("a message to node %d was dropped: %s", self.peer_id, error)
            queued = False
        if queued:
            self.sent += 1
        else:
            self.dropped += 1
        return queued

    def received_message(self, message: object) -> None:
        """Handle a message that arrived on the connection."""
        handle = self._responses.get(type(message))
        if handle is None:
            self._note_other(message)
        elif self._connection is not None:
            self.received += 1
            try:
                handle(self.peer_id, message)
            except Exception:  # boundary to the handler: a bug in it must not stop the connector
                logger.exception("handling a message of node %d failed", self.peer_id)

    def _note_other(self, message: object) -> None:
        """Log a message that the handler does not take, if it shows a mistake."""
        if isinstance(message, Malformed):
            logger.warning("node %d sent an invalid message: %s", self.peer_id, message.reply.error)
        elif isinstance(message, _NOT_FOR_US):
            logger.warning(
                "node %d sent a %s on our connection: ignored", self.peer_id, type(message).__name__
            )
        elif self._connection is not None:
            self.received += 1
            if isinstance(message, Error):
                logger.warning(
                    "node %d did not understand a message: %s", self.peer_id, message.error
                )

    def state(self) -> PeerState:
        """The state of the connection, for the metrics."""
        connection = self._connection
        return PeerState(
            peer_id=self.peer_id,
            address=self.address,
            connected=self.connected,
            last_error=self.last_error,
            retry_in_s=self._retry_in_s,
            queued_bytes=0 if connection is None else connection.unsent_bytes(),
            sent=self.sent,
            received=self.received,
            dropped=self.dropped,
            refused=self._refused and not self.connected,
        )

    @property
    def connected(self) -> bool:
        """Whether there is an open connection on which the peer has accepted our `Hello`."""
        return self._connection is not None

    # --- life -------------------------------------------------------------------------------------

    def wake(self) -> None:
        """End the pause before the next attempt."""
        self._wake.set()

    def stop(self) -> None:
        """Close the connection and end the task. After this the handler is no longer called."""
        self._stopped = True
        if self._connection is not None:
            self._connection.close()
        else:
            self.task.cancel()

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error(
                "the connection to node %d ended because of a bug", self.peer_id, exc_info=error
            )

    async def _run(self) -> None:
        limits = self.context.limits
        loop = asyncio.get_running_loop()
        backoff = limits.backoff_min_s
        while True:
            started = loop.time()
            errors = await self._try_addresses()
            # A rejection says more than a failure to connect.
            errors.sort(key=lambda error: isinstance(error, TransportError))
            refused = [each for each in errors if not isinstance(each, TransportError)]
            if errors:
                why = "; ".join(str(error) for error in errors)
                if why != self.last_error and not self._stopped:
                    logger.warning(
                        "node %d at %s: %s", self.peer_id, " or ".join(self.addresses), why
                    )
                self.last_error = why
            else:
                self.last_error = "closed by the peer"
            self._refused = bool(refused)
            if self._stopped:
                return
            self._report_unreachable()
            if loop.time() - started > limits.backoff_max_s:
                backoff = limits.backoff_min_s  # there was a connection, or the attempt took long
            all_refused = bool(refused) and len(refused) == len(errors)
            await self._pause(limits.refused_backoff_s if all_refused else backoff)
            backoff = min(2 * backoff, limits.backoff_max_s)

    async def _try_addresses(self) -> list[TransportError | HelloRejected | ConfigError]:
        """Connect to the first address at which the peer answers, and wait until the connection ends.

        Returns why each attempt failed, or why the connection ended; nothing if the peer closed it.
        """
        errors: list[TransportError | HelloRejected | ConfigError] = []
        for address in self.addresses:
            self.address, self._served = address, False
            try:
                await self._connect_and_serve()
                return []
            except (TransportError, HelloRejected, ConfigError) as error:
                if self._served or self._stopped:
                    return [error]
                errors.append(error)
        return errors

    async def _connect_and_serve(self) -> None:
        """Connect, exchange `Hello`, and wait until the connection ends.

        Raises:
            TransportError: the peer is not reachable, or the connection was lost.
            HelloRejected: one of the two nodes rejected the other.
            ConfigError: the address is not valid.
        """
        address = Address.parse(self.address)
        limits = self.context.limits
        connection = await open_connection(
            lambda: PeerConnection(self, address),
            address,
            limits.handshake_timeout_s,
            self.context.runtime,
            self.context.tls,
        )
        try:
            await self._exchange_hello(connection)
            logger.info("connected to node %d at %s", self.peer_id, self.address)
            self._connection, self._served = connection, True
            self._reported_unreachable = False
            self.last_error = None
            self.context.handler.on_connected(self.peer_id)
            error = await asyncio.shield(connection.ended)
            if error is not None:
                raise error
        finally:
            self._connection = None
            connection.close()

    async def _exchange_hello(self, connection: PeerConnection) -> None:
        hello = self.context.hello(self.context.next_id())
        answer = await self._answer(connection, hello)
        if not isinstance(answer, HelloResponse):
            raise HelloRejected(f"{self.address} answered Hello with another message")
        reply = self._checked(hello, answer)
        try:
            proof = self.context.handler.prove(hello, reply)
            if proof is not None:
                proof.id = self.context.next_id()
                self._check_accepted(await self._answer(connection, proof))
            self.context.handler.on_hello_reply(reply)
        except RemoteProtocolError as error:
            raise HelloRejected(str(error)) from None

    async def _answer(
        self, connection: PeerConnection, message: Hello | HelloProof
    ) -> HelloResponse | HelloProofResponse:
        """Send a message of the handshake, and await the response.

        Raises:
            TransportError: there was none.
            HelloRejected: the peer closed the connection because it rejects this node.
        """
        connection.ask(message)
        timeout_s = self.context.limits.hello_timeout_s
        waiting = (connection.answer, connection.ended)
        if not (await asyncio.wait(waiting, timeout=timeout_s, return_when=FIRST_COMPLETED))[0]:
            raise TransportError(f"{self.address} did not answer Hello within {timeout_s:g} s")
        if connection.answer.done() and not connection.answer.cancelled():
            return connection.answer.result()
        received = connection.close_received
        if received is not None and received[0] == _POLICY_VIOLATION:
            raise HelloRejected(f"refused by {self.address}: {received[1]}")
        error = connection.ended.result()
        raise error or TransportError(
            f"{self.address} closed the connection instead of answering Hello"
        )

    def _check_accepted(self, answer: HelloResponse | HelloProofResponse) -> None:
        if isinstance(answer.response, Err):
            raise HelloRejected(
                f"refused by {self.address}: {truncate(answer.response.text, MAX_SENTENCE_CHARS)}"
            )

    def _checked(self, hello: Hello, answer: HelloResponse) -> HelloReply:
        """Check that the expected node of this cluster answered; returns its reply.

        Raises:
            HelloRejected: another node answered, or it rejected this node.
        """
        self._check_accepted(answer)
        assert isinstance(answer.response, Ok), "an Err was refused"
        reply = answer.response.value
        if reply.protocol != PROTOCOL_VERSION:
            raise HelloRejected(
                f"{self.address} uses protocol {reply.protocol}, this node {PROTOCOL_VERSION}"
            )
        if reply.node_id != self.peer_id:
            raise HelloRejected(
                f"{self.address} is node {reply.node_id}, not node {self.peer_id}: {WRONG_NODE_HINT}"
            )
        if hello.cluster_id and reply.cluster_id and hello.cluster_id != reply.cluster_id:
            raise HelloRejected(
                f"node {self.peer_id} at {self.address} belongs to cluster {reply.cluster_id!r}, this "
                f"node to {hello.cluster_id!r}"
            )
        return reply

    def _report_unreachable(self) -> None:
        if not self._reported_unreachable:
            self._reported_unreachable = True
            self.context.handler.on_unreachable(self.peer_id)

    async def _pause(self, pause_s: float) -> None:
        """Wait for a random time between half of `pause_s` and all of it, or until `wake`."""
        self._retry_in_s = pause_s * self.context.rng.uniform(0.5, 1.0)
        self._wake.clear()
        try:
            async with asyncio.timeout(self._retry_in_s):
                await self._wake.wait()
        except TimeoutError:
            pass
        finally:
            self._retry_in_s = None


register_copies(globals())
