"""Large snapshots are stored part by part, between the writes that clients wait for, and whole or not at all."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from queue import Empty, SimpleQueue

import pytest

from qcore.core.effects import AppendLog, SaveHardState, StoreSnapshot, Write
from qcore.core.entry import Entry, HardState, Snapshot
from qcore.errors import DiskFull, LogCorrupt
from qcore.storage.group_commit import GroupCommitWriter
from qcore.storage.sqlite.database import TABLES
from qcore.storage.sqlite.snapshot_parts import (
    PART_CHARS,
    PARTS_PER_TRANSACTION,
    REMOVED_PARTS_PER_TRANSACTION,
    SnapshotParts,
)
from qcore.storage.sqlite.sqlite_storage import SqliteStorage
from tests.storage.support.directories import command
from tests.storage.support.directories import snapshot as small_snapshot

LARGE = 11 * PART_CHARS // 2


def large(index: int, letter: str = "é") -> Snapshot:
    return Snapshot(small_snapshot(index).meta, letter * LARGE)


class Watched(SqliteStorage):
    """Records the purpose of each transaction, and can report a full disk."""

    recorded: list[str]
    full = 0

    def write(self, writes: Sequence[Write], commit: int | None = None) -> None:
        self._record(",".join(type(write).__name__ for write in writes))
        super().write(writes, commit)

    def write_snapshot_parts(self, snapshot: Snapshot) -> bool:
        self._record("part")
        return super().write_snapshot_parts(snapshot)

    def remove_stale_parts(self) -> bool:
        more = super().remove_stale_parts()
        if more:
            self._record("remove_stale_parts")
        return more

    def _record(self, what: str) -> None:
        if self.full:
            self.full -= 1
            raise DiskFull("injected")
        self.recorded.append(what)


def begun(path: Path) -> Watched:
    storage = Watched.open(path, 1)
    storage.recorded = []
    storage.load()
    storage.write([SaveHardState(1, HardState(2, None, 20)), AppendLog(2, entries(1, 20))])
    return storage


def entries(first: int, last: int) -> list[Entry]:
    return [command(index, 2) for index in range(first, last + 1)]


def parts_in(path: Path) -> dict[int, int]:
    """How many parts of each snapshot the database holds."""
    with closing(sqlite3.connect(path / "log.db")) as connection:
        rows = connection.execute(
            "SELECT last_index, count(*) FROM snapshot_part GROUP BY last_index"
        )
        return dict(rows.fetchall())


def test_each_transaction_writes_a_bounded_part(tmp_path: Path) -> None:
    storage = begun(tmp_path)
    snapshot = large(10)
    calls = 0
    while storage.write_snapshot_parts(snapshot):
        calls += 1
        number = storage._connection.execute("SELECT count(*) FROM snapshot_part").fetchone()[0]
        assert number <= calls * PARTS_PER_TRANSACTION
    assert calls == 3
    assert storage.load().snapshot is None, "the snapshot has no row yet"
    storage.write([StoreSnapshot(3, snapshot, 8, reset_log=False)])
    storage.close()
    again = SqliteStorage.open(tmp_path, 1)
    assert again.load().snapshot == large(10)
    again.close()


@pytest.mark.parametrize("ahead", [0, 1, 2, 3, 9])
def test_snapshot_is_the_same_however_much_is_written_ahead(tmp_path: Path, ahead: int) -> None:
    storage = begun(tmp_path)
    snapshot = large(10)
    for _ in range(ahead):
        storage.write_snapshot_parts(snapshot)
    storage.write([StoreSnapshot(3, snapshot, 8, reset_log=False)])
    state = storage.load()
    assert state.snapshot == snapshot
    assert [entry.index for entry in state.entries] == list(range(9, 21))
    storage.close()
    assert parts_in(tmp_path) == {10: 6}


def test_half_written_parts_are_removed_and_never_read(
    tmp_path: Path,
) -> None:
    storage = begun(tmp_path)
    storage.write([StoreSnapshot(3, large(5, "o"), 4, reset_log=False)])
    storage.write_snapshot_parts(large(10))
    storage.write_snapshot_parts(large(12))
    storage.close()
    assert parts_in(tmp_path) == {5: 6, 10: 2, 12: 2}
    again = begun_again(tmp_path)
    assert again.load().snapshot == large(5, "o")
    # The next process takes the same snapshot again: its text may be cut elsewhere.
    again.write([StoreSnapshot(4, large(12, "xy"), 4, reset_log=False)])
    assert again.load().snapshot == large(12, "xy")
    while again.remove_stale_parts():
        pass
    again.close()
    assert list(parts_in(tmp_path)) == [12]


def test_superseded_parts_are_removed_before_a_restart(
    tmp_path: Path,
) -> None:
    storage = begun(tmp_path)
    storage.write_snapshot_parts(large(10))
    storage.write_snapshot_parts(large(10))
    leaders = large(40)
    storage.write([StoreSnapshot(3, leaders, 40, reset_log=True)])
    while storage.remove_stale_parts():
        pass
    assert storage.load().snapshot == leaders
    storage.close()
    assert list(parts_in(tmp_path)) == [40]


def begun_again(path: Path) -> SqliteStorage:
    storage = SqliteStorage.open(path, 1)
    storage.load()
    return storage


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE snapshot_part SET data = CAST('y' AS BLOB) WHERE id = 3",
        "UPDATE snapshot_part SET data = 'text' WHERE id = 3",
        "DELETE FROM snapshot_part WHERE id = 6",
        "DELETE FROM snapshot_part",
        "UPDATE snapshot_part SET id = 10 WHERE id = 3",
        "UPDATE snapshot_part SET last_index = 11 WHERE id = 3",
        "INSERT INTO snapshot_part (last_index, data) VALUES (10, x'41')",
        "UPDATE snapshot SET parts = 0",
    ],
)
def test_a_changed_part_is_detected(tmp_path: Path, change: str) -> None:
    storage = begun(tmp_path)
    storage.write([StoreSnapshot(3, large(10), 8, reset_log=False)])
    storage.close()
    with closing(sqlite3.connect(tmp_path / "log.db")) as connection:
        connection.execute(change)
        connection.commit()
    again = SqliteStorage.open(tmp_path, 1)
    with pytest.raises(LogCorrupt, match="snapshot through entry 10"):
        again.load()
    again.close()


# -- the writer's thread -------------------------------------------------------------------------------


class Caller:
    """A driver that waits for its writes."""

    def __init__(self, storage: SqliteStorage) -> None:
        self.calls: SimpleQueue[object] = SimpleQueue()
        self.durable = 0
        self.full: list[DiskFull | None] = []
        self.errors: list[Exception] = []
        self.writer = GroupCommitWriter(
            storage,
            lambda call: call(),  # on the writer's thread, because the test checks the order
            on_durable=lambda number: self.calls.put(number),
            on_error=self.errors.append,
            on_disk_full=self.full.append,
            retry_s=0.001,
        )
        self.writer.start()

    def wait(self, write_id: int) -> None:
        while self.durable < write_id:
            number = self.calls.get(timeout=20)
            assert isinstance(number, int)
            self.durable = number

    def end(self, storage: SqliteStorage) -> None:
        assert self.writer.close(20)
        storage.close()
        with pytest.raises(Empty):
            self.calls.get_nowait()


def test_entries_do_not_wait_for_a_large_snapshot(tmp_path: Path) -> None:
    storage = begun(tmp_path)
    storage.recorded.clear()
    caller = Caller(storage)
    caller.writer.submit([StoreSnapshot(3, large(10), 8, reset_log=False)])
    for number in range(4, 8):
        caller.wait(number - 1)
        caller.writer.submit([AppendLog(number, entries(17 + number, 17 + number))])
    caller.wait(7)
    caller.end(storage)
    at = storage.recorded.index("StoreSnapshot")
    assert storage.recorded[:at].count("part") == 4
    assert "AppendLog" in storage.recorded[:at], "entries were written in between"
    state = begun_again(tmp_path).load()
    assert state.snapshot == large(10)
    assert [entry.index for entry in state.entries] == list(range(9, 25))


def test_snapshot_of_the_leader_is_not_delayed(tmp_path: Path) -> None:
    """The entries after it depend on it."""
    storage = begun(tmp_path)
    storage.recorded.clear()
    caller = Caller(storage)
    caller.writer.submit([StoreSnapshot(3, large(10), 8, reset_log=False)])
    caller.writer.submit([StoreSnapshot(4, large(40), 40, reset_log=True)])
    caller.writer.submit([AppendLog(5, entries(41, 41))])
    caller.wait(5)
    caller.end(storage)
    again = begun_again(tmp_path)
    state = again.load()
    assert state.snapshot == large(40)
    assert [entry.index for entry in state.entries] == [41]
    while again.remove_stale_parts():
        pass
    again.close()
    assert list(parts_in(tmp_path)) == [40], "the parts of the superseded snapshot are removed"


def test_newer_snapshot_replaces_a_delayed_one(tmp_path: Path) -> None:
    storage = begun(tmp_path)
    caller = Caller(storage)
    caller.writer.submit([StoreSnapshot(3, large(10), 8, reset_log=False)])
    caller.wait(3)
    caller.writer.submit([StoreSnapshot(4, large(15, "z"), 12, reset_log=False)])
    caller.wait(4)
    caller.end(storage)
    state = begun_again(tmp_path).load()
    assert state.snapshot == large(15, "z")
    assert state.entries[0].index == 13


def test_a_full_disk_delays_the_snapshot_and_loses_nothing(tmp_path: Path) -> None:
    storage = begun(tmp_path)
    caller = Caller(storage)
    storage.full = 3
    caller.writer.submit([StoreSnapshot(3, large(10), 8, reset_log=False)])
    caller.writer.submit([AppendLog(4, entries(21, 21))])
    caller.wait(4)
    caller.end(storage)
    assert caller.errors == []
    assert caller.full[-1] is None
    assert begun_again(tmp_path).load().snapshot == large(10)


def test_at_the_end_a_full_disk_leaves_the_older_snapshot(tmp_path: Path) -> None:
    storage = begun(tmp_path)
    storage.write([StoreSnapshot(3, large(5, "o"), 4, reset_log=False)])
    caller = Caller(storage)
    caller.writer.submit([AppendLog(4, entries(21, 21))])
    caller.wait(4)
    storage.full = 10**9
    caller.writer.submit([StoreSnapshot(5, large(10), 8, reset_log=False)])
    caller.wait(5)
    caller.end(storage)
    assert caller.errors == []
    state = begun_again(tmp_path).load()
    assert state.snapshot == large(5, "o")
    assert [entry.index for entry in state.entries] == list(range(5, 22))


def parts_of(connection: sqlite3.Connection) -> list[int]:
    return [n for (n,) in connection.execute("SELECT id FROM snapshot_part ORDER BY id")]


def test_failed_transaction_keeps_earlier_parts() -> None:
    """On a full disk each attempt would otherwise remove all parts in one step and write them again."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.execute(TABLES["snapshot_part"])
        parts, snapshot = SnapshotParts(connection), large(30)
        assert parts.write_snapshot_parts(snapshot)
        parts.confirm()
        before = parts_of(connection)
        for _ in range(3):
            connection.execute("BEGIN")
            parts.write_snapshot_parts(snapshot)
            connection.execute("ROLLBACK")
        assert parts_of(connection) == before
        while parts.write_snapshot_parts(snapshot):
            parts.confirm()
        parts.row(snapshot)
        assert "".join(part.decode() for (part,) in parts.of(30)) == snapshot.data


def test_parts_left_by_a_crash_are_removed_in_bounded_steps() -> None:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.execute(TABLES["snapshot_part"])
        left = 2 * REMOVED_PARTS_PER_TRANSACTION + 1
        connection.executemany(
            "INSERT INTO snapshot_part (last_index, data) VALUES (30, ?)", [(b"old",)] * left
        )
        parts, snapshot = SnapshotParts(connection), large(30)
        counts = [left]
        while counts[-1] and parts.write_snapshot_parts(snapshot):
            parts.confirm()
            counts.append(sum(1 for (part,) in parts.of(30) if part == b"old"))
        removed = [before - after for before, after in pairwise(counts)]
        assert removed == [REMOVED_PARTS_PER_TRANSACTION, REMOVED_PARTS_PER_TRANSACTION, 1]
        while parts.write_snapshot_parts(snapshot):
            parts.confirm()
        assert "".join(part.decode() for (part,) in parts.of(30)) == snapshot.data
