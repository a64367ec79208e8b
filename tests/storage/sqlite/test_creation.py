"""An interrupted creation is completed by the next start. A directory that lost its log is not created again."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest

from qcore.errors import LogCorrupt, StorageError
from qcore.storage.files.synced_files import path_exists
from qcore.storage.sqlite import creation
from qcore.storage.sqlite.high_water_mark import MarkFile
from qcore.storage.sqlite.sqlite_storage import SqliteStorage
from tests.storage.support.directories import command, fill


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The inodes that Python syncs, in order."""
    seen: list[int] = []
    real = os.fsync

    def fsync(file: int) -> None:
        seen.append(os.fstat(file).st_ino)
        real(file)

    monkeypatch.setattr(os, "fsync", fsync)
    return seen


def test_leftovers_of_an_attempt_are_replaced(tmp_path: Path) -> None:
    """An attempt may leave each of these files, with any content."""
    MarkFile.create(tmp_path / "log.mark")
    for name in ("log.mark.new", "log.db.new", "log.db.new-journal", "log.db.new-wal"):
        (tmp_path / name).write_bytes(b"anything" * 600)
    storage = SqliteStorage.open(tmp_path, 1)
    assert storage.load().entries == []
    assert {path.name for path in tmp_path.iterdir()} == {
        *("log.db", "log.db-wal", "log.mark", "qcore.lock")
    }
    storage.close()


def test_journal_mode_that_sqlite_reports_is_verified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite returns the journal mode that it has set, and raises no error if that is not the requested one."""
    build = creation._build

    def without_wal(connection: sqlite3.Connection, node_id: int) -> object:
        build(connection, node_id)
        return connection.execute("PRAGMA journal_mode=DELETE").fetchone()[0]

    with monkeypatch.context() as patched:
        patched.setattr(creation, "_build", without_wal)
        with pytest.raises(StorageError, match=r"stopped half-way.*'delete'") as caught:
            SqliteStorage.open(tmp_path, 1)
    assert not isinstance(caught.value, LogCorrupt)
    assert not (tmp_path / "log.db").exists()
    SqliteStorage.open(tmp_path, 1).close()


def test_short_write_is_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda file, data, at: real(file, data[:100], at))
    MarkFile.create(tmp_path / "mark")
    assert (tmp_path / "mark").stat().st_size == 1024


def test_directory_that_lost_its_log_is_not_recreated(tmp_path: Path) -> None:
    fill(tmp_path).close()
    moved = (tmp_path / "log.db").rename(tmp_path / "moved")
    with pytest.raises(LogCorrupt, match=r"log\.db is missing.*put it back") as caught:
        SqliteStorage.open(tmp_path, 3)
    assert "Do not restore an older copy" in str(caught.value)
    moved.rename(tmp_path / "log.db")
    storage = SqliteStorage.open(tmp_path, 3)
    assert storage.load().entries[-1] == command(90)
    storage.close()


def test_name_that_cannot_be_looked_up_does_not_count_as_absent(tmp_path: Path) -> None:
    """Since Python 3.14 `Path.exists` returns False here, and the log would be created again."""
    assert not path_exists(tmp_path / "absent")
    (tmp_path / "file").touch()
    assert not path_exists(tmp_path / "file" / "below")
    assert path_exists(tmp_path / "file")
    with pytest.raises(StorageError, match="cannot look for"):
        path_exists(tmp_path / ("x" * 300))


def test_a_new_directory_is_durable_with_all_its_parents(tmp_path: Path, synced: list[int]) -> None:
    """Also if an earlier attempt created them and ended before it had synced them."""
    directory = tmp_path / "a" / "b" / "data"
    directory.mkdir(parents=True)
    SqliteStorage.open(directory, 1).close()
    for path in (directory, tmp_path / "a" / "b", tmp_path / "a", tmp_path):
        assert path.stat().st_ino in synced, path


def test_every_start_syncs_the_names_in_the_directory(tmp_path: Path, synced: list[int]) -> None:
    """The start that created the log may have ended before it synced them. No write may rest on such a name."""
    SqliteStorage.open(tmp_path, 1).close()
    synced.clear()
    SqliteStorage.open(tmp_path, 1).close()
    assert tmp_path.stat().st_ino in synced
