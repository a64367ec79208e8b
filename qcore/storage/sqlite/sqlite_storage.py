"""`SqliteStorage`: the durable log in one SQLite file.

A data directory holds `log.db` (and SQLite's `log.db-wal`), `log.mark` (see `qcore.storage.sqlite.high_water_mark`)
and `qcore.lock`. One `write` is one transaction and one sync of the write-ahead file.

Opening and loading detect:

- any change of an entry, the hard state, a snapshot or the identity: each row has a crc32, and an entry's continues
  that of the entry before, up to the value kept with the hard state;
- missing entries at the start, in the middle or at the end;
- damage to the file's structure (SQLite's `quick_check`) and to its header;
- acknowledged transactions that are missing from the write-ahead file: see `qcore.storage.sqlite.wal_check` and
  `qcore.storage.sqlite.high_water_mark`. A crash of the process leaves the mark exact. A power loss may take the
  mark's newest values. Only then does damage to the last transaction, or to the commit frame of the last but one,
  look like a torn write.

A directory that was restored whole from an older copy is consistent with itself and cannot be detected here.
"""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NoReturn, Self

from qcore.core.effects import SaveHardState, StoreSnapshot, Write
from qcore.core.entry import DurableState, HardState, Snapshot
from qcore.core.log.disk_errors import log_corrupt
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
from qcore.storage.sqlite import database
from qcore.storage.sqlite.abandon import abandon_connection, require_not_abandoned
from qcore.storage.sqlite.creation import create, ensure_wal, make_directory
from qcore.storage.sqlite.high_water_mark import Mark, MarkFile, check_sequence
from qcore.storage.sqlite.log_tables import LogTables
from qcore.storage.sqlite.snapshot_parts import SnapshotParts
from qcore.storage.sqlite.wal_check import check_wal

DATABASE_FILE = "log.db"
MARK_FILE = "log.mark"
_FILES = (DATABASE_FILE, f"{DATABASE_FILE}-wal", f"{DATABASE_FILE}-shm", MARK_FILE)

#: Size to which the write-ahead file is filled when it is opened. At this size it is checkpointed.
WAL_BYTES = 8 << 20
#: An idle moment is used for a checkpoint if the write-ahead file holds this much.
IDLE_CHECKPOINT_BYTES = 1 << 20
#: What a transaction writes besides its data, roughly: the pages in which it changes little.
_TRANSACTION_BYTES: Final = 3 * database.PAGE_SIZE


class SqliteStorage:
    """A `LogStorage` in a directory on disk. Use `open` to make one.

    After a failed write other than `DiskFull` every method but `close` raises an error: once a sync has failed, the
    success of a later sync proves nothing.
    """

    def __init__(
        self,
        directory: Path,
        connection: sqlite3.Connection,
        mark: MarkFile,
        lock: DirectoryLock,
        wal_bytes: int,
    ) -> None:
        """Take the files that `open` has opened and checked."""
        self._path = directory / DATABASE_FILE
        self._connection = connection
        self._parts = SnapshotParts(connection)
        self._mark = mark
        self._tables = LogTables(self._path, connection, self._parts)
        self._lock = lock
        self._wal_bytes = wal_bytes
        self._identity, self._incarnation = database.read_meta(connection, self._path)
        self._stored = self._tables.read_state()
        self._outline: LogOutline | None = None
        self._failure: StorageError | None = None
        self._closed = False
        self._written_bytes = 0

    @classmethod
    def open(cls, data_dir: Path | str, node_id: int, *, wal_bytes: int = WAL_BYTES) -> Self:
        """Lock, create or check, and open the log of a node.

        Args:
            data_dir: created if it is absent.
            node_id: whose log it is or will be.
            wal_bytes: size of the write-ahead file. When it is full, a checkpoint moves its content to the database.

        Raises:
            DataDirLocked: another process uses the directory.
            LogCorrupt: a file is damaged, or acknowledged writes are missing from it.
            DiskFull: there is no space for a file that must be created, such as a new database.
            StorageError: the directory cannot be used, or it belongs to another node. The message names the reason:
                the disk, a permission or another program.
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
        acknowledged = MarkFile.read(mark_path)
        database.check_header(path)
        check_wal(wal_path, database.PAGE_SIZE)
        is_checked = False
        if path_exists(wal_path) and wal_path.stat().st_size > 0:
            check = database.check_read_only(path)
            is_checked = check.is_done
            check_sequence(path, check.sequence, acknowledged)
        ensure_wal(path, wal_path)
        # At every open: the attempt that created the files may have ended before their names were durable.
        sync_path(directory)
        mark = MarkFile(mark_path)
        try:
            connection = database.connect(path, is_checked=is_checked)
        except BaseException:
            mark.close()
            raise
        try:
            storage = cls(directory, connection, mark, lock, wal_bytes)
            storage._check_owner(node_id)
            check_sequence(path, storage._stored.sequence, acknowledged)
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
            # A write or a sync failed. A normal close would let SQLite write more.
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
        """Random text, chosen when the directory was created. It distinguishes a wiped directory from the old one."""
        return self._incarnation

    def identity(self) -> Identity:
        """Whose data this is."""
        return self._identity

    def join_cluster(self, cluster_id: str) -> None:
        """See `LogStorage.join_cluster`."""
        self._require_usable()
        self._identity.require_can_join(cluster_id, f"data directory {self._path.parent}")
        if self._identity.cluster_id == cluster_id:
            return
        identity = Identity(self._identity.node_id, cluster_id)
        stored = self._stored.next()
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
        """See `LogStorage.load`."""
        self._require_usable()
        try:
            state = self._tables.read()
        except (sqlite3.Error, UnicodeDecodeError, MemoryError) as error:
            raise error_from_sqlite(error, self._path, "read", self._connection) from error
        try:
            self._outline = LogOutline.of(state)
        except ValueError as error:
            raise log_corrupt(self._path, "log, hard state and snapshot", str(error)) from error
        return state

    def write(self, writes: Sequence[Write], commit: int | None = None) -> None:
        """See `LogStorage.write`.

        Raises:
            ValueError: a write does not fit the log; nothing was written.
            DiskFull: nothing was written; the same writes may be tried again.
            StorageError: whether the writes are on disk is unknown; no more writes are accepted.
        """
        self._require_usable()
        if self._outline is None:
            self.load()
            assert self._outline is not None
        self._write(writes, commit, self._outline.after(writes))

    def takes_quick_write(self, size: int) -> bool:
        """Whether a write of this many bytes now needs no checkpoint."""
        return self._written_bytes + size + _TRANSACTION_BYTES < self._wal_bytes

    def begin_new_cluster(self, snapshot: Snapshot, hard_state: HardState) -> None:
        """Replace everything that is stored by a snapshot, and join its cluster. For recovery, see `qcore.recovery`.

        It is one transaction: after a crash all is as before, or all is new. The directory gets another incarnation.

        Raises:
            ValueError: snapshot and hard state do not fit each other; nothing was written.
            DiskFull: nothing was written.
            StorageError: whether it is on disk is unknown.
        """
        self._require_usable()
        writes = (SaveHardState(1, hard_state), StoreSnapshot(2, snapshot, 0, True))
        outline = LogOutline().after(writes)
        cluster_id = snapshot.meta.membership.cluster_id
        new_identity = Identity(self._identity.node_id, cluster_id), uuid.uuid4().hex
        self._write(writes, None, outline, new_identity)
        self._identity, self._incarnation = new_identity

    def _write(
        self,
        writes: Sequence[Write],
        commit: int | None,
        outline: LogOutline,
        new_identity: tuple[Identity, str] | None = None,
    ) -> None:
        """Do the writes in one transaction.

        Args:
            writes, commit: see `write`.
            outline: the log's outline after the writes.
            new_identity: the identity and the incarnation to store; None to keep those that are stored.
        """
        stored = self._stored.next()
        connection = self._connection
        try:
            connection.execute("BEGIN IMMEDIATE")
            if new_identity is not None:
                database.put_meta(connection, *new_identity)
            written = self._tables.commit(connection, writes, commit, stored, outline)
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

    def _after_commit(self, written: int) -> None:
        self._written_bytes += written + _TRANSACTION_BYTES
        try:
            self._mark.advance(Mark(self._stored.sequence, self._stored.last_index))
        except StorageError as error:
            self._failure = error
            raise
        if self._written_bytes >= self._wal_bytes:
            self._checkpoint()

    def write_snapshot_parts(self, snapshot: Snapshot) -> bool:
        """Write the next parts of a large snapshot that a later `StoreSnapshot` names. A crash may lose them.

        Returns:
            False if no part is left to write early.

        Raises:
            ValueError: the text cannot be encoded.
            DiskFull: nothing was written; the call may be repeated.
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
        """Remove some parts of superseded snapshots.

        Returns:
            False if none is left.

        Raises:
            DiskFull: nothing was removed; the call may be repeated.
            StorageError: the disk failed; the node must stop.
        """
        self._require_usable()
        outline = self._outline
        if outline is None:
            return False  # not loaded yet, so the current snapshot is unknown
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
        """Use an idle moment to move the write-ahead file's content into the database.

        Raises:
            StorageError: the disk failed; the node must stop.
        """
        self._require_usable()
        if self._written_bytes >= min(IDLE_CHECKPOINT_BYTES, self._wal_bytes):
            self._checkpoint()

    def _checkpoint(self) -> None:
        """Copy the write-ahead file into the database. SQLite then reuses it from its start."""
        try:
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            self._mark.sync()
        except sqlite3.Error as error:
            failure = error_from_sqlite(error, self._path, "checkpoint", self._connection)
            # On a full disk the write-ahead file grows until a later attempt succeeds.
            if not isinstance(failure, DiskFull):
                self._failure = failure
                raise failure from error
        except StorageError as error:
            self._failure = error
            raise
        self._written_bytes = 0

    def _roll_back(self) -> None:
        """Undo the work of a call that is rejected."""
        try:
            self._connection.execute("ROLLBACK")
        except sqlite3.Error as error:
            self._fail(error)

    def _fail(self, error: sqlite3.Error) -> NoReturn:
        """Roll back if the disk is full, otherwise stop using the file. Always raises."""
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
