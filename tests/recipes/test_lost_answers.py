"""What becomes of a recipe's request whose answer got lost, if the cluster rejects the repetition."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from qcore.errors import ConfigError, OutcomeUnknown, StoreError
from qcore.kv import KeyValue
from qcore.recipes import Lease, Lock, NotAcquired, Queue
from qcore.testing import LocalCluster
from tests.recipes.queues.counted_client import CountedClient
from tests.recipes.real_keys import line_of
from tests.transport.support.endpoints import async_test

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """One node. Every test must leave it running."""
    with LocalCluster(size=1, machine="kv") as started:
        yield started


@asynccontextmanager
async def rejecting_client(cluster: LocalCluster) -> AsyncIterator[CountedClient]:
    """A client that loses the answer of the first transaction. The cluster rejects the next ones."""
    async with cluster.client() as client:
        counted = CountedClient(client)

        async def reject() -> None:
            counted.rejection = StoreError("rejected, for a test")

        counted.lose_answers(1)
        counted.after_loss = reject
        yield counted


@async_test
async def test_a_shared_lease_keeps_no_ticket(cluster: LocalCluster) -> None:
    async with rejecting_client(cluster) as counted:
        kv = KeyValue(counted)
        async with Lease(kv, ttl_s=600) as lease:
            lock = Lock(kv, "rejected", lease=lease)
            with pytest.raises(StoreError, match="rejected, for a test"):
                await lock.acquire()
            assert counted.count_of("lock/rejected//") >= 1, "it has entered the line"
            await line_of(lock.line, 0)


@async_test
async def test_a_rejected_repetition_of_a_put_is_unknown(cluster: LocalCluster) -> None:
    async with rejecting_client(cluster) as counted, Queue(KeyValue(counted), "rejected") as queue:
        with pytest.raises(OutcomeUnknown, match="is not known: rejected, for a test"):
            await queue.put("a")
        assert (await queue.size()).waiting == 1


@async_test
async def test_a_rejected_put_has_no_effect(cluster: LocalCluster) -> None:
    async with cluster.client() as client:
        counted = CountedClient(client)
        counted.rejection = StoreError("rejected, for a test")
        async with Queue(KeyValue(counted), "never") as queue:
            with pytest.raises(StoreError, match="rejected, for a test"):
                await queue.put("a")
            assert (await queue.size()).waiting == 0


@async_test
async def test_the_time_limit_says_what_was_missing(cluster: LocalCluster) -> None:
    async with cluster.client() as client:
        lock = Lock(KeyValue(client), "missing", ttl_s=20)
        async with lock:
            with pytest.raises(NotAcquired, match=r"within 0\.5 s: others are before it"):
                await lock.acquire(timeout_s=0.5)
        counted = CountedClient(client)
        counted.is_down = True
        with pytest.raises(NotAcquired, match=r"did not answer; the last error was: the network"):
            await Lock(KeyValue(counted), "missing", ttl_s=20).acquire(timeout_s=0.5)
        with pytest.raises(ConfigError, match="label: None is no text"):
            await lock.acquire(label=None)  # type: ignore[arg-type] # as a program without types does
