"""Tells a node that is slow from one that is dead, while somebody waits for its reply."""

from __future__ import annotations

from typing import Final, Protocol

from qcore.transport.connection.running_time import STALL_THRESHOLD_S

#: Fewer bytes than this are taken by the other machine's kernel even if nobody reads them: no sign of life.
_MUCH_UNACKNOWLEDGED: Final = 64 * 1024


class MonitoredConnection(Protocol):
    """What is watched: a connection."""

    @property
    def last_received(self) -> float:
        """When the last bytes came, by the loop's clock."""
        ...

    def unacknowledged_bytes(self) -> int:
        """Sent and not acknowledged by the other machine."""
        ...

    def ping(self) -> None:
        """Ask for a sign of life."""
        ...


class Liveness:
    """Judges one connection. A node that works on a request for long still answers a ping at once.

    A sign of life is any byte received. Another one is that the other machine goes on to take what is much: behind a
    large request on a slow line a ping waits for its turn. Times during which this process stood still do not count.

    Args:
        line: the connection.
        probe_after_s: silence after which it is pinged.
        silent_after_s: silence after the ping that proves it dead.
    """

    def __init__(
        self, line: MonitoredConnection, probe_after_s: float, silent_after_s: float
    ) -> None:
        self._line = line
        self._probe_after_s = probe_after_s
        self._silent_after_s = silent_after_s
        self._looked_at = 0.0
        self._counts_from = 0.0
        self._unacknowledged = 0
        self._pinged = False

    def begin(self, now: float) -> None:
        """Somebody begins to wait, and nobody did before."""
        self._looked_at = self._counts_from = now
        self._unacknowledged = 0
        self._pinged = False

    def is_dead(self, now: float) -> bool:
        """Look, every few milliseconds while somebody waits; pings when it is time for that."""
        line = self._line
        late, self._looked_at = now - self._looked_at > STALL_THRESHOLD_S, now
        if late or line.last_received >= self._counts_from:
            self._counts_from = now if late else line.last_received
            self._pinged = False
        silent_s = now - self._counts_from
        if silent_s < self._probe_after_s and not self._pinged:
            return False
        unacknowledged = line.unacknowledged_bytes()
        if _MUCH_UNACKNOWLEDGED <= unacknowledged < self._unacknowledged:
            self._counts_from = now
            silent_s = 0.0
        self._unacknowledged = unacknowledged
        if not self._pinged:
            self._pinged = True
            self._counts_from = now
            line.ping()
            self._unacknowledged = line.unacknowledged_bytes()
            return False
        return silent_s >= self._silent_after_s
