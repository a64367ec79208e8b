"""One persistent outgoing connection to each peer."""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
from collections.abc import Callable, Mapping
from typing import Protocol

from qcore.errors import LocalProtocolError
from qcore.transport.codec.codec import Codec
from qcore.transport.limits import TransportLimits
from qcore.transport.peers.peer_link import PeerConnector, PeerState
from qcore.transport.wire import Hello, HelloReply, PeerRequest

logger = logging.getLogger("qcore.transport")


class PeerHandler(Protocol):
    """What a `PeerPool` calls, on the event loop. Must be quick."""

    def on_peer_message(self, peer_id: int, message: object) -> None:
        """A message came back on the connection to `peer_id` (a response, as a rule)."""

    def on_unreachable(self, peer_id: int) -> None:
        """The peer cannot be reached; once, until it was connected again."""

    def on_connected(self, peer_id: int) -> None:
        """`Hello` was said and answered: messages go through."""


class PeerPool:
    """Keeps a connection to every peer and sends to them without ever waiting.

    Args:
        codec: the messages understood.
        handler: who gets what comes back.
        hello: makes the `Hello` of this node with the given id; called for each connection.
        rng: for the jitter.
        limits: times and sizes.
    """

    def __init__(
        self,
        codec: Codec,
        handler: PeerHandler,
        hello: Callable[[str], Hello],
        rng: random.Random,
        limits: TransportLimits | None = None,
    ) -> None:
        self.codec = codec
        self.handler = handler
        self.hello = hello
        self.rng = rng
        self.limits = limits or TransportLimits()
        #: Looks at who answered our `Hello`; raises `RemoteProtocolError` to have nothing to do with it.
        self.check_reply: Callable[[HelloReply], None] = lambda reply: None
        self._connectors: dict[int, PeerConnector] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._ids = itertools.count(1)

    def set_peers(self, peers: Mapping[int, str]) -> None:
        """Connect to these (id -> `host:port`), and drop those not named. Needs a running loop."""
        for peer_id in [*self._connectors]:
            if self._connectors[peer_id].address != peers.get(peer_id):
                self._end(self._connectors.pop(peer_id))
        for peer_id, address in peers.items():
            if peer_id not in self._connectors:
                self._connectors[peer_id] = PeerConnector(self, peer_id, address)

    def send(self, peer_id: int, message: PeerRequest) -> bool:
        """Queue a message; False if it was dropped: not connected, unknown peer, or a full queue.

        A lost message is normal for Raft. `on_unreachable` was or will be called, unless the queue is
        full or the message cannot be sent at all (which is logged).
        """
        connector = self._connectors.get(peer_id)
        if connector is None:
            return False
        if not connector.connected:
            connector.dropped += 1  # before the cost of encoding
            return False
        try:
            return connector.try_send(self.codec.encode(message))
        except LocalProtocolError as error:
            connector.dropped += 1
            connector.last_error = str(error)
            logger.error("a message to node %d was dropped: %s", peer_id, error)
            return False

    def wake(self, peer_id: int) -> None:
        """Try now if waiting to reconnect: the peer has shown that it lives."""
        connector = self._connectors.get(peer_id)
        if connector is not None:
            connector.wake()

    def next_id(self) -> str:
        """A fresh message id, unique within this pool."""
        return str(next(self._ids))

    def peer_states(self) -> list[PeerState]:
        """By peer id."""
        return [self._connectors[peer_id].state() for peer_id in sorted(self._connectors)]

    async def close(self) -> None:
        """Close every connection and stop connecting."""
        for connector in self._connectors.values():
            self._end(connector)
        self._connectors.clear()
        if self._ending:
            await asyncio.wait(self._ending)

    def _end(self, connector: PeerConnector) -> None:
        connector.stop()
        # Kept until it is done: the event loop itself holds tasks weakly.
        self._ending.add(connector.task)
        connector.task.add_done_callback(self._ending.discard)


__all__ = ["PeerHandler", "PeerPool", "PeerState"]
