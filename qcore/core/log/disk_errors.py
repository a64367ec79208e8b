"""The errors of a disk, and what a node does about each. Real storage and simulated disks share these rules.

| error | when | what the node does |
|---|---|---|
| `DiskFull` | a write finds no space | it waits, tries again, and rejects writes in the meantime |
| another `StorageError` | a write or sync fails | it stops, acknowledges nothing more, and does not try again |
| another `StorageError` | the disk cannot be read at a start | it does not start; the data may be whole |
| `LogCorrupt` | a checksum is wrong at a start | it does not start; it must be replaced |
"""

from __future__ import annotations

from typing import Final, TypeGuard

from qcore.core.log.restore import RECOVERY_ADVICE
from qcore.errors import DiskFull, LogCorrupt, StorageError

DISK_ADVICE: Final = (
    "check the disk, its cables and the system's log, then start the node again; "
    "leave the data directory as it is: what it holds may be whole"
)
#: Pause between two attempts while the disk is full, milliseconds.
DISK_FULL_RETRY_MS: Final = 250


def io_error(text: str) -> StorageError:
    """The error for a disk that did not do what it was asked. This is not damage: the data may be whole.

    Args:
        text: what failed, with the file.
    """
    return StorageError(f"{text}: an I/O error: {DISK_ADVICE}")


def log_corrupt(where: object, what: str, why: str) -> LogCorrupt:
    """The error for a file that does not hold what was written to it.

    Args:
        where: the file.
        what: the damaged part of it, for example `entry 7`.
        why: how the damage was found.
    """
    return LogCorrupt(f"{where}: {what}: {why}. {RECOVERY_ADVICE}")


def waits_for_space(error: StorageError) -> TypeGuard[DiskFull]:
    """Whether a node waits after this error of a write, and tries again. After any other error it stops.

    A failed sync must not be tried again: the system may have dropped what it could not write, and a second sync
    would succeed without it.
    """
    return isinstance(error, DiskFull)
