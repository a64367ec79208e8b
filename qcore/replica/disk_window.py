"""The disk window: how much of the log may be on its way to the disk before a leader stops appending.

A write waits for all writes before it. While a snapshot is stored, the storage thread also holds the log back, so that
the log does not outgrow the snapshot (`qcore.storage.background_writes`). A leader whose disk makes no progress for an
election timeout steps down, so the queue of writes must be short. Requests wait in the replica instead, where they are
counted and have deadlines. On a follower, the leader's inflight window has the same effect.
"""

from __future__ import annotations

from collections import deque
from typing import Final

#: The most bytes of entries on their way: about one transaction of the group commit, while the next one is gathered.
DISK_WINDOW_BYTES: Final = 4 * 1024 * 1024


class DiskWindow:
    """The bytes of one replica's writes that are not durable yet."""

    def __init__(self) -> None:
        self._writes: deque[tuple[int, int]] = deque()  # (write id, bytes)
        self._bytes = 0

    @property
    def full(self) -> bool:
        """True if a leader should wait."""
        return self._bytes >= DISK_WINDOW_BYTES

    def appended(self, write_id: int, size: int) -> None:
        """A write of `size` bytes was submitted."""
        self._writes.append((write_id, size))
        self._bytes += size

    def durable(self, write_id: int) -> None:
        """All writes up to this one are durable."""
        writes = self._writes
        while writes and writes[0][0] <= write_id:
            self._bytes -= writes.popleft()[1]
