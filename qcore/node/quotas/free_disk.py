"""`FreeDisk`: whether the disk of a node has enough space left.

A full disk stops a node: it can neither vote nor lead until there is space again, and SQLite needs space even to free
some. So a node rejects what may add to the data while the last part of the disk is still free. What makes room, and
admin requests, pass.

What makes room takes some first: its entry in the log, until a snapshot replaces it. Half of the last part is for that.
Otherwise a client could fill the disk with commands that clear fields, or that delete what does not exist.

A snapshot makes room, too, but needs its whole size first. It may use the rest of the disk but for a quarter of the
last part. SQLite keeps the pages of what it removed, and the next snapshot goes there: these count as free.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from qcore.errors import QuotaExceeded
from qcore.storage.sqlite.sqlite_storage import DATABASE_FILE

#: How many bytes of the disk a byte of a command takes at most, until the next check: in the log and its write-ahead
#: file.
_DISK_BYTES: Final = 4
#: The part of what a database holds that its pages take besides.
_PAGE_OVERHEAD: Final = 10


def free_bytes(directory: Path) -> int | None:
    """The bytes that an ordinary user can still write on the disk of a directory; None if that is not known."""
    try:
        found = os.statvfs(directory)
    except (OSError, AttributeError):  # Windows has no `statvfs`
        return None
    return found.f_bavail * found.f_frsize


def reusable_bytes(database: Path, live: int) -> int:
    """About how many bytes of a database file are pages that hold nothing any more.

    Args:
        database: the file. It is not opened: closing it would end the locks of SQLite.
        live: bytes of what it holds.
    """
    try:
        size = database.stat().st_size
    except OSError:
        return 0
    return max(0, size - live - live // _PAGE_OVERHEAD)


class FreeDisk:
    """The free space of one node's disk.

    Args:
        directory: the data directory.
        least: bytes that must stay free; 0 for no quota.

    Attributes:
        least: the argument.
        free: the free bytes at the last check; None if they are not known.
        refused: how many requests were rejected.
    """

    def __init__(self, directory: Path, least: int) -> None:
        self._directory = directory
        self.least = least
        self.free: int | None = None
        self.refused = 0
        self._used = 0  # about the bytes that were used since the last check

    @property
    def is_low(self) -> bool:
        """Whether less than the least is free."""
        return self.least > 0 and self.free is not None and self.free < self.least

    def check(self) -> None:
        """Measure. Call it every second or so."""
        if self.least:
            self.free = free_bytes(self._directory)
            self._used = 0

    def takes(self, size: int, *, kept: int = 2) -> bool:
        """Whether there is room for a command that makes room, while the disk is low; counts it if so.

        Args:
            size: of the command, about bytes.
            kept: of what must stay free, this part is not for such commands.
        """
        used = self._used + _DISK_BYTES * size
        if (self.free or 0) - used < self.least // kept:
            return False
        self._used = used
        return True

    def fits_snapshot(self, size: int, live: int) -> bool:
        """Whether there is space for one more snapshot.

        Args:
            size: of the snapshot, about bytes.
            live: bytes of the log and the newest snapshot.
        """
        if not self.least or self.free is None:
            return True
        room = self.free - self.least // 4
        needed = size + size // _PAGE_OVERHEAD
        return needed <= room or needed <= room + reusable_bytes(
            self._directory / DATABASE_FILE, live
        )

    def error(self, *, adds: bool) -> QuotaExceeded:
        """The error for a request; counts it.

        Args:
            adds: whether it may add to the data. If not, it makes room, and there is no room for itself.
        """
        self.refused += 1
        free = self.free or 0
        advice = ", or delete something" if adds else ""
        return QuotaExceeded(
            f"only {free} bytes are free on the disk of this node, and {self.least} must stay free "
            f"(min_free_disk_bytes): free some space{advice}",
            "disk",
            self.least,
            free,
            1_000,
        )
