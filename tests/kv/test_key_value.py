"""`qcore.kv.KeyValue` with a cluster of real nodes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any  # Any: arguments of wrong types

import pytest

from qcore.client import Client
from qcore.errors import (
    ConfigError,
    DuplicateKey,
    KeyTooLong,
    LeaseExists,
    LeaseNotFound,
    RemoteProtocolError,
    RevisionCompacted,
    RevisionInFuture,
    StoreError,
    TooLarge,
    TooManyOperations,
    WatchCompacted,
)
from qcore.kv import (
    Condition,
    Delete,
    Deleted,
    KeyChange,
    KeyValue,
    KeyVersion,
    KeyWatch,
    Page,
    Put,
    Range,
    Txn,
    TxnResult,
)
from qcore.testing import LocalCluster
from tests.transport.support.endpoints import async_test

pytestmark = pytest.mark.process

NO_TEXT = b"\xff\x00"


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """Three nodes. Every test must leave them running."""
    with LocalCluster(machine="kv") as started:
        yield started


@asynccontextmanager
async def keys_of(cluster: LocalCluster) -> AsyncIterator[KeyValue]:
    """The keys of a cluster, none at first."""
    async with cluster.client() as client:
        kv = KeyValue(client)
        await kv.delete(prefix="")
        yield kv


async def take(changes: KeyWatch, number: int) -> list[KeyChange]:
    """The next changes."""
    async with asyncio.timeout(120):
        return [await anext(changes) for _ in range(number)]


@async_test
async def test_a_key_is_put_replaced_and_deleted(cluster: LocalCluster) -> None:
    async with keys_of(cluster) as kv:
        assert await kv.get("a") is None
        first = await kv.put("a", "1")
        before = await kv.replace("a", NO_TEXT)
        assert before == KeyVersion(b"a", b"1", first, first, 1, 0)
        assert before.text == "1"
        now = await kv.get("a")
        assert now is not None
        assert (now.value, now.version, now.create_revision) == (NO_TEXT, 2, first)
        with pytest.raises(UnicodeDecodeError):
            _ = now.text
        assert await kv.get("a", revision=first) == before
        assert await kv.get("a", consistency="follower") == now
        assert await kv.replace("new", "x") is None
        done = await kv.delete("a", previous=True)
        assert (done.count, done.previous) == (1, (now,))
        assert await kv.delete("a") == Deleted(0, (), done.revision)


@async_test
async def test_keys_and_values_are_bytes(cluster: LocalCluster) -> None:
    async with keys_of(cluster) as kv:
        keys: list[str | bytes] = [NO_TEXT, b"\xff\x01", "é", b"\xfe"]
        for key in keys:
            await kv.put(key, b"\x80\x00")
        assert [found.key async for found in kv.items(b"\xff")] == [NO_TEXT, b"\xff\x01"]
        page = await kv.range(Range("a", end=b"\xff"))
        assert [found.key for found in page.kvs] == ["é".encode(), b"\xfe"]
        result = await kv.txn([Condition.value(NO_TEXT, "=", b"\x80\x00")], [Delete(NO_TEXT)])
        assert result.succeeded
        with pytest.raises(ConfigError, match="no UTF-8"):
            await kv.put("\ud800", "")


@async_test
async def test_a_transaction_returns_each_result(cluster: LocalCluster) -> None:
    async with keys_of(cluster) as kv:
        first = await kv.put("a", "1")
        inner = Txn([Condition.exists("b")], [], [Put("b", "new")])
        result = await kv.txn(
            [Condition.value("a", "=", "1"), Condition.number("mod_revision", "a", "=", first)],
            [Put("a", "2", previous=True), Range(prefix="a"), Delete("none"), inner, Put("c", "")],
        )
        assert result.succeeded
        put, page, deleted, nested, plain = result.results
        assert isinstance(put, KeyVersion)
        assert put.value == b"1"
        assert isinstance(page, Page)
        assert [kv.value for kv in page.kvs] == [b"2"], "it sees the put before it"
        assert deleted == Deleted(0, (), result.revision)
        assert isinstance(nested, TxnResult)
        assert (nested.succeeded, nested.results, plain) == (False, (None,), None)
        again = await kv.txn([Condition.exists("z").for_prefix()], [], [Range("b", keys_only=True)])
        assert not again.succeeded
        kept = await kv.txn([], [Put("a", None, previous=True), Put("b", "x", None)])
        assert kept.results[0] is not None
        found = await kv.get("a")
        assert found is not None
        assert (found.value, found.version) == (b"2", 3)


@async_test
async def test_items_are_of_one_revision(cluster: LocalCluster) -> None:
    async with keys_of(cluster) as kv:
        names = [f"k/{number:03}".encode() for number in range(23)]
        await kv.txn([], [Put(name, "old") for name in names])
        last = (await kv.status()).revision
        seen: list[KeyVersion] = []
        async for found in kv.items("k/", page_size=5):
            seen.append(found)
            await kv.put(f"k/{len(seen):03}/new", "new")
            await kv.delete(names[-len(seen)])
        assert [found.key for found in seen] == names
        assert {found.value for found in seen} == {b"old"}
        old = [found async for found in kv.items("k/", revision=last, keys_only=True)]
        assert [found.key for found in old] == names
        assert {found.value for found in old} == {b""}


@async_test
async def test_a_lease_deletes_its_keys(cluster: LocalCluster) -> None:
    async with keys_of(cluster) as kv:
        lease = await kv.grant(3600)
        other = await kv.grant(2, lease_id=lease + 1000)
        assert (await kv.leases())[-2:] == [lease, other]
        await kv.put("held", "x", lease=lease)
        first = await kv.put("soon gone", "x", lease=other)
        assert await kv.keep_alive(lease) == 3600
        info = await kv.lease(lease)
        assert (info.lease_id, info.ttl_s, info.keys) == (lease, 3600, (b"held",))
        assert 3000 < info.remaining_s <= 3600
        async with kv.watch("soon gone", from_revision=first, previous=True) as changes:
            put, deleted = await take(changes, 2)
        assert (put.kind, deleted.kind) == ("put", "delete")
        assert deleted.previous == put.kv
        assert deleted.revision > put.revision == first
        with pytest.raises(LeaseNotFound):
            await kv.keep_alive(other)
        assert await kv.revoke(lease) == 1
        assert [found async for found in kv.items()] == []


@async_test
async def test_a_request_that_is_too_large_is_not_sent(cluster: LocalCluster) -> None:
    async with keys_of(cluster) as kv:
        for value in (b"\0" * 1_000_000, '"' * 600_000, "\u00e9" * 600_000, "x" * 10_000_000):
            with pytest.raises(TooLarge, match="bytes as JSON, and the limit is 1048576: write"):
                await kv.put("large", value)
        assert await kv.get("large") is None


@async_test
async def test_none_and_numbers_are_no_values(cluster: LocalCluster) -> None:
    async with keys_of(cluster) as kv:
        wrong: Sequence[Any] = (None, 5, ["a"])
        for value in wrong:
            for request in (kv.put("a", value), kv.replace("a", value)):
                with pytest.raises(
                    ConfigError, match=r"None is neither|and not (5|\['a'\]): encode"
                ):
                    await request
        with pytest.raises(ConfigError, match="is a text or bytes, and not 5"):
            await kv.get(wrong[1])
        assert await kv.get("a") is None


@async_test
async def test_a_frame_that_is_too_large_is_an_error(cluster: LocalCluster) -> None:
    async with cluster.client() as client:
        kv = KeyValue(client, max_command_bytes=1 << 30)
        large = asyncio.create_task(kv.put("large", "x" * 8_000_000))
        small = asyncio.create_task(kv.put("small", "x"))  # it is sent again
        with pytest.raises(TooLarge, match="takes frames of at most 6356992: split it"):
            await large
        await small


@async_test
async def test_errors_are_of_their_classes(cluster: LocalCluster) -> None:
    async with keys_of(cluster) as kv:
        revision = await kv.put("a", "1")
        with pytest.raises(KeyTooLong):
            await kv.put("", "x")
        with pytest.raises(TooLarge):  # a node takes no larger command by default
            await kv.put("a", "x" * (1 << 20 | 1))
        with pytest.raises(DuplicateKey):
            await kv.txn([], [Put("a", "1"), Delete(prefix="a")])
        with pytest.raises(TooManyOperations):
            await kv.txn([], [Range("a")] * 1001)
        for request in (kv.put("a", "x", lease=9), kv.keep_alive(9), kv.revoke(9), kv.lease(9)):
            with pytest.raises(LeaseNotFound):
                await request
        lease = await kv.grant(60)
        with pytest.raises(LeaseExists):
            await kv.grant(60, lease_id=lease)
        await kv.revoke(lease)
        with pytest.raises(RevisionInFuture) as future:
            await kv.get("a", revision=revision + 1000)
        assert future.value.revision == revision
        newest = await kv.put("a", "2")
        await kv.compact(newest)
        with pytest.raises(RevisionCompacted) as compacted:
            await kv.get("a", revision=revision)
        assert compacted.value.compacted == newest
        with pytest.raises(WatchCompacted):
            async with kv.watch("a", from_revision=revision):
                pass
        with pytest.raises(StoreError, match="does not exist"):
            await kv.txn([], [Put("none", None)])
        for ttl_s in (0, -1, float("nan"), float("inf")):
            with pytest.raises(ConfigError, match="ttl_s"):
                await kv.grant(ttl_s)
        for key, end, prefix in ((None, None, None), ("a", None, "b"), (None, "a", None)):
            with pytest.raises(ConfigError, match="give `"):
                await kv.delete(key, end=end, prefix=prefix)


@async_test
async def test_the_history_is_as_long_as_asked(cluster: LocalCluster) -> None:
    async with keys_of(cluster) as kv:
        before = await kv.status()
        await kv.keep_history(3, 1 << 20)
        for number in range(8):
            await kv.put("a", str(number))
        now = await kv.status()
        assert (now.history, now.max_changes, now.keys) == (3, 3, 1)
        await kv.keep_history(before.max_changes, before.max_bytes)


@async_test
async def test_a_watch_goes_on_when_the_leader_is_killed(cluster: LocalCluster) -> None:
    async with keys_of(cluster) as kv:
        first = await kv.put("k/0", "0")
        async with kv.watch(prefix="k/", from_revision=first, kinds=["put"]) as changes:
            revisions = [first]
            for number in range(1, 10):
                if number == 5:
                    leader = await asyncio.to_thread(cluster.wait_leader)
                    cluster.kill(leader)
                revisions.append(await kv.put(f"k/{number}", str(number)))
                await kv.delete(f"k/{number}")
            seen = await take(changes, 10)
        await asyncio.to_thread(cluster.restart, leader)
        assert [change.revision for change in seen] == revisions
        assert [change.kv.text for change in seen] == [str(number) for number in range(10)]
        # A node that was down meanwhile serves the same changes.
        await asyncio.to_thread(cluster.wait_converged)
        endpoint = cluster.endpoints[cluster.ids.index(leader)]
        async with (
            Client([endpoint]) as client,
            KeyValue(client).watch(prefix="k/", from_revision=first) as late,
        ):
            again = await take(late, 19)
        assert [change for change in again if change.kind == "put"] == seen


@pytest.mark.parametrize("machine", ["register", "entity"])
def test_another_machine_is_named(machine: str) -> None:
    async def ask(*, read: bool) -> None:
        async with other.client() as client:
            keys = KeyValue(client)
            await (keys.get("a") if read else keys.put("a", "1"))

    with LocalCluster(size=1, machine=machine) as other:
        for read in (False, True):
            with pytest.raises(RemoteProtocolError, match="start the nodes with --machine kv"):
                asyncio.run(ask(read=read))
