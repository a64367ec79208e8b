"""The storage waits for space on a full disk, rejects invalid writes, and stops after a failed sync."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from qcore.core.effects import AppendLog, SaveHardState, StoreSnapshot, TruncateLog
from qcore.core.entry import DurableState, Entry, HardState
from qcore.errors import DiskFull, LogCorrupt, StorageError
from qcore.storage.files import synced_files
from qcore.storage.memory import MemoryStorage
from qcore.storage.sqlite.log_rows import entry_rows
from qcore.storage.sqlite.sqlite_storage import SqliteStorage
from tests.checkout import CHECKOUT
from tests.storage.support.directories import command, crashed, outcome, snapshot, stopped


def fresh(directory: Path, wal_bytes: int = 50_000) -> SqliteStorage:
    storage = SqliteStorage.open(directory, 1, wal_bytes=wal_bytes)
    storage.write([SaveHardState(1, HardState(2, 1, 0))])
    return storage


def fill_up(storage: SqliteStorage) -> AppendLog:
    """Append until the disk is full. Returns the append that failed."""
    for first in range(len(storage.load().entries) + 1, 100_000, 20):
        failed = AppendLog(first, [command(i, size=3000) for i in range(first, first + 20)])
        try:
            storage.write([failed], commit=first)
        except DiskFull:
            return failed
    raise AssertionError("the disk never got full")


def check_recovery(storage: SqliteStorage, failed: AppendLog, before: DurableState) -> None:
    """Once there is space again: no part of the failed append is there, and it now succeeds."""
    assert storage.load() == before
    storage.write([failed])
    assert storage.load().entries == before.entries + failed.entries


def test_page_limit_counts_as_a_full_disk_and_is_survived(tmp_path: Path) -> None:
    storage = fresh(tmp_path)
    storage._connection.execute("PRAGMA max_page_count = 200")
    failed = fill_up(storage)
    before = storage.load()
    for _ in range(3):
        with pytest.raises(DiskFull):
            storage.write([failed, SaveHardState(9, HardState(9, 9, 0))])
    assert storage.load() == before
    storage._connection.execute("PRAGMA max_page_count = 1000000")
    check_recovery(storage, failed, before)
    storage.close()
    storage = SqliteStorage.open(tmp_path, 1)
    assert storage.load().entries == before.entries + failed.entries
    storage.close()


@contextmanager
def mounted(mount: Path, options: str) -> Iterator[Path]:
    """A separate file system in memory, which needs root."""
    mount.mkdir()
    command_line = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(mount)]
    if (
        not shutil.which("mount")
        or subprocess.run(command_line, capture_output=True, check=False).returncode
    ):
        pytest.skip("cannot mount a small file system here")
    try:
        yield mount
    finally:
        subprocess.run(["umount", str(mount)], check=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one MiB."""
    with mounted(tmp_path / "disk", "size=1m") as mount:
        yield mount


def test_full_tmpfs_is_survived(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(300_000))
    storage = fresh(small_disk / "data")
    failed = fill_up(storage)
    before = storage.load()
    with pytest.raises(DiskFull, match=r"log\.db"):
        storage.join_cluster("c" * 700_000)
    assert storage.identity().cluster_id is None
    ballast.unlink()
    check_recovery(storage, failed, before)
    fill_up(storage)
    content = storage.load()
    storage.close()
    # A full disk does not prevent the next start.
    storage = SqliteStorage.open(small_disk / "data", 1)
    assert storage.load() == content
    storage.close()


def test_a_start_after_a_crash_needs_no_new_file(tmp_path: Path) -> None:
    """The inspection after a crash wants a file of shared memory. Without space the node starts without it."""
    directory = crashed(tmp_path / "data")
    files_and_directories = len(list(directory.path.iterdir())) + 2
    with mounted(tmp_path / "disk", f"nr_inodes={files_and_directories}") as disk:
        copy = directory.copy(disk / "data")
        with pytest.raises(OSError, match="No space left"):
            (disk / "one more").touch()
        assert outcome(copy) == "same"


def test_no_room_for_the_write_ahead_file_is_a_full_disk(tmp_path: Path) -> None:
    """SQLite reports only that it cannot open the file."""
    directory = stopped(tmp_path / "data")
    files_and_directories = len(list(directory.path.iterdir())) + 2
    with mounted(tmp_path / "disk", f"nr_inodes={files_and_directories}") as disk:
        copy = directory.copy(disk / "data")
        with pytest.raises(DiskFull, match=r"log\.db-wal: No space left"):
            SqliteStorage.open(copy.path, 3)
    assert outcome(directory) == "same"


def test_start_preallocates_only_with_spare_space(small_disk: Path) -> None:
    """A write-ahead file of full size would take all the space, and the log could never be checkpointed."""
    data = small_disk / "data"
    storage = SqliteStorage.open(data, 1, wal_bytes=700_000)  # this size would fit
    room = os.statvfs(small_disk)
    assert room.f_bavail * room.f_frsize > 900_000
    storage.write([SaveHardState(1, HardState(2, 1, 0))])
    storage.write([AppendLog(2, [command(i, size=3000) for i in range(1, 101)])])
    storage.close()
    assert not (data / "log.db-wal").exists(), "it could not be checkpointed"
    storage = SqliteStorage.open(data, 1)  # the default size exceeds the disk
    assert len(storage.load().entries) == 100
    storage.close()


def test_preallocation_without_space_changes_no_file(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The space was there when it was checked, and then another program took it."""
    monkeypatch.setattr(synced_files, "_ROOM_FACTOR", 0)
    file = small_disk / "wal"
    file.write_bytes(b"frames")
    (small_disk / "ballast").write_bytes(bytes(200_000))
    before = os.statvfs(small_disk).f_bavail
    for size in (
        8 << 20,
        1 << 20,
    ):  # the second in one piece, of which the system writes only a part
        synced_files.preallocate(file, size)
        assert file.read_bytes() == b"frames"
        assert os.statvfs(small_disk).f_bavail == before


def test_new_log_without_space_is_a_full_disk(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(1_040_000))
    with pytest.raises(DiskFull, match="full"):
        fresh(small_disk / "data")
    ballast.unlink()
    fresh(small_disk / "data").close()


class FailingConnection:
    """A connection whose COMMIT fails as it does when the disk reports an error to the sync."""

    def __init__(self, real: sqlite3.Connection) -> None:
        self.real = real
        self.in_transaction = True
        self.attempts = 0

    def execute(self, sql: str, parameters: tuple[object, ...] = ()) -> sqlite3.Cursor:
        if sql == "COMMIT":
            self.attempts += 1
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
            error.sqlite_errorname = "SQLITE_IOERR_FSYNC"
            raise error
        return self.real.execute(sql, parameters)

    def executemany(self, sql: str, rows: list[tuple[object, ...]]) -> sqlite3.Cursor:
        return self.real.executemany(sql, rows)

    if sys.version_info >= (3, 12):

        def setconfig(self, option: int, enable: bool) -> None:
            self.real.setconfig(option, enable)

    def close(self) -> None:
        self.real.close()


def test_a_failed_sync_is_fatal_and_not_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = fresh(tmp_path)
    failing = FailingConnection(storage._connection)
    monkeypatch.setattr(storage, "_connection", failing)
    with pytest.raises(StorageError, match="disk I/O error") as caught:
        storage.write([AppendLog(2, [command(1)])])
    assert not isinstance(caught.value, DiskFull | LogCorrupt)
    for use in (
        lambda: storage.write([AppendLog(2, [command(1)])]),
        lambda: storage.join_cluster("north"),
        storage.idle,
        storage.load,
    ):
        with pytest.raises(StorageError, match="failed earlier"):
            use()
    assert failing.attempts == 1
    storage.close()


SHIM = r"""
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
static int fails(void) { return access(getenv("FAIL_SYNC_WHILE"), F_OK) == 0; }
int fsync(int fd) { if (fails()) { errno = EIO; return -1; } return 0; }
int fdatasync(int fd) { if (fails()) { errno = EIO; return -1; } return 0; }
"""

CHILD = """
import pathlib, sys
from qcore.core.effects import AppendLog, SaveHardState
from qcore.core.entry import Entry, HardState
from qcore.errors import StorageError
from qcore.storage.sqlite.sqlite_storage import SqliteStorage
directory, trigger = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
storage = SqliteStorage.open(directory, 1)
storage.write([SaveHardState(1, HardState(1, 1, 0))])
def attempt(index):
    try:
        storage.write([AppendLog(index, [Entry(index, 1, "command", "x", 0)])])
        print("written")
    except StorageError as error:
        print(error)
attempt(1)
trigger.touch()
attempt(2)
trigger.unlink()
attempt(2)
storage.close()
"""


@pytest.mark.skipif(sys.platform != "linux" or not shutil.which("cc"), reason="needs cc on Linux")
def test_failed_libc_sync_is_fatal(tmp_path: Path) -> None:
    """The C library's sync returns EIO once. That is fatal, even if later syncs succeed."""
    source, shim, trigger = tmp_path / "shim.c", tmp_path / "shim.so", tmp_path / "trigger"
    source.write_text(SHIM)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", shim, source], check=True)
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(tmp_path / "data"), str(trigger)],
        env={**os.environ, "LD_PRELOAD": str(shim), "FAIL_SYNC_WHILE": str(trigger)},
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=True,
    )
    first, failed, rejected = done.stdout.splitlines()
    assert first == "written"
    assert "SQLITE_IOERR_FSYNC" in failed
    assert "failed earlier" in rejected
    storage = SqliteStorage.open(tmp_path / "data", 1)
    assert storage.load().entries[0].index == 1
    storage.close()


def test_an_idle_moment_moves_the_write_ahead_file(tmp_path: Path) -> None:
    storage = fresh(tmp_path, wal_bytes=1_000_000)
    storage.write([AppendLog(2, [command(i) for i in range(1, 5000)])])
    small = (tmp_path / "log.db").stat().st_size
    storage.idle()
    storage.write([AppendLog(3, [command(5000, size=1_100_000)])])
    assert (tmp_path / "log.db").stat().st_size > small + 500_000
    storage.close()


def test_write_that_could_not_be_stored_is_rejected(tmp_path: Path) -> None:
    """It is rejected before anything is written, and the storage remains usable: it is a bug of the caller."""
    storage = fresh(tmp_path)
    before = storage.load()
    for bad in (
        Entry(1, 2, "command", "lone \ud800 surrogate", 0),
        Entry(1, 2, "command", "time out of range", 2**64),
    ):
        with pytest.raises(ValueError):
            storage.write([AppendLog(2, [bad])])
        # The rejection comes late here: a part of the call has already been executed.
        with pytest.raises(ValueError):
            storage.write([AppendLog(2, [command(1)]), TruncateLog(3, 1), AppendLog(4, [bad])])
        with pytest.raises(ValueError):
            storage.write([StoreSnapshot(2, snapshot(0), 0, True), AppendLog(3, [bad])])
    for hard_state in (HardState(2**63, 1, 0), HardState(3, 2**63, 0), HardState(3, 1, 2**63)):
        with pytest.raises(ValueError, match="cannot be stored"):
            storage.write([SaveHardState(2, hard_state)])
    assert storage.load() == before
    storage.write([AppendLog(2, [command(1)])])
    storage.close()


INVALID_WRITES = [
    [AppendLog(1, [command(3), command(5)])],
    [AppendLog(1, [command(3, term=1), command(4, term=3)])],
    [AppendLog(1, [command(3), command(4, term=1)])],
    [TruncateLog(1, 0)],
    [StoreSnapshot(1, snapshot(1), 2, False)],
    [StoreSnapshot(1, snapshot(9), 1, False)],
    [StoreSnapshot(1, snapshot(2, term=1), 1, False)],
    [StoreSnapshot(1, snapshot(9, term=3), 9, True)],
    [StoreSnapshot(1, snapshot(2), 2, False), TruncateLog(2, 2)],
    [StoreSnapshot(1, snapshot(2), 0, False), TruncateLog(2, 1)],
    [SaveHardState(1, HardState(1, None, 0))],
]


@pytest.mark.parametrize("writes", INVALID_WRITES)
def test_write_that_load_would_reject_is_rejected(
    writes: list[AppendLog | TruncateLog | StoreSnapshot | SaveHardState], tmp_path: Path
) -> None:
    storage, memory = fresh(tmp_path), MemoryStorage(1)
    memory.write([SaveHardState(1, HardState(2, 1, 0))])
    for each in (storage, memory):
        each.write([AppendLog(2, [command(1), command(2)])])
        before = each.load()
        with pytest.raises(ValueError):
            each.write(writes)
        assert each.load() == before
        each.close()


def test_gap_between_snapshot_and_log_is_refused(tmp_path: Path) -> None:
    """All checksums are correct: only the structure is wrong."""
    for first in (6, 1):
        directory = tmp_path / str(first)
        storage = fresh(directory)
        storage.write([StoreSnapshot(1, snapshot(4 if first == 6 else 9), 9, True)])
        entries = [command(i) for i in range(first, first + 3)]
        rows, chain = entry_rows(entries, 0)
        stored = storage._stored
        stored.first_index, stored.last_index, stored.chain = first, first + 2, chain
        storage._connection.executemany("INSERT INTO log VALUES (?, ?, ?, ?, ?, ?)", rows)
        storage._connection.execute(stored.update, stored.row())
        storage.close()
        storage = SqliteStorage.open(directory, 1)
        with pytest.raises(LogCorrupt, match=r"log\.db: .*(starts|ends) at entry"):
            storage.load()
        storage.close()
