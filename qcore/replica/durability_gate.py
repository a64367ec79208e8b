"""The durability gate: holds each message until the write that it names is durable."""

from __future__ import annotations

from typing import Final

from qcore.core.effects import Send

#: The most messages that wait for the disk. A follower's inflight window is far smaller.
MAX_HELD: Final = 4096


class DurabilityGate:
    """Holds messages until their `after` write is durable. Both drivers use it.

    Messages that wait for the same write leave in the order in which they arrived. A message that waits for no write
    does not queue behind one that does.
    """

    def __init__(self) -> None:
        self._durable = 0
        self._held: list[Send] = []  # by the write that they wait for, then as they came
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
        held = self._held
        place = len(
            held
        )  # nearly always the place: a core names writes in the order in which it makes them
        while place and held[place - 1].after > send.after:
            place -= 1
        if place == len(held):
            held.append(send)
        else:
            held.insert(place, send)
        return False

    def release(self, durable_write_id: int) -> list[Send]:
        """Every write up to `durable_write_id` is durable: return the messages that may leave now, in order."""
        self._durable = max(self._durable, durable_write_id)
        held = self._held
        count = 0
        while count < len(held) and held[count].after <= self._durable:
            count += 1
        if count == len(held):
            self._held = []
            return held
        released = held[:count]
        del held[:count]
        return released
