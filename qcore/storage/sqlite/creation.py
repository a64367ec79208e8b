"""Creates a new data directory: every file appears whole or not at all, and the log appears last.

Until `log.db` has its name, nothing can have been acknowledged from the directory. So a new attempt may replace
everything that an interrupted one has left. An attempt may end at any system call, so each file is built under the name
`<file>.new`, synced and renamed. The finished database is checked: SQLite's report that it is done is not enough.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import uuid
from contextlib import closing
from pathlib import Path

from qcore.core.log.disk_errors import DISK_ADVICE, io_error
from qcore.core.log.restore import RECOVERY_ADVICE
from qcore.errors import LogCorrupt, StorageError
from qcore.storage.files.synced_files import (
    DIRECTORY_MODE,
    create_private_file,
    path_exists,
    remove,
    sync_path,
)
from qcore.storage.interface import Identity
from qcore.storage.io_errors import error_from_os, error_from_sqlite
from qcore.storage.sqlite import database
from qcore.storage.sqlite.high_water_mark import MarkFile
from qcore.storage.sqlite.log_rows import StoredState


def make_directory(directory: Path) -> None:
    """Create the directory with mode 0700, and its parents with the umask's mode. An existing one stays as it is.

    Raises:
        DiskFull: no space.
        StorageError: it cannot be created, or the path is a file.
    """
    try:
        directory.mkdir(DIRECTORY_MODE, parents=True, exist_ok=True)
    except OSError as error:
        failure = error_from_os(error, f"make data directory {directory}")
        raise type(failure)(f"{failure} (or choose another directory)") from error


def create(path: Path, mark_path: Path, wal_path: Path, node_id: int) -> None:
    """Create the mark and then the database, in a directory without a database.

    Raises:
        LogCorrupt: the directory is not new: its database was removed.
        DiskFull: no space.
        StorageError: a file cannot be written.
    """
    if path_exists(wal_path) or (path_exists(mark_path) and MarkFile.read(mark_path).sequence > 0):
        raise LogCorrupt(
            f"{path} is missing, but the directory holds traces of acknowledged writes: if it was moved, put it "
            f"back as it was. Otherwise: {RECOVERY_ADVICE}"
        )
    _sync_ancestors(path.parent)
    MarkFile.create(mark_path)
    _create_database(path, node_id)


def ensure_wal(path: Path, wal_path: Path) -> None:
    """Create an empty write-ahead file if there is none. SQLite would do so, but would not report why it failed.

    Raises:
        DiskFull: no space.
        StorageError: it cannot be created.
    """
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        os.close(os.open(wal_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, mode))
    except OSError as error:
        raise error_from_os(error, f"open {wal_path}") from error


def _sync_ancestors(directory: Path) -> None:
    """Make the names of the directory and its parents durable, whichever attempt created them.

    Parents on other file systems, or without permissions for this process, were not created by this program.
    """
    device = directory.stat().st_dev
    for parent in directory.parents:
        if parent.stat().st_dev != device or not os.access(parent, os.R_OK | os.W_OK):
            return
        sync_path(parent)


def _create_database(path: Path, node_id: int) -> None:
    new = path.with_name(path.name + ".new")
    sides = [new.with_name(new.name + suffix) for suffix in ("-journal", "-wal", "-shm")]
    for leftover in (new, *sides):
        remove(leftover)
    try:
        # If it fails, SQLite reports only that it cannot open a file. The system reports the reason.
        os.close(create_private_file(new))
    except OSError as error:
        raise error_from_os(error, f"create {new}") from error
    try:
        with closing(sqlite3.connect(new, isolation_level=None)) as connection:
            mode = _build(connection, node_id)
    except (sqlite3.Error, MemoryError) as error:
        failure = error_from_sqlite(error, new, "create the database")
        if isinstance(failure, LogCorrupt):
            # No other process has used the file, so the disk did not return what this one wrote.
            failure = io_error(f"cannot create {new}: {error}")
        raise failure from error
    unfinished = [str(side) for side in sides if path_exists(side)]
    if mode != "wal" or unfinished:
        raise StorageError(
            f"cannot create {new}: SQLite stopped half-way, probably after an I/O error (journal mode {mode!r}, "
            f"left over: {unfinished}): {DISK_ADVICE}"
        )
    sync_path(new)
    database.check_header(new)
    try:
        new.rename(path)
    except OSError as error:
        raise error_from_os(error, f"rename {new} to {path}") from error


def _build(connection: sqlite3.Connection, node_id: int) -> object:
    """Fill a new database. Returns its final journal mode."""
    state_row = StoredState().row()
    # If this fails, the file is discarded; otherwise it is synced as a whole. So no journal and no syncs are needed.
    connection.execute("PRAGMA journal_mode=MEMORY").fetchall()
    connection.execute("PRAGMA synchronous=OFF").fetchall()
    connection.execute(f"PRAGMA page_size={database.PAGE_SIZE}").fetchall()
    connection.execute("BEGIN")
    for statement in database.TABLES.values():
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id={database.APPLICATION_ID}").fetchall()
    connection.execute(f"PRAGMA user_version={database.FIRST_WRITTEN_VERSION}").fetchall()
    database.put_meta(connection, Identity(node_id, None), uuid.uuid4().hex)
    placeholders = ", ".join("?" * len(state_row))
    connection.execute(f"INSERT INTO state VALUES (1, {placeholders})", state_row)
    connection.execute("COMMIT")
    (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
    return mode
