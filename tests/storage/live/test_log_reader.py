"""Reading a data directory without SQLite: it shows what `load` would return, and changes and locks nothing."""

from __future__ import annotations

import os
import random
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import pytest

from qcore.core.effects import AppendLog, SaveHardState, StoreSnapshot
from qcore.core.entry import Entry, HardState, Snapshot
from qcore.errors import ConfigError, LogCorrupt, QcoreError, StorageError
from qcore.storage.live.log_reader import Batch, LogReader
from qcore.storage.live.page_view import FrameIndex, PageView
from qcore.storage.sqlite.database import PAGE_SIZE
from qcore.storage.sqlite.snapshot_parts import PART_CHARS
from tests.storage.support.directories import (
    Directory,
    command,
    crashed,
    flip,
    open_storage,
    snapshot,
    stopped,
)


def layout_2(path: Path) -> Directory:
    """As 0.1.0 writes it."""
    return stopped(path, layout=2)


def entries_in(reader: LogReader, first: int = 1) -> list[Entry]:
    """All entries from `first` on. Fails if one is damaged."""
    found: list[Entry] = []
    while True:
        batch = reader.read(first, 2**62, 50)
        assert batch.damage == []
        found += (entry for entry, _ in batch.entries)
        if batch.next_index > batch.state.last_index:
            return found
        first = batch.next_index


def files(directory: Path) -> dict[str, tuple[bytes, int]]:
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in directory.iterdir()}


@pytest.mark.parametrize("make", [stopped, crashed, layout_2])
def test_it_sees_what_load_sees_and_changes_nothing(
    tmp_path: Path, make: Callable[[Path], Directory]
) -> None:
    directory = make(tmp_path / "data")
    before = files(directory.path)
    directory.path.chmod(0o500)
    reader = LogReader(directory.path)
    log = reader.describe()
    content = directory.content
    assert (log.state.term, log.state.voted_for) == (
        content.hard_state.term,
        content.hard_state.voted_for,
    )
    assert (log.identity.node_id, log.identity.cluster_id) == (3, "north")
    assert content.snapshot is not None
    assert log.snapshot is not None
    assert log.snapshot.meta == content.snapshot.meta
    assert log.membership == content.snapshot.meta.membership
    text = "".join(reader.snapshot_parts(log.snapshot))
    assert text == str(content.snapshot.data)
    assert log.snapshot.size == len(text.encode())
    assert entries_in(reader) == content.entries
    assert entries_in(reader, 85) == content.entries[85 - 31 :]
    directory.path.chmod(0o700)
    assert files(directory.path) == before


def test_it_reads_large_entries_and_a_deep_table(tmp_path: Path) -> None:
    chance = random.Random(1)
    sizes = [chance.choice((10, 300, 3900, 4061, 4062, 4500, 40_000)) for _ in range(1500)]
    written = [command(index, size=size) for index, size in enumerate(sizes, 1)]
    storage = open_storage(tmp_path)
    storage.write([SaveHardState(1, HardState(2)), AppendLog(2, written)])
    try:
        assert entries_in(LogReader(tmp_path)) == written
    finally:
        storage.close()
    assert entries_in(LogReader(tmp_path)) == written


def test_a_large_snapshot_comes_in_parts(tmp_path: Path) -> None:
    storage = open_storage(tmp_path)
    for index in (5, 9):  # the parts of the first one are stale, and some may be left
        large = Snapshot(snapshot(index).meta, f"{index}ä" * PART_CHARS)
        while storage.write_snapshot_parts(large):
            pass
        storage.write([SaveHardState(1, HardState(2)), StoreSnapshot(2, large, index, True)])
    reader = LogReader(tmp_path)
    stored = reader.describe().snapshot
    assert stored is not None
    parts = list(reader.snapshot_parts(stored))
    assert len(parts) > 1
    assert max(map(len, parts)) <= PART_CHARS
    assert "".join(parts) == large.data
    assert stored.size == len("".join(parts).encode())
    reading = reader.snapshot_parts(stored)
    next(reading)
    storage.write([StoreSnapshot(3, snapshot(20), 20, True)])
    with pytest.raises(StorageError, match="replaced the snapshot"):
        next(reading)
    storage.close()


def test_a_reader_stops_no_checkpoint_and_no_start(tmp_path: Path) -> None:
    """With a read transaction of SQLite, the start would fail, or the file would grow with every write."""
    stopped(tmp_path / "data")
    path = tmp_path / "data" / "log.db"
    with PageView(path, FrameIndex()) as view:
        view.page(1)
        storage = open_storage(tmp_path / "data")
        size = path.with_name("log.db-wal").stat().st_size
        try:
            with PageView(path, FrameIndex()) as second:
                second.page(1)
                for index in range(91, 171):
                    storage.write([AppendLog(index, [command(index, size=9000)])])
                assert second.changed()
            assert path.with_name("log.db-wal").stat().st_size < 2 * size
            assert len(entries_in(LogReader(tmp_path / "data"))) == 140
        finally:
            storage.close()


@pytest.mark.parametrize("column", ["data = CAST('x' AS BLOB)", "term = term + 1", "data = 5"])
def test_a_changed_entry_is_named_and_the_rest_is_read(tmp_path: Path, column: str) -> None:
    directory = stopped(tmp_path / "data")
    with closing(sqlite3.connect(directory.path / "log.db")) as connection, connection:
        connection.execute(f"UPDATE log SET {column} WHERE idx = 50")
    batch = LogReader(directory.path).read(1, 100)
    assert [index for index, _ in batch.damage] == [50]
    assert [entry.index for entry, _ in batch.entries] == [*range(31, 50), *range(51, 91)]


@pytest.mark.parametrize("where", ["idx BETWEEN 50 AND 59", "idx >= 85", "idx < 40", "idx > 0"])
def test_missing_entries_are_named(tmp_path: Path, where: str) -> None:
    directory = stopped(tmp_path / "data")
    with closing(sqlite3.connect(directory.path / "log.db")) as connection, connection:
        gone = [row[0] for row in connection.execute(f"SELECT idx FROM log WHERE {where}")]
        connection.execute(f"DELETE FROM log WHERE {where}")
    batch = LogReader(directory.path).read(1, 100)
    assert batch.damage[0][0] == gone[0]
    assert f"all through entry {gone[-1]}" in batch.damage[0][1]
    first_sound = gone[-1] + 2  # the entry after the gap cannot be verified
    left = [index for index in range(31, 91) if index < gone[0] or index >= first_sound]
    assert [entry.index for entry, _ in batch.entries] == left


def test_a_damaged_page_hides_only_its_entries(tmp_path: Path) -> None:
    written = [command(index, size=1000) for index in range(1, 301)]
    storage = open_storage(tmp_path)
    storage.write([SaveHardState(1, HardState(2)), AppendLog(2, written)])
    storage.close()
    content = (tmp_path / "log.db").read_bytes()
    page = content.index(b"command 150 ") // PAGE_SIZE
    with (tmp_path / "log.db").open("r+b") as file:
        file.seek(page * PAGE_SIZE)
        file.write(bytes(PAGE_SIZE))
    batch = LogReader(tmp_path).read(1, 1000, 1000)
    assert "is not part of a table" in batch.damage[0][1]
    assert 290 <= len(batch.entries) < 300
    assert all(entry == written[entry.index - 1] for entry, _ in batch.entries)


def test_an_unfinished_transaction_is_left_out(tmp_path: Path) -> None:
    directory = crashed(tmp_path / "data")
    wal = directory.path / "log.db-wal"
    content = wal.read_bytes()
    at = content.rindex(b"command 100 ")
    wal.write_bytes(content[:at] + b"x" + content[at + 1 :])
    assert entries_in(LogReader(directory.path)) == directory.content.entries[:-1]


def test_no_flipped_bit_leads_to_another_error(tmp_path: Path) -> None:
    """A damaged file never ends in a traceback, in an endless walk, or in other entries than were written."""
    chance = random.Random(7)
    original = crashed(tmp_path / "original")
    for number in range(30):
        directory = original.copy(tmp_path / "data")
        name = chance.choice(("log.db", "log.db-wal"))
        for _ in range(chance.choice((1, 1, 30))):
            size = (directory.path / name).stat().st_size
            flip(directory.path / name, chance.randrange(size), chance.randrange(8))
        with suppress(QcoreError):
            reader = LogReader(directory.path)
            log = reader.describe()
            batch: Batch = reader.read(1, 200)
            for entry, _ in batch.entries:
                assert entry == directory.content.entries[entry.index - 31], number
            if log.snapshot is not None:
                assert directory.content.snapshot is not None
                text = "".join(reader.snapshot_parts(log.snapshot))
                assert text == directory.content.snapshot.data, number


def test_other_directories_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        LogReader(tmp_path / "absent")
    with pytest.raises(ConfigError, match="not a node's data directory"):
        LogReader(tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match="is not a directory"):
        LogReader(tmp_path / "file")
    (tmp_path / "log.db").write_text("no database" * 100)
    with pytest.raises(LogCorrupt, match="not a SQLite database"):
        LogReader(tmp_path).describe()
    (tmp_path / "log.db").unlink()
    os.mkfifo(tmp_path / "log.db")
    with pytest.raises(StorageError, match="FIFO"):
        LogReader(tmp_path).describe()
