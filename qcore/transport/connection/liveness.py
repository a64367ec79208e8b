"""`Liveness`: distinguishes a slow node from a dead one while requests wait for its responses."""

from __future__ import annotations

from typing import Final, Protocol

from qcore.transport.connection.running_time import STALL_THRESHOLD_S

#: The other machine's kernel accepts fewer bytes than this even if no process reads them: no sign of life.
_MUCH_UNACKNOWLEDGED: Final = 64 * 1024


class MonitoredConnection(Protocol):
    """What `Liveness` needs of the connection that it watches."""

    @property
    def last_received(self) -> float:
        """When the last bytes arrived, by the event loop's clock."""
        ...

    def unacknowledged_bytes(self) -> int:
        """Bytes sent and not acknowledged by the other machine."""
        ...

    def ping(self) -> None:
        """Send a ping."""
        ...


class Liveness:
    """Watches one connection. Even a node that works long on a request answers a ping immediately.

    Every received byte is a sign of life. So are acknowledgements of a large amount of data by the other machine,
    because on a slow network a ping waits behind a large request. Pauses of this process do not count as silence.

    Args:
        connection: what to watch.
        probe_after_s: silence after which the node is pinged.
        silent_after_s: silence after the ping, after which the node counts as dead.
    """

    def __init__(
        self, connection: MonitoredConnection, probe_after_s: float, silent_after_s: float
    ) -> None:
        self._connection = connection
        self._probe_after_s = probe_after_s
        self._silent_after_s = silent_after_s
        self._looked_at = 0.0
        self._counts_from = 0.0
        self._unacknowledged = 0
        self._pinged = False

    def begin(self, now: float) -> None:
        """The first request begins to wait."""
        self._looked_at = self._counts_from = now
        self._unacknowledged = 0
        self._pinged = False

    def is_dead(self, now: float) -> bool:
        """Whether the node is dead; pings it when due. Call it every few milliseconds while a request waits."""
        connection = self._connection
        late, self._looked_at = now - self._looked_at > STALL_THRESHOLD_S, now
        if late or connection.last_received >= self._counts_from:
            self._counts_from = now if late else connection.last_received
            self._pinged = False
        silent_s = now - self._counts_from
        if silent_s < self._probe_after_s and not self._pinged:
            return False
        unacknowledged = connection.unacknowledged_bytes()
        if _MUCH_UNACKNOWLEDGED <= unacknowledged < self._unacknowledged:
            self._counts_from = now
            silent_s = 0.0
        self._unacknowledged = unacknowledged
        if not self._pinged:
            self._pinged = True
            self._counts_from = now
            connection.ping()
            self._unacknowledged = connection.unacknowledged_bytes()
            return False
        return silent_s >= self._silent_after_s
