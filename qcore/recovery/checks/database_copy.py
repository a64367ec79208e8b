"""A copy of a database, so that SQLite can check it without touching the data directory.

SQLite creates files beside a database that has a write-ahead file, even when it only reads. So the pages, and the sound
part of the write-ahead file above them, are copied to a private directory for temporary files.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import struct
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from qcore.core.entry import DurableState
from qcore.errors import StorageError
from qcore.files import open_regular
from qcore.storage.files.synced_files import write_all
from qcore.storage.interface import Identity
from qcore.storage.io_errors import error_from_os, error_from_sqlite
from qcore.storage.sqlite.database import PAGE_SIZE, check_structure, check_tables, read_meta
from qcore.storage.sqlite.log_tables import LogTables
from qcore.storage.sqlite.snapshot_parts import SnapshotParts
from qcore.storage.sqlite.wal_check import FRAME_HEADER_BYTES, HEADER_BYTES, check_wal

_FRAME_HEADER: Final = struct.Struct(">2I")
_COPY_BYTES: Final = 1 << 20


def check_database(copy: Path) -> None:
    """Let SQLite check every page of a copy, and its tables.

    Raises:
        LogCorrupt: the structure is damaged.
        StorageError: it cannot be read.
    """
    uri = f"{copy.as_uri()}?mode=ro&immutable=1"
    try:
        with closing(sqlite3.connect(uri, uri=True)) as connection:
            check_structure(copy, connection)
            check_tables(copy, connection)
    except (sqlite3.Error, UnicodeDecodeError, MemoryError) as error:
        raise error_from_sqlite(error, copy, "check") from error


@contextmanager
def database_copy(path: Path) -> Iterator[Path]:
    """A copy of the database with what its write-ahead file holds; removed at the end.

    Raises:
        LogCorrupt: the write-ahead file is damaged.
        StorageError: it cannot be read, or there is no room for the copy.
    """
    with tempfile.TemporaryDirectory(prefix="qcore-check-") as directory:
        copy = Path(directory) / path.name
        try:
            _copy(path, copy)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise StorageError(
                    f"there is no room for a copy of {path} in {directory}: free some space, or set TMPDIR to a "
                    "directory that has room"
                ) from error
            raise error_from_os(error, f"copy {path} to {directory}") from error
        yield copy


def _copy(path: Path, copy: Path) -> None:
    target = os.open(copy, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open_regular(path) as source:
            at = 0
            while part := source.read(_COPY_BYTES):
                write_all(target, part, at)
                at += len(part)
        _apply_wal(path.with_name(path.name + "-wal"), target)
    finally:
        os.close(target)


def _apply_wal(wal_path: Path, target: int) -> None:
    """Write the committed frames over the pages."""
    frames = check_wal(wal_path, PAGE_SIZE)
    if not frames:
        return
    pages = 0
    with open_regular(wal_path) as wal:
        wal.seek(HEADER_BYTES)
        for _ in range(frames):
            head, page = wal.read(FRAME_HEADER_BYTES), wal.read(PAGE_SIZE)
            number, commit_size = _FRAME_HEADER.unpack_from(head)
            write_all(target, page, (number - 1) * PAGE_SIZE)
            pages = commit_size or pages
    os.ftruncate(target, pages * PAGE_SIZE)


@dataclass(slots=True, frozen=True)
class StoredNode:
    """Everything that is stored of a node.

    Attributes:
        identity: whose it is.
        state: log, snapshot and hard state.
    """

    identity: Identity
    state: DurableState


def read_stored(path: Path) -> StoredNode:
    """Read everything that a database holds, from a copy. Changes nothing beside it.

    Raises:
        LogCorrupt: it is damaged.
        StorageError: it cannot be read, or there is no room for the copy.
    """
    with database_copy(path) as copy:
        uri = f"{copy.as_uri()}?mode=ro&immutable=1"
        try:
            with closing(sqlite3.connect(uri, uri=True)) as connection:
                check_structure(path, connection)
                check_tables(path, connection)
                identity, _ = read_meta(connection, path)
                tables = LogTables(path, connection, SnapshotParts(connection))
                return StoredNode(identity, tables.read())
        except (sqlite3.Error, UnicodeDecodeError, MemoryError) as error:
            raise error_from_sqlite(error, path, "read") from error
