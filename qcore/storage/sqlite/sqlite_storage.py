"""`SqliteStorage`: the durable log in one SQLite file.

A data directory holds `log.db` (and SQLite's `log.db-wal`), `log.mark` (see `qcore.storage.sqlite.high_water_mark`)
and `qcore.lock`. One `write` is one transaction and one sync of the write-ahead file.

What is noticed when the directory is opened and loaded:

- any change of an entry, the hard state, a snapshot or the identity: each row has a crc32, and an
  entry's continues that of the entry before, up to the value kept with the hard state;
- entries that are missing at the start, in the middle or at the end;
- damage of the file's structure (SQLite's `quick_check`) and of its header;
- acknowledged transactions that are gone from the write-ahead file: see `qcore.storage.sqlite.wal_check` and
  `qcore.storage.sqlite.high_water_mark`. A crash of the process keeps the mark exact. A power loss may take the
  mark's newest values; then damage of the last transaction (or of the commit frame of the last but
  one) cannot be told from a torn write, and only then.

A directory restored whole from an older copy is consistent with itself and cannot be noticed here.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NoReturn, Self, assert_never

from qcore.core.effects import AppendLog, SaveHardState, StoreSnapshot, TruncateLog, Write
from qcore.core.entry import DurableState, Entry, HardState, Snapshot
from qcore.errors import DiskFull, StorageError
from qcore.storage.files.directory_lock import LOCK_FILE, DirectoryLock
from qcore.storage.files.synced_files import (
    path_exists,
    preallocate,
    require_regular_file,
    sync_path,
)
from qcore.storage.interface import Identity
from qcore.storage.io_errors import error_from_os, error_from_sqlite, is_io_error
from qcore.storage.log_outline import LogOutline
from qcore.storage.memory import check_cluster
from qcore.storage.sqlite import database
from qcore.storage.sqlite.abandon import abandon_connection, require_not_abandoned
from qcore.storage.sqlite.checksums import (
    decode_entries,
    decode_snapshot,
    entry_rows,
    log_corrupt,
    needs_layout_3,
)
from qcore.storage.sqlite.creation import create, ensure_wal, make_directory
from qcore.storage.sqlite.high_water_mark import Mark, MarkFile, check_sequence
from qcore.storage.sqlite.snapshot_parts import SnapshotParts
from qcore.storage.sqlite.state_row import StoredState
from qcore.storage.sqlite.wal_check import check_wal

DATABASE_FILE = "log.db"
MARK_FILE = "log.mark"
_FILES = (DATABASE_FILE, f"{DATABASE_FILE}-wal", f"{DATABASE_FILE}-shm", MARK_FILE)

#: Size to which the write-ahead file is filled at open, and at which it is checkpointed.
WAL_BYTES = 8 << 20
#: An idle moment is used for a checkpoint once the write-ahead file holds this much.
IDLE_CHECKPOINT_BYTES = 1 << 20

_INSERT_ENTRY = "INSERT INTO log VALUES (?, ?, ?, ?, ?, ?)"


class SqliteStorage:
    """A `LogStorage` in a directory on disk. Make one with `open`.

    After a failed write other than `DiskFull` the object refuses everything but `close`: a sync
    that failed once must not be believed when it is tried again.
    """

    def __init__(
        self,
        directory: Path,
        connection: sqlite3.Connection,
        mark: MarkFile,
        lock: DirectoryLock,
        wal_bytes: int,
    ) -> None:
        """Take over what `open` has opened and checked."""
        self._path = directory / DATABASE_FILE
        self._connection = connection
        self._parts = SnapshotParts(connection)
        self._mark = mark
        self._lock = lock
        self._wal_bytes = wal_bytes
        self._identity, self._incarnation = database.read_meta(connection, self._path)
        self._stored = self._read_state()
        self._outline: LogOutline | None = None
        self._failure: StorageError | None = None
        self._closed = False
        self._written_bytes = 0

    @classmethod
    def open(cls, data_dir: Path | str, node_id: int, *, wal_bytes: int = WAL_BYTES) -> Self:
        """Lock, create or check, and open the log of a node.

        Args:
            data_dir: made if absent.
            node_id: whose log it is, or will be.
            wal_bytes: size of the write-ahead file; when it is full, its content moves to the
                database (a checkpoint).

        Raises:
            DataDirLocked: another process uses the directory.
            LogCorrupt: a file is damaged, or acknowledged writes are missing from it.
            DiskFull: there is no space for a file that must be made, such as a new database.
            StorageError: the directory cannot be used, or belongs to another node; says whether the disk, a
                permission or another program is the reason.
        """
        directory = Path(data_dir).absolute()
        make_directory(directory)
        for name in (LOCK_FILE, *_FILES):
            require_regular_file(directory / name)
        lock = DirectoryLock(directory)
        try:
            return cls._open_locked(directory, node_id, lock, wal_bytes)
        except OSError as error:
            lock.release()
            raise error_from_os(error, f"use data directory {directory}") from error
        except BaseException:
            lock.release()
            raise

    @classmethod
    def _open_locked(
        cls, directory: Path, node_id: int, lock: DirectoryLock, wal_bytes: int
    ) -> Self:
        path, mark_path = directory / DATABASE_FILE, directory / MARK_FILE
        wal_path = directory / (DATABASE_FILE + "-wal")
        if not path_exists(path):
            create(path, mark_path, wal_path, node_id)
        require_not_abandoned(path)
        promised = MarkFile.read(mark_path)
        database.check_header(path)
        check_wal(wal_path, database.PAGE_SIZE)
        inspected = False
        if path_exists(wal_path) and wal_path.stat().st_size > 0:
            inspection = database.inspect(path)
            inspected = inspection.is_done
            check_sequence(path, inspection.sequence, promised)
        ensure_wal(path, wal_path)
        # Every time: the attempt that made the files may have ended before their names were durable.
        sync_path(directory)
        mark = MarkFile(mark_path)
        try:
            connection = database.connect(path, inspected=inspected)
        except BaseException:
            mark.close()
            raise
        try:
            storage = cls(directory, connection, mark, lock, wal_bytes)
            storage._check_owner(node_id)
            check_sequence(path, storage._stored.sequence, promised)
        except (sqlite3.Error, UnicodeDecodeError, MemoryError) as error:
            failure = error_from_sqlite(error, path, "read", connection)
            abandon_connection(connection, path) if is_io_error(error) else connection.close()
            mark.close()
            raise failure from error
        except BaseException:
            connection.close()
            mark.close()
            raise
        try:
            storage._mark.advance(Mark(storage._stored.sequence, storage._stored.last_index))
            storage._checkpoint()
            preallocate(wal_path, wal_bytes)
        except BaseException:
            # A write or a sync failed: SQLite's last words would be more of them.
            abandon_connection(connection, path)
            mark.close()
            raise
        return storage

    def _check_owner(self, node_id: int) -> None:
        if self._identity.node_id != node_id:
            raise StorageError(
                f"data directory {self._path.parent} belongs to node {self._identity.node_id}, "
                f"not to node {node_id}: give node {node_id} its own directory"
            )

    @property
    def incarnation(self) -> str:
        """Random text, chosen when the directory was created: tells a wiped directory from the old one."""
        return self._incarnation

    def identity(self) -> Identity:
        """Whose data this is."""
        return self._identity

    def join_cluster(self, cluster_id: str) -> None:
        """See `LogStorage.join_cluster`."""
        self._require_usable()
        check_cluster(self._identity, cluster_id, f"data directory {self._path.parent}")
        if self._identity.cluster_id == cluster_id:
            return
        identity = Identity(self._identity.node_id, cluster_id)
        stored = replace(self._stored, sequence=self._stored.sequence + 1)
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            database.put_meta(self._connection, identity, self._incarnation)
            self._connection.execute(stored.update, stored.row())
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._fail(error)
        self._identity, self._stored = identity, stored
        self._after_commit(4 * database.PAGE_SIZE)

    def load(self) -> DurableState:
        """See `LogStorage.load`. A commit index beyond the log's end is cut to it."""
        self._require_usable()
        try:
            state = self._read_all()
        except (sqlite3.Error, UnicodeDecodeError, MemoryError) as error:
            raise error_from_sqlite(error, self._path, "read", self._connection) from error
        try:
            self._outline = LogOutline.of(state)
        except ValueError as error:
            raise log_corrupt(self._path, "log, hard state and snapshot", str(error)) from error
        return state

    def _read_all(self) -> DurableState:
        stored = self._read_state()
        snapshot = self._read_snapshot(stored)
        rows = self._connection.execute("SELECT * FROM log ORDER BY idx")
        entries, chain = decode_entries(self._path, rows, stored.first_index, stored.base_chain)
        last = entries[-1].index if entries else stored.first_index - 1
        if last != stored.last_index:
            raise log_corrupt(
                self._path, f"entry {last + 1}", f"missing, up to {stored.last_index}"
            )
        if chain != stored.chain:
            raise log_corrupt(self._path, f"entry {last}", "it is not the one last written")
        commit = min(stored.commit, stored.last_index)
        hard = HardState(stored.term, stored.voted_for, commit, stored.promise_ms or 0)
        return DurableState(hard, snapshot, entries)

    def _read_state(self) -> StoredState:
        rows = self._connection.execute("SELECT * FROM state").fetchall()
        if len(rows) != 1:
            raise log_corrupt(self._path, "table 'state'", f"has {len(rows)} rows, must have 1")
        return StoredState.from_row(self._path, rows[0][1:])

    def _read_snapshot(self, stored: StoredState) -> Snapshot | None:
        rows = self._connection.execute(
            "SELECT last_index, last_term, last_time_us, membership, parts, data, checksum FROM snapshot"
        ).fetchall()
        if len(rows) != stored.has_snapshot:
            raise log_corrupt(self._path, "the snapshot", f"{len(rows)} found")
        return decode_snapshot(self._path, rows[0], self._parts.of(rows[0][0])) if rows else None

    def write(self, writes: Sequence[Write], commit: int | None = None) -> None:
        """See `LogStorage.write`.

        Raises:
            ValueError: a write does not fit the log; nothing was written.
            DiskFull: nothing was written; the same writes may be tried again.
            StorageError: nothing is known of the writes, and no more are accepted.
        """
        self._require_usable()
        if self._outline is None:
            self.load()
            assert self._outline is not None
        outline = self._outline.after(writes)
        stored = replace(self._stored, sequence=self._stored.sequence + 1)
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            if stored.promise_ms is None and any(map(_needs_layout_3, writes)):
                stored.promise_ms = 0
                database.enter_layout_3(self._connection, stored.row())
            written = self._carry_out(writes, stored)
            if commit is not None:
                stored.commit = max(stored.commit, commit)
            stored.first_index, stored.last_index = outline.first_index, outline.last_index
            self._connection.execute(stored.update, stored.row())
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._fail(error)
        except ValueError:
            self._roll_back()
            raise
        except BaseException as error:
            self._failure = StorageError(f"a write to {self._path} was interrupted: {error!r}")
            raise
        self._stored, self._outline = stored, outline
        self._after_commit(written)

    def _carry_out(self, writes: Sequence[Write], stored: StoredState) -> int:
        """Do the writes inside the open transaction; returns about how many bytes they make."""
        size = 0
        appends: list[Entry] = []
        for write in writes:
            match write:
                case SaveHardState(hard_state=hard):
                    stored.term, stored.voted_for = hard.term, hard.voted_for
                    stored.commit = hard.commit
                    if stored.promise_ms is not None:
                        stored.promise_ms = hard.promise_ms
                case AppendLog(entries=entries):
                    appends += entries
                case TruncateLog(from_index=from_index):
                    size += self._append(appends, stored)
                    self._truncate(from_index, stored)
                case StoreSnapshot(snapshot=snapshot, compact_through=through, reset_log=reset):
                    size += self._append(appends, stored) + len(snapshot.data)
                    self._store(snapshot, through, reset, stored)
                case _:
                    assert_never(write)
        return size + self._append(appends, stored)

    def _append(self, entries: list[Entry], stored: StoredState) -> int:
        """Insert the collected entries and empty the list; returns about how many bytes they make."""
        if not entries:
            return 0
        rows, stored.chain = entry_rows(entries, stored.chain)
        self._connection.executemany(_INSERT_ENTRY, rows)
        stored.last_index = entries[-1].index
        size = sum(entry.size_bytes() for entry in entries)
        entries.clear()
        return size

    def _truncate(self, from_index: int, stored: StoredState) -> None:
        if from_index > stored.last_index:
            return
        self._connection.execute("DELETE FROM log WHERE idx >= ?", (from_index,))
        kept = self._checksum_at(from_index - 1)
        stored.chain = stored.base_chain if kept is None else kept
        stored.last_index = from_index - 1

    def _store(self, snapshot: Snapshot, through: int, reset: bool, stored: StoredState) -> None:
        self._connection.execute(
            "INSERT OR REPLACE INTO snapshot VALUES (1, ?, ?, ?, ?, ?, ?, ?)",
            self._parts.row(snapshot),
        )
        stored.has_snapshot = True
        if reset or through >= stored.last_index:
            self._connection.execute("DELETE FROM log")
            stored.base_chain = stored.chain = 0
            stored.last_index = snapshot.meta.last_included_index
            return
        before_first = self._checksum_at(through)
        if before_first is not None:
            stored.base_chain = before_first
            self._connection.execute("DELETE FROM log WHERE idx <= ?", (through,))

    def _checksum_at(self, index: int) -> int | None:
        row = self._connection.execute(
            "SELECT checksum FROM log WHERE idx = ?", (index,)
        ).fetchone()
        return None if row is None else int(row[0])

    def _after_commit(self, written: int) -> None:
        self._written_bytes += written + 3 * database.PAGE_SIZE
        try:
            self._mark.advance(Mark(self._stored.sequence, self._stored.last_index))
        except StorageError as error:
            self._failure = error
            raise
        if self._written_bytes >= self._wal_bytes:
            self._checkpoint()

    def write_snapshot_parts(self, snapshot: Snapshot) -> bool:
        """Write the next parts of a large snapshot that a `StoreSnapshot` will name; a crash may lose them.

        Returns:
            False if nothing is left to write ahead.

        Raises:
            ValueError: the text cannot be encoded.
            DiskFull: nothing was written; it may be tried again.
            StorageError: the disk failed; the node must stop.
        """
        self._require_usable()
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            written = self._parts.write_snapshot_parts(snapshot)
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._fail(error)
        except ValueError:
            self._roll_back()
            raise
        self._parts.confirm()
        self._after_commit(written)
        return written > 0

    def remove_stale_parts(self) -> bool:
        """Remove some of what superseded snapshots left.

        Returns:
            False if nothing is left to remove.

        Raises:
            DiskFull: nothing was removed; it may be tried again.
            StorageError: the disk failed; the node must stop.
        """
        self._require_usable()
        outline = self._outline
        if outline is None:
            return False  # not loaded yet: the present snapshot is not known
        current = outline.snapshot_index if self._stored.has_snapshot else None
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            removed = self._parts.remove_stale_parts(current)
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._fail(error)
        if removed:
            self._after_commit(database.PAGE_SIZE)
        return removed

    def idle(self) -> None:
        """Use a quiet moment to move the write-ahead file's content into the database.

        Raises:
            StorageError: the disk failed; the node must stop.
        """
        self._require_usable()
        if self._written_bytes >= min(IDLE_CHECKPOINT_BYTES, self._wal_bytes):
            self._checkpoint()

    def _checkpoint(self) -> None:
        """Copy the write-ahead file into the database; SQLite then reuses it from its start."""
        try:
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            self._mark.sync()
        except sqlite3.Error as error:
            failure = error_from_sqlite(error, self._path, "checkpoint", self._connection)
            # On a full disk the write-ahead file simply goes on growing until a later attempt.
            if not isinstance(failure, DiskFull):
                self._failure = failure
                raise failure from error
        except StorageError as error:
            self._failure = error
            raise
        self._written_bytes = 0

    def _roll_back(self) -> None:
        """Undo what a refused call has done so far."""
        try:
            self._connection.execute("ROLLBACK")
        except sqlite3.Error as error:
            self._fail(error)

    def _fail(self, error: sqlite3.Error) -> NoReturn:
        """Roll back if the disk is full, else stop using the file; always raises."""
        failed: str | None = None
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except sqlite3.Error as second:
            failed = f"and the rollback failed: {second}"
        failure = error_from_sqlite(error, self._path, "write to", self._connection)
        if failed is not None:
            failure = StorageError(f"{failure}; {failed}")
        if not isinstance(failure, DiskFull):
            self._failure = failure
        raise failure from error

    def _require_usable(self) -> None:
        if self._closed:
            raise StorageError(f"{self._path} is closed")
        if self._failure is not None:
            raise StorageError(
                f"{self._path} failed earlier and is not used any more: {self._failure}. "
                "Check the disk, then restart the node"
            )

    def close(self) -> None:
        """Checkpoint, close the files and release the lock. Idempotent.

        Raises:
            StorageError: the last sync failed; everything is released nevertheless.
        """
        if self._closed:
            return
        self._closed = True
        try:
            if self._failure is None:
                self._mark.sync()
        except StorageError as error:
            self._failure = error
            raise
        finally:
            if self._failure is None:
                self._connection.close()
            else:
                abandon_connection(self._connection, self._path)
            self._mark.close()
            self._lock.release()


def _needs_layout_3(write: Write) -> bool:
    """Whether the write says what layout 2, and with it 0.1.0, cannot hold."""
    match write:
        case SaveHardState(hard_state=hard):
            return bool(hard.promise_ms)
        case AppendLog(entries=entries):
            return any(entry.clock_us or entry.kind == "version" for entry in entries)
        case StoreSnapshot(snapshot=snapshot):
            return needs_layout_3(snapshot.meta)
        case TruncateLog():
            return False
