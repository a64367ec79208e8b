"""The durability gate: holds each message until the write that it names is durable."""

from __future__ import annotations

import heapq

from qcore.core.effects import Send

#: The most messages that wait for the disk. A follower's inflight window is far smaller.
MAX_HELD = 4096


class DurabilityGate:
    """Holds messages until their `after` write is durable. Both drivers use it.

    Messages that wait for the same write leave in the order in which they arrived. A message that waits for no write
    does not queue behind one that does.
    """

    def __init__(self) -> None:
        self._durable = 0
        self._held: list[tuple[int, int, Send]] = []
        self._sequence = 0
        #: Messages that were lost because too many waited.
        self.dropped = 0

    def __len__(self) -> int:
        """How many messages wait."""
        return len(self._held)

    def admit(self, send: Send) -> bool:
        """True if the message may leave now. Otherwise it is held, and `release` will return it.

        Beyond `MAX_HELD` it is lost, as any message may be. So while a disk hangs, responses to heartbeats do not pile
        up. Once the disk works again, the next heartbeat gets a response.
        """
        if send.after <= self._durable:
            return True
        if len(self._held) >= MAX_HELD:
            self.dropped += 1
            return False
        self._sequence += 1
        heapq.heappush(self._held, (send.after, self._sequence, send))
        return False

    def release(self, durable_write_id: int) -> list[Send]:
        """Every write up to `durable_write_id` is durable: return the messages that may leave now, in order."""
        self._durable = max(self._durable, durable_write_id)
        released: list[Send] = []
        while self._held and self._held[0][0] <= self._durable:
            released.append(heapq.heappop(self._held)[2])
        return released
