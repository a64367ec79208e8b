"""The database file: its tables, its version, how it is created, opened and refused."""

from __future__ import annotations

import os
import sqlite3
import struct
import uuid
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from qcore.errors import DiskFull, LogCorrupt, StorageError
from qcore.storage.checks import Column, corrupt, fields_checksum
from qcore.storage.interface import Identity
from qcore.storage.mark import REMEDY
from qcore.storage.migrations import MIGRATIONS

#: The newest layout that this program reads and writes, and the one that it gives to a new database. Layout 3 is
#: entered by the first write that needs it (`SqliteStorage.write`): until then 0.1.0 can go on with the file.
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

#: Table `state` since layout 3: it remembers the promise to a leader's lease.
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

# Every one is set at each open: most are not remembered by the file.
_PRAGMAS = (
    "locking_mode=EXCLUSIVE",  # no shared-memory file, no lock calls at each transaction
    "synchronous=FULL",  # a commit returns after its sync; NORMAL would not be durable
    "fullfsync=ON",  # macOS only: a sync that the drive obeys
    "checkpoint_fullfsync=ON",
    "wal_autocheckpoint=0",  # SQLite ignores errors of its own checkpoints; ours are checked
    "journal_size_limit=67108864",
    "cell_size_check=ON",
    "trusted_schema=OFF",
    "secure_delete=OFF",
    "temp_store=MEMORY",
)


#: A reader needs a shared-memory file of 32 KiB, which a full disk has no room for.
_NO_ROOM_TO_INSPECT = (
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR_SHMOPEN,
    sqlite3.SQLITE_IOERR_SHMSIZE,
    sqlite3.SQLITE_IOERR_SHMMAP,
)


def create_database(path: Path, node_id: int, state_row: tuple[Column, ...]) -> None:
    """Make a new database appear whole or not at all: built aside, synced, renamed.

    Raises:
        DiskFull: no space.
        StorageError: it cannot be written.
    """
    new = path.with_name(path.name + ".new")
    for leftover in (new, new.with_name(new.name + "-journal"), new.with_name(new.name + "-wal")):
        leftover.unlink(missing_ok=True)
    try:
        with closing(sqlite3.connect(new, isolation_level=None)) as connection:
            connection.execute(f"PRAGMA page_size={PAGE_SIZE}")
            connection.execute("BEGIN")
            for statement in TABLES.values():
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version={FIRST_WRITTEN_VERSION}")
            put_meta(connection, Identity(node_id, None), uuid.uuid4().hex)
            placeholders = ", ".join("?" * len(state_row))
            connection.execute(f"INSERT INTO state VALUES (1, {placeholders})", state_row)
            connection.execute("COMMIT")
            connection.execute("PRAGMA journal_mode=WAL")
    except sqlite3.Error as error:
        raise translate(error, new, "create the database") from error
    sync_path(new)
    new.rename(path)


def check_header(path: Path) -> None:
    """Look at the file's first bytes before SQLite does.

    Raises:
        LogCorrupt: it is empty, cut short, no SQLite database, or changed.
        StorageError: it cannot be read, or a newer qcore wrote it.
    """
    try:
        with path.open("rb") as file:
            header = file.read(_HEADER_BYTES)
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror}") from error
    if len(header) < _HEADER_BYTES:
        what = "is empty" if not header else f"was cut short: {len(header)} bytes are left"
        raise LogCorrupt(f"{path} {what}. {REMEDY}")
    if not header.startswith(b"SQLite format 3\0"):
        raise LogCorrupt(f"{path} is not a SQLite database (or its first bytes changed). {REMEDY}")
    for offset, form, expected, name in _HEADER_FIELDS:
        (seen,) = struct.unpack_from(form, header, offset)
        if seen != expected:
            raise corrupt(path, "the file header", f"{name} is {seen}, must be {expected}")
    (version,) = struct.unpack_from(">I", header, 60)
    _check_version(path, version)


@dataclass(slots=True, frozen=True)
class Inspection:
    """What `inspect` saw.

    Attributes:
        is_done: the structure was checked; False if a full disk prevented that.
        sequence: number of the last transaction, or None if unknown.
    """

    is_done: bool
    sequence: int | None


def inspect(path: Path) -> Inspection:
    """Look at a database that has a write-ahead file, without changing either.

    Closing a connection that may write would copy the sound frames over and remove the file, the
    damaged frames with it. So whatever may lead to a refusal is looked at first, read-only.

    Raises:
        LogCorrupt: the file is damaged.
        StorageError: it cannot be opened.
    """
    try:
        uri = f"{path.as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=0)) as connection:
            _check_structure(path, connection)
            if connection.execute("PRAGMA user_version").fetchone()[0] < FIRST_WRITTEN_VERSION:
                return Inspection(True, None)
            row = connection.execute("SELECT sequence FROM state").fetchone()
            known = row is not None and isinstance(row[0], int)
            return Inspection(True, row[0] if known else None)
    except (sqlite3.Error, UnicodeDecodeError) as error:
        if getattr(error, "sqlite_errorcode", None) in _NO_ROOM_TO_INSPECT:
            return Inspection(False, None)
        raise translate(error, path, "open the database") from error
    finally:
        path.with_name(path.name + "-shm").unlink(missing_ok=True)


def connect(path: Path, *, inspected: bool) -> sqlite3.Connection:
    """Open the database, recover its write-ahead file, check its structure, migrate it.

    Args:
        path: the file.
        inspected: its structure was checked already.

    Raises:
        LogCorrupt: the file is damaged.
        StorageError: it cannot be opened, or a newer qcore wrote it.
    """
    try:
        connection = sqlite3.connect(
            path, timeout=0, isolation_level=None, check_same_thread=False, cached_statements=64
        )
    except sqlite3.Error as error:
        raise translate(error, path, "open the database") from error
    try:
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}").fetchall()
        (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
        if mode != "wal":
            raise corrupt(path, "the journal mode", f"is {mode!r}, must be 'wal'")
        if not inspected:
            _check_structure(path, connection)
        _migrate(path, connection)
        _check_tables(path, connection)
    except (sqlite3.Error, UnicodeDecodeError) as error:
        connection.close()
        raise translate(error, path, "open the database") from error
    except BaseException:
        connection.close()
        raise
    return connection


def _check_structure(path: Path, connection: sqlite3.Connection) -> None:
    """SQLite's own check of every page: reads the whole file, as `load` does anyway."""
    (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        text = " ".join(str(verdict).split())
        raise corrupt(path, "the database structure", text)


def _check_version(path: Path, version: int) -> None:
    if version > SCHEMA_VERSION:
        raise StorageError(
            f"{path} has schema version {version}, this qcore knows up to {SCHEMA_VERSION}: "
            "start the node with the newer qcore that wrote it"
        )
    if version < 1:
        raise corrupt(path, "the file header", f"schema version is {version}")


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


def _check_tables(path: Path, connection: sqlite3.Connection) -> None:
    found = dict(connection.execute("SELECT name, sql FROM sqlite_schema").fetchall())
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    tables = TABLES if version < 3 else {**TABLES, "state": STATE_TABLE_3}
    missing = [name for name in tables if name not in found]
    strange = [repr(name) for name, sql in found.items() if tables.get(name) != sql]
    if missing or strange:
        why = f"missing tables: {missing}, changed or unknown ones: {strange}"
        raise corrupt(path, "the schema", why)


def enter_layout_3(connection: sqlite3.Connection, state_row: tuple[Column, ...]) -> None:
    """Give the database layout 3, inside the open transaction.

    Args:
        connection: of a database of layout 2.
        state_row: the new row of table `state`.
    """
    connection.execute("DROP TABLE state")
    connection.execute(STATE_TABLE_3)
    placeholders = ", ".join("?" * len(state_row))
    connection.execute(f"INSERT INTO state VALUES (1, {placeholders})", state_row)
    connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")


def put_meta(connection: sqlite3.Connection, identity: Identity, incarnation: str) -> None:
    """Write the row that says whose data this is."""
    fields = (identity.node_id, identity.cluster_id, incarnation)
    connection.execute(
        "INSERT OR REPLACE INTO meta VALUES (1, ?, ?, ?, ?)", (*fields, fields_checksum(*fields))
    )


def read_meta(connection: sqlite3.Connection, path: Path) -> tuple[Identity, str]:
    """Whose data this is, and the random text that its creation chose.

    Raises:
        LogCorrupt: the row is missing or was changed.
    """
    rows = connection.execute(
        "SELECT node_id, cluster_id, incarnation, checksum FROM meta"
    ).fetchall()
    if len(rows) != 1:
        raise corrupt(path, "table 'meta'", f"has {len(rows)} rows, must have 1")
    node_id, cluster_id, incarnation, checksum = rows[0]
    if fields_checksum(node_id, cluster_id, incarnation) != checksum:
        raise corrupt(path, "the identity in table 'meta'", "its checksum is wrong")
    return Identity(node_id, cluster_id), incarnation


def translate(error: sqlite3.Error | UnicodeDecodeError, path: Path, action: str) -> StorageError:
    """qcore's error for one of SQLite's: which file, what was tried, why it failed, what to do.

    A `UnicodeDecodeError` comes from SQLite's message when that quotes damaged text.
    """
    code = getattr(error, "sqlite_errorcode", None)
    primary = None if code is None else code & 0xFF
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    text = f"cannot {action} {path}: {error} ({name})"
    match primary:
        case sqlite3.SQLITE_FULL:
            return DiskFull(f"{text}: nothing was written; free some space")
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return StorageError(f"{text}: another program has the file open; close it")
        case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM:
            return StorageError(f"{text}: check the owner and permissions of the data directory")
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB | sqlite3.SQLITE_ERROR | None:
            return LogCorrupt(f"{text}. {REMEDY}")
        case _:
            return StorageError(f"{text}: check the disk and the system's log")


def sync_path(path: Path) -> None:
    """Make a file's content, or a directory's list of names, durable.

    Raises:
        StorageError: the sync failed.
    """
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(file)
        finally:
            os.close(file)
    except OSError as error:
        raise StorageError(f"cannot sync {path}: {error.strerror}") from error


def preallocate(path: Path, size: int) -> None:
    """Fill a write-ahead file with zeros up to `size` bytes.

    A sync that changes neither a file's length nor its blocks costs about half of one that does.
    SQLite reuses the file from its start after each checkpoint; this gives it the room from the first
    commit on. A frame of zeros is not a valid frame, so that recovery stops before it. On a full
    disk the file stays as it was: nothing depends on this.
    """
    with suppress(FileNotFoundError):
        file = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            present = os.fstat(file).st_size
            if present >= size:
                return
            try:
                os.pwrite(file, bytes(size - present), present)
            except OSError:
                os.ftruncate(file, present)
            os.fsync(file)
        finally:
            os.close(file)
