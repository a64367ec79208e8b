"""The database file: its tables and layouts, how it is opened, and when it is refused."""

from __future__ import annotations

import sqlite3
import struct
from dataclasses import dataclass
from pathlib import Path

from qcore.core.log.disk_errors import log_corrupt
from qcore.core.log.restore import RECOVERY_ADVICE
from qcore.errors import LogCorrupt, StorageError
from qcore.release import unknown_format
from qcore.storage.files.synced_files import remove
from qcore.storage.interface import Identity
from qcore.storage.io_errors import (
    error_from_os,
    error_from_sqlite,
    error_from_structure_check,
    is_io_error,
    quick_check,
)
from qcore.storage.sqlite.abandon import abandon_connection
from qcore.storage.sqlite.checksums import fields_checksum
from qcore.storage.sqlite.log_rows import Column
from qcore.storage.sqlite.migrations import MIGRATIONS

#: The newest layout that this program reads and writes. A new database has `FIRST_WRITTEN_VERSION`. The first write
#: that needs layout 3 enters it (`SqliteStorage.write`); until then 0.1.0 can still use the file.
SCHEMA_VERSION = 3
FIRST_WRITTEN_VERSION = 2
#: "qcor": marks the file as qcore's in its header (SQLite's `application_id`).
APPLICATION_ID = 0x71636F72
PAGE_SIZE = 4096

TABLES = {
    "log": (
        "CREATE TABLE log (idx INTEGER PRIMARY KEY, term INTEGER NOT NULL, kind INTEGER NOT NULL, "
        "time_us INTEGER NOT NULL, data BLOB NOT NULL, checksum INTEGER NOT NULL)"
    ),
    "meta": (
        "CREATE TABLE meta (id INTEGER PRIMARY KEY CHECK (id = 1), node_id INTEGER NOT NULL, "
        "cluster_id TEXT, incarnation TEXT NOT NULL, checksum INTEGER NOT NULL)"
    ),
    "snapshot": (
        "CREATE TABLE snapshot (id INTEGER PRIMARY KEY CHECK (id = 1), last_index INTEGER NOT NULL, "
        "last_term INTEGER NOT NULL, last_time_us INTEGER NOT NULL, membership BLOB NOT NULL, "
        "parts INTEGER NOT NULL, data BLOB NOT NULL, checksum INTEGER NOT NULL)"
    ),
    "snapshot_part": (
        "CREATE TABLE snapshot_part (id INTEGER PRIMARY KEY, last_index INTEGER NOT NULL, data BLOB NOT NULL)"
    ),
    "state": (
        "CREATE TABLE state (id INTEGER PRIMARY KEY CHECK (id = 1), sequence INTEGER NOT NULL, "
        "term INTEGER NOT NULL, voted_for INTEGER, commit_index INTEGER NOT NULL, "
        "first_index INTEGER NOT NULL, last_index INTEGER NOT NULL, base_chain INTEGER NOT NULL, "
        "chain INTEGER NOT NULL, has_snapshot INTEGER NOT NULL, checksum INTEGER NOT NULL)"
    ),
}

#: Table `state` since layout 3: it holds the promise to a leader's lease.
STATE_TABLE_3 = TABLES["state"].replace("checksum", "promise_ms INTEGER NOT NULL, checksum")

#: Fixed bytes of SQLite's file header: offset, struct format, value, name
#: (https://www.sqlite.org/fileformat2.html#the_database_header).
_HEADER_FIELDS = (
    (16, ">H", PAGE_SIZE, "page size"),
    (18, ">B", 2, "write version"),
    (19, ">B", 2, "read version"),
    (20, ">B", 0, "reserved bytes"),
    (44, ">I", 4, "schema format"),
    (52, ">I", 0, "auto-vacuum"),
    (56, ">I", 1, "text encoding"),
    (68, ">I", APPLICATION_ID, "application id"),
)
_HEADER_BYTES = 100

# All are set at each open, because the file does not store most of them.
_PRAGMAS = (
    "locking_mode=EXCLUSIVE",  # no shared-memory file, no lock calls at each transaction
    "synchronous=FULL",  # a commit returns after its sync; NORMAL would not be durable
    "fullfsync=ON",  # macOS only: a sync that the drive obeys
    "checkpoint_fullfsync=ON",
    "wal_autocheckpoint=0",  # SQLite ignores errors of automatic checkpoints; ours are checked
    "journal_size_limit=67108864",
    "cell_size_check=ON",
    "trusted_schema=OFF",
    "secure_delete=OFF",
    "temp_store=MEMORY",
)


#: A reader needs a shared-memory file of 32 KiB, for which a full disk has no room. If the database itself cannot be
#: opened, `connect` finds that out.
_NO_SPACE_TO_CHECK = (
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_IOERR_SHMOPEN,
    sqlite3.SQLITE_IOERR_SHMSIZE,
    sqlite3.SQLITE_IOERR_SHMMAP,
)


def check_header(path: Path) -> int:
    """Check the file's first bytes before SQLite reads them. Returns the version of the layout that they name.

    Raises:
        LogCorrupt: it is empty, cut short, no SQLite database, or changed.
        StorageError: it cannot be read, or a newer qcore wrote it.
    """
    try:
        with path.open("rb") as file:
            header = file.read(_HEADER_BYTES)
    except OSError as error:
        raise error_from_os(error, f"read {path}") from error
    if len(header) < _HEADER_BYTES:
        what = "is empty" if not header else f"was cut short: {len(header)} bytes are left"
        raise LogCorrupt(f"{path} {what}. {RECOVERY_ADVICE}")
    if not header.startswith(b"SQLite format 3\0"):
        raise LogCorrupt(
            f"{path} is not a SQLite database (or its first bytes changed). {RECOVERY_ADVICE}"
        )
    for offset, form, expected, name in _HEADER_FIELDS:
        (seen,) = struct.unpack_from(form, header, offset)
        if seen != expected:
            raise log_corrupt(path, "the file header", f"{name} is {seen}, must be {expected}")
    (version,) = struct.unpack_from(">I", header, 60)
    _check_version(path, version)
    return int(version)


@dataclass(slots=True, frozen=True)
class StructureCheck:
    """The result of `check_read_only`.

    Attributes:
        is_done: the structure was checked; False if a full disk prevented that.
        sequence: number of the last transaction, or None if unknown.
    """

    is_done: bool
    sequence: int | None


def check_read_only(path: Path) -> StructureCheck:
    """Check a database that has a write-ahead file, without changing either.

    Closing a connection that may write would copy the sound frames into the database and remove the file, together
    with the damaged frames. So everything that may lead to a refusal is first checked read-only.

    Raises:
        LogCorrupt: the file is damaged.
        StorageError: it cannot be opened.
    """
    connection: sqlite3.Connection | None = None
    try:
        uri = f"{path.as_uri()}?mode=ro"
        connection = sqlite3.connect(uri, uri=True, timeout=0)
        check_structure(path, connection)
        row = connection.execute("SELECT sequence FROM state").fetchone()
        known = row is not None and isinstance(row[0], int)
        return StructureCheck(True, row[0] if known else None)
    except (sqlite3.Error, UnicodeDecodeError, MemoryError) as error:
        if getattr(error, "sqlite_errorcode", None) in _NO_SPACE_TO_CHECK:
            return StructureCheck(False, None)
        raise error_from_sqlite(error, path, "open the database", connection) from error
    finally:
        if connection is not None:
            connection.close()
        remove(path.with_name(path.name + "-shm"))


def connect(path: Path, *, is_checked: bool) -> sqlite3.Connection:
    """Open the database, recover its write-ahead file, check its structure and migrate it.

    Args:
        path: the file.
        is_checked: whether its structure has already been checked.

    Raises:
        LogCorrupt: the file is damaged.
        StorageError: it cannot be opened, or a newer qcore wrote it.
    """
    try:
        connection = sqlite3.connect(
            path, timeout=0, isolation_level=None, check_same_thread=False, cached_statements=64
        )
    except sqlite3.Error as error:
        raise error_from_sqlite(error, path, "open the database") from error
    try:
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}").fetchall()
        (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
        if mode != "wal":
            raise log_corrupt(path, "the journal mode", f"is {mode!r}, must be 'wal'")
        if not is_checked:
            check_structure(path, connection)
        _migrate(path, connection)
        check_tables(path, connection)
    except (sqlite3.Error, UnicodeDecodeError, MemoryError) as error:
        failure = error_from_sqlite(error, path, "open the database", connection)
        if is_io_error(error):
            abandon_connection(connection, path)
        else:
            connection.close()
        raise failure from error
    except BaseException:
        connection.close()
        raise
    return connection


def check_structure(path: Path, connection: sqlite3.Connection) -> None:
    """Let SQLite check every page.

    Raises:
        LogCorrupt: the structure is damaged.
        StorageError: the file cannot be read.
        sqlite3.Error: SQLite could not read.
    """
    verdict = quick_check(connection)
    if verdict != "ok":
        raise error_from_structure_check(path, verdict, quick_check(connection))


def _check_version(path: Path, version: int) -> None:
    if version > SCHEMA_VERSION:
        raise StorageError(
            f"{path} {unknown_format(version, SCHEMA_VERSION)}: start the node with the qcore that wrote it"
        )
    if version < 1:
        raise log_corrupt(path, "the file header", f"schema version is {version}")


def _migrate(path: Path, connection: sqlite3.Connection) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    _check_version(path, version)
    if version >= FIRST_WRITTEN_VERSION:
        return
    connection.execute("BEGIN IMMEDIATE")
    for step in range(version, FIRST_WRITTEN_VERSION):
        MIGRATIONS[step](path, connection)
        connection.execute(f"PRAGMA user_version={step + 1}")
    connection.execute("COMMIT")


def check_tables(path: Path, connection: sqlite3.Connection) -> None:
    """Check that the tables are those of the layout that the file names.

    Raises:
        LogCorrupt: a table is missing, changed or unknown.
        sqlite3.Error: SQLite could not read.
    """
    found = dict(connection.execute("SELECT name, sql FROM sqlite_schema").fetchall())
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    tables = TABLES if version < 3 else {**TABLES, "state": STATE_TABLE_3}
    missing = [name for name in tables if name not in found]
    strange = [repr(name) for name, sql in found.items() if tables.get(name) != sql]
    if missing or strange:
        why = f"missing tables: {missing}, changed or unknown ones: {strange}"
        raise log_corrupt(path, "the schema", why)


def enter_layout_3(connection: sqlite3.Connection, state_row: tuple[Column, ...]) -> None:
    """Migrate the database to layout 3, inside the open transaction.

    Args:
        connection: to a database of layout 2.
        state_row: the new row of table `state`.
    """
    connection.execute("DROP TABLE state")
    connection.execute(STATE_TABLE_3)
    placeholders = ", ".join("?" * len(state_row))
    connection.execute(f"INSERT INTO state VALUES (1, {placeholders})", state_row)
    connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")


def put_meta(connection: sqlite3.Connection, identity: Identity, incarnation: str) -> None:
    """Write the row that holds the identity."""
    fields = (identity.node_id, identity.cluster_id, incarnation)
    connection.execute(
        "INSERT OR REPLACE INTO meta VALUES (1, ?, ?, ?, ?)", (*fields, fields_checksum(*fields))
    )


def read_meta(connection: sqlite3.Connection, path: Path) -> tuple[Identity, str]:
    """Return whose data this is, and its incarnation.

    Raises:
        LogCorrupt: the row is missing or was changed.
    """
    rows = connection.execute(
        "SELECT node_id, cluster_id, incarnation, checksum FROM meta"
    ).fetchall()
    if len(rows) != 1:
        raise log_corrupt(path, "table 'meta'", f"has {len(rows)} rows, must have 1")
    node_id, cluster_id, incarnation, checksum = rows[0]
    if fields_checksum(node_id, cluster_id, incarnation) != checksum:
        raise log_corrupt(path, "the identity in table 'meta'", "its checksum is wrong")
    return Identity(node_id, cluster_id), incarnation
