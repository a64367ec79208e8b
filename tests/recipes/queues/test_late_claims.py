"""A consumer that is cancelled when it has just claimed an item."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from qcore.client.watching.watch import Watch
from qcore.kv import KeyValue
from qcore.recipes import Queue
from qcore.testing import LocalCluster
from tests.recipes.queues.counted_client import CountedClient
from tests.transport.support.endpoints import async_test

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """One node. Every test must leave it running."""
    with LocalCluster(size=1, machine="kv") as started:
        yield started


@async_test
async def test_a_claim_that_no_caller_gets_is_given_back(cluster: LocalCluster) -> None:
    closes = asyncio.Event()

    async def close(self: Watch[object]) -> None:
        closes.set()
        await asyncio.Event().wait()

    async with cluster.client() as client:
        counted = CountedClient(client)
        queue = Queue(KeyValue(counted), "late", ttl_s=600)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Watch, "close", close)  # as if the network were slow
            waiting = asyncio.create_task(queue.receive())
            async with asyncio.timeout(30):
                await counted.waits_for_change()
                await queue.put("a")
                await closes.wait()  # so it has claimed the item
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        item = await queue.receive(timeout_s=30)
        assert (item.text, item.attempt) == ("a", 1)
        await queue.close()
