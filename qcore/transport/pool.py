"""One persistent outgoing connection to each peer."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from qcore.transport.codec import Codec
from qcore.transport.limits import TransportLimits
from qcore.transport.wire import Hello, PeerRequest


@dataclass(slots=True, frozen=True)
class PeerState:
    """How the connection to one peer stands.

    Attributes:
        peer_id: the peer's node id.
        address: its `host:port`.
        connected: `Hello` was said and answered.
        last_error: why the last attempt or connection ended, or None.
        retry_in_s: pause before the next attempt, or None while connected or connecting.
        queued_bytes: handed to the connection and not yet taken by the socket.
        sent, received, dropped: messages since the peer was added.
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
        raise NotImplementedError

    def set_peers(self, peers: Mapping[int, str]) -> None:
        """Connect to these (id -> `host:port`), and drop those not named. Needs a running loop."""
        raise NotImplementedError

    def send(self, peer_id: int, message: PeerRequest) -> bool:
        """Queue a message; False if it was dropped: not connected, unknown peer, or a full queue.

        A lost message is normal for Raft. `on_unreachable` was or will be called.
        """
        raise NotImplementedError

    def wake(self, peer_id: int) -> None:
        """Try now if waiting to reconnect: the peer has shown that it lives."""
        raise NotImplementedError

    def next_id(self) -> str:
        """A fresh message id, unique within this pool."""
        raise NotImplementedError

    def peer_states(self) -> list[PeerState]:
        """By peer id."""
        raise NotImplementedError

    async def close(self) -> None:
        """Close every connection and stop connecting."""
        raise NotImplementedError
