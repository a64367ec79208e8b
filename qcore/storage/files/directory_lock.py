"""Allows one process per data directory: an advisory lock that ends with its owner."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

from qcore.errors import DataDirLocked
from qcore.storage.files.synced_files import FILE_MODE
from qcore.storage.io_errors import error_from_os, is_full

LOCK_FILE = "qcore.lock"


class DirectoryLock:
    """Holds `flock` on `<directory>/qcore.lock`, whose text is the owner's process id.

    The kernel releases the lock when the process ends, however it ends. The file stays, because removing it would
    let two processes lock two different files of the same name. A network file system without `flock` support is
    refused with the error that it returns.

    Raises:
        DataDirLocked: another process, or another storage of this one, holds the lock; names the process.
        DiskFull: no space for the lock file.
        StorageError: the directory cannot be written, or its file system has no locks.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / LOCK_FILE
        try:
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
        except OSError as error:
            raise error_from_os(
                error, f"use data directory {directory}: open {self._path}"
            ) from error
        try:
            self._acquire(directory)
        except BaseException:
            os.close(self._file)
            raise

    def _acquire(self, directory: Path) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise error_from_os(error, f"lock {self._path}") from error
            raise DataDirLocked(
                f"data directory {directory} is in use by process {self._owner() or 'unknown'}: "
                "stop that process, or give this node another data directory"
            ) from None
        try:
            # Padded, and written in place, so a restart needs no free block on a full disk.
            os.pwrite(self._file, f"{os.getpid():<15}\n".encode(), 0)
        except OSError as error:
            # The lock is held. The process id is for humans only: a full disk is no reason to stop.
            if not is_full(error):
                raise error_from_os(error, f"write {self._path}") from error

    def _owner(self) -> str | None:
        return _process_in(self._file)

    def release(self) -> None:
        """Release the lock. Idempotent."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def owner_of(directory: Path) -> str | None:
    """The id of the process that uses a data directory, or `unknown`; None if no process does. Changes nothing.

    The lock is taken for a moment, shared. A node that starts in just that moment is refused.

    Raises:
        StorageError: the lock file cannot be read, or its file system has no locks.
    """
    path = directory / LOCK_FILE
    try:
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise error_from_os(error, f"open {path}") from error
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
            raise error_from_os(error, f"lock {path}") from error
        return _process_in(file) or "unknown"
    finally:
        os.close(file)
    return None


def _process_in(file: int) -> str | None:
    """The process id in a lock file; None if it cannot be read or is incomplete."""
    try:
        text = os.pread(file, 32, 0).decode("ascii", "replace")
    except OSError:
        return None  # the lock itself proves that the directory is in use
    return text.strip() if text.endswith("\n") else None
