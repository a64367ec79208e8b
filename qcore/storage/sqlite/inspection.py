"""Reads a stored log before it is opened: which version of the cluster it names, and what it holds.

Opening a log takes its lock and moves the content that a crash left in the write-ahead file. A program that does not
fit the data must stop before that, so this code reads without changing anything. It verifies what it returns, so that
the caller cannot mistake a flipped bit for another program's data.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from qcore.core.entry import Entry, EntryKind, Snapshot
from qcore.core.version import ClusterVersion
from qcore.errors import StorageError
from qcore.storage.files.synced_files import path_exists, remove, require_regular_file
from qcore.storage.io_errors import error_from_sqlite
from qcore.storage.sqlite.checksums import (
    SnapshotRow,
    decode_entries,
    decode_meta,
    decode_snapshot,
    fields_checksum,
)
from qcore.storage.sqlite.log_rows import KIND_CODES
from qcore.storage.sqlite.sqlite_storage import DATABASE_FILE

_SNAPSHOT = (
    "SELECT last_index, last_term, last_time_us, membership, parts, data, checksum FROM snapshot"
)
_PARTS = "SELECT data FROM snapshot_part WHERE last_index = ? ORDER BY id"
#: Each entry, with the checksum before it, which the entry's checksum continues.
_ENTRIES = (
    "SELECT idx, term, kind, time_us, data, checksum, "
    "coalesce((SELECT checksum FROM log AS before WHERE before.idx = log.idx - 1), "
    "(SELECT base_chain FROM state)) FROM log WHERE (kind & 15) IN ({codes}) ORDER BY idx {order} LIMIT ?"
)


def stored_version(directory: Path) -> ClusterVersion | None:
    """The newest cluster version that the log in a data directory names, committed or not.

    Returns:
        None if there is no log, if it names no version, or if it is damaged or cannot be read now. Opening it will
        report the reason.
    """
    try:
        with closing(_entries(directory, ("version",), "DESC", 1)) as found:
            for entry in found:
                return ClusterVersion.from_json(entry.data)
        with _reading(directory) as connection:
            row = connection.execute(_SNAPSHOT).fetchone()
        return None if row is None else _version_of(row)
    except (StorageError, ValueError):
        return None


def _version_of(row: SnapshotRow) -> ClusterVersion | None:
    """The version in the row of a snapshot, without its text; None if the row was changed."""
    index, term, time_us, membership, _, _, checksum = row
    if fields_checksum(*row[:-1]) != checksum or not isinstance(membership, bytes):
        return None
    return decode_meta(index, term, time_us, membership.decode()).version


def stored_snapshot(directory: Path) -> Snapshot | None:
    """The newest snapshot in a data directory; None if there is none.

    Raises:
        StorageError: it cannot be read now.
    """
    with _reading(directory) as connection:
        row = connection.execute(_SNAPSHOT).fetchone()
        if row is None:
            return None
        parts = connection.execute(_PARTS, (row[0],))
        return decode_snapshot(directory / DATABASE_FILE, row, parts)


def first_entries(directory: Path, kinds: tuple[EntryKind, ...], limit: int) -> Generator[Entry]:
    """Yield the first entries of these kinds one by one, because a log may exceed the memory. Close it when done.

    Raises:
        StorageError: they cannot be read now.
    """
    return _entries(directory, kinds, "ASC", limit)


def _entries(
    directory: Path, kinds: tuple[EntryKind, ...], order: str, limit: int
) -> Generator[Entry]:
    codes = ", ".join(str(KIND_CODES[kind]) for kind in kinds)
    statement = _ENTRIES.format(codes=codes, order=order)
    with _reading(directory) as connection:
        for *row, before in connection.execute(statement, (limit,)):
            entries, _ = decode_entries(directory / DATABASE_FILE, [tuple(row)], row[0], before)
            yield from entries


@contextmanager
def _reading(directory: Path) -> Iterator[sqlite3.Connection]:
    """Open the log of a data directory read-only. Files that SQLite creates for that are removed.

    Raises:
        StorageError: there is no log, or it cannot be read now.
    """
    path = (directory / DATABASE_FILE).absolute()
    for suffix in ("", "-wal", "-shm"):
        require_regular_file(path.with_name(path.name + suffix))
    if not path_exists(path):
        raise StorageError(f"{path} does not exist")
    index_path, wal_path = path.with_name(path.name + "-shm"), path.with_name(path.name + "-wal")
    had_index = path_exists(index_path)
    # Without a write-ahead file SQLite would create one, unless it knows that nothing changes.
    options = "mode=ro" if path_exists(wal_path) else "mode=ro&immutable=1"
    try:
        with closing(
            sqlite3.connect(f"{path.as_uri()}?{options}", uri=True, timeout=0)
        ) as connection:
            yield connection
    except (sqlite3.Error, UnicodeDecodeError, MemoryError) as error:
        raise error_from_sqlite(error, path, "read") from error
    finally:
        if not had_index:
            remove(index_path)
