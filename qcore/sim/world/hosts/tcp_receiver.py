"""`TcpReceiver`: one direction of a connection, at its receiver: the bytes in order, and what came too early."""

from __future__ import annotations

from typing import Final

from qcore.sim.world.hosts.segments import SEGMENT_BYTES

#: The bytes that the kernel keeps for a process that does not read.
RECEIVE_BUFFER_BYTES: Final = 256 * 1024


class TcpReceiver:
    """Puts the segments of a stream in order, within the window.

    Args:
        first: the number of the first byte.

    Attributes:
        next: the number of the next byte that is missing.
        ended: whether the stream ends at `next`.
    """

    def __init__(self, first: int) -> None:
        self.next = first
        self.ended = False
        self._readable = bytearray()
        self._early: dict[int, bytes] = {}
        self._end: int | None = None
        self._edge = first + RECEIVE_BUFFER_BYTES

    @property
    def readable(self) -> int:
        """How many bytes the process may read."""
        return len(self._readable)

    @property
    def held_bytes(self) -> int:
        """The memory of everything that the process has not read."""
        return len(self._readable) + sum(map(len, self._early.values()))

    def window(self) -> int:
        """The window to announce. It never takes back what it has announced."""
        self._edge = max(self._edge, self.next + RECEIVE_BUFFER_BYTES - len(self._readable))
        return self._edge - self.next

    def accepts(self, seq: int) -> bool:
        """Whether a number is within the window, or just after it."""
        return self.next <= seq <= self._edge

    def take(self, seq: int, data: bytes, *, ends: bool) -> bool:
        """Take the data of a segment. Returns whether `next` has moved.

        Args:
            seq: the number of the first byte.
            data: the data.
            ends: whether the stream ends after it.
        """
        if self.ended:
            return False
        if ends:
            self._end = seq + len(data)
        before = self.next
        data = data[: max(0, self._edge - seq)]
        if seq > before:
            if data and len(data) > len(self._early.get(seq, b"")):
                self._early[seq] = data
        else:
            self._append(seq, data)
            self._append_early()
        if self._end == self.next:
            self.ended = True
            self.next += 1  # the flag has a number, too
        return self.next != before

    def _append(self, seq: int, data: bytes) -> None:
        new = data[self.next - seq :]
        self._readable += new
        self.next += len(new)

    def _append_early(self) -> None:
        early = self._early
        while early:
            seq = min(early)
            if seq > self.next:
                return
            self._append(seq, early.pop(seq))

    @property
    def has_gap(self) -> bool:
        """Whether data came early, so that something before it is missing."""
        return bool(self._early)

    def read(self, most: int) -> tuple[bytes, bool]:
        """Read up to `most` bytes.

        Returns:
            The bytes, and whether the sender should learn that there is room again.
        """
        readable = self._readable
        data = bytes(readable[:most])
        del readable[:most]
        announced = self._edge - self.next
        gained = RECEIVE_BUFFER_BYTES - len(readable) - announced
        was_small = announced < SEGMENT_BYTES and gained >= SEGMENT_BYTES
        return data, was_small or gained >= RECEIVE_BUFFER_BYTES // 2
