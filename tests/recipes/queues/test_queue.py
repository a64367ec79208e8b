"""`Queue` with real nodes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any  # Any: arguments of wrong types

import pytest

from qcore.client import SyncClient
from qcore.errors import ConfigError, OutcomeUnknown, TooLarge
from qcore.kv import Condition, KeyValue, TxnOperation, TxnResult
from qcore.recipes import DeadLetter, Lease, LeaseLost, NotAcquired, Queue, QueueItem, QueueSize
from qcore.recipes.synchronous.sync_queue import SyncQueue
from qcore.testing import LocalCluster
from tests.recipes.queues.counted_client import CountedClient
from tests.transport.support.endpoints import async_test

pytestmark = pytest.mark.process


class Failed(Exception):
    """What a block raises."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """One node. Every test must leave it running."""
    with LocalCluster(size=1, machine="kv") as started:
        yield started


async def keys_below(kv: KeyValue, name: str) -> list[str]:
    """The keys of a queue without its prefix, and without those of consumers."""
    prefix = f"queue/{name}//"
    keys = [found.key.decode().removeprefix(prefix) async for found in kv.items(prefix)]
    return [key for key in keys if not key.startswith("taker/")]


@async_test
async def test_items_come_in_the_order_of_the_puts(cluster: LocalCluster) -> None:
    async with cluster.client() as client, Queue(KeyValue(client), "order") as queue:
        assert await queue.put("a") == 1
        assert await queue.put_many(["b", b"\xff"]) == [2, 3]
        assert await queue.put_many([]) == []
        seen: list[tuple[int, bytes, int]] = []
        tokens: list[int] = []
        for _ in range(3):
            async with queue.take() as item:
                item.check()
                seen.append((item.number, item.data, item.attempt))
                tokens.append(item.token)
        assert seen == [(1, b"a", 1), (2, b"b", 1), (3, b"\xff", 1)]
        assert tokens == sorted(set(tokens))
        assert await keys_below(KeyValue(client), "order") == ["tail"]
        assert await queue.put("later") == 4


@async_test
async def test_a_waiting_consumer_gets_the_next_put(cluster: LocalCluster) -> None:
    async with (
        cluster.client() as client,
        Queue(KeyValue(client), "wait") as consumer,
        asyncio.TaskGroup() as group,
    ):
        first = group.create_task(consumer.receive())
        second = group.create_task(consumer.receive())
        await Queue(KeyValue(client), "wait").put_many(["a", "b"])
        items = [await first, await second]
        assert [item.text for item in items] == ["a", "b"]
        assert await consumer.size() == QueueSize(waiting=0, claimed=2, dead=0)
        assert await consumer.try_receive() is None


@async_test
async def test_a_failed_item_returns_to_its_place(cluster: LocalCluster) -> None:
    async with cluster.client() as client, Queue(KeyValue(client), "fail") as queue:
        await queue.put_many(["a", "b"])
        with pytest.raises(Failed):
            async with queue.take():
                raise Failed("no disk")
        attempts: list[tuple[str, int]] = []
        for _ in range(2):
            async with queue.take() as item:
                attempts.append((item.text, item.attempt))
        assert attempts == [("a", 2), ("b", 1)]


@async_test
async def test_an_item_with_all_its_attempts_is_dead(cluster: LocalCluster) -> None:
    async with (
        cluster.client() as client,
        Queue(KeyValue(client), "dead", max_attempts=2) as queue,
    ):
        await queue.put_many(["poison", "good"])
        for _ in range(2):
            with pytest.raises(Failed):
                async with queue.take() as item:
                    raise Failed("no disk")
        letters = [each async for each in queue.dead_letters()]
        assert letters == [DeadLetter(1, b"poison", 2, "Failed: no disk")]
        assert await queue.size() == QueueSize(waiting=1, claimed=0, dead=1)
        assert not await queue.retry_dead(2)
        assert await queue.retry_dead(1)
        item = await queue.receive()
        assert (item.number, item.text, item.attempt) == (1, "poison", 1)
        await item.reject("again")
        await (await queue.receive()).reject("x" * 1000 + "\ud800")
        assert [each.reason async for each in queue.dead_letters()] == ["x" * 500]
        assert await queue.delete_dead(1)
        assert not await queue.delete_dead(1)
        await (await queue.receive()).acknowledge()
        assert await keys_below(KeyValue(client), "dead") == ["tail"]


@async_test
async def test_a_consumer_that_ends_spends_an_attempt(cluster: LocalCluster) -> None:
    async with cluster.client() as client:
        async with Queue(KeyValue(client), "ends", max_attempts=1) as first:
            await first.put("a")
            item = await first.receive()
        with pytest.raises(LeaseLost, match="claim has ended"):
            await item.acknowledge()
        async with Queue(KeyValue(client), "ends", max_attempts=1) as second:
            assert await second.try_receive() is None
            letters = [each async for each in second.dead_letters()]
            assert [(each.number, each.attempts) for each in letters] == [(1, 1)]
            assert letters[0].reason.startswith("each of its attempts ended without")


@async_test
async def test_a_lost_lease_cancels_the_block(cluster: LocalCluster) -> None:
    async with cluster.client() as client, Queue(KeyValue(client), "lost", ttl_s=0.6) as queue:
        kv = KeyValue(client)
        await queue.put("a")
        taken: list[QueueItem] = []

        async def work() -> None:
            async with queue.take() as item:
                taken.append(item)
                await kv.revoke(item.lease.lease_id)
                await asyncio.Event().wait()

        with pytest.raises(LeaseLost, match="has ended lease"):
            await work()
        # The next take opens another lease.
        async with queue.take() as again:
            assert (again.number, again.attempt) == (1, 2)
            assert again.token > taken[0].token
            assert again.lease is not taken[0].lease


@async_test
async def test_a_cancelled_block_gives_its_item_back(cluster: LocalCluster) -> None:
    async with cluster.client() as client, Queue(KeyValue(client), "stopped") as queue:
        await queue.put("a")
        taken = asyncio.Event()

        async def work() -> None:
            async with queue.take():
                taken.set()
                await asyncio.Event().wait()

        working = asyncio.create_task(work())
        await taken.wait()
        working.cancel()
        await asyncio.wait([working])
        assert working.cancelled()
        item = await queue.try_receive()
        assert item is not None
        assert item.attempt == 1
        # What ends an item goes on if its caller is cancelled.
        ending = asyncio.create_task(item.acknowledge())
        await asyncio.sleep(0)
        ending.cancel()
        await asyncio.wait([ending])
        await item.acknowledge()
        assert await queue.size() == QueueSize(0, 0, 0)


@async_test
async def test_an_item_ends_once(cluster: LocalCluster) -> None:
    async with cluster.client() as client, Queue(KeyValue(client), "once") as queue:
        await queue.put_many(["a", "b"])
        async with queue.take() as item:
            await item.acknowledge()
            await item.acknowledge()
            with pytest.raises(LeaseLost, match="was acknowledged"):
                item.check()
            with pytest.raises(ConfigError, match="was acknowledged: end each item once"):
                await item.reject()
        item = await queue.receive()
        await item.reject()
        with pytest.raises(ConfigError, match="was rejected"):
            await item.acknowledge()


@async_test
async def test_a_consumer_without_its_key_begins_again(cluster: LocalCluster) -> None:
    """As after the restore of a backup from before it began."""
    async with cluster.client() as client, Queue(KeyValue(client), "taker", ttl_s=20) as queue:
        await queue.put_many(["a", "b"])
        async with queue.take():
            pass
        await KeyValue(client).delete(prefix="queue/taker//taker/")
        assert (await queue.receive(timeout_s=20)).text == "b"


class SlowAnswers(KeyValue):
    """The answers of transactions wait."""

    wait = False

    async def txn(
        self,
        conditions: Sequence[Condition],
        then: Sequence[TxnOperation] = (),
        otherwise: Sequence[TxnOperation] = (),
    ) -> TxnResult:
        done = await super().txn(conditions, then, otherwise)
        if self.wait:
            await asyncio.sleep(0.3)
        return done


@async_test
async def test_an_item_that_is_being_ended_is_not_held(cluster: LocalCluster) -> None:
    async with cluster.client() as client:
        kv = SlowAnswers(client)
        async with Queue(kv, "slow", ttl_s=20) as queue:
            await queue.put("a")

            async def work() -> None:
                async with queue.take() as item:
                    kv.wait = True
                    with pytest.raises(TimeoutError):
                        async with asyncio.timeout(0.05):
                            await item.reject("too slow")
                    with pytest.raises(LeaseLost, match="is being ended"):
                        item.check()
                    async with asyncio.timeout(0.05):
                        await item.reject("again")

            # The end that was begun goes on, and the timeout of the block stays a timeout.
            with pytest.raises(TimeoutError):
                await work()
            kv.wait = False
            assert await queue.size() == QueueSize(1, 0, 0)


@async_test
async def test_a_wait_that_ends_claims_nothing(cluster: LocalCluster) -> None:
    async with cluster.client() as client, Queue(KeyValue(client), "cancel") as queue:
        with pytest.raises(NotAcquired, match="had no item within"):
            await queue.receive(timeout_s=0.05)
        for _ in range(15):
            number = await queue.put("a")
            waiting = asyncio.create_task(queue.receive())
            for _ in range(number):
                await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.wait([waiting])
            async with queue.take(timeout_s=10) as item:
                assert (item.number, item.attempt) == (number, 1)


@async_test
async def test_a_shared_lease_is_the_callers(cluster: LocalCluster) -> None:
    async with cluster.client() as client:
        kv = KeyValue(client)
        async with Lease(kv, ttl_s=10) as lease:
            queue = Queue(kv, "shared", lease=lease)
            await queue.put("a")
            item = await queue.receive()
            assert item.lease is lease
            await queue.close()
            await item.acknowledge()
            another = Queue(kv, "shared", lease=lease)
        with pytest.raises(LeaseLost):
            await another.receive()


@async_test
async def test_a_closed_queue_says_so(cluster: LocalCluster) -> None:
    async with cluster.client() as client:
        queue = Queue(KeyValue(client), "closed")
        waiting = asyncio.create_task(queue.receive())
        async with asyncio.timeout(30):
            while not await KeyValue(client).leases():  # noqa: ASYNC110 - it changes behind a socket
                await asyncio.sleep(0.01)
        await queue.close()
        with pytest.raises(ConfigError, match="is closed"):
            await waiting
        with pytest.raises(ConfigError, match="is closed"):
            await queue.try_receive()
        assert await queue.put("a") == 1


@async_test
async def test_a_reason_may_be_an_exception(cluster: LocalCluster) -> None:
    async with (
        cluster.client() as client,
        Queue(KeyValue(client), "reason", max_attempts=1) as queue,
    ):
        await queue.put("a")
        item = await queue.receive()
        number: Any = 5
        with pytest.raises(ConfigError, match="reason: 5 is no text"):
            await item.reject(number)
        await item.reject(ValueError("x"))
        assert [each.reason async for each in queue.dead_letters()] == ["ValueError: x"]


def test_an_interrupt_is_no_attempt(cluster: LocalCluster) -> None:
    with (
        SyncClient(cluster.endpoints) as client,
        SyncQueue(client, "interrupt", max_attempts=2) as queue,
    ):
        queue.put("a")
        for error in (KeyboardInterrupt, SystemExit, asyncio.CancelledError):
            with pytest.raises(error), queue.take() as item:
                raise error
        assert not [*queue.dead_letters()]
        with queue.take() as item:
            assert item.attempt == 1
    assert SyncQueue.dead_letters.__annotations__["return"] == "Iterator[DeadLetter]"


@async_test
async def test_wrong_arguments_are_refused(cluster: LocalCluster) -> None:
    async with cluster.client() as client:
        kv = KeyValue(client)
        with pytest.raises(ConfigError, match="max_attempts"):
            Queue(kv, "a", max_attempts=0)
        wrong: Sequence[Any] = (1.5, True, "5")
        for each in wrong:
            with pytest.raises(ConfigError, match=r"max_attempts: .* is no whole number from 1 on"):
                Queue(kv, "a", max_attempts=each)
        with pytest.raises(ConfigError, match="ttl_s"):
            Queue(kv, "a", ttl_s=0)
        with pytest.raises(ConfigError, match="empty part"):
            Queue(kv, "a//b")
        queue = Queue(kv, "arguments")
        with pytest.raises(ConfigError, match="401 items are more than the 400"):
            await queue.put_many(["a"] * 401)
        nothing: Any = None
        number: Any = 5
        for no_data in (nothing, number):
            with pytest.raises(ConfigError, match="is neither a text nor bytes"):
                await queue.put(no_data)
        with pytest.raises(ConfigError, match="this is one item"):
            await queue.put_many("abc")
        for large in ("a" * 10_000_000, b"\0" * 1_000_000):
            with pytest.raises(TooLarge, match="the limit is 1048576"):
                await queue.put(large)
        await queue.put("a" * 1_048_000)
        await (await queue.receive()).acknowledge()
        assert len(await queue.put_many(["a"] * 400)) == 400
        taking = queue.take()
        async with taking:
            pass
        with pytest.raises(ConfigError, match="for each item"):
            async with taking:
                pass
        await queue.close()


@async_test
async def test_a_large_item_can_become_a_dead_letter(cluster: LocalCluster) -> None:
    large = b"\xff" * 700_000
    async with (
        cluster.client() as client,
        Queue(KeyValue(client), "large", max_attempts=1) as queue,
    ):
        await queue.put(large)
        item = await queue.receive()
        assert item.data == large
        await item.reject("too large" * 100)
        assert [each.data async for each in queue.dead_letters()] == [large]


@async_test
async def test_a_foreign_key_is_named(cluster: LocalCluster) -> None:
    async with cluster.client() as client, Queue(KeyValue(client), "foreign") as queue:
        await KeyValue(client).put("queue/foreign//line/mine", "x")
        with pytest.raises(ConfigError, match="is not as a queue leaves it"):
            await queue.receive()


@async_test
async def test_a_repeated_request_takes_effect_once(cluster: LocalCluster) -> None:
    async with cluster.client() as client:
        broken = CountedClient(client)
        async with Queue(KeyValue(broken), "unknown") as queue:
            await queue.put("first")
            broken.lose_answers(1)
            assert await queue.put("a") == 2
            broken.lose_answers(1)
            other = Queue(KeyValue(client), "unknown")
            broken.after_loss = lambda: other.put("b")
            assert await queue.put("c") == 3
            broken.after_loss = None
            taken: list[tuple[str, int]] = []
            for _ in range(4):
                broken.lose_answers(1)  # of the claim
                item = await queue.receive()
                broken.lose_answers(1)
                taken.append((item.text, item.attempt))
                await item.acknowledge()
            assert taken == [("first", 1), ("a", 1), ("c", 1), ("b", 1)]
            assert await keys_below(KeyValue(client), "unknown") == ["tail"]


@async_test
async def test_a_put_in_time_or_an_error_that_says_why(cluster: LocalCluster) -> None:
    async with cluster.client() as client:
        broken = CountedClient(client)
        queue = Queue(KeyValue(broken), "late")
        broken.lose_answers(1000)
        with pytest.raises(OutcomeUnknown, match=r"may still take effect"):
            await queue.put("a", timeout_s=0.3)
        broken.lose_answers(0)
        broken.is_down = True
        with pytest.raises(NotAcquired, match="Nothing was put"):
            await Queue(KeyValue(broken), "late").put("b", timeout_s=0.3)


@async_test
async def test_a_resumed_watch_reads_the_line_again(cluster: LocalCluster) -> None:
    async with cluster.client() as client:
        counted = CountedClient(client)
        async with Queue(KeyValue(counted), "resumed", ttl_s=1000) as queue:
            waiting = asyncio.create_task(queue.receive())
            await counted.resume_watch()
            assert '"op": "range"' in counted.requests[-1]
            await queue.put("a")
            assert (await waiting).text == "a"


@async_test
async def test_many_consumers_make_no_storm(cluster: LocalCluster) -> None:
    consumers, items = 20, 40
    async with cluster.client() as client, cluster.client() as producer:
        counted = CountedClient(client)
        queues = [Queue(KeyValue(counted), "storm") for _ in range(consumers)]
        done = asyncio.Queue[int]()

        async def consume(queue: Queue) -> None:
            while True:
                async with queue.take() as item:
                    pass
                done.put_nowait(item.number)

        tasks = [asyncio.create_task(consume(queue)) for queue in queues]
        puts = Queue(KeyValue(producer), "storm")
        for number in range(1, items + 1):
            await puts.put("x")
            assert await done.get() == number
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        for queue in queues:
            await queue.close()
        # If all that see an item tried to claim it, these were 20 for each.
        assert counted.count_of("/taker/") < items * consumers / 2


def test_the_synchronous_queue(cluster: LocalCluster) -> None:
    with (
        SyncClient(cluster.endpoints) as client,
        SyncQueue(client, "sync", max_attempts=1) as queue,
    ):
        assert queue.put("a") == 1
        assert queue.put_many(["b", "c"]) == [2, 3]
        with queue.take() as item:
            item.check()
            assert (item.number, item.text, item.attempt) == (1, "a", 1)
        with pytest.raises(LeaseLost, match="acknowledged"):
            item.check()
        with pytest.raises(Failed), queue.take():
            raise Failed("no disk")
        assert [each.reason for each in queue.dead_letters()] == ["Failed: no disk"]
        last = queue.try_receive()
        assert last is not None
        last.acknowledge()
        assert queue.try_receive() is None
        with pytest.raises(NotAcquired), queue.take(timeout_s=0.05):
            pass
        assert queue.size() == QueueSize(0, 0, 1)
