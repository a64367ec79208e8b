"""Writes that the caller of a `GroupCommitWriter` does itself, because it may wait: real SQLite and a real thread."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

from qcore.core.effects import AppendLog, SaveHardState, StoreSnapshot, Write
from qcore.core.entry import HardState
from qcore.errors import DiskFull, StorageError
from qcore.storage.group_commit import QUICK_WRITE_BYTES, GroupCommitWriter
from qcore.storage.memory import MemoryStorage
from qcore.storage.sqlite.sqlite_storage import IDLE_CHECKPOINT_BYTES, SqliteStorage
from qcore.storage.sync_pace import SyncPace
from tests.storage.support.directories import command, snapshot

DEADLINE_S = 60.0
#: Every disk is fast, however busy the computer is.
ALWAYS_FAST = (1e6, 1e6)


class Watched(SqliteStorage):
    """A real database that records who uses it, and raises or waits on request.

    Attributes:
        by_caller, checkpoints: for each write and each checkpoint, whether the thread that opened the database did it.
        failures: what the next writes raise.
        gate: writes of other threads wait until it is set.
        stuck: counts such writes.
    """

    def __init__(self, *parts: Any) -> None:
        self.by_caller: list[bool] = []
        self.checkpoints: list[bool] = []
        self.failures: list[Exception] = []
        self.gate = threading.Event()
        self.gate.set()
        self.stuck = threading.Semaphore(0)
        self._users = 0
        self._caller = threading.get_ident()
        super().__init__(*parts)

    def write(self, writes: Sequence[Write], commit: int | None = None) -> None:
        with self._alone():
            by_caller = threading.get_ident() == self._caller
            self.by_caller.append(by_caller)
            if not by_caller:
                self.stuck.release()
                assert self.gate.wait(DEADLINE_S)
            if self.failures:
                raise self.failures.pop(0)
            super().write(writes, commit)

    def idle(self) -> None:
        with self._alone():
            super().idle()

    def _checkpoint(self) -> None:
        self.checkpoints.append(threading.get_ident() == self._caller)
        super()._checkpoint()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self._users += 1
        assert self._users == 1, "two threads use the database"
        try:
            yield
        finally:
            self._users -= 1


class Caller:
    """The caller of a writer, with its callbacks."""

    def __init__(self, storage: Watched | MemoryStorage, pace: SyncPace) -> None:
        self.seen: list[object] = []
        self.calls: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self.index = 0
        self.writer = GroupCommitWriter(
            storage,
            self.calls.put,
            on_durable=self.seen.append,
            on_error=lambda error: self.seen.append(f"error: {error}"),
            on_disk_full=lambda full: self.seen.append("full" if full else "space"),
            retry_s=0.001,
            pace=pace,
        )
        self.writer.start()

    def append(self, may_wait: bool = True, size: int = 60) -> int:
        """Submit the next entry, and return its index."""
        self.index += 1
        self.write([AppendLog(self.index, [command(self.index, size=size)])], may_wait)
        return self.index

    def write(self, writes: Sequence[Write], may_wait: bool = True) -> None:
        """As the driver of a node does it."""
        commit = self.index - 1
        if may_wait and self.writer.try_write(writes, commit):
            self.seen.append(self.index)
        else:
            self.writer.submit(writes, commit)

    def wait_for(self, wanted: object) -> None:
        """Run callbacks until `wanted` has been seen."""
        while wanted not in self.seen:
            self.calls.get(timeout=DEADLINE_S)()

    def become_fast(self) -> None:
        """Write until the writer believes that the disk is fast, and its thread is idle."""
        for _ in range(10):
            self.wait_for(self.append())

    def close(self) -> None:
        assert self.writer.close(DEADLINE_S)
        while not self.calls.empty():
            self.calls.get()()


def opened(directory: Path, wal_bytes: int = 1 << 20) -> Watched:
    storage = Watched.open(directory, 1, wal_bytes=wal_bytes)
    storage.write([SaveHardState(0, HardState(2, 1, 0))])
    return storage


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Watched]:
    storage = opened(tmp_path)
    yield storage
    storage.close()


@pytest.fixture
def caller(storage: Watched) -> Iterator[Caller]:
    caller = Caller(storage, SyncPace(*ALWAYS_FAST))
    caller.become_fast()
    yield caller
    storage.gate.set()
    caller.close()


def test_quick_write_is_durable_when_it_returns(storage: Watched, caller: Caller) -> None:
    index = caller.append()
    assert caller.seen[-1] == index
    assert storage.by_caller[-1]
    assert storage.load().entries[-1].index == index
    assert caller.writer.pending.writes == 0
    assert caller.writer.footprint.last_index == index


def test_first_writes_are_left_to_the_thread(storage: Watched) -> None:
    """Nothing is known of the disk yet."""
    caller = Caller(storage, SyncPace(*ALWAYS_FAST))
    for _ in range(10):
        caller.wait_for(caller.append())
    caller.close()
    assert not any(storage.by_caller[1:4])
    assert storage.by_caller[-1]


def test_caller_that_may_not_wait_never_writes(storage: Watched, caller: Caller) -> None:
    before = len(storage.by_caller)
    for _ in range(20):
        caller.wait_for(caller.append(may_wait=False))
    assert not any(storage.by_caller[before:])


def test_caller_does_not_wait_for_a_stalled_thread(storage: Watched, caller: Caller) -> None:
    storage.gate.clear()
    while storage.stuck.acquire(blocking=False):
        pass
    caller.append(may_wait=False)
    seen = list(caller.seen)
    assert storage.stuck.acquire(timeout=DEADLINE_S)
    for _ in range(5):
        last = caller.append()  # returns, although the thread is stuck
    assert caller.seen == seen
    storage.gate.set()
    caller.wait_for(last)
    assert [entry.index for entry in storage.load().entries] == list(range(1, last + 1))


def test_order_is_kept_when_threads_take_turns(tmp_path: Path) -> None:
    """Small and large writes, with and without leave to wait; with idle moments and checkpoints in between."""
    choose = random.Random(5)
    storage = opened(tmp_path, wal_bytes=300_000)
    caller = Caller(storage, SyncPace(*ALWAYS_FAST))
    caller.become_fast()
    for _ in range(400):
        index = caller.append(choose.random() < 0.8, choose.choice((60, 60, 60, 40_000)))
        if choose.random() < 0.7:
            caller.wait_for(index)
        if choose.random() < 0.02:
            time.sleep(0.06)
    caller.close()
    reported = [seen for seen in caller.seen if isinstance(seen, int)]
    assert reported == sorted(set(reported))
    assert reported[-1] == caller.index
    assert len(caller.seen) == len(reported)
    assert True in storage.by_caller
    assert False in storage.by_caller
    assert not any(storage.checkpoints[1:]), "the caller made a checkpoint"
    assert len(storage.checkpoints) > 2
    storage.close()
    storage = Watched.open(tmp_path, 1)
    entries = storage.load().entries
    assert [entry.index for entry in entries] == list(range(1, caller.index + 1))
    storage.close()


def test_idle_checkpoint_follows_quick_writes(tmp_path: Path) -> None:
    storage = opened(tmp_path, wal_bytes=IDLE_CHECKPOINT_BYTES + 500_000)
    caller = Caller(storage, SyncPace(*ALWAYS_FAST))
    caller.become_fast()
    time.sleep(0.2)  # the thread sleeps
    before = len(storage.checkpoints)
    while storage.takes_quick_write(400_000):
        caller.append(size=10_000)
    assert storage.by_caller[-1]
    end = time.monotonic() + DEADLINE_S
    while not storage.takes_quick_write(IDLE_CHECKPOINT_BYTES) and time.monotonic() < end:
        time.sleep(0.01)
    caller.close()
    assert len(storage.checkpoints) == before + 1
    assert not storage.checkpoints[-1]
    storage.close()


@pytest.mark.parametrize("what", ["large", "snapshot"])
def test_large_writes_are_left_to_the_thread(storage: Watched, caller: Caller, what: str) -> None:
    if what == "large":
        caller.wait_for(caller.append(size=QUICK_WRITE_BYTES))
    else:
        caller.index += 1
        write = StoreSnapshot(caller.index, snapshot(3), 3, False)
        caller.write([write])
        caller.wait_for(caller.index)
    assert not storage.by_caller[-1]


def test_slow_write_ends_the_waiting_for_a_time(storage: Watched) -> None:
    pace = SyncPace(*ALWAYS_FAST, pause_s=1e6)
    caller = Caller(storage, pace)
    caller.become_fast()
    assert storage.by_caller[-1]
    pace.took(1e7, time.monotonic())
    before = len(storage.by_caller)
    caller.become_fast()
    caller.close()
    assert not any(storage.by_caller[before:])


def test_pace_needs_fast_writes_and_forgets_a_stall() -> None:
    pace = SyncPace(fast_mean_s=0.002, slow_write_s=0.01, pause_s=1.0)
    assert not pace.is_fast(0.0)
    for _ in range(10):
        pace.took(0.0005, 1.0)
    assert pace.is_fast(1.0)
    pace.took(0.5, 2.0)
    for _ in range(10):
        pace.took(0.0005, 2.0)
    assert not pace.is_fast(2.9)
    assert pace.is_fast(3.0)
    for _ in range(10):
        pace.took(0.008, 4.0)  # a disk that takes this long for every write
    assert not pace.is_fast(100.0)


def test_full_disk_is_left_to_the_thread(storage: Watched, caller: Caller) -> None:
    storage.failures = [DiskFull("no space"), DiskFull("no space")]
    index = caller.append()
    caller.wait_for("space")
    caller.wait_for(index)
    assert caller.seen[-3:] == ["full", "space", index]
    assert storage.load().entries[-1].index == index


@pytest.mark.parametrize(
    ("error", "text"),
    [(StorageError("sync failed"), "sync failed"), (ValueError("a bug"), "writer failed")],
)
def test_failed_quick_write_raises_and_is_the_last(
    storage: Watched, error: Exception, text: str
) -> None:
    caller = Caller(storage, SyncPace(*ALWAYS_FAST))
    caller.become_fast()
    caller.writer.submit([], 5)
    seen, writes = list(caller.seen), len(storage.by_caller)
    storage.failures = [error]
    with pytest.raises(StorageError, match=text):
        caller.append()
    with pytest.raises(StorageError, match="has failed"):
        caller.append()
    time.sleep(0.1)  # the thread does no idle work
    caller.close()
    assert caller.seen == seen
    assert len(storage.by_caller) == writes + 1


def test_close_after_a_quick_write(storage: Watched, caller: Caller) -> None:
    index = caller.append()
    caller.writer.submit([], index)
    caller.close()
    assert storage.load().hard_state.commit == index
    with pytest.raises(StorageError, match="closed"):
        caller.append()


def test_storage_that_knows_no_quick_writes_gets_none() -> None:
    """A custom storage may be slow, or belong to one thread."""
    threads: set[int] = set()

    class Custom(MemoryStorage):
        def write(self, writes: Sequence[Write], commit: int | None = None) -> None:
            threads.add(threading.get_ident())
            super().write(writes, commit)

    storage = Custom(1)
    storage.write([SaveHardState(0, HardState(2, 1, 0))])
    threads.clear()
    caller = Caller(storage, SyncPace(*ALWAYS_FAST))
    caller.become_fast()
    caller.close()
    assert threading.get_ident() not in threads
