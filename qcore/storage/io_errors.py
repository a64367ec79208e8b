"""Errors by their names: an I/O error, a full disk, a permission, a busy file, damage. Each with advice that fits it.

Damage is the only one that calls for a new data directory, so nothing is called damage that may be something else:
before SQLite's word for it is taken, the files are read to their ends. A disk that cannot read its blocks has an
I/O error; what is on them may be whole.
"""

from __future__ import annotations

import errno
import os
import re
import resource
import sqlite3
from pathlib import Path
from typing import Final

from qcore.core.log.restore import RECOVERY_ADVICE
from qcore.errors import DiskFull, LogCorrupt, StorageError

DISK_ADVICE: Final = (
    "check the disk, its cables and the system's log, then start the node again; "
    "leave the data directory as it is: what it holds may be whole"
)
_PERMISSIONS: Final = (
    "check the owner and permissions of the data directory, "
    "and whether its file system is mounted read-only"
)
_NO_SPACE: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
#: A file that is so close below the limit of its process could not take another page, bytes.
_AT_LIMIT: Final = 64 * 1024
_FORBIDDEN: Final = (errno.EACCES, errno.EPERM, errno.EROFS)
#: About names rather than the disk.
_IN_THE_WAY: Final = (
    *(errno.ENOENT, errno.EEXIST, errno.ENOTDIR, errno.EISDIR),
    *(errno.ENAMETOOLONG, errno.ELOOP),
)
_EXHAUSTED: Final = {
    errno.EMFILE: "this process has too many files open: raise its limit (ulimit -n)",
    errno.ENFILE: "the system has too many files open: close some, or raise its limit",
    errno.ENOMEM: "the system is out of memory: free some, then start the node again",
}
#: How `quick_check` says that a page was not read: the rest of its words are about what pages hold.
_PAGE_NOT_READ: Final = re.compile(r"error code=(\d+)")
_READ_BYTES: Final = 1 << 20


def is_full(error: OSError) -> bool:
    """Whether the error says that no space is left, none of this user's quota, or that a file may not grow."""
    return error.errno in _NO_SPACE


def error_from_os(error: OSError, action: str) -> StorageError:
    """qcore's error for one of the system's.

    Args:
        error: what the system said.
        action: what could not be done, and to which file: `read /data/log.db`.
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
        return StorageError(f"{text}: look what is at that path")
    if error.errno == errno.EIO:
        return StorageError(f"{text}: an I/O error: {DISK_ADVICE}")
    return StorageError(f"{text}: {DISK_ADVICE}")


def is_io_error(error: BaseException) -> bool:
    """Whether the error is one of SQLite's that says that the disk did not do what it was told."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF == sqlite3.SQLITE_IOERR


def error_from_sqlite(
    error: sqlite3.Error | UnicodeDecodeError | MemoryError,
    path: Path,
    action: str,
    connection: sqlite3.Connection | None = None,
) -> StorageError:
    """qcore's error for one of SQLite's: which file, what was tried, why it failed, what to do.

    A `UnicodeDecodeError` comes from SQLite's message when that quotes damaged text.

    Args:
        error: what SQLite said.
        path: the database.
        action: what was tried.
        connection: on which; None if it is closed.
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
            return StorageError(f"{text}: somebody moved or removed the file; put it back")
        case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM:
            return _not_opened(path, text, action)
        case sqlite3.SQLITE_IOERR if code == sqlite3.SQLITE_IOERR_LOCK:
            return _not_opened(
                path, text, action
            )  # SQLite fell back to reading only, so it may not lock
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
            return StorageError(f"{text}: an I/O error: {DISK_ADVICE}")
        case _:
            return StorageError(
                f"{text}: nothing says that the data is damaged; leave it as it is, check the disk, and report this "
                "with the message"
            )


def error_from_corruption(
    path: Path, text: str, connection: sqlite3.Connection | None = None
) -> StorageError:
    """The error for a database that does not hold what was written to it, once it is sure that it can be read.

    SQLite itself calls it corruption when the system answers a read with an I/O error (`SQLITE_IOERR_CORRUPTFS`).

    Args:
        path: the database.
        text: what was seen, with the file's name.
        connection: on which, to look again; None if it is closed.
    """
    unreadable = _first_unreadable(path)
    if unreadable is not None:
        return StorageError(f"{text}; and {unreadable}: an I/O error: {DISK_ADVICE}")
    if connection is not None and _is_sound(connection):
        return StorageError(
            f"{text}; but all of it is sound when it is read again: an I/O error: {DISK_ADVICE}"
        )
    return LogCorrupt(f"{text}. {RECOVERY_ADVICE}")


def quick_check(connection: sqlite3.Connection) -> str:
    """SQLite's own check of every page: reads the whole file, as `load` does anyway; "ok" if it is content.

    It does not fail: a page that the disk could not read is one of its complaints.
    """
    (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    return " ".join(str(verdict).split())


def _is_sound(connection: sqlite3.Connection) -> bool:
    try:
        return quick_check(connection) == "ok"
    except (sqlite3.Error, UnicodeDecodeError, MemoryError):
        return False


def error_from_structure_check(path: Path, verdict: str, second: str) -> StorageError:
    """What it means that SQLite's check of every page is not content.

    Args:
        path: the database.
        verdict: what `quick_check` said.
        second: what it said when it was asked again.
    """
    codes = [int(code) & 0xFF for code in _PAGE_NOT_READ.findall(verdict)]
    if sqlite3.SQLITE_IOERR in codes:
        return StorageError(f"cannot read {path}: {verdict}: an I/O error: {DISK_ADVICE}")
    if sqlite3.SQLITE_NOMEM in codes:
        return StorageError(f"cannot read {path}: {verdict}: {_EXHAUSTED[errno.ENOMEM]}")
    if verdict != second:
        return StorageError(
            f"{path} reads differently each time ({verdict!r}, then {second!r}): an I/O error: {DISK_ADVICE}"
        )
    return error_from_corruption(path, f"{path}: the database structure: {verdict}")


def _size_limit() -> int | None:
    """How large this process may make a file, bytes."""
    limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    return None if limit == resource.RLIM_INFINITY else limit


def _at_limit(path: Path) -> bool:
    """Whether a write failed because a file is as large as it may be: SQLite calls that an I/O error."""
    limit = _size_limit()
    if limit is None:
        return False
    try:
        return any(os.stat(each).st_size + _AT_LIMIT > limit for each in _files(path))
    except OSError:
        return False  # then it may be anything


def _not_opened(path: Path, text: str, action: str) -> StorageError:
    """SQLite says only that it could not open a file, or not for writing: ask the system why."""
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
    """The first file of the two that cannot be read to its end, and why not."""
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
