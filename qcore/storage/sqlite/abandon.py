"""Abandons a database after the disk has failed: ends its use without another write.

When the last connection closes, SQLite moves the write-ahead file's content into the database and removes the file.
After a failed sync that is wrong. The pages in memory were never confirmed, the good ones on the disk may be the only
copies, and the next start recovers from the write-ahead file. Python 3.12 can make SQLite leave the files alone.
Python 3.11 cannot, and it has no other way to keep a closing connection from writing, so there the connection is
never closed. The kernel closes its files when the process ends, and SQLite does not run.
"""

from __future__ import annotations

import ctypes
import os
import sqlite3
import sys
from contextlib import suppress
from pathlib import Path

from qcore.errors import StorageError

_abandoned: set[tuple[int, int]] = set()


def abandon_connection(connection: sqlite3.Connection, path: Path) -> None:
    """End the use of a connection. Nothing is ever written through it again.

    Other processes can then open the database. On Python 3.11 this process cannot.

    Args:
        connection: not used by any other code.
        path: the database.
    """
    if sys.version_info >= (3, 12):  # pragma: no cover  # measured with Python 3.11
        connection.setconfig(sqlite3.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, True)
        connection.close()
        return
    # Keep one reference for ever: the garbage collector and the interpreter's end would also close it.
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))
    with suppress(OSError):  # if the disk cannot even identify the file, no later open can succeed
        status = os.stat(path)
        _abandoned.add((status.st_dev, status.st_ino))
        # Closing any descriptor of a file drops all locks of the process on it, including SQLite's.
        os.close(os.open(path, os.O_RDONLY | os.O_CLOEXEC))


def require_not_abandoned(path: Path) -> None:
    """Refuse a database that this process has abandoned and cannot open again.

    Raises:
        StorageError: this process has abandoned the database.
        OSError: the file cannot be examined.
    """
    status = os.stat(path)
    if (status.st_dev, status.st_ino) in _abandoned:
        raise StorageError(
            f"{path} failed earlier in this process, which cannot open it again (on Python 3.11): "
            "check the disk, end the process, and start it again"
        )
