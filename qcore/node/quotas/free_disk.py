"""`FreeDisk`: whether the disk of a node has enough space left.

A full disk stops a node: it can neither vote nor lead until there is space again, and SQLite needs space even to free
some. So a node rejects what may add to the data while the last part of the disk is still free. What makes room, and
admin requests, pass.
"""

from __future__ import annotations

import os
from pathlib import Path

from qcore.errors import QuotaExceeded


def free_bytes(directory: Path) -> int | None:
    """The bytes that an ordinary user can still write on the disk of a directory; None if that is not known."""
    try:
        found = os.statvfs(directory)
    except (OSError, AttributeError):  # Windows has no `statvfs`
        return None
    return found.f_bavail * found.f_frsize


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

    @property
    def is_low(self) -> bool:
        """Whether less than the least is free."""
        return self.least > 0 and self.free is not None and self.free < self.least

    def check(self) -> None:
        """Measure. Call it every second or so."""
        if self.least:
            self.free = free_bytes(self._directory)

    def error(self) -> QuotaExceeded:
        """The error for a request that may add to the data; counts it."""
        self.refused += 1
        free = self.free or 0
        return QuotaExceeded(
            f"only {free} bytes are free on the disk of this node, and {self.least} must stay free "
            "(min_free_disk_bytes): free some space, or delete something",
            "disk",
            self.least,
            free,
            1_000,
        )
