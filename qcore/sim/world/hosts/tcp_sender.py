"""`TcpSender`: one direction of a connection, at its sender: what waits, what is in flight, and when to repeat it.

It follows the TCP of Linux, simplified: RFC 6298 for the time after which it repeats, NewReno (RFC 6582) for the number
of bytes in flight, without selective acknowledgements. All times are in microseconds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from qcore.sim.world.hosts.segments import SEGMENT_BYTES

#: The bytes that the kernel accepts from a process and the other end has not acknowledged.
SEND_BUFFER_BYTES: Final = 256 * 1024

#: The first time after which something is repeated, and its bounds, as in Linux.
FIRST_RTO_US: Final = 1_000_000
_MIN_RTO_US: Final = 200_000
MAX_RTO_US: Final = 120_000_000
#: After so many repetitions without an acknowledgement, the connection is dead: of a SYN, and of data.
SYN_RETRIES: Final = 6
DATA_RETRIES: Final = 15
#: Bytes in flight at the beginning, and acknowledgements of the same byte that mean that the one after it is lost.
_FIRST_WINDOW: Final = 10 * SEGMENT_BYTES
_DUPLICATES: Final = 3
_UNLIMITED: Final = 1 << 60

#: Sends a part of the stream: its number, the bytes, and whether the stream ends after them.
EmitData = Callable[[int, bytes, bool], None]


class TcpSender:
    """Sends a stream.

    Args:
        first: the number of the SYN. The first byte has the next one.
        emit: sends a segment.

    Attributes:
        una: the lowest number that the other end has not acknowledged.
        next: the next number to send. After a loss it goes back.
        due_us: when something must be repeated; None if nothing waits for an acknowledgement.
        retries: repetitions since the last acknowledgement.
        repeated: all repetitions.
    """

    def __init__(self, first: int, emit: EmitData) -> None:
        self.una = first
        self.next = first + 1
        self.due_us: int | None = None
        self.retries = 0
        self.repeated = 0
        self._emit = emit
        self._buffer = bytearray()
        self._base = first + 1  # the number of the first byte of the buffer
        self._highest = first + 1  # what was sent at least once is below
        self._ends = False
        self._edge = 0  # the other end has room for what is below
        self._congestion = _FIRST_WINDOW
        self._threshold = _UNLIMITED
        self._duplicates = 0
        self._recover: int | None = None
        self._rto_us = FIRST_RTO_US
        self._smoothed_us = self._variation_us = 0
        self._timed: tuple[int, int] | None = (
            None  # the number after a segment, and when it was sent
        )

    # -- the process ----------------------------------------------------------------------------------

    @property
    def unacknowledged(self) -> int:
        """How many bytes the other end has not acknowledged, sent or not."""
        return len(self._buffer)

    @property
    def room(self) -> int:
        """How many bytes the kernel would accept."""
        return max(0, SEND_BUFFER_BYTES - len(self._buffer))

    @property
    def is_writable(self) -> bool:
        """Whether there is enough room to wake a process that waits for it."""
        return 3 * self.room >= SEND_BUFFER_BYTES

    @property
    def is_done(self) -> bool:
        """Whether the stream has ended and everything is acknowledged."""
        return self._ends and self.una > self._last

    @property
    def ends(self) -> bool:
        """Whether the process has ended the stream."""
        return self._ends

    @property
    def _last(self) -> int:
        """The number of the flag FIN, after all bytes."""
        return self._base + len(self._buffer)

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Accept bytes. Returns how many."""
        number = min(len(data), self.room)
        self._buffer += data[:number]
        return number

    def end(self) -> None:
        """End the stream after what was written."""
        self._ends = True

    # -- sending --------------------------------------------------------------------------------------

    @property
    def _waits(self) -> bool:
        """Whether something is not acknowledged or not sent."""
        return bool(self._buffer) or (self._ends and not self.is_done)

    def send(self, now_us: int) -> None:
        """Send what the windows allow."""
        end = self._last
        while self.next <= end:
            waiting = end - self.next
            room = min(self.una + self._congestion, self._edge) - self.next
            size = min(waiting, SEGMENT_BYTES, max(0, room))
            if size < min(waiting, SEGMENT_BYTES) and (size == 0 or self.next > self.una):
                break  # no room, or so little that a larger segment later is better
            with_end = self._ends and size == waiting
            if size == 0 and not with_end:
                break
            self._send_part(self.next, size, with_end, now_us)
            self.next += size + with_end
            self._highest = max(self._highest, self.next)
        if self.due_us is None and self._waits:
            self.due_us = now_us + self._rto_us

    def _send_part(self, seq: int, size: int, with_end: bool, now_us: int) -> None:
        if seq < self._highest:
            self.repeated += 1
            self._timed = None  # its acknowledgement could mean either copy
        elif self._timed is None:
            self._timed = (seq + size + with_end, now_us)
        at = seq - self._base
        self._emit(seq, bytes(self._buffer[at : at + size]), with_end)

    # -- acknowledgements -----------------------------------------------------------------------------

    def opened(self, window: int, now_us: int, sent_us: int | None) -> None:
        """Note that the other end has acknowledged the SYN. `sent_us`: when it was sent, if it was sent once."""
        self.una = self.next
        self._edge = self.una + window
        self.due_us = None
        self.retries = 0
        if sent_us is not None:
            self._measured(now_us - sent_us)

    def acknowledge(self, ack: int, window: int, *, has_data: bool, now_us: int) -> bool:
        """Take an acknowledgement. Returns whether it acknowledges something new."""
        if ack > self._highest:
            return False  # of something that was never sent
        self.retries = 0
        edge = ack + window
        is_duplicate = ack == self.una and edge == self._edge and not has_data
        if edge > self._edge:
            if self._has_no_room:
                self.due_us = None  # it was the time of the next question for the window
                self._rto_us = self._usual_rto_us()
            self._edge = edge
        if ack > self.una:
            self._advance(ack, now_us)
            return True
        if is_duplicate and self._highest > self.una:
            self._duplicate(now_us)
        return False

    @property
    def _has_no_room(self) -> bool:
        """Whether the other end has no room, and everything that was sent is acknowledged."""
        return self._edge <= self.una and self._highest == self.una

    def _advance(self, ack: int, now_us: int) -> None:
        freed = ack - self.una
        if self._timed is not None and ack >= self._timed[0]:
            self._measured(now_us - self._timed[1])
            self._timed = None
        number = min(ack - self._base, len(self._buffer))
        del self._buffer[:number]
        self._base += number
        self.una = ack
        self.next = max(self.next, ack)
        self._duplicates = 0
        if self._recover is None:
            self._grow(freed)
        elif ack >= self._recover:
            self._congestion, self._recover = self._threshold, None
        else:
            self._repeat_first(now_us)  # the segment after the first gap is missing, too
        self._rto_us = self._usual_rto_us()
        self.due_us = now_us + self._rto_us if self._waits else None

    def _grow(self, freed: int) -> None:
        if self._congestion < self._threshold:
            self._congestion += min(freed, 2 * SEGMENT_BYTES)
        else:
            self._congestion += SEGMENT_BYTES * SEGMENT_BYTES // self._congestion

    def _duplicate(self, now_us: int) -> None:
        self._duplicates += 1
        if self._recover is not None:
            self._congestion += SEGMENT_BYTES  # one more segment has left the network
        elif self._duplicates == _DUPLICATES:
            self._threshold = max((self._highest - self.una) // 2, 2 * SEGMENT_BYTES)
            self._congestion = self._threshold + _DUPLICATES * SEGMENT_BYTES
            self._recover = self._highest
            self._repeat_first(now_us)

    def _repeat_first(self, now_us: int) -> None:
        sent = self._highest - self.una
        size = min(sent, SEGMENT_BYTES, self._last - self.una)
        with_end = self._ends and size < sent and self.una + size == self._last
        if size or with_end:
            self._send_part(self.una, size, with_end, now_us)

    def _measured(self, trip_us: int) -> None:
        """Note how long an acknowledgement took."""
        if not self._smoothed_us:
            self._smoothed_us, self._variation_us = trip_us, trip_us // 2
        else:
            error_us = abs(self._smoothed_us - trip_us)
            self._variation_us = (3 * self._variation_us + error_us) // 4
            self._smoothed_us = (7 * self._smoothed_us + trip_us) // 8
        self._rto_us = self._usual_rto_us()

    def _usual_rto_us(self) -> int:
        if not self._smoothed_us:
            return FIRST_RTO_US
        return max(_MIN_RTO_US, self._smoothed_us + 4 * self._variation_us)

    # -- repetition -----------------------------------------------------------------------------------

    def overdue(self, now_us: int) -> bool:
        """Repeat what is not acknowledged, more slowly.

        Returns:
            Whether to ask the other end for its window instead, because it has no room.
        """
        self.retries += 1
        self._rto_us = min(2 * self._rto_us, MAX_RTO_US)
        self.due_us = now_us + self._rto_us
        if self._has_no_room:
            return True
        self._threshold = max((self.next - self.una) // 2, 2 * SEGMENT_BYTES)
        self._congestion = SEGMENT_BYTES
        self._recover = None
        self._duplicates = 0
        self.next = self.una
        self.send(now_us)
        return False
