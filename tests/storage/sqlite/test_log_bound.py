"""The log on disk stays bounded under a steady stream of large entries, with the real writer and a real database."""

from __future__ import annotations

import random
import sqlite3
import threading
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from queue import SimpleQueue

import pytest

from qcore.core.effects import AppendLog, SaveHardState, StoreSnapshot, TruncateLog, Write
from qcore.core.entry import DurableState, Entry, HardState, Snapshot
from qcore.core.log.durable_state import apply_write, size_bytes
from qcore.errors import StorageError
from qcore.storage import background_writes, group_commit
from qcore.storage.background_writes import ASSIST_BYTES, BACKGROUND_SNAPSHOT_MIN_CHARS
from qcore.storage.group_commit import GroupCommitWriter
from qcore.storage.log_size import FootprintMeter
from qcore.storage.sqlite.sqlite_storage import SqliteStorage
from tests.storage.support.directories import command
from tests.storage.support.directories import snapshot as small_snapshot

VALUE = "v" * (ASSIST_BYTES // 2)
#: Entries between two snapshots, and entries kept after one.
INTERVAL, KEPT = 16, 4
SNAPSHOTS = 20
TEXT = "s" * (BACKGROUND_SNAPSHOT_MIN_CHARS * 2)


class Measured(SqliteStorage):
    """Measures its tables after each transaction. The first write waits until everything is submitted."""

    begin: threading.Event
    most_log = most_parts = most_wal = 0

    def write(self, writes: Sequence[Write], commit: int | None = None) -> None:
        assert self.begin.wait(20)
        super().write(writes, commit)
        self._measure()

    def write_snapshot_parts(self, snapshot: Snapshot) -> bool:
        more = super().write_snapshot_parts(snapshot)
        self._measure()
        return more

    def _measure(self) -> None:
        (log,) = self._connection.execute("SELECT sum(length(data)) FROM log").fetchone()
        (parts,) = self._connection.execute(
            "SELECT sum(length(data)) FROM snapshot_part"
        ).fetchone()
        self.most_log = max(self.most_log, log or 0)
        self.most_parts = max(self.most_parts, parts or 0)
        wal = self._path.with_name(self._path.name + "-wal")
        self.most_wal = max(self.most_wal, wal.stat().st_size)


def opened(path: Path) -> Measured:
    storage = Measured.open(path, 1)
    storage.begin = threading.Event()
    storage.begin.set()
    storage.load()
    storage.write([SaveHardState(1, HardState(2, None, 0))])
    storage.begin.clear()
    return storage


def entry(index: int, text: str = VALUE) -> Entry:
    return Entry(index, 2, "command", text, index)


class Stream:
    """All writes wait in the writer's queue before the first one ends, so the writer never has a pause."""

    def __init__(self, storage: Measured) -> None:
        self.stored: list[int] = []
        self.errors: list[StorageError] = []
        self._done: SimpleQueue[int] = SimpleQueue()
        self.writer = GroupCommitWriter(
            storage,
            lambda call: call(),
            on_durable=self._done.put,
            on_error=self.errors.append,
            on_disk_full=lambda _full: None,
            on_snapshot_stored=self.stored.append,
            loaded=storage.load(),
        )
        self.writer.start()

    def wait(self, write_id: int) -> None:
        while self._done.get(timeout=60) < write_id:
            pass


@pytest.mark.parametrize("size", [len(TEXT), 4 * len(TEXT)], ids=["small", "above the interval"])
def test_log_stays_bounded_however_fast_it_grows(tmp_path: Path, size: int) -> None:
    storage = opened(tmp_path)
    stream = Stream(storage)
    number = index = 1
    for _ in range(SNAPSHOTS):
        for _ in range(INTERVAL):
            number += 1
            stream.writer.submit([AppendLog(number, [entry(index)])], commit=index)
            index += 1
        number += 1
        taken = Snapshot(small_snapshot(index - 1).meta, "s" * size)
        stream.writer.submit([StoreSnapshot(number, taken, index - 1 - KEPT, reset_log=False)])
    storage.begin.set()
    stream.wait(number)
    stored_before_the_end = list(stream.stored)
    assert stream.writer.close(60)
    assert stream.errors == []
    interval = INTERVAL * len(VALUE)
    assert len(stored_before_the_end) >= SNAPSHOTS * interval // (4 * size + 2 * interval), (
        "snapshots must not wait for the end"
    )
    # What is kept, and what arrived while a snapshot was captured, waited for the one before, and was stored.
    bound = KEPT * len(VALUE) + interval + 8 * size // 3 + group_commit.MAX_TRANSACTION_BYTES
    assert storage.most_log <= bound < SNAPSHOTS * interval / 2
    assert storage.most_parts <= 2 * size, "superseded parts are removed in time"
    assert storage.most_wal < 4 * (8 << 20), "the write-ahead file is checkpointed under load"
    footprint = stream.writer.footprint
    (rows, first) = storage._connection.execute("SELECT count(*), min(idx) FROM log").fetchone()
    storage.close()
    again = SqliteStorage.open(tmp_path, 1)
    state = again.load()
    assert state.snapshot is not None
    assert state.snapshot.meta.last_included_index == index - 1
    assert (len(state.entries), state.entries[0].index) == (rows, first)
    assert footprint == FootprintMeter(state).footprint
    again.close()


def test_started_snapshot_is_finished_before_the_newest(tmp_path: Path) -> None:
    storage = opened(tmp_path)
    stream = Stream(storage)
    stream.writer.submit([AppendLog(2, [command(index, 2) for index in range(1, 31)])])
    taken = {
        index: Snapshot(
            small_snapshot(index).meta, f"{index:08}" * (BACKGROUND_SNAPSHOT_MIN_CHARS // 8)
        )
        for index in (10, 15, 20)
    }
    stream.writer.submit([StoreSnapshot(3, taken[10], 8, reset_log=False)])
    storage.begin.set()
    stream.wait(3)  # from here on a part of the first snapshot is written
    storage.begin.clear()
    stream.writer.submit([AppendLog(4, [command(31, 2)])])
    stream.writer.submit([StoreSnapshot(5, taken[15], 12, reset_log=False)])
    stream.writer.submit([StoreSnapshot(6, taken[20], 19, reset_log=False)])
    storage.begin.set()
    stream.wait(6)
    assert stream.writer.close(60)
    assert stream.errors == []
    assert stream.stored == [10, 20]
    state = storage.load()
    assert state.snapshot == taken[20]
    assert [held.index for held in state.entries] == list(range(20, 32))
    storage.close()


def test_truncated_tail_does_not_disturb_a_delayed_snapshot(tmp_path: Path) -> None:
    storage = opened(tmp_path)
    stream = Stream(storage)
    stream.writer.submit([AppendLog(2, [command(index, 2) for index in range(1, 31)])])
    taken = Snapshot(small_snapshot(10).meta, TEXT)
    stream.writer.submit([StoreSnapshot(3, taken, 8, reset_log=False)])
    stream.writer.submit([TruncateLog(4, 11), AppendLog(5, [command(11, 2)])])
    storage.begin.set()
    stream.wait(5)
    assert stream.writer.close(60)
    assert stream.errors == []
    state = storage.load()
    assert state.snapshot == taken
    assert [held.index for held in state.entries] == [9, 10, 11]
    storage.close()


def test_the_log_is_compacted_a_bounded_amount_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        background_writes, "COMPACTED_BYTES_PER_TRANSACTION", 3 * command(1, 2).size_bytes()
    )
    storage = opened(tmp_path)
    lengths: list[int] = []
    plain = Measured.write

    def write(self: Measured, writes: Sequence[Write], commit: int | None = None) -> None:
        plain(self, writes, commit)
        if isinstance(writes[0], StoreSnapshot):
            lengths.append(self._connection.execute("SELECT count(*) FROM log").fetchone()[0])

    monkeypatch.setattr(Measured, "write", write)
    stream = Stream(storage)
    stream.writer.submit([AppendLog(2, [command(index, 2) for index in range(1, 31)])])
    taken = Snapshot(small_snapshot(28).meta, TEXT)
    stream.writer.submit([StoreSnapshot(3, taken, 20, reset_log=False)])
    storage.begin.set()
    stream.wait(3)
    assert stream.writer.close(60)
    assert lengths == [27, 24, 21, 18, 15, 12, 10]
    assert stream.stored == [28], "reported once"
    storage.close()


def test_leaders_snapshot_is_written_in_bounded_transactions(tmp_path: Path) -> None:
    storage = opened(tmp_path)
    stream = Stream(storage)
    leaders = Snapshot(small_snapshot(40).meta, TEXT * 8)
    stream.writer.submit([StoreSnapshot(2, leaders, 40, reset_log=True)])
    stream.writer.submit([AppendLog(3, [command(41, 2)])])
    storage.begin.set()
    stream.wait(3)
    assert stream.writer.close(60)
    assert stream.stored == [40]
    assert storage.load().snapshot == leaders
    assert storage.most_wal < 12 << 20, "a single transaction would have written all of it there"
    storage.close()


@pytest.mark.parametrize("seed", range(5))
def test_footprint_matches_the_disk(seed: int) -> None:
    rng = random.Random(seed)
    state = DurableState(HardState(2, None, 0))
    meter = FootprintMeter(state)
    last = covered = 0
    for number in range(300):
        kind = rng.choice(["append", "append", "truncate", "snapshot", "reset"])
        write: Write
        if kind == "append" or last == covered:
            texts = [rng.choice(["a", "é", "漢", "🚀"]) * rng.randrange(50) for _ in range(4)]
            write = AppendLog(number, [entry(last + at, text) for at, text in enumerate(texts, 1)])
            last += 4
        elif kind == "truncate":
            last = rng.randrange(covered, last)
            write = TruncateLog(number, last + 1)
        elif kind == "snapshot":
            covered = rng.randrange(covered + 1, last + 1)
            through = covered - rng.randrange(5)
            write = StoreSnapshot(number, small_snapshot(covered), through, reset_log=False)
        else:
            covered = last = last + rng.randrange(1, 9)
            write = StoreSnapshot(number, small_snapshot(covered), covered, reset_log=True)
        if (
            isinstance(write, TruncateLog)
            and state.entries
            and write.from_index < state.entries[0].index
        ):
            continue
        apply_write(state, write)
        meter.written([write])
        assert meter.footprint == FootprintMeter(state).footprint
        total = sum(len(held.data.encode()) + 48 for held in state.entries)
        assert meter.footprint.log_bytes == total


def test_hard_state_is_no_part_of_the_footprint() -> None:
    meter = FootprintMeter(DurableState(HardState(2, None, 0), None, [entry(1), entry(2)]))
    before = meter.footprint
    meter.written([SaveHardState(1, HardState(3, 1, 2))])
    assert meter.footprint == before


def test_compaction_of_everything_ends_at_the_last_entry() -> None:
    entries = [entry(index) for index in range(1, 5)]
    meter = FootprintMeter(DurableState(HardState(2, None, 0), None, entries))
    size = entries[0].size_bytes()
    assert meter.compaction_index(9, 100 * size) == 4
    assert meter.compaction_index(3, 100 * size) == 3
    assert meter.compaction_index(9, 2 * size) == 2
    assert meter.compaction_index(9, 1) == 1, "at least one entry"


def test_batches_are_bounded_in_bytes_not_in_characters() -> None:
    assert size_bytes(AppendLog(1, [entry(1, "🚀" * 100)])) == 64 + 48 + 400
    with closing(sqlite3.connect(":memory:")) as connection:
        (size,) = connection.execute("SELECT length(CAST(? AS BLOB))", ("🚀" * 100,)).fetchone()
    assert size == 400
