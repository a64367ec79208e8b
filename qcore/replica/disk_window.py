"""How much of the log may be on its way to the disk before a leader appends more.

What is submitted waits for all that was submitted before it. While a snapshot is stored, the disk's own thread also
holds the log back, so that it does not outgrow the snapshot (`qcore.storage.background_writes`). A leader whose disk
does not
answer for an election timeout is deposed, so that queue must be short: requests wait in the replica instead, where they
are counted and have deadlines. On a follower the leader's window for appends does the same.
"""

from __future__ import annotations

from collections import deque
from typing import Final

#: Bytes of entries on their way: about one transaction of the group commit, while the next one gathers.
DISK_WINDOW_BYTES: Final = 4 * 1024 * 1024


class DiskWindow:
    """The writes of one replica that are not durable yet, by their bytes."""

    def __init__(self) -> None:
        self._writes: deque[tuple[int, int]] = deque()  # (write id, bytes)
        self._bytes = 0

    @property
    def full(self) -> bool:
        """Whether a leader should wait."""
        return self._bytes >= DISK_WINDOW_BYTES

    def appended(self, write_id: int, size: int) -> None:
        """So many bytes are on their way."""
        self._writes.append((write_id, size))
        self._bytes += size

    def durable(self, write_id: int) -> None:
        """All writes up to this one have arrived."""
        writes = self._writes
        while writes and writes[0][0] <= write_id:
            self._bytes -= writes.popleft()[1]
