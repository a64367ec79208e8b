"""After an error of SQLite or of a caller, the storage is as before, or it accepts nothing more."""

from __future__ import annotations

import errno
import os
import sqlite3
import sys
from pathlib import Path
from typing import NoReturn

import pytest

from qcore.core.effects import AppendLog, SaveHardState, StoreSnapshot
from qcore.core.entry import HardState, Snapshot
from qcore.errors import DiskFull, LogCorrupt, StorageError
from qcore.storage.interface import LogStorage
from qcore.storage.io_errors import error_from_sqlite
from qcore.storage.memory import MemoryStorage
from qcore.storage.sqlite import creation, database, sqlite_storage
from qcore.storage.sqlite.snapshot_parts import PART_CHARS
from qcore.storage.sqlite.sqlite_storage import IDLE_CHECKPOINT_BYTES, SqliteStorage
from tests.storage.faults.test_io_errors import of_sqlite
from tests.storage.files.test_file_permissions import file_size_limit
from tests.storage.support.directories import command, fill, open_storage, snapshot

SYNC_FAILED = (sqlite3.SQLITE_IOERR_FSYNC, "SQLITE_IOERR_FSYNC")
FULL = (sqlite3.SQLITE_FULL, "SQLITE_FULL")


class FailingConnection:
    """A real connection on which statements that begin with a given text fail."""

    def __init__(self, storage: SqliteStorage, failures: dict[str, tuple[int, str]]) -> None:
        self.real = storage._connection
        self.failures = failures

    @property
    def in_transaction(self) -> bool:
        return self.real.in_transaction

    def execute(self, sql: str, parameters: tuple[object, ...] = ()) -> sqlite3.Cursor:
        for start, (code, name) in self.failures.items():
            if sql.startswith(start):
                raise of_sqlite(code, name)
        return self.real.execute(sql, parameters)

    if sys.version_info >= (3, 12):

        def setconfig(self, option: int, enable: bool) -> None:
            self.real.setconfig(option, enable)

    def close(self) -> None:
        self.real.close()


def fail(
    patched: pytest.MonkeyPatch, storage: SqliteStorage, **failures: tuple[int, str]
) -> FailingConnection:
    connection = FailingConnection(storage, failures)
    patched.setattr(storage, "_connection", connection)
    return connection


def check_stopped(storage: SqliteStorage, words: str) -> None:
    """Nothing more is accepted, and the reason stays known."""
    for use in (storage.load, storage.idle, lambda: storage.write([AppendLog(9, [command(91)])])):
        with pytest.raises(StorageError, match=f"failed earlier.*{words}"):
            use()
    storage.close()


def large(index: int, text: str = "x") -> Snapshot:
    return Snapshot(snapshot(index).meta, text * (2 * PART_CHARS + 1))


def test_interrupted_write_stops_the_storage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether a part of it is in the open transaction is unknown."""
    storage = fill(tmp_path)

    def interrupt(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr(storage._tables, "write", interrupt)
    with pytest.raises(KeyboardInterrupt):
        storage.write([AppendLog(9, [command(91)])])
    check_stopped(storage, "was interrupted: KeyboardInterrupt")


def test_failed_rollback_of_a_rejected_write_stops_the_storage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = fill(tmp_path)
    fail(monkeypatch, storage, ROLLBACK=SYNC_FAILED)
    with pytest.raises(StorageError, match="and the rollback failed"):
        storage.write([SaveHardState(9, HardState(2**63))])  # does not fit 64 bits
    check_stopped(storage, "SQLITE_IOERR_FSYNC")


def test_failed_rollback_on_a_full_disk_stops_the_storage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The write may not be tried again: a part of it is still in the open transaction."""
    storage = fill(tmp_path)
    fail(monkeypatch, storage, COMMIT=FULL, ROLLBACK=SYNC_FAILED)
    with pytest.raises(StorageError, match="and the rollback failed") as caught:
        storage.write([AppendLog(9, [command(91)])])
    assert not isinstance(caught.value, DiskFull)
    check_stopped(storage, "and the rollback failed")


def test_failed_checkpoint_stops_the_storage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = SqliteStorage.open(tmp_path, 3)
    storage.write([SaveHardState(1, HardState(2))])
    storage.write([AppendLog(2, [command(1, size=IDLE_CHECKPOINT_BYTES)])])
    fail(monkeypatch, storage, **{"PRAGMA wal_checkpoint": SYNC_FAILED})
    with pytest.raises(StorageError, match=r"cannot checkpoint .*log\.db: .*an I/O error"):
        storage.idle()
    check_stopped(storage, "cannot checkpoint")


def test_failed_sync_of_the_mark_stops_the_storage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = SqliteStorage.open(tmp_path, 3)
    storage.write([SaveHardState(1, HardState(2))])
    storage.write([AppendLog(2, [command(1, size=IDLE_CHECKPOINT_BYTES)])])

    def fail_to_sync() -> NoReturn:
        raise StorageError("sync log.mark: Input/output error")

    monkeypatch.setattr(storage._mark, "sync", fail_to_sync)
    with pytest.raises(StorageError, match=r"sync log\.mark"):
        storage.idle()
    check_stopped(storage, r"sync log\.mark")


def test_an_idle_moment_moves_the_writes_into_the_database(tmp_path: Path) -> None:
    storage = SqliteStorage.open(tmp_path, 3)
    storage.write([SaveHardState(1, HardState(2))])
    storage.write([AppendLog(2, [command(1, size=IDLE_CHECKPOINT_BYTES)])])
    assert (tmp_path / "log.db").stat().st_size < IDLE_CHECKPOINT_BYTES
    storage.idle()
    assert (tmp_path / "log.db").stat().st_size > IDLE_CHECKPOINT_BYTES
    storage.close()


def test_rejected_part_of_a_snapshot_leaves_the_storage_usable(tmp_path: Path) -> None:
    storage = fill(tmp_path)
    with pytest.raises(ValueError):
        storage.write_snapshot_parts(large(85, "\ud800"))
    storage.write([AppendLog(9, [command(91)])])
    storage.close()


def test_small_snapshot_is_not_written_early(tmp_path: Path) -> None:
    storage = fill(tmp_path)
    assert not storage.write_snapshot_parts(snapshot(85))
    assert storage._connection.execute("SELECT count(*) FROM snapshot_part").fetchone() == (0,)
    storage.close()


def test_stale_parts_wait_until_the_log_is_loaded(tmp_path: Path) -> None:
    """Before that, the parts of the current snapshot would count as stale."""
    storage = fill(tmp_path)
    storage.write([StoreSnapshot(9, large(85), 80, False)])
    storage.close()
    storage = open_storage(tmp_path)
    assert not storage.remove_stale_parts()
    state = storage.load()
    assert state.snapshot == large(85)
    storage.close()


def test_stale_parts_are_looked_for_only_after_a_change(tmp_path: Path) -> None:
    storage = fill(tmp_path)
    statements: list[str] = []
    assert not storage.remove_stale_parts()
    storage._connection.set_trace_callback(statements.append)
    assert not storage.remove_stale_parts()
    assert [each for each in statements if "snapshot_part" in each] == []
    storage.close()


def test_failed_removal_of_parts_stops_the_storage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = fill(tmp_path)
    fail(monkeypatch, storage, COMMIT=SYNC_FAILED)
    with pytest.raises(StorageError, match="SQLITE_IOERR_FSYNC"):
        storage.remove_stale_parts()
    check_stopped(storage, "SQLITE_IOERR_FSYNC")


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_empty_cluster_id_is_refused(tmp_path: Path, kind: str) -> None:
    storage: LogStorage = MemoryStorage(3) if kind == "memory" else open_storage(tmp_path)
    with pytest.raises(StorageError, match="a cluster id must not be empty"):
        storage.join_cluster("")
    assert storage.identity().cluster_id is None
    storage.close()


# -- opening and creating ------------------------------------------------------------------------


def test_system_error_at_the_start_names_the_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path).close()

    def broken(_path: Path) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patched:
        patched.setattr(sqlite_storage, "require_not_abandoned", broken)
        with pytest.raises(StorageError, match=f"use data directory {tmp_path}: Input/output"):
            open_storage(tmp_path)
    open_storage(tmp_path).close()  # the lock was released


def test_file_that_cannot_be_created_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(creation, "create_private_file", refuse)
        with pytest.raises(DiskFull, match=r"create .*/log\.db\.new: No space"):
            open_storage(tmp_path / "first")
    mark_renamed = Path.rename

    def rename(path: Path, target: Path) -> Path:
        return refuse() if target.name == "log.db" else mark_renamed(path, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", rename)
        with pytest.raises(DiskFull, match=r"rename .*/log\.db\.new to .*/log\.db: No space"):
            open_storage(tmp_path / "second")
    open_storage(tmp_path / "second").close()


def test_uninspected_database_is_left_to_the_opening(tmp_path: Path) -> None:
    """A full disk has no room for the inspection; opening the database reports what is wrong."""
    found = database.check_read_only(tmp_path / "absent.db")
    assert found == database.StructureCheck(is_done=False, sequence=None)


def test_schema_version_below_the_first_is_refused(tmp_path: Path) -> None:
    fill(tmp_path).close()
    with (tmp_path / "log.db").open("r+b") as file:
        file.seek(60)  # where SQLite keeps `user_version`
        file.write(bytes(4))
    with pytest.raises(LogCorrupt, match="the file header: schema version is 0"):
        open_storage(tmp_path)


def test_database_with_another_journal_mode_is_refused(tmp_path: Path) -> None:
    """Its commits would not be in the write-ahead file, which qcore checks."""
    path = tmp_path / "log.db"
    sqlite3.connect(path).close()
    with pytest.raises(LogCorrupt, match="the journal mode: is 'delete', must be 'wal'"):
        database.connect(path, is_checked=False)


# -- what an error means -------------------------------------------------------------------------


def test_text_that_cannot_be_decoded_is_damage(tmp_path: Path) -> None:
    fill(tmp_path).close()
    error = UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")
    failure = error_from_sqlite(error, tmp_path / "log.db", "read")
    assert isinstance(failure, LogCorrupt)
    assert "its schema holds no text" in str(failure)


def test_lack_of_memory_is_not_damage(tmp_path: Path) -> None:
    failure = error_from_sqlite(MemoryError(), tmp_path / "log.db", "read")
    assert type(failure) is StorageError
    assert "out of memory" in str(failure)


def test_missing_permission_for_the_directory_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite needs to create files in it, and reports only that it cannot open one."""
    fill(tmp_path).close()
    monkeypatch.setattr(os, "access", lambda *_: False)
    error = of_sqlite(sqlite3.SQLITE_CANTOPEN, "SQLITE_CANTOPEN")
    failure = error_from_sqlite(error, tmp_path / "log.db", "open the database")
    assert "Permission denied" in str(failure)


def test_failed_write_to_a_missing_file_is_an_io_error(tmp_path: Path) -> None:
    """Whether the file has reached the limit of the process is then unknown."""
    error = of_sqlite(sqlite3.SQLITE_IOERR_WRITE, "SQLITE_IOERR_WRITE")
    with file_size_limit(1_000_000):
        failure = error_from_sqlite(error, tmp_path / "absent.db", "write to")
    assert type(failure) is StorageError
    assert "an I/O error" in str(failure)
