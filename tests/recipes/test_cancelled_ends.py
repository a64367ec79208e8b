"""A task that is cancelled while it gives something back leaves nothing behind."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator

import pytest

from qcore.errors import ConfigError
from qcore.kv import KeyValue
from qcore.recipes import Lease, Lock, Queue, RunOnce
from qcore.testing import LocalCluster
from tests.recipes.real_keys import empty_keys
from tests.transport.support.endpoints import async_test

pytestmark = pytest.mark.process

#: So long that nothing ends by itself in a test.
LONG_S = 600


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """One node. Every test must leave it running."""
    with LocalCluster(size=1, machine="kv") as started:
        yield started


async def cancelled(end: Coroutine[object, object, object], steps: int) -> None:
    """Cancel a task after so many turns of the event loop, and wait for it."""
    task = asyncio.create_task(end)
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@async_test
@pytest.mark.parametrize("steps", [1, 2, 3])
async def test_a_cancelled_release_leaves_nothing(cluster: LocalCluster, steps: int) -> None:
    async with empty_keys(cluster) as kv:
        held = await Lock(kv, "a", ttl_s=LONG_S).acquire()
        await cancelled(held.release(), steps)
        assert await kv.leases() == []
        queue = Queue(kv, "a", ttl_s=LONG_S)
        await queue.put("item")
        await queue.receive()
        await cancelled(queue.close(), steps)
        assert await kv.leases() == []


@async_test
async def test_a_cancelled_end_of_a_run_leaves_no_lease(cluster: LocalCluster) -> None:
    async with empty_keys(cluster) as kv:
        run_once = RunOnce(kv, "a", ttl_s=LONG_S, retry=True)
        run = await run_once.try_slot(1)
        assert run is not None
        await cancelled(run.finish("well"), 2)
        assert await kv.leases() == []
        assert [(each.slot, each.state) for each in await run_once.records()] == [(1, "done")]


@async_test
async def test_close_ends_who_waits_with_a_shared_lease(cluster: LocalCluster) -> None:
    async with empty_keys(cluster) as kv, Lease(kv, ttl_s=LONG_S) as lease:
        queue = Queue(kv, "a", lease=lease)
        waiting = [asyncio.create_task(queue.receive()) for _ in range(2)]
        await queue.put("first")
        async with asyncio.timeout(30):
            done, rest = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            await queue.close()
            for each in rest:
                with pytest.raises(ConfigError, match="this Queue object is closed"):
                    await each
        item = done.pop().result()
        await item.acknowledge()
        keys = [found.key.decode() async for found in kv.items("queue/")]
        assert keys == ["queue/a//tail"]
        lease.check()


@async_test
async def test_arguments_of_wrong_types_are_errors(cluster: LocalCluster) -> None:
    async with cluster.client() as client:
        kv = KeyValue(client)
        with pytest.raises(ConfigError, match="name of the lock: 5 is no text"):
            Lock(kv, 5)  # type: ignore[arg-type] # as a program without types does
        with pytest.raises(ConfigError, match="ttl_s: '5' is no number"):
            Lock(kv, "a", ttl_s="5")  # type: ignore[arg-type] # the same
        with pytest.raises(ConfigError, match="lease: 7 is no Lease"):
            Lock(kv, "a", lease=7)  # type: ignore[arg-type] # the same
        with pytest.raises(ConfigError, match="'1' is no number of seconds"):
            await Lock(kv, "a").acquire(timeout_s="1")  # type: ignore[arg-type] # the same
        with pytest.raises(ConfigError, match="is no list of items"):
            await Queue(kv, "a").put_many(iter(["a"]))  # type: ignore[arg-type] # the same
