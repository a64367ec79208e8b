"""The inspection of a directory without opening it: it sees what `load` would see, and changes nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from qcore.core.effects import AppendLog, SaveHardState, StoreSnapshot
from qcore.core.entry import Entry, HardState, Snapshot
from qcore.core.version import ClusterVersion
from qcore.errors import LogCorrupt, StorageError
from qcore.storage.sqlite.inspection import first_entries, stored_snapshot, stored_version
from qcore.storage.sqlite.snapshot_parts import PART_CHARS
from tests.storage.support.directories import Directory, crashed, open_storage, snapshot, stopped


@pytest.mark.parametrize("make", [stopped, crashed])
def test_inspection_sees_what_load_sees_and_changes_nothing(
    tmp_path: Path, make: Callable[[Path], Directory]
) -> None:
    directory = make(tmp_path / "data")
    before = files(directory.path)
    assert stored_snapshot(directory.path) == directory.content.snapshot
    assert list(first_entries(directory.path, ("command",), 1000)) == directory.content.entries
    assert list(first_entries(directory.path, ("command",), 3)) == directory.content.entries[:3]
    assert list(first_entries(directory.path, ("session", "version"), 3)) == []
    assert files(directory.path) == before


def test_inspection_reads_a_large_snapshot(tmp_path: Path) -> None:
    storage = open_storage(tmp_path)
    large = Snapshot(snapshot(5).meta, "ä" * (2 * PART_CHARS + 1))
    storage.write([SaveHardState(1, HardState(2)), StoreSnapshot(2, large, 5, True)])
    storage.close()
    assert stored_snapshot(tmp_path) == large


def test_inspection_reports_damage(tmp_path: Path) -> None:
    directory = stopped(tmp_path / "data")
    with closing(sqlite3.connect(directory.path / "log.db")) as connection, connection:
        connection.execute("UPDATE log SET data = 'x' || substr(data, 2) WHERE idx = 31")
        connection.execute("UPDATE snapshot SET data = 'x' || substr(data, 2)")
    with pytest.raises(LogCorrupt, match="entry 31"):
        next(first_entries(directory.path, ("command",), 1))
    with pytest.raises(LogCorrupt, match="the snapshot through entry 40"):
        stored_snapshot(directory.path)
    with pytest.raises(StorageError, match="does not exist"):
        stored_snapshot(tmp_path)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE log SET data = replace(CAST(data AS TEXT), 'register', 'REGISTER') WHERE idx = 91",
        "UPDATE log SET data = CAST(replace(CAST(data AS TEXT), '\"rules\":2', '\"rules\":3') AS BLOB) WHERE idx = 91",
        "UPDATE log SET data = 5 WHERE idx = 91",
        "UPDATE log SET term = 'one' WHERE idx = 91",
    ],
)
def test_damaged_version_is_not_reported(tmp_path: Path, statement: str) -> None:
    """Otherwise a node would demand another program, or end for a reason that no operator understands."""
    version = ClusterVersion(2, "register", 1)
    storage = open_storage(tmp_path)
    storage.write([SaveHardState(1, HardState(2)), StoreSnapshot(2, snapshot(90), 90, True)])
    storage.write([AppendLog(3, [Entry(91, 2, "version", version.to_json(), 2 * 10**15)])])
    storage.close()
    assert stored_version(tmp_path) == version
    with closing(sqlite3.connect(tmp_path / "log.db")) as connection, connection:
        connection.execute(statement)
    assert stored_version(tmp_path) is None


def test_a_damaged_snapshot_names_no_version(tmp_path: Path) -> None:
    directory = stopped(tmp_path / "data")
    assert stored_version(directory.path) == ClusterVersion(2, "register", 1)
    with closing(sqlite3.connect(directory.path / "log.db")) as connection, connection:
        connection.execute(
            "UPDATE snapshot SET membership = replace(CAST(membership AS TEXT), 'register', 'REGISTER')"
        )
    assert stored_version(directory.path) is None


def files(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir()}


def test_directory_without_a_snapshot_has_none(tmp_path: Path) -> None:
    open_storage(tmp_path).close()
    assert stored_snapshot(tmp_path) is None


def test_inspection_keeps_the_index_of_another_reader(tmp_path: Path) -> None:
    """The other program needs SQLite's file of shared memory until it closes the database."""
    directory = crashed(tmp_path / "data")
    with closing(sqlite3.connect(directory.path / "log.db")) as reader:
        (before,) = reader.execute("SELECT count(*) FROM log").fetchone()
        index = directory.path / "log.db-shm"
        node = index.stat().st_ino
        assert stored_snapshot(directory.path) == directory.content.snapshot
        assert index.stat().st_ino == node
        assert reader.execute("SELECT count(*) FROM log").fetchone() == (before,)
