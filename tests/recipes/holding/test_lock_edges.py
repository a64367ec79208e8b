"""Locks and elections at the edges of asyncio and of threads: other tasks, timeouts, errors, resignations."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import pytest

from qcore.client import SyncClient
from qcore.errors import ConfigError
from qcore.kv import KeyValue, SyncKeyValue
from qcore.recipes import (
    Held,
    LeaderElection,
    Lease,
    LeaseLost,
    Lock,
    NotAcquired,
    Queue,
    Semaphore,
    SyncHeld,
    SyncLeaderElection,
    SyncLock,
    SyncQueue,
)
from qcore.testing import LocalCluster
from tests.recipes.real_keys import empty_keys, line_of
from tests.transport.support.endpoints import async_test

R = TypeVar("R")

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """One node. Every test must leave it running."""
    with LocalCluster(size=1, machine="kv") as started:
        yield started


async def in_a_block(lock: Lock | Semaphore) -> AsyncIterator[int]:
    async with lock:
        yield 1
        yield 2


@async_test
async def test_another_task_may_leave_the_only_block(cluster: LocalCluster) -> None:
    async with empty_keys(cluster) as kv:
        lock = Lock(kv, "a", ttl_s=20)

        async def read_one() -> None:
            async for _ in in_a_block(lock):
                break  # asyncio closes the generator in a new task

        await asyncio.create_task(read_one())
        await line_of(lock.line, 0)
        semaphore = Semaphore(kv, "a", 2, ttl_s=20)
        first, second = in_a_block(semaphore), in_a_block(semaphore)
        for generator in (first, second):
            await asyncio.create_task(anext(generator))  # type: ignore[arg-type]  # an awaitable that is a coroutine
        with pytest.raises(ConfigError, match="several have"):
            await first.aclose()  # type: ignore[attr-defined]  # it is a generator


@async_test
async def test_a_task_group_that_failed_leaves_timeouts_right(cluster: LocalCluster) -> None:
    async with empty_keys(cluster) as kv, Lock(kv, "a", ttl_s=0.5):

        async def fail() -> None:
            raise ValueError

        with contextlib.suppress(ExceptionGroup):
            async with asyncio.TaskGroup() as group:
                group.create_task(fail())
                group.create_task(asyncio.sleep(20))
        with pytest.raises(NotAcquired):
            await Lock(kv, "a", ttl_s=0.2).acquire(timeout_s=0.5)  # it looks again meanwhile
        async with asyncio.timeout(20):
            while not await Lock(kv, "b").line():
                async with Lock(kv, "b", ttl_s=20):
                    break


@async_test
async def test_a_time_must_be_a_number_of_seconds(cluster: LocalCluster) -> None:
    async with empty_keys(cluster) as kv:
        for wrong in (float("nan"), -1.0):
            with pytest.raises(ConfigError, match="is no number of seconds from 0 on"):
                await Lock(kv, "a").acquire(timeout_s=wrong)


@async_test
async def test_a_lease_that_is_not_open_makes_no_ticket(cluster: LocalCluster) -> None:
    async with empty_keys(cluster) as kv:
        lock = Lock(kv, "a", lease=Lease(kv))
        with pytest.raises(LeaseLost, match="is not open"):
            await lock.acquire()
        assert await lock.line() == []


@async_test
async def test_an_error_in_one_callback_does_not_stop_others(cluster: LocalCluster) -> None:
    async with empty_keys(cluster) as kv, Lease(kv, ttl_s=0.6) as lease:
        asyncio.get_running_loop().set_exception_handler(
            lambda _loop, context: errors.append(context)
        )
        errors: list[dict[str, object]] = []

        async def work() -> None:
            async with lease.guard():
                await asyncio.sleep(20)

        def fail(_why: LeaseLost) -> None:
            raise ValueError

        with lease.calling(fail):
            task = asyncio.create_task(work())
            await kv.revoke(lease.lease_id)
            with pytest.raises(LeaseLost):
                await task
        assert len(errors) == 1


class BrokenKeyValue(KeyValue):
    """Its keep-alives fail in a way that no client does."""

    async def keep_alive(self, lease_id: int) -> float:
        raise OSError("the token file is gone")


@async_test
async def test_a_keeper_that_fails_loses_the_lease(cluster: LocalCluster) -> None:
    async with cluster.client() as client:
        lease = Lease(BrokenKeyValue(client), ttl_s=0.6)
        await lease.open()
        why = await lease.wait_lost()
        assert "is not kept alive: OSError: the token file is gone" in str(why)
        await lease.close()


@async_test
async def test_a_handle_is_entered_once(cluster: LocalCluster) -> None:
    async with empty_keys(cluster) as kv:
        held = await Lock(kv, "a", ttl_s=20).acquire()
        async with held:
            with pytest.raises(ConfigError, match="entered before"):
                await held.__aenter__()


@async_test
async def test_handles_of_a_reentrant_lock_end_in_any_order(cluster: LocalCluster) -> None:
    async with empty_keys(cluster) as kv:
        lock = Lock(kv, "a", ttl_s=20, reentrant=True)
        first, second = await lock.acquire(), await lock.acquire()
        await first.release()
        third = await lock.acquire(timeout_s=0)
        assert third.token == second.token
        for held in (second, third):
            await held.release()
        assert await lock.line() == []


@async_test
async def test_a_leader_may_resign_while_it_serves(cluster: LocalCluster) -> None:
    async with empty_keys(cluster) as kv, Lease(kv, ttl_s=20) as shared:
        for lease in (None, shared):
            election = LeaderElection(kv, "a", ttl_s=20, lease=lease)
            steps: list[object] = []

            async def serve(leadership: Held) -> None:
                await leadership.release()
                await asyncio.sleep(0.01)
                steps.append("after")  # noqa: B023 - called within this turn of the loop

            await election.run(serve, on_lost=steps.append)
            assert steps == ["after"]
            assert await election.leader() is None


# -- threads -------------------------------------------------------------------------------------


@pytest.fixture
def client(cluster: LocalCluster) -> Iterator[SyncClient]:
    with cluster.sync_client() as started:
        SyncKeyValue(started).delete(prefix="")
        yield started


def test_ctrl_c_at_the_moment_of_success_leaves_nothing(
    client: SyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, queue = SyncLock(client, "a", ttl_s=600), SyncQueue(client, "a", ttl_s=600)

    def interrupted(acquire: Callable[..., Coroutine[Any, Any, R]]) -> Callable[..., object]:
        async def acquired(*args: object, **kwargs: object) -> R:
            result = await acquire(*args, **kwargs)
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            return result

        return acquired

    queue.put("item")
    with monkeypatch.context() as patch:
        patch.setattr(Lock, "acquire", interrupted(Lock.acquire))
        patch.setattr(Queue, "receive", interrupted(Queue.receive))
        with pytest.raises(KeyboardInterrupt):
            lock.acquire()
        with pytest.raises(KeyboardInterrupt):
            queue.receive()
    lock.acquire(timeout_s=30).release()
    with queue, queue.take(timeout_s=30) as item:
        assert (item.text, item.attempt) == ("item", 1)


def test_a_thread_may_release_and_resign_in_its_block(client: SyncClient) -> None:
    with SyncLock(client, "a", ttl_s=20) as held:
        held.release()
    election, served = SyncLeaderElection(client, "a", ttl_s=20), []

    def serve(leadership: SyncHeld) -> None:
        served.append(leadership.token)
        leadership.release()

    election.run(serve)
    assert len(served) == 1


def test_another_thread_may_leave_the_only_block(client: SyncClient) -> None:
    lock = SyncLock(client, "a", ttl_s=20)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(lock.__enter__).result()
    lock.__exit__(None, None, None)
    assert lock.line() == []
