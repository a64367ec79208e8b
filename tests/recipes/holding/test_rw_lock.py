"""`RWLock` with real nodes, and in the simulator under chaos."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from qcore.client.programs.program_context import ProgramRecord
from qcore.errors import ConfigError
from qcore.recipes import Lease, LeaseLost, NotAcquired, RWLock
from qcore.testing import LocalCluster
from tests.recipes.chaos_runs import chaos_records, chaos_violations, progress_violations
from tests.recipes.checks.rw_lock_check import rw_lock_violations, shared_reads
from tests.recipes.planted.lease_mistakes import PAUSES
from tests.recipes.planted.rw_lock_mistakes import RW_LOCK_MISTAKES
from tests.recipes.programs.holding.rw_lock_program import rw_lock_program, rw_lock_program_of
from tests.recipes.real_keys import empty_keys, line_of
from tests.transport.support.endpoints import async_test

SEEDS = (1, 2, 3)


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """One node. Every test must leave it running."""
    with LocalCluster(size=1, machine="kv") as started:
        yield started


@pytest.mark.process
@async_test
async def test_readers_share_and_writers_are_alone(cluster: LocalCluster) -> None:
    async with empty_keys(cluster) as kv:
        lock = RWLock(kv, "a", ttl_s=20)
        async with lock.read() as first, await lock.acquire_read(label="two") as second:
            assert first.token < second.token
            assert await lock.try_acquire_write() is None
            assert [each.kind for each in await lock.line()] == ["read", "read"]
        async with lock.write() as writer:
            assert writer.token > second.token
            assert await lock.try_acquire_read() is None
            assert await lock.try_acquire_write() is None
        third = await lock.try_acquire_read()
        assert third is not None
        await third.release()
        fourth = await lock.try_acquire_write()
        assert fourth is not None
        await fourth.release()
        assert await lock.line() == []


@pytest.mark.process
@async_test
async def test_a_reader_does_not_pass_a_waiting_writer(cluster: LocalCluster) -> None:
    async with empty_keys(cluster) as kv:
        lock = RWLock(kv, "a", ttl_s=20)
        order: list[str] = []

        async def take(label: str) -> None:
            acquire = lock.acquire_write if label.startswith("w") else lock.acquire_read
            async with await acquire(label=label):
                order.append(label)
                await asyncio.sleep(0.02)

        labels = ["w1", "r1", "r2", "w2", "r3"]
        async with asyncio.TaskGroup() as group, await lock.acquire_read(label="first"):
            for length, label in enumerate(labels, 2):
                group.create_task(take(label))
                await line_of(lock.line, length)
            assert await line_of(lock.line, 6) == ["first", *labels]
            assert order == []
        assert order in (labels, ["w1", "r2", "r1", "w2", "r3"])


@pytest.mark.process
@async_test
async def test_a_context_inside_another_one_is_an_error(cluster: LocalCluster) -> None:
    async with empty_keys(cluster) as kv:
        lock = RWLock(kv, "a", ttl_s=20)
        for outer, inner in ((lock.read, lock.write), (lock.write, lock.read), (lock.read,) * 2):
            async with outer():
                with pytest.raises(ConfigError, match=r"rwlock a: .* leave that context first"):
                    async with inner():
                        pass
        async with lock.write():
            pass


@pytest.mark.process
@async_test
async def test_a_timeout_or_cancel_leaves_no_ticket(cluster: LocalCluster) -> None:
    async with empty_keys(cluster) as kv, Lease(kv, ttl_s=20) as shared:
        for lock in (RWLock(kv, "a", ttl_s=20), RWLock(kv, "b", lease=shared)):
            async with lock.read():
                with pytest.raises(NotAcquired, match=r"within 0\.2 s"):
                    await lock.acquire_write(timeout_s=0.2)
                waiting = asyncio.create_task(lock.acquire_write())
                await line_of(lock.line, 2)
                waiting.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await waiting
                await line_of(lock.line, 1)
                reader = await lock.try_acquire_read()
                assert reader is not None
                await reader.release()


@pytest.mark.process
@async_test
async def test_a_revoked_lease_ends_the_block(cluster: LocalCluster) -> None:
    async with empty_keys(cluster) as kv:
        lock = RWLock(kv, "a", ttl_s=0.6)

        async def work() -> None:
            async with lock.write() as held:
                await kv.revoke(held.lease.lease_id)
                async with await lock.acquire_read():
                    await asyncio.sleep(20)

        with pytest.raises(LeaseLost, match="has ended lease"):
            await work()


@pytest.mark.process
@async_test
async def test_arguments_are_checked(cluster: LocalCluster) -> None:
    async with empty_keys(cluster) as kv:
        with pytest.raises(ConfigError, match="rwlock: the name '' is empty"):
            RWLock(kv, "")
        with pytest.raises(ConfigError, match="ttl_s: 0"):
            RWLock(kv, "a", ttl_s=0)


@pytest.mark.parametrize("seed", SEEDS)
def test_it_survives_chaos(seed: int) -> None:
    records, wrong = chaos_records(rw_lock_program, seed)
    wrong += rw_lock_violations(records) + progress_violations(records, "acquired", 5)
    for kind in ("read", "write"):
        of_kind = [each for each in records if each.details.get("kind") == kind]
        wrong += progress_violations(of_kind, "acquired", 1)
    assert not wrong
    assert shared_reads(records) > 0


@pytest.mark.parametrize("mistake", RW_LOCK_MISTAKES.values(), ids=RW_LOCK_MISTAKES.keys())
def test_a_planted_mistake_is_found(mistake: type[RWLock]) -> None:
    program = rw_lock_program_of(lambda kv: mistake(kv, "shared", ttl_s=1.5))
    for seed in range(1, 11):
        if rw_lock_violations(chaos_records(program, seed, PAUSES)[0]):
            return
    pytest.fail("10 seeds did not find it")


def test_the_lock_without_a_mistake_is_not_accused() -> None:
    for seed in range(1, 4):
        assert not chaos_violations(rw_lock_program, rw_lock_violations, seed, PAUSES)


def record(what: str, at: float, token: int, kind: str) -> ProgramRecord:
    return ProgramRecord(token, at, what, {"at": at, "token": token, "kind": kind})


def test_the_check_finds_what_overlaps() -> None:
    readers = [
        record("acquired", 1.0, 5, "read"),
        record("acquired", 1.1, 7, "read"),
        record("held", 2.0, 5, "read"),
    ]
    assert rw_lock_violations(readers) == []
    assert shared_reads(readers) == 1
    after = record("acquired", 2.1, 9, "write")
    assert rw_lock_violations([*readers, after]) == []
    early = record("acquired", 1.9, 9, "write")
    (text,) = rw_lock_violations([*readers, early])
    assert text == (
        "client 5 held token 5 to read at 2.000000, when client 9 had acquired token 9 to write at 1.900000"
    )
    assert len(rw_lock_violations([after, record("held", 2.2, 7, "read")])) == 1
    writer_passed = [
        after,
        record("acquired", 2.2, 11, "read"),
        record("held", 2.3, 9, "write"),
    ]
    assert len(rw_lock_violations(writer_passed)) == 1
