"""One process per data directory: an advisory lock that dies with its owner."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

from qcore.errors import DataDirLocked, StorageError

LOCK_FILE = "qcore.lock"


class DirectoryLock:
    """Holds `flock` on `<directory>/qcore.lock`, whose text is the owner's process id.

    The kernel releases the lock when the process ends, however it ends; the file itself stays,
    because removing it would let two processes lock two different files of the same name. Network
    file systems without `flock` support are refused by the error that they return.

    Raises:
        DataDirLocked: another process (or another storage of this one) holds it; names which.
        StorageError: the directory cannot be written.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / LOCK_FILE
        try:
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise StorageError(
                f"data directory {directory} cannot be written ({self._path}: {error.strerror}): "
                "check its owner, its permissions and whether its file system is mounted read-only"
            ) from error
        try:
            self._acquire(directory)
        except BaseException:
            os.close(self._file)
            raise

    def _acquire(self, directory: Path) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Padded and in place, so that a restart needs no free block on a full disk.
            os.pwrite(self._file, f"{os.getpid():<15}\n".encode(), 0)
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise StorageError(f"cannot lock {self._path}: {error.strerror}") from error
            owner = os.pread(self._file, 32, 0).decode("ascii", "replace").strip()
            raise DataDirLocked(
                f"data directory {directory} is in use by process {owner or 'unknown'}: "
                "stop that process, or give this node another data directory"
            ) from None

    def release(self) -> None:
        """Let others have the directory. Idempotent."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
