"""Letting go of a database after the disk has failed, without one more write.

When SQLite closes the last connection it moves the write-ahead file's content into the database and removes the file.
After a failed sync that is wrong: the pages in memory were never confirmed, the good ones on the disk may be the only
ones there are, and the write-ahead file is what the next start recovers from. Python 3.12 can tell SQLite to leave
the files alone. Python 3.11 cannot, and has no other way to keep a closing connection from writing: there the
connection is never closed. The kernel closes its files when the process ends, without a word of SQLite's.
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
    """End the use of a connection; neither now nor later is anything written through it.

    Other processes can open the database from now on. On Python 3.11 this one cannot, until it ends.

    Args:
        connection: not used any more, by anybody.
        path: the database.
    """
    if sys.version_info >= (3, 12):
        connection.setconfig(sqlite3.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, True)
        connection.close()
        return
    # One reference for ever: the garbage collector and the interpreter's end would close it, too.
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))
    with suppress(OSError):  # a disk that cannot even say which file it is: nobody will open that
        status = os.stat(path)
        _abandoned.add((status.st_dev, status.st_ino))
        # To close any descriptor of a file drops all locks of the process on it, SQLite's included.
        os.close(os.open(path, os.O_RDONLY | os.O_CLOEXEC))


def require_not_abandoned(path: Path) -> None:
    """Refuse a database that this process has let go of and cannot open again.

    Raises:
        StorageError: says so.
        OSError: the file cannot be looked at.
    """
    status = os.stat(path)
    if (status.st_dev, status.st_ino) in _abandoned:
        raise StorageError(
            f"{path} failed earlier in this process, which cannot open it again (on Python 3.11): "
            "check the disk, end the process, and start it anew"
        )
