"""Durability order, carried out: a send waits until the write that it names is durable."""

from __future__ import annotations

import heapq

from qcore.replica.events import SendPeer

#: Sends that may wait for the disk. A follower's window of appends is far smaller.
MAX_HELD = 4096


class DurabilityGate:
    """Holds sends back until their `after` write is durable. Used by both hosts.

    Messages that wait for the same write leave in the order in which they came. One that waits for
    nothing does not queue behind one that does.
    """

    def __init__(self) -> None:
        self._durable = 0
        self._held: list[tuple[int, int, SendPeer]] = []
        self._sequence = 0
        #: Sends that were given up because too many waited.
        self.dropped = 0

    def __len__(self) -> int:
        """How many sends wait."""
        return len(self._held)

    def admit(self, send: SendPeer) -> bool:
        """True if the send may go now; else it is held, and `release` will return it.

        Beyond `MAX_HELD` it is lost instead, as any message may be: a disk that hangs must not gather the answers to
        every heartbeat of an hour. When it works again, the next heartbeat asks anew.
        """
        if send.after <= self._durable:
            return True
        if len(self._held) >= MAX_HELD:
            self.dropped += 1
            return False
        self._sequence += 1
        heapq.heappush(self._held, (send.after, self._sequence, send))
        return False

    def release(self, durable_write_id: int) -> list[SendPeer]:
        """Every write up to `durable_write_id` is durable: the sends that may go now, in order."""
        self._durable = max(self._durable, durable_write_id)
        released: list[SendPeer] = []
        while self._held and self._held[0][0] <= self._durable:
            released.append(heapq.heappop(self._held)[2])
        return released
