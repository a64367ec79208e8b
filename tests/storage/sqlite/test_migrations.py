"""A data directory of an older layout is migrated, or refused and left as it was."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from qcore.core.effects import AppendLog, SaveHardState, StoreSnapshot, Write
from qcore.core.entry import DurableState, Entry, HardState, SnapshotMeta
from qcore.storage.sqlite.checksums import fields_checksum
from tests.storage.support.directories import Directory, open_storage, outcome, snapshot, stopped

DATABASE = "log.db"
SNAPSHOT_TABLE_1 = (
    "CREATE TABLE snapshot (id INTEGER PRIMARY KEY CHECK (id = 1), last_index INTEGER NOT NULL, "
    "last_term INTEGER NOT NULL, membership BLOB NOT NULL, data BLOB NOT NULL, "
    "checksum INTEGER NOT NULL)"
)


def as_version_1(directory: Path, *, checksum_change: int = 0) -> None:
    """Give the database the layout of version 1, whose snapshot has no time."""
    with closing(sqlite3.connect(directory / DATABASE)) as connection:
        fields = connection.execute(
            "SELECT last_index, last_term, membership, data FROM snapshot"
        ).fetchone()
        connection.execute("DROP TABLE snapshot")
        connection.execute("DROP TABLE snapshot_part")
        connection.execute(SNAPSHOT_TABLE_1)
        row = (*fields, fields_checksum(*fields) + checksum_change)
        connection.execute("INSERT INTO snapshot VALUES (1, ?, ?, ?, ?, ?)", row)
        connection.execute("PRAGMA user_version = 1")
        connection.commit()


def meta_of(state: DurableState) -> SnapshotMeta:
    assert state.snapshot is not None
    return state.snapshot.meta


def test_the_snapshot_gets_the_time_of_its_last_entry(tmp_path: Path) -> None:
    directory = stopped(tmp_path / "data", layout=2)
    as_version_1(directory.path)
    assert outcome(directory) == "same"


def test_without_that_entry_the_next_entrys_time_is_the_bound(tmp_path: Path) -> None:
    path = stopped(tmp_path / "data", layout=2).path
    storage = open_storage(path)
    storage.write([StoreSnapshot(9, snapshot(60, layout=2), 60, False)])
    current = storage.load()
    storage.close()
    as_version_1(path)
    storage = open_storage(path)
    migrated = storage.load()
    storage.close()
    assert migrated.entries == current.entries
    assert meta_of(migrated) == replace(
        meta_of(current), last_included_time_us=current.entries[0].time_us
    )


def test_with_an_empty_log_the_time_is_that_of_the_migration(tmp_path: Path) -> None:
    before = time.time_ns() // 1000
    storage = open_storage(tmp_path / "data")
    storage.write([SaveHardState(1, HardState(2, None, 0))])
    storage.write([StoreSnapshot(2, snapshot(60, layout=2), 60, True)])
    storage.close()
    as_version_1(tmp_path / "data")
    for _ in ("migrated", "opened again"):
        storage = open_storage(tmp_path / "data")
        found = storage.load()
        storage.close()
        assert found.entries == []
        assert before <= meta_of(found).last_included_time_us <= time.time_ns() // 1000


def test_damaged_snapshot_is_refused_and_not_rewritten(tmp_path: Path) -> None:
    directory = stopped(tmp_path / "data", layout=2)
    as_version_1(directory.path, checksum_change=1)
    for _ in ("first", "second"):
        refusal = outcome(Directory(directory.path, directory.content))
        assert "refused" in refusal
        assert "the snapshot through entry 40: its checksum is wrong" in refusal


def layout_of(directory: Path) -> int:
    with closing(sqlite3.connect(f"file:{directory / DATABASE}?mode=ro", uri=True)) as connection:
        version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version


@pytest.mark.parametrize(
    "write",
    [
        SaveHardState(1, HardState(3, 1, 0, 500)),
        AppendLog(1, [Entry(91, 2, "version", "{}", 0)]),
        AppendLog(1, [Entry(91, 2, "noop", "", 0, 7)]),
        StoreSnapshot(1, snapshot(60), 60, False),
    ],
    ids=["promise", "version", "clock", "snapshot"],
)
def test_layout_3_is_entered_by_the_first_write_that_needs_it(tmp_path: Path, write: Write) -> None:
    """Until then 0.1.0, which knows layout 2, can use the file."""
    directory = stopped(tmp_path / "data", layout=2)
    assert layout_of(directory.path) == 2
    storage = open_storage(directory.path)
    storage.write([AppendLog(1, [])], 90)
    storage.close()
    assert layout_of(directory.path) == 2
    storage = open_storage(directory.path)
    storage.write([write])
    after = storage.load()
    storage.write([SaveHardState(2, HardState(4, 2, 90))])
    storage.close()
    assert layout_of(directory.path) == 3
    storage = open_storage(directory.path)
    assert storage.load().entries == after.entries
    assert storage.load().snapshot == after.snapshot
    assert storage.load().hard_state == HardState(4, 2, 90)
    storage.close()


def test_votes_and_entries_do_not_enter_layout_3(tmp_path: Path) -> None:
    directory = stopped(tmp_path / "data", layout=2)
    storage = open_storage(directory.path)
    storage.write(
        [SaveHardState(1, HardState(3, 1, 0)), AppendLog(2, [Entry(91, 3, "noop", "", 0)])]
    )
    storage.close()
    assert layout_of(directory.path) == 2
    storage = open_storage(directory.path)
    after = storage.load()
    assert (after.hard_state.term, after.hard_state.voted_for) == (3, 1)
    assert after.entries[-1] == Entry(91, 3, "noop", "", 0)
    storage.close()


def test_rejected_write_does_not_enter_layout_3(tmp_path: Path) -> None:
    directory = stopped(tmp_path / "data", layout=2)
    storage = open_storage(directory.path)
    with pytest.raises(ValueError, match="surrogates"):
        storage.write([AppendLog(1, [Entry(91, 2, "command", "\ud800", 0, 7)])])
    storage.write([AppendLog(1, [Entry(91, 2, "command", "fine", 0)])])
    storage.close()
    assert layout_of(directory.path) == 2


def test_write_ahead_file_of_an_older_layout_is_migrated(tmp_path: Path) -> None:
    """A crash left it, and its sequence numbers are checked like those of the current layout."""
    directory = stopped(tmp_path / "data", layout=2)
    as_version_1(directory.path)
    with closing(sqlite3.connect(directory.path / DATABASE)) as connection:
        connection.execute("CREATE TABLE added (id INTEGER)")
        connection.execute("DROP TABLE added")
        copy = directory.copy(tmp_path / "copy")
    assert (copy.path / f"{DATABASE}-wal").stat().st_size > 0
    assert outcome(copy) == "same"
