"""`ClientMemory`: counts the memory that the connections of clients hold, and bounds it for all of them together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from qcore.transport.limits import TransportLimits
from qcore.transport.server.handler import ServerStats

#: The part of `max_clients_bytes` that pushed messages may hold, as a divisor.
_PUSHED_PART: Final = 2


class MemoryHolder(Protocol):
    """A client's connection."""

    remote: str

    def held_bytes(self) -> int:
        """The memory that it holds, bytes."""
        ...

    def report_held_bytes(self) -> None:
        """Pass the memory that it holds to `ClientMemory.update`, if it is another amount than before."""

    def abort(self, reason: str) -> None:
        """Drop the connection."""


class ClientMemory:
    """What each client's connection has last reported to hold, and the sums.

    Args:
        limits: returns the limits.
        counts: the counters of the server.
    """

    def __init__(self, limits: Callable[[], TransportLimits], counts: ServerStats) -> None:
        self._limits = limits
        self._counts = counts
        self._held: dict[MemoryHolder, int] = {}
        self._held_bytes = 0
        #: Of the connections to which messages are pushed.
        self._pushed: dict[MemoryHolder, int] = {}
        self._pushed_bytes = 0

    def update(self, connection: MemoryHolder, held_bytes: int) -> None:
        """Note how much memory a client's connection holds."""
        self._held_bytes += held_bytes - self._held.get(connection, 0)
        self._held[connection] = held_bytes
        if connection in self._pushed:
            self._pushed_bytes += held_bytes - self._pushed[connection]
            self._pushed[connection] = held_bytes
        if self._held_bytes > self._limits().max_clients_bytes:
            self._shed()

    def may_push(self, connection: MemoryHolder, waiting: int) -> bool:
        """Whether so many bytes may wait for a connection, the last of them pushed.

        A connection may hold as much as is left of the part for all pushed messages. So the connections that hold most
        reach their limit first, and there is always room for those that read.
        """
        if connection not in self._pushed:
            held = self._pushed[connection] = self._held.get(connection, 0)
            self._pushed_bytes += held
        limit = self._limits().max_clients_bytes // _PUSHED_PART
        if waiting > limit - self._pushed_bytes:
            for each in [*self._pushed]:  # some may have been read since their last report
                each.report_held_bytes()
        return waiting <= limit - self._pushed_bytes

    def forget(self, connection: MemoryHolder) -> None:
        """The connection is no longer a client's, or has ended."""
        self._held_bytes -= self._held.pop(connection, 0)
        self._pushed_bytes -= self._pushed.pop(connection, 0)

    def _shed(self) -> None:
        """Drop the connections that hold the most memory, until the rest is within the limit."""
        limit = self._limits().max_clients_bytes
        held = {each: each.held_bytes() for each in self._held}
        total = sum(held.values())
        for heaviest in sorted(held, key=held.__getitem__, reverse=True):
            if total <= limit:
                break
            total -= held[heaviest]
            self._counts.connections_refused += 1
            heaviest.abort(
                f"{heaviest.remote} holds {held[heaviest]} bytes in unread responses and unfinished messages, the "
                f"most of all clients; the limit for all of them together is {limit}"
            )
            held[heaviest] = 0
        self._held, self._held_bytes = held, total
