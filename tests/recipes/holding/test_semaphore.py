"""`Semaphore` with real nodes, and in the simulator under chaos."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from qcore.client.programs.program_context import ProgramRecord
from qcore.errors import ConfigError
from qcore.recipes import Lease, LeaseLost, NotAcquired, Semaphore
from qcore.testing import LocalCluster
from tests.recipes.chaos_runs import chaos_records, chaos_violations, progress_violations
from tests.recipes.checks.semaphore_check import most_holders, semaphore_violations
from tests.recipes.planted.lease_mistakes import PAUSES
from tests.recipes.planted.semaphore_mistakes import SEMAPHORE_MISTAKES
from tests.recipes.programs.holding.semaphore_program import (
    PERMITS,
    TTL_S,
    semaphore_program,
    semaphore_program_of,
)
from tests.recipes.real_keys import LateAnswers, empty_keys, line_of
from tests.transport.support.endpoints import async_test

SEEDS = (1, 2, 3)


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """One node. Every test must leave it running."""
    with LocalCluster(size=1, machine="kv") as started:
        yield started


@pytest.mark.process
@async_test
async def test_permits_go_in_the_order_of_asking(cluster: LocalCluster) -> None:
    async with empty_keys(cluster) as kv:
        semaphore = Semaphore(kv, "a", 2, ttl_s=20)
        order: list[str] = []

        async def take(label: str) -> None:
            async with await semaphore.acquire(label=label):
                order.append(label)

        async with asyncio.TaskGroup() as group, semaphore as first:
            second = await semaphore.acquire(label="second")
            assert second.token > first.token
            for length, label in enumerate(["c", "b", "d"], 3):
                group.create_task(take(label))
                await line_of(semaphore.line, length)
            assert await semaphore.try_acquire() is None
            assert await line_of(semaphore.line, 5) == ["", "second", "c", "b", "d"]
            assert order == []
            await second.release()
            await line_of(semaphore.line, 1)
            assert order == ["c", "b", "d"]
            third = await semaphore.try_acquire()
            assert third is not None
            await third.release()


@pytest.mark.process
@async_test
async def test_a_task_may_take_several_permits(cluster: LocalCluster) -> None:
    async with empty_keys(cluster) as kv, Lease(kv, ttl_s=20) as lease:
        semaphore = Semaphore(kv, "a", 2, lease=lease)
        async with semaphore as outer, semaphore as inner:
            assert outer.token < inner.token
            with pytest.raises(NotAcquired):
                await semaphore.acquire(timeout_s=0.1)
        assert await semaphore.line() == []


@pytest.mark.process
@async_test
async def test_all_programs_must_have_the_same_permits(cluster: LocalCluster) -> None:
    async with empty_keys(cluster) as kv:
        async with Semaphore(kv, "a", 2, ttl_s=20):
            pass
        other = Semaphore(kv, "a", 3, ttl_s=20)
        for acquire in (other.acquire, other.try_acquire):
            with pytest.raises(ConfigError, match=r"has permits=3, and another one has permits=2"):
                await acquire()
        assert await other.line() == []
        async with Semaphore(kv, "b", 3, ttl_s=20):
            pass
        await kv.delete("semaphore-permits/a//")
        async with other:
            pass
        with pytest.raises(ConfigError, match="semaphore a: permits: 0 is below 1"):
            Semaphore(kv, "a", 0)
        for wrong in (1.5, "2", True):
            with pytest.raises(ConfigError, match=r"semaphore a: permits: .* is no integer"):
                Semaphore(kv, "a", wrong)  # type: ignore[arg-type] # as a program without types does
        with pytest.raises(ConfigError, match="the name 'a//b' is empty, or has an empty part"):
            Semaphore(kv, "a//b", 1)


@pytest.mark.process
@async_test
async def test_who_is_cancelled_while_it_joins_leaves(cluster: LocalCluster) -> None:
    """Its lease lives on, so nothing else would delete the ticket of which it does not know."""
    async with empty_keys(cluster) as kv, cluster.client() as client, Lease(kv, ttl_s=20) as lease:
        late = LateAnswers(client)
        joining = asyncio.create_task(Semaphore(late, "a", 1, lease=lease).acquire())
        await line_of(Semaphore(kv, "a", 1).line, 1)
        joining.cancel()
        with pytest.raises(asyncio.CancelledError):
            await joining
        late.arrive.set()
        await line_of(Semaphore(kv, "a", 1).line, 0)


@pytest.mark.process
@async_test
async def test_a_revoked_lease_ends_the_block(cluster: LocalCluster) -> None:
    async with empty_keys(cluster) as kv:
        semaphore = Semaphore(kv, "a", 1, ttl_s=0.6)

        async def work() -> None:
            async with semaphore as held:
                await kv.revoke(held.lease.lease_id)
                async with await semaphore.acquire():
                    await asyncio.sleep(20)

        with pytest.raises(LeaseLost, match="has ended lease"):
            await work()


@pytest.mark.parametrize("seed", SEEDS)
def test_it_survives_chaos(seed: int) -> None:
    records, wrong = chaos_records(semaphore_program, seed)
    wrong += semaphore_violations(records) + progress_violations(records, "acquired", 5)
    assert not wrong
    assert most_holders(records) == PERMITS


@pytest.mark.parametrize("mistake", SEMAPHORE_MISTAKES.values(), ids=SEMAPHORE_MISTAKES.keys())
def test_a_planted_mistake_is_found(mistake: type[Semaphore]) -> None:
    program = semaphore_program_of(lambda kv: mistake(kv, "shared", PERMITS, ttl_s=TTL_S))
    for seed in range(1, 11):
        if semaphore_violations(chaos_records(program, seed, PAUSES)[0]):
            return
    pytest.fail("10 seeds did not find it")


def test_the_semaphore_without_a_mistake_is_not_accused() -> None:
    for seed in range(1, 4):
        assert not chaos_violations(semaphore_program, semaphore_violations, seed, PAUSES)


def record(what: str, at: float, token: int) -> ProgramRecord:
    return ProgramRecord(token, at, what, {"at": at, "token": token, "permits": 2})


def test_the_check_counts_holders() -> None:
    good = [
        record("acquired", 1.0, 5),
        record("acquired", 1.1, 6),
        record("held", 1.5, 5),
        record("acquired", 1.6, 7),
        record("held", 2.0, 6),
        record("held", 2.5, 7),
    ]
    assert semaphore_violations(good) == []
    assert most_holders(good) == 2
    (text,) = semaphore_violations([*good, record("held", 1.7, 5)])
    assert text == (
        "3 tokens held at 1.600000 with 2 permits: 5 of client 5, 6 of client 6, 7 of client 7"
    )
    assert most_holders([*good, record("held", 1.7, 5)]) == 3
