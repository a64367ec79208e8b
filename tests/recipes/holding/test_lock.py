"""`Lock` and `LeaderElection` with real nodes, in asyncio and in threads."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from qcore.client import SyncClient
from qcore.errors import ConfigError, QcoreError
from qcore.kv import KeyValue, Put, SyncKeyValue
from qcore.recipes import (
    Held,
    LeaderElection,
    Lease,
    LeaseLost,
    Lock,
    NotAcquired,
    SyncHeld,
    SyncLeaderElection,
    SyncLease,
    SyncLock,
)
from qcore.testing import LocalCluster
from tests.recipes.real_keys import empty_keys, line_of
from tests.transport.support.endpoints import async_test

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """One node. Every test must leave it running."""
    with LocalCluster(size=1, machine="kv") as started:
        yield started


@pytest.fixture
def client(cluster: LocalCluster) -> Iterator[SyncClient]:
    with cluster.sync_client() as started:
        SyncKeyValue(started).delete(prefix="")
        yield started


@async_test
async def test_holders_take_turns_in_the_order_of_asking(cluster: LocalCluster) -> None:
    async with empty_keys(cluster) as kv:
        lock, order, tokens = Lock(kv, "a", ttl_s=20), [], []

        async def take(label: str) -> None:
            async with await lock.acquire(label=label) as held:
                order.append(label)
                tokens.append(held.token)

        async with asyncio.TaskGroup() as group, lock as first:
            tokens.append(first.token)
            for length, label in enumerate(["c", "a", "b"], 2):
                group.create_task(take(label))
                await line_of(lock.line, length)
            assert await lock.try_acquire() is None
            assert await line_of(lock.line, 4) == ["", "c", "a", "b"]
            assert order == []
        assert order == ["c", "a", "b"]
        assert tokens == sorted({*tokens})
        assert await lock.line() == []


@async_test
async def test_a_wait_that_ends_early_leaves_the_line(cluster: LocalCluster) -> None:
    async with empty_keys(cluster) as kv, Lease(kv, ttl_s=20) as shared:
        for lock in (Lock(kv, "a", ttl_s=20), Lock(kv, "b", lease=shared)):
            async with lock as held:
                with pytest.raises(NotAcquired, match=r"not acquired within 0\.1 s"):
                    await lock.acquire(timeout_s=0.1)
                task = asyncio.create_task(lock.acquire())
                await line_of(lock.line, 2)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                assert [each.token for each in await lock.line()] == [held.token]
            with pytest.raises(LeaseLost, match="it was released"):
                held.check()
            await held.release()  # again
        shared.check()


@async_test
async def test_a_reentrant_lock_counts_its_releases(cluster: LocalCluster) -> None:
    async with empty_keys(cluster) as kv:
        lock = Lock(kv, "a", ttl_s=20, reentrant=True)
        async with lock as outer:
            async with lock as inner:
                assert inner.token == outer.token
            outer.check()
            other = asyncio.create_task(lock.acquire(timeout_s=0.1))
            with pytest.raises(NotAcquired):
                await other
            await (await lock.acquire()).release()
            assert len(await lock.line()) == 1
        assert await lock.line() == []
        plain = Lock(kv, "a", ttl_s=20)
        with pytest.raises(ConfigError, match="this task has entered it already"):
            async with plain, plain:
                pass
        assert await plain.line() == []


@async_test
async def test_a_transaction_may_ask_whether_it_is_held(cluster: LocalCluster) -> None:
    async with empty_keys(cluster) as kv:
        async with Lock(kv, "a", ttl_s=20) as held:
            assert (await kv.txn([held.condition], [Put("b", "1")])).succeeded
        assert not (await kv.txn([held.condition], [Put("b", "2")])).succeeded


@async_test
async def test_names_do_not_share_their_lines(cluster: LocalCluster) -> None:
    async with (
        empty_keys(cluster) as kv,
        Lock(kv, "a", ttl_s=20),
        Lock(kv, "a/b", ttl_s=20),
        LeaderElection(kv, "a", ttl_s=20).lead(),
    ):
        assert len(await Lock(kv, "a").line()) == 1
        for name in ("", "a//b", "/a", "a/"):
            with pytest.raises(ConfigError, match="is empty, or has an empty part"):
                Lock(kv, name)


@async_test
async def test_a_deleted_ticket_ends_the_wait_for_a_turn(cluster: LocalCluster) -> None:
    """An operator may free a lock. The one who waits joins again; the next one in the line goes on."""
    async with empty_keys(cluster) as kv:
        lock = Lock(kv, "a", ttl_s=20)
        async with lock:
            waiting = asyncio.create_task(lock.acquire(label="waits"))
            await line_of(lock.line, 2)
            await kv.delete(prefix="lock/a//")
            held = await waiting
        assert [each.label for each in await lock.line()] == ["waits"]
        await held.release()


@async_test
async def test_a_closed_client_ends_the_wait(cluster: LocalCluster) -> None:
    async with empty_keys(cluster) as kv, Lock(kv, "a", ttl_s=20):
        client = cluster.client()
        task = asyncio.create_task(Lock(KeyValue(client), "a", ttl_s=20).acquire())
        await line_of(Lock(kv, "a").line, 2)
        await asyncio.sleep(0.05)  # so that it waits for a change; the result is the same if not
        await client.close()
        with pytest.raises(QcoreError, match="closed"):
            await task


@async_test
async def test_a_leader_that_loses_its_lease_campaigns_again(cluster: LocalCluster) -> None:
    async with empty_keys(cluster) as kv:
        election = LeaderElection(kv, "a", candidate="one", ttl_s=0.6)
        terms: list[int] = []
        losses: list[str] = []

        async def elected(leadership: Held) -> None:
            terms.append(leadership.token)

        async def serve(leadership: Held) -> None:
            if len(terms) == 1:
                await kv.revoke(leadership.lease.lease_id)
                await asyncio.sleep(20)

        await election.run(serve, on_elected=elected, on_lost=lambda why: losses.append(str(why)))
        assert terms == sorted({*terms})
        assert len(terms) == 2
        assert "has ended lease" in losses[0]
        assert await election.leader() is None


@async_test
async def test_the_loss_of_another_lease_is_not_swallowed(cluster: LocalCluster) -> None:
    async with empty_keys(cluster) as kv:
        election = LeaderElection(kv, "a", ttl_s=20)

        async def serve(_leadership: Held) -> None:
            async with Lock(kv, "inner", ttl_s=0.6) as held:
                await kv.revoke(held.lease.lease_id)
                await asyncio.sleep(20)

        with pytest.raises(LeaseLost):
            await election.run(serve)
        assert await election.leader() is None


@async_test
async def test_observers_see_each_leader_once(cluster: LocalCluster) -> None:
    async with empty_keys(cluster) as kv:
        one, two = (LeaderElection(kv, "a", candidate=each, ttl_s=20) for each in ("one", "two"))
        seen: list[str | None] = []
        first, last = asyncio.Event(), asyncio.Event()

        async def observe() -> None:
            async for leader in LeaderElection(kv, "a").observe():
                seen.append(None if leader is None else leader.label)
                first.set()
                if len(seen) == 4:
                    last.set()

        async with asyncio.TaskGroup() as group:
            observer = group.create_task(observe())
            await first.wait()
            async with one.lead() as leadership:
                waiting = group.create_task(two.campaign())
                assert (await one.leader()) is not None
                await asyncio.sleep(0.05)
                await leadership.release()  # resign
                await (await waiting).release()
            async with asyncio.timeout(30):
                await last.wait()
            observer.cancel()
        assert seen == [None, "one", "two", None]


# -- without asyncio -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("synchronous", "asynchronous"), [(SyncLock, Lock), (SyncLeaderElection, LeaderElection)]
)
def test_it_has_every_method(synchronous: type[object], asynchronous: type[object]) -> None:
    public, expected = (
        {name for name, _ in inspect.getmembers(each, callable) if not name.startswith("_")}
        for each in (synchronous, asynchronous)
    )
    assert public == expected


def test_threads_take_turns(client: SyncClient) -> None:
    lock, inside, most = SyncLock(client, "a", ttl_s=20), [], []

    def work(number: int) -> int:
        with lock as held:
            inside.append(number)
            most.append(len(inside))
            held.check()
            inside.remove(number)
            return held.token

    with ThreadPoolExecutor(4) as pool:
        tokens = [*pool.map(work, range(8))]
    assert {*most} == {1}
    assert len({*tokens}) == 8
    assert lock.line() == []


def test_a_thread_may_enter_a_reentrant_lock_again(client: SyncClient) -> None:
    lock = SyncLock(client, "a", ttl_s=20, reentrant=True)
    with lock as outer, lock as inner:
        assert outer.token == inner.token
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(lock.try_acquire).result() is None
    plain = SyncLock(client, "a", ttl_s=20)
    with pytest.raises(ConfigError, match="this thread has entered it already"), plain, plain:
        pass
    with pytest.raises(NotAcquired), plain:
        SyncLock(client, "a", ttl_s=20).acquire(timeout_s=0.1)


def test_a_block_that_lost_its_lock_says_so(client: SyncClient) -> None:
    kv = SyncKeyValue(client)
    with SyncLease(client, ttl_s=0.6) as lease:
        lock = SyncLock(client, "a", lease=lease)

        def lose() -> None:
            with lock as held:
                kv.revoke(lease.lease_id)
                noticed = threading.Event()
                while held.lost is None:
                    noticed.wait(0.02)
                assert held.remaining_s() == 0

        with pytest.raises(LeaseLost, match="has ended lease"):
            lose()


def test_a_thread_leads_again_after_a_loss(client: SyncClient) -> None:
    kv = SyncKeyValue(client)
    terms: list[int] = []
    losses: list[LeaseLost] = []
    election = SyncLeaderElection(client, "a", candidate="thread", ttl_s=0.6)

    def serve(leadership: SyncHeld) -> None:
        leader = election.leader()
        assert leader is not None
        terms.append(leader.token)
        if len(terms) == 1:
            kv.delete(prefix="election/")
            for lease in kv.leases():
                kv.revoke(lease)
            while True:
                leadership.check()

    election.run(serve, on_lost=losses.append)
    assert len(terms) == 2
    assert len(losses) == 1
    with election.lead() as leadership:
        seen = next(iter(election.observe()))
        assert seen is not None
        assert (seen.label, seen.token) == ("thread", leadership.token)
