"""`SyncRWLock`, `SyncSemaphore`, `SyncBarrier` and `SyncCounter` with a real node and threads."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from qcore.client import SyncClient
from qcore.errors import ConfigError
from qcore.kv import SyncKeyValue
from qcore.recipes import (
    Barrier,
    Counter,
    LeaseLost,
    NotAcquired,
    RWLock,
    Semaphore,
    SyncBarrier,
    SyncCounter,
    SyncLease,
    SyncRWLock,
    SyncSemaphore,
)
from qcore.testing import LocalCluster

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def client() -> Iterator[SyncClient]:
    """A client of one node."""
    with LocalCluster(size=1, machine="kv") as cluster, SyncClient(cluster.endpoints) as started:
        yield started


@pytest.mark.parametrize(
    ("synchronous", "asynchronous"),
    [
        (SyncRWLock, RWLock),
        (SyncSemaphore, Semaphore),
        (SyncBarrier, Barrier),
        (SyncCounter, Counter),
    ],
)
def test_it_has_every_method_of_the_asynchronous_one(
    synchronous: type[object], asynchronous: type[object]
) -> None:
    public, expected = (
        {name for name, _ in inspect.getmembers(each, callable) if not name.startswith("_")}
        for each in (synchronous, asynchronous)
    )
    assert public == expected


def test_a_lock_for_readers_and_writers(client: SyncClient) -> None:
    with SyncLease(client, ttl_s=20) as lease:
        for lock in (SyncRWLock(client, "a", ttl_s=20), SyncRWLock(client, "b", lease=lease)):
            with lock.read() as first, lock.acquire_read() as second:
                assert first.token < second.token
                assert lock.try_acquire_write() is None
                with pytest.raises(NotAcquired):
                    lock.acquire_write(timeout_s=0.1)
                with pytest.raises(ConfigError, match="this thread has entered it already"):
                    lock.write().__enter__()
                second.check()
            with lock.write() as writer:
                assert writer.token > second.token
                assert lock.try_acquire_read() is None
            assert lock.line() == []


def test_a_thread_waits_for_a_permit(client: SyncClient) -> None:
    semaphore = SyncSemaphore(client, "a", 1, ttl_s=20)
    order: list[str] = []

    def take() -> None:
        with semaphore:
            order.append("second")

    with ThreadPoolExecutor(1) as pool:
        with semaphore:
            waiting = pool.submit(take)
            assert semaphore.try_acquire() is None
            with pytest.raises(NotAcquired):
                semaphore.acquire(timeout_s=0.1)
            order.append("first")
        waiting.result(30)
    assert order == ["first", "second"]


def test_a_lost_permit_raises_at_the_end(client: SyncClient) -> None:
    def work() -> None:
        with SyncSemaphore(client, "a", 1, ttl_s=0.6) as held:
            kv = SyncKeyValue(client)
            (ticket,) = kv.items("semaphore/a//")
            kv.revoke(ticket.lease)
            while held.lost is None:
                threading.Event().wait(0.02)

    with pytest.raises(LeaseLost):
        work()


def test_threads_meet_at_a_barrier(client: SyncClient) -> None:
    barrier = SyncBarrier(client, "a", 3, ttl_s=20)
    with ThreadPoolExecutor(6) as pool:
        rounds = [future.result(30) for future in [pool.submit(barrier.wait) for _ in range(6)]]
    assert sorted(rounds) == [1, 1, 1, 2, 2, 2]
    with pytest.raises(NotAcquired):
        barrier.wait(timeout_s=0.1)
    assert barrier.waiting() == 0


def test_threads_count_together(client: SyncClient) -> None:
    counter = SyncCounter(client, "a")
    with ThreadPoolExecutor(4) as pool:
        values = [future.result(30) for future in [pool.submit(counter.add) for _ in range(12)]]
    assert sorted(values) == [*range(1, 13)]
    counter.set(-3)
    assert counter.get() == -3
