"""`LogFollower`: each entry once, whatever the node does to its log between two readings."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from qcore.cli.log.follow import LogFollower, Note
from qcore.core.effects import AppendLog, SaveHardState, StoreSnapshot, TruncateLog
from qcore.core.entry import Entry, HardState
from qcore.errors import StorageError
from qcore.storage.live.log_reader import LogReader
from qcore.storage.sqlite.sqlite_storage import SqliteStorage
from tests.storage.support.directories import command, open_storage, snapshot

END = 2**62


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[SqliteStorage]:
    """With the entries 1 to 20."""
    opened = open_storage(tmp_path / "data")
    opened.write([SaveHardState(1, HardState(9))])
    append(opened, 1, 20)
    yield opened
    opened.close()


def append(storage: SqliteStorage, first: int, last: int, term: int = 2) -> None:
    storage.write([AppendLog(1, [command(index, term) for index in range(first, last + 1)])])


def follower_of(tmp_path: Path, first: int = 1) -> LogFollower:
    return LogFollower(LogReader(tmp_path / "data"), first)


def new_items(follower: LogFollower, last: int = END) -> list[int | tuple[int, str]]:
    """The index of each entry; the index and the kind of each note."""
    return [
        item.index if isinstance(item, Entry) else (item.index, item.kind)
        for item in follower.new_items(last)
    ]


def test_it_shows_each_entry_once(tmp_path: Path, storage: SqliteStorage) -> None:
    follower = follower_of(tmp_path, 18)
    assert new_items(follower) == [18, 19, 20]
    assert new_items(follower) == []
    append(storage, 21, 23)
    assert new_items(follower) == [21, 22, 23]
    assert new_items(follower_of(tmp_path), 5) == [1, 2, 3, 4, 5]


def test_it_names_the_entries_that_were_replaced(tmp_path: Path, storage: SqliteStorage) -> None:
    follower = follower_of(tmp_path)
    assert new_items(follower) == [*range(1, 21)]
    storage.write([TruncateLog(2, 15)])
    append(storage, 15, 25, term=3)  # more than before, so only the checksums differ
    assert new_items(follower) == [(15, "replaced"), *range(15, 26)]
    storage.write([TruncateLog(3, 24)])
    assert new_items(follower) == [(24, "replaced")]
    append(storage, 24, 24, term=4)
    assert new_items(follower) == [24]


def test_it_follows_a_log_that_is_compacted(tmp_path: Path, storage: SqliteStorage) -> None:
    follower = follower_of(tmp_path)
    assert new_items(follower) == [*range(1, 21)]
    storage.write([StoreSnapshot(2, snapshot(15), 15, False)])
    assert new_items(follower) == []
    append(storage, 21, 22)
    storage.write([StoreSnapshot(3, snapshot(22), 22, False)])  # all of it, before it was shown
    assert new_items(follower) == [(21, "compacted")]
    append(storage, 23, 24)
    assert new_items(follower) == [23, 24]
    storage.write([StoreSnapshot(4, snapshot(40), 40, True)])  # from the leader
    append(storage, 41, 42)
    assert new_items(follower) == [(25, "compacted"), 41, 42]


def test_a_compacted_log_may_be_replaced_too(tmp_path: Path, storage: SqliteStorage) -> None:
    follower = follower_of(tmp_path)
    assert new_items(follower) == [*range(1, 21)]
    storage.write([StoreSnapshot(2, snapshot(12), 12, False)])
    storage.write([TruncateLog(3, 18)])
    append(storage, 18, 19, term=5)
    assert new_items(follower) == [(18, "replaced"), 18, 19]


def test_it_survives_a_restart_and_not_a_removal(tmp_path: Path) -> None:
    storage = open_storage(tmp_path / "data")
    storage.write([SaveHardState(1, HardState(9))])
    append(storage, 1, 5)
    follower = follower_of(tmp_path)
    assert new_items(follower) == [1, 2, 3, 4, 5]
    storage.close()
    assert new_items(follower) == []
    storage = open_storage(tmp_path / "data")
    append(storage, 6, 7)
    assert new_items(follower) == [6, 7]
    storage.close()
    shutil.rmtree(tmp_path / "data")
    with pytest.raises(StorageError, match="was removed"):
        new_items(follower)
    open_storage(tmp_path / "data").close()
    with pytest.raises(StorageError, match="created again"):
        new_items(follower)


def test_a_note_names_the_entries(tmp_path: Path, storage: SqliteStorage) -> None:
    follower = follower_of(tmp_path)
    new_items(follower)
    storage.write([TruncateLog(2, 19)])
    (note,) = follower.new_items(END)
    assert isinstance(note, Note)
    assert "the entries 19 to 20 were not committed" in note.what
