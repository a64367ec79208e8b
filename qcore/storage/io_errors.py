"""Converts errors of SQLite and of the system to qcore's errors, which name the cause and what to do.

The causes are an I/O error, a full disk, a permission, a busy file and damage. Only damage calls for a new data
directory, so no other cause may be reported as damage. SQLite's word for it is not enough: the files are read to
their ends first. A disk that cannot read its blocks has an I/O error; the blocks may still be whole.
"""

from __future__ import annotations

import errno
import os
import re
import resource
import sqlite3
from pathlib import Path
from typing import Final

from qcore.core.log.disk_errors import DISK_ADVICE, io_error
from qcore.core.log.restore import RECOVERY_ADVICE
from qcore.errors import DiskFull, LogCorrupt, StorageError

_PERMISSIONS: Final = (
    "check the owner and permissions of the data directory, "
    "and whether its file system is mounted read-only"
)
_NO_SPACE: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
#: A file this close below the size limit of its process has no room for another page, bytes.
_AT_LIMIT: Final = 64 * 1024
_FORBIDDEN: Final = (errno.EACCES, errno.EPERM, errno.EROFS)
#: Errors about a path, not about the disk.
_IN_THE_WAY: Final = (
    *(errno.ENOENT, errno.EEXIST, errno.ENOTDIR, errno.EISDIR),
    *(errno.ENAMETOOLONG, errno.ELOOP),
)
_EXHAUSTED: Final = {
    errno.EMFILE: "this process has too many files open: raise its limit (ulimit -n)",
    errno.ENFILE: "the system has too many files open: close some, or raise its limit",
    errno.ENOMEM: "the system is out of memory: free some, then start the node again",
}
#: How `quick_check` reports a page that it could not read. Its other complaints are about the content of pages.
_PAGE_NOT_READ: Final = re.compile(r"error code=(\d+)")
_READ_BYTES: Final = 1 << 20


def is_full(error: OSError) -> bool:
    """Whether there is no space left, the user's quota is used up, or a file may not grow."""
    return error.errno in _NO_SPACE


def error_from_os(error: OSError, action: str) -> StorageError:
    """Return qcore's error for an error of the system.

    Args:
        error: the system's error.
        action: what failed, with the file: `read /data/log.db`.
    """
    text = f"cannot {action}: {error.strerror or error}"
    if error.errno == errno.EFBIG:
        return DiskFull(
            f"{text}: a file may not grow any more: raise the limit of the process (ulimit -f) or of the file system"
        )
    if is_full(error):
        return DiskFull(f"{text}: the disk is full: free some space")
    if error.errno in _FORBIDDEN:
        return StorageError(f"{text}: {_PERMISSIONS}")
    if error.errno in _EXHAUSTED:
        return StorageError(f"{text}: {_EXHAUSTED[error.errno]}")
    if error.errno in _IN_THE_WAY:
        return StorageError(f"{text}: check what is at that path")
    if error.errno == errno.EIO:
        return io_error(text)
    return StorageError(f"{text}: {DISK_ADVICE}")


def is_io_error(error: BaseException) -> bool:
    """Whether this is an error of SQLite about I/O: the disk did not do what SQLite asked."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF == sqlite3.SQLITE_IOERR


def error_from_sqlite(
    error: sqlite3.Error | UnicodeDecodeError | MemoryError,
    path: Path,
    action: str,
    connection: sqlite3.Connection | None = None,
) -> StorageError:
    """Return qcore's error for an error of SQLite. It names the file, the action, the cause and what to do.

    A `UnicodeDecodeError` comes from an SQLite message that quotes damaged text.

    Args:
        error: SQLite's error.
        path: the database.
        action: what failed.
        connection: the one that failed; None if it is closed.
    """
    if isinstance(error, UnicodeDecodeError):
        return error_from_corruption(
            path, f"cannot {action} {path}: its schema holds no text ({error})"
        )
    if isinstance(error, MemoryError):
        return StorageError(f"cannot {action} {path}: {_EXHAUSTED[errno.ENOMEM]}")
    code = getattr(error, "sqlite_errorcode", None)
    primary = None if code is None else code & 0xFF
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    text = f"cannot {action} {path}: {error} ({name})"
    match primary:
        case sqlite3.SQLITE_FULL:
            return DiskFull(f"{text}: nothing was written; free some space")
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return StorageError(f"{text}: another program has the file open; close it")
        case sqlite3.SQLITE_READONLY if code == sqlite3.SQLITE_READONLY_DBMOVED:
            return StorageError(f"{text}: the file was moved or removed; put it back")
        case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM:
            return _not_opened(path, text, action)
        case sqlite3.SQLITE_IOERR if code == sqlite3.SQLITE_IOERR_LOCK:
            # SQLite has fallen back to read-only, so it may not lock.
            return _not_opened(path, text, action)
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return error_from_corruption(path, text, connection)
        case sqlite3.SQLITE_NOMEM:
            return StorageError(f"{text}: {_EXHAUSTED[errno.ENOMEM]}")
        case sqlite3.SQLITE_IOERR if code == sqlite3.SQLITE_IOERR_WRITE and _at_limit(path):
            return DiskFull(
                f"{text}: nothing was written; a file has reached the limit of this process (ulimit -f, "
                f"{_size_limit()} bytes): raise it"
            )
        case sqlite3.SQLITE_IOERR:
            return io_error(text)
        case _:
            return StorageError(
                f"{text}: nothing indicates that the data is damaged; leave it as it is, check the disk, and report "
                "this with the message"
            )


def error_from_corruption(
    path: Path, text: str, connection: sqlite3.Connection | None = None
) -> StorageError:
    """Return the error for a database with wrong content. It is damage only if all files can be read to their ends.

    SQLite reports corruption even when the system answers a read with an I/O error (`SQLITE_IOERR_CORRUPTFS`).

    Args:
        path: the database.
        text: the complaint, with the file's name.
        connection: used to check the database again; None if it is closed.
    """
    unreadable = _first_unreadable(path)
    if unreadable is not None:
        return io_error(f"{text}; and {unreadable}")
    if connection is not None and _is_sound(connection):
        return io_error(f"{text}; but all of it is sound when it is read again")
    return LogCorrupt(f"{text}. {RECOVERY_ADVICE}")


def quick_check(connection: sqlite3.Connection) -> str:
    """Let SQLite check every page. Reads the whole file, as `load` does anyway. Returns "ok" if all is well.

    For a page that the disk cannot read it raises no error; the result reports it.
    """
    (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    return " ".join(str(verdict).split())


def _is_sound(connection: sqlite3.Connection) -> bool:
    try:
        return quick_check(connection) == "ok"
    except (sqlite3.Error, UnicodeDecodeError, MemoryError):
        return False


def error_from_structure_check(path: Path, verdict: str, second: str) -> StorageError:
    """Return the error for a failed `quick_check`.

    Args:
        path: the database.
        verdict: the result of `quick_check`.
        second: the result of a second call.
    """
    codes = [int(code) & 0xFF for code in _PAGE_NOT_READ.findall(verdict)]
    if sqlite3.SQLITE_IOERR in codes:
        return io_error(f"cannot read {path}: {verdict}")
    if sqlite3.SQLITE_NOMEM in codes:
        return StorageError(f"cannot read {path}: {verdict}: {_EXHAUSTED[errno.ENOMEM]}")
    if verdict != second:
        return io_error(f"{path} reads differently each time ({verdict!r}, then {second!r})")
    return error_from_corruption(path, f"{path}: the database structure: {verdict}")


def _size_limit() -> int | None:
    """The largest size to which this process may write a file, bytes."""
    limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    return None if limit == resource.RLIM_INFINITY else limit


def _at_limit(path: Path) -> bool:
    """Whether a write failed because a file has reached the size limit. SQLite calls that an I/O error."""
    limit = _size_limit()
    if limit is None:
        return False
    try:
        return any(os.stat(each).st_size + _AT_LIMIT > limit for each in _files(path))
    except OSError:
        return False  # the cause remains unknown


def _not_opened(path: Path, text: str, action: str) -> StorageError:
    """SQLite reports only that it could not open a file (for writing). Ask the system for the reason."""
    try:
        for each in _files(path):
            os.stat(each)
            os.close(os.open(each, os.O_RDWR | os.O_CLOEXEC))
        os.stat(path.parent)
        if not os.access(path.parent, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        return error_from_os(error, f"{action} {path}")
    return StorageError(
        f"{text}: it can be opened and written now. It may have been an I/O error, a missing permission, or a full "
        "disk: look into the system's log, then start the node again"
    )


def _files(path: Path) -> list[Path]:
    """The database, and its write-ahead file if there is one."""
    wal = path.with_name(path.name + "-wal")
    return [path, wal] if os.path.lexists(wal) else [path]


def _first_unreadable(path: Path) -> str | None:
    """The first of the files that cannot be read to its end, with the reason."""
    for each in _files(path):
        try:
            file = os.open(each, os.O_RDONLY | os.O_CLOEXEC)
            try:
                while os.read(file, _READ_BYTES):
                    pass
            finally:
                os.close(file)
        except OSError as error:
            return f"{each} cannot be read to its end ({error.strerror})"
    return None
