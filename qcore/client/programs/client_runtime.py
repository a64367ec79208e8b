"""`ClientRuntime`: what a client takes from the world that it runs in: connections and randomness.

The clock is that of the running event loop. A simulator gives a client another runtime; everything else
is the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Final, Protocol

from qcore.transport.address import Address
from qcore.transport.connection.client_connection import ClientConnection
from qcore.transport.limits import TransportLimits


class Connect(Protocol):
    """Opens a connection."""

    async def __call__(
        self, address: Address, *, timeout_s: float, limits: TransportLimits, admin: bool
    ) -> ClientConnection:
        """See `ClientConnection.connect`."""
        ...


@dataclass(slots=True, frozen=True)
class ClientRuntime:
    """The world that a client runs in.

    Attributes:
        connect: opens a connection to a node.
        new_rng: makes a generator, for pauses and the choice of nodes.
    """

    connect: Connect
    new_rng: Callable[[], Random]


#: Real connections. Every generator has another seed, so clients spread out.
REAL_RUNTIME: Final = ClientRuntime(ClientConnection.connect, Random)
