"""`PeerPool`: all peer connectors of a node, and sending through them."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable, Mapping, Sequence
from ssl import SSLContext

from qcore.runtime.interface import Runtime
from qcore.transport.codec.codec import Codec
from qcore.transport.connection.held_sends import HeldSends
from qcore.transport.limits import TransportLimits
from qcore.transport.peers.peer_connector import PeerConnector, PeerContext, PeerHandler, PeerState
from qcore.transport.wire import Hello, PeerRequest


class PeerPool:
    """Keeps a connection to every peer, and sends messages without waiting.

    Args:
        codec, handler, hello, rng, limits, held, runtime, tls: see `PeerContext`. Without `held` nothing is held back.
    """

    def __init__(
        self,
        codec: Codec,
        handler: PeerHandler,
        hello: Callable[[str], Hello],
        rng: random.Random,
        limits: TransportLimits | None = None,
        held: HeldSends | None = None,
        *,
        runtime: Runtime,
        tls: SSLContext | None = None,
    ) -> None:
        #: A new message id, unique within this pool.
        self.next_id: Callable[[], str] = map(str, itertools.count(1)).__next__
        self._context = PeerContext(
            codec,
            handler,
            hello,
            rng,
            limits or TransportLimits(),
            self.next_id,
            runtime,
            held or HeldSends(),
            tls,
        )
        self._connectors: dict[int, PeerConnector] = {}
        #: As an ordered set.
        self._ending: dict[asyncio.Task[None], None] = {}

    def set_peers(self, peers: Mapping[int, str | Sequence[str]]) -> None:
        """Connect to these peers, and drop all others. Needs a running event loop.

        Args:
            peers: by id, `host:port`; or several, in the order in which they are tried. An open connection to one of
                them stays.
        """
        wanted = {
            peer_id: (given,) if isinstance(given, str) else tuple(given)
            for peer_id, given in peers.items()
        }
        for peer_id, connector in [*self._connectors.items()]:
            addresses = wanted.get(peer_id, ())
            if connector.connected and connector.address in addresses:
                connector.addresses = addresses
            elif connector.addresses != addresses:
                self._end(self._connectors.pop(peer_id))
        for peer_id, addresses in wanted.items():
            if peer_id not in self._connectors:
                self._connectors[peer_id] = PeerConnector(self._context, peer_id, addresses)

    def send(self, peer_id: int, message: PeerRequest) -> bool:
        """Queue a message; returns False if it is dropped: unknown peer, no connection, or a full queue.

        Raft tolerates lost messages. The handler learns of a missing connection by `on_unreachable`. A message that can
        never be sent, for example because it is too large, is logged.
        """
        connector = self._connectors.get(peer_id)
        return connector is not None and connector.send(message)

    def wake(self, peer_id: int) -> None:
        """End the pause before the next attempt to connect, because the peer has shown that it is alive."""
        connector = self._connectors.get(peer_id)
        if connector is not None:
            connector.wake()

    def peer_states(self) -> list[PeerState]:
        """The states of all peers, ordered by peer id."""
        return [self._connectors[peer_id].state() for peer_id in sorted(self._connectors)]

    async def close(self) -> None:
        """Close all connections and stop connecting."""
        for connector in self._connectors.values():
            self._end(connector)
        self._connectors.clear()
        if self._ending:
            await asyncio.wait(self._ending)

    def _end(self, connector: PeerConnector) -> None:
        connector.stop()
        # Keep the task until it is done, because the event loop holds tasks only weakly.
        self._ending[connector.task] = None
        connector.task.add_done_callback(self._ending.pop)


__all__ = ["PeerHandler", "PeerPool", "PeerState"]
