"""Group commit with its real thread: order, batches, backpressure, full disks, failures, the end."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from queue import SimpleQueue

import pytest

from qcore.core.effects import AppendLog, SaveHardState, Write
from qcore.core.entry import HardState
from qcore.errors import DiskFull, StorageError
from qcore.storage import group_commit as writer_module
from qcore.storage.group_commit import GroupCommitWriter, PendingWrites
from qcore.storage.memory import MemoryStorage
from qcore.storage.sqlite.sqlite_storage import SqliteStorage
from tests.storage.support.directories import command

DEADLINE_S = 20.0


class SlowStorage(MemoryStorage):
    """A memory storage whose writes wait for a gate, and first raise the errors in `failures`."""

    def __init__(self) -> None:
        super().__init__(1)
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Semaphore(0)
        self.failures: list[Exception] = []
        self.batches: list[tuple[list[int], int | None]] = []
        self.idle_moments = 0
        super().write([SaveHardState(0, HardState(2, 1, 0))])

    def write(self, writes: Sequence[Write], commit: int | None = None) -> None:
        self.entered.release()
        assert self.gate.wait(DEADLINE_S)
        if self.failures:
            raise self.failures.pop(0)
        super().write(writes, commit)
        self.batches.append(([write.write_id for write in writes], commit))

    def idle(self) -> None:
        self.idle_moments += 1


class SmallStorage(SqliteStorage):
    """A real database of at most 100 pages, until `room` is set."""

    room = threading.Event()

    def write(self, writes: Sequence[Write], commit: int | None = None) -> None:
        limit = 1_000_000 if self.room.is_set() else 100
        self._connection.execute(f"PRAGMA max_page_count = {limit}")
        super().write(writes, commit)


class Caller:
    """The caller of a writer. Callbacks run on its thread while it waits, and are recorded."""

    def __init__(self, storage: SlowStorage | SqliteStorage) -> None:
        self.seen: list[object] = []
        self._calls: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self.writer = GroupCommitWriter(
            storage,
            self._calls.put,
            on_durable=self.seen.append,
            on_error=lambda error: self.seen.append(f"error: {error}"),
            on_disk_full=lambda full: self.seen.append("full" if full else "space"),
            retry_s=0.001,
        )
        self.writer.start()

    def wait_for(self, wanted: object) -> None:
        """Run callbacks until `wanted` has been seen."""
        while wanted not in self.seen:
            self._calls.get(timeout=DEADLINE_S)()

    def close(self) -> None:
        """Close the writer and run its last callbacks."""
        assert self.writer.close(DEADLINE_S)
        while not self._calls.empty():
            self._calls.get()()


@pytest.fixture
def storage() -> SlowStorage:
    return SlowStorage()


@pytest.fixture
def caller(storage: SlowStorage) -> Iterator[Caller]:
    caller = Caller(storage)
    yield caller
    storage.gate.set()
    caller.close()


def append(index: int, size: int = 60) -> AppendLog:
    return AppendLog(index, [command(index, size=size)])


def test_submissions_during_a_sync_become_one_write(storage: SlowStorage, caller: Caller) -> None:
    storage.gate.clear()
    caller.writer.submit([append(1)])
    assert storage.entered.acquire(timeout=DEADLINE_S)
    caller.writer.submit([append(2), append(3)], commit=1)
    for index in range(4, 50):
        caller.writer.submit([append(index)])
    storage.gate.set()
    caller.wait_for(49)
    assert storage.batches == [([1], None), (list(range(2, 50)), 1)]
    assert caller.seen == [1, 49]
    assert [entry.index for entry in storage.load().entries] == list(range(1, 50))


def test_submit_never_blocks_and_counts_pending_writes(
    storage: SlowStorage, caller: Caller
) -> None:
    storage.gate.clear()
    for index in range(1, 1001):
        caller.writer.submit([append(index)])
    assert caller.writer.pending.writes == 1000
    assert caller.writer.pending.bytes > 1000 * 100
    assert caller.seen == []
    storage.gate.set()
    caller.wait_for(1000)
    assert caller.writer.pending == PendingWrites(0, 0)


def test_a_batch_is_bounded(storage: SlowStorage, caller: Caller) -> None:
    storage.gate.clear()
    caller.writer.submit([append(1)])
    assert storage.entered.acquire(timeout=DEADLINE_S)
    half = writer_module.MAX_TRANSACTION_BYTES // 2
    for index in (2, 3, 4):
        caller.writer.submit([append(index, size=half)])
    caller.writer.submit([append(5)])
    storage.gate.set()
    caller.wait_for(5)
    assert [ids for ids, _ in storage.batches] == [[1], [2], [3], [4, 5]]


def test_a_commit_index_alone_waits_for_the_next_write(
    storage: SlowStorage, caller: Caller
) -> None:
    caller.writer.submit([append(1), append(2)])
    caller.wait_for(2)
    caller.writer.submit([], commit=1)
    caller.writer.submit([], commit=2)
    caller.writer.submit([append(3)])
    caller.wait_for(3)
    assert storage.batches[1:] == [([3], 2)]


def test_a_waiting_commit_index_is_stored_at_the_end(storage: SlowStorage) -> None:
    caller = Caller(storage)
    caller.writer.submit([append(1)])
    caller.writer.submit([], commit=1)
    caller.close()
    assert storage.load().hard_state.commit == 1


def test_full_disk_is_reported_once_and_waited_out(storage: SlowStorage, caller: Caller) -> None:
    storage.failures = [DiskFull("no space") for _ in range(5)]
    caller.writer.submit([append(1)])
    caller.wait_for("full")
    caller.writer.submit([append(2)])
    caller.wait_for(2)
    assert caller.seen in (["full", "space", 1, 2], ["full", "space", 2])
    assert [entry.index for entry in storage.load().entries] == [1, 2]


def test_a_really_full_database_is_waited_out(tmp_path: Path) -> None:
    database = SmallStorage.open(tmp_path, 1, wal_bytes=50_000)
    database.write([SaveHardState(1, HardState(2, 1, 0))])
    caller = Caller(database)
    for index in range(1, 101):
        caller.writer.submit([append(index, size=10_000)])
    caller.wait_for("full")
    caller.writer.submit([append(101)])
    assert caller.writer.pending.writes > 0
    SmallStorage.room.set()
    caller.wait_for(101)
    caller.close()
    assert len(database.load().entries) == 101
    database.close()


def test_error_is_reported_once_and_stops_the_writer(storage: SlowStorage, caller: Caller) -> None:
    storage.gate.clear()
    caller.writer.submit([append(1)])
    assert storage.entered.acquire(timeout=DEADLINE_S)
    caller.writer.submit([append(2)])
    storage.failures = [StorageError("the disk is gone")]
    storage.gate.set()
    caller.wait_for("error: the disk is gone")
    with pytest.raises(StorageError, match="the disk is gone"):
        caller.writer.submit([append(3)])
    caller.close()
    assert caller.seen == ["error: the disk is gone"]
    assert storage.load().entries == []


def test_bug_in_the_storage_is_reported_as_an_error(storage: SlowStorage, caller: Caller) -> None:
    caller.writer.submit([append(7)])
    while not caller.seen:
        caller._calls.get(timeout=DEADLINE_S)()
    assert "append of entry 7" in str(caller.seen[0])


def test_close_drains_and_is_final(storage: SlowStorage) -> None:
    caller = Caller(storage)
    storage.gate.clear()
    for index in range(1, 101):
        caller.writer.submit([append(index)])
    assert not caller.writer.close(timeout_s=0.01)
    with pytest.raises(StorageError, match="closed"):
        caller.writer.submit([append(101)])
    storage.gate.set()
    caller.close()
    caller.close()
    assert caller.seen[-1] == 100
    assert len(storage.load().entries) == 100
    assert caller.writer.pending == PendingWrites(0, 0)


def test_close_does_not_wait_for_a_full_disk(storage: SlowStorage) -> None:
    caller = Caller(storage)
    storage.failures = [DiskFull("no space")] * 1_000_000
    caller.writer.submit([append(1)])
    caller.wait_for("full")
    caller.close()
    assert caller.seen == ["full", "error: no space"]


def test_storage_is_called_in_an_idle_moment(storage: SlowStorage, caller: Caller) -> None:
    caller.writer.submit([append(1)])
    end = time.monotonic() + DEADLINE_S
    while not storage.idle_moments and time.monotonic() < end:
        time.sleep(0.005)
    caller.writer.submit([append(2)])
    caller.wait_for(2)
    assert storage.idle_moments >= 1


def test_closed_loop_does_not_crash_the_writer_thread(storage: SlowStorage) -> None:
    """Pytest fails on an exception that a thread does not handle."""

    def notify(_call: Callable[[], None]) -> None:
        raise RuntimeError("Event loop is closed")

    writer = GroupCommitWriter(
        storage,
        notify,
        on_durable=lambda _write_id: None,
        on_error=lambda _error: None,
        on_disk_full=lambda _full: None,
    )
    writer.start()
    writer.submit([append(1)])
    assert writer.close(DEADLINE_S)


def test_callbacks_come_on_the_loops_thread(tmp_path: Path) -> None:
    storage = SqliteStorage.open(tmp_path, 1, wal_bytes=100_000)
    storage.write([SaveHardState(0, HardState(2, 1, 0))])

    async def run() -> tuple[set[int], int]:
        loop = asyncio.get_running_loop()
        threads: set[int] = set()
        done = loop.create_future()

        def durable(write_id: int) -> None:
            threads.add(threading.get_ident())
            if write_id == 300:
                done.set_result(None)

        writer = GroupCommitWriter(
            storage,
            loop.call_soon_threadsafe,
            on_durable=durable,
            on_error=done.set_exception,
            on_disk_full=lambda _full: None,
        )
        writer.start()
        for index in range(1, 301):
            writer.submit([append(index)], commit=index - 1)
        await asyncio.wait_for(done, DEADLINE_S)
        writer.close()
        return threads, threading.get_ident()

    threads, here = asyncio.run(run())
    assert threads == {here}
    storage.close()
    storage = SqliteStorage.open(tmp_path, 1, wal_bytes=100_000)
    assert [entry.index for entry in storage.load().entries] == list(range(1, 301))
    storage.close()


def test_writer_that_was_never_started_writes_nothing(storage: SlowStorage) -> None:
    seen: list[object] = []
    writer = GroupCommitWriter(
        storage,
        lambda call: call(),
        on_durable=seen.append,
        on_error=seen.append,
        on_disk_full=seen.append,
    )
    writer.submit([append(1)])
    assert writer.close(DEADLINE_S)
    assert (storage.load().entries, seen) == ([], [])


def test_storage_without_idle_work_is_left_alone() -> None:
    """The thread sleeps until the next submission."""
    timeouts: list[float | None] = []

    class Watched(SimpleQueue[object]):
        def get(self, block: bool = True, timeout: float | None = None) -> object:
            timeouts.append(timeout)
            return super().get(block, timeout)

    storage = MemoryStorage(1)
    writer = GroupCommitWriter(
        storage,
        lambda call: call(),
        on_durable=lambda _write_id: None,
        on_error=lambda error: pytest.fail(str(error)),
        on_disk_full=lambda error: pytest.fail(str(error)),
    )
    writer._queue = Watched()  # type: ignore[assignment]  # the type of its items is private
    writer.start()
    writer.submit([SaveHardState(1, HardState(2, 1, 0))])
    assert writer.close(DEADLINE_S)
    assert storage.load().hard_state.term == 2
    assert set(timeouts) == {None}
