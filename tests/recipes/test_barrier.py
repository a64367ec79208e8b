"""`Barrier` with real nodes, and in the simulator under chaos."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from qcore.client.programs.program_context import ProgramRecord
from qcore.errors import ConfigError
from qcore.kv import KeyValue, Put
from qcore.recipes import Barrier, Lease, LeaseLost, NotAcquired
from qcore.recipes.barrier import MAX_PARTIES, _Place
from qcore.recipes.holding.tickets import Ticket
from qcore.testing import LocalCluster
from tests.recipes.chaos_runs import chaos_records, chaos_violations, progress_violations
from tests.recipes.checks.barrier_check import barrier_violations
from tests.recipes.planted.barrier_mistakes import BARRIER_MISTAKES
from tests.recipes.planted.lease_mistakes import PAUSES
from tests.recipes.programs.barrier_program import (
    PARTIES,
    TTL_S,
    barrier_program,
    barrier_program_of,
)
from tests.recipes.real_keys import LateAnswers, empty_keys
from tests.transport.support.endpoints import async_test

SEEDS = (1, 2, 3)


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """One node. Every test must leave it running."""
    with LocalCluster(size=1, machine="kv") as started:
        yield started


async def waiting_reaches(barrier: Barrier, number: int) -> None:
    """Wait until so many wait."""
    async with asyncio.timeout(30):
        while await barrier.waiting() != number:  # noqa: ASYNC110 - it changes behind a socket
            await asyncio.sleep(0.01)


async def keys_left(kv: KeyValue) -> list[str]:
    """The keys of participants."""
    return [each.key.decode() async for each in kv.items("barrier/") if b"waiting" in each.key]


async def lease_of(kv: KeyValue, name: str) -> int:
    """The lease of the only participant."""
    (lease,) = [each.lease async for each in kv.items(f"barrier/{name}//waiting/")]
    return lease


@pytest.mark.process
@async_test
async def test_rounds_release_in_the_order_of_coming(cluster: LocalCluster) -> None:
    async with empty_keys(cluster) as kv, Lease(kv, ttl_s=20) as lease:
        for barrier in (Barrier(kv, "a", 2, ttl_s=20), Barrier(kv, "b", 2, lease=lease)):
            first = asyncio.create_task(barrier.wait())
            await waiting_reaches(barrier, 1)
            assert not first.done()
            assert await barrier.wait(timeout_s=20) == 1
            assert await first == 1
            third = asyncio.create_task(barrier.wait())
            await waiting_reaches(barrier, 1)
            many = [asyncio.create_task(barrier.wait()) for _ in range(7)]
            assert await third == 2
            rounds = [third.result(), *[await task for task in many]]
            assert sorted(rounds) == [2, 2, 3, 3, 4, 4, 5, 5]
        assert await keys_left(kv) == []


@pytest.mark.process
@async_test
async def test_who_leaves_makes_room(cluster: LocalCluster) -> None:
    async with empty_keys(cluster) as kv, Lease(kv, ttl_s=20) as lease:
        for barrier in (Barrier(kv, "a", 2, ttl_s=20), Barrier(kv, "b", 2, lease=lease)):
            with pytest.raises(NotAcquired, match=r"barrier .: not passed within 0\.2 s$"):
                await barrier.wait(timeout_s=0.2)
            cancelled = asyncio.create_task(barrier.wait())
            await waiting_reaches(barrier, 1)
            cancelled.cancel()
            with pytest.raises(asyncio.CancelledError):
                await cancelled
            assert await keys_left(kv) == []
            staying = asyncio.create_task(barrier.wait())
            await waiting_reaches(barrier, 1)
            assert not staying.done()
            assert await barrier.wait() == 1
            assert await staying == 1


@pytest.mark.process
@async_test
async def test_who_is_released_as_it_leaves_says_so(cluster: LocalCluster) -> None:
    """The release comes when the time is over and before the participant has left."""
    async with empty_keys(cluster) as kv:
        barrier = Stopping(kv, "a", 2, ttl_s=20)
        waiting = asyncio.create_task(barrier.wait(timeout_s=0.2))
        await barrier.leaving.wait()
        assert await Barrier(kv, "a", 2, ttl_s=20).wait() == 1
        barrier.goes_on.set()
        assert await waiting == 1
        assert await keys_left(kv) == []


@pytest.mark.process
@async_test
async def test_a_timeout_as_it_comes_loses_no_release(cluster: LocalCluster) -> None:
    """The time is over before the participant knows that it has a ticket."""
    async with empty_keys(cluster) as kv, cluster.client() as client, Lease(kv, ttl_s=20) as lease:
        for shared in (None, lease):
            late = LateAnswers(client)
            name = "b" if shared else "a"
            coming = asyncio.create_task(
                Barrier(late, name, 2, ttl_s=20, lease=shared).wait(timeout_s=0.2)
            )
            assert await Barrier(kv, name, 2, ttl_s=20).wait() == 1
            await asyncio.sleep(0.3)  # until its time is over; without this, the test shows less
            late.arrive.set()
            assert await coming == 1
            assert await keys_left(kv) == []


class Unaware(Barrier):
    """A barrier whose participants see no release."""

    async def _wait_released(self, ticket: Ticket) -> int:
        await asyncio.Event().wait()
        raise AssertionError(ticket)


class Stopping(Barrier):
    """A barrier whose participants stop before they take their ticket back, until `goes_on` is set."""

    def __init__(self, kv: KeyValue, name: str, parties: int, *, ttl_s: float) -> None:
        super().__init__(kv, name, parties, ttl_s=ttl_s)
        self.leaving, self.goes_on = asyncio.Event(), asyncio.Event()

    async def _find_out(self, place: _Place) -> int | None:
        self.leaving.set()
        await self.goes_on.wait()
        return await super()._find_out(place)


@pytest.mark.process
@async_test
async def test_a_lost_lease_comes_again_or_was_released(cluster: LocalCluster) -> None:
    async with empty_keys(cluster) as kv, Lease(kv, ttl_s=20) as lease:
        barrier = Barrier(kv, "a", 2, ttl_s=1)
        waiting = asyncio.create_task(barrier.wait())
        await waiting_reaches(barrier, 1)
        before = await keys_left(kv)
        await kv.revoke(await lease_of(kv, "a"))
        await waiting_reaches(barrier, 1)
        assert await keys_left(kv) != before
        assert await barrier.wait() == 1
        assert await waiting == 1

        shared = Barrier(kv, "b", 2, lease=lease)
        released = asyncio.create_task(Unaware(kv, "b", 2, ttl_s=1).wait())
        await waiting_reaches(shared, 1)
        its_lease = await lease_of(kv, "b")
        assert await shared.wait() == 1
        await kv.revoke(its_lease)
        assert await released == 1

        waiting = asyncio.create_task(shared.wait())
        await waiting_reaches(shared, 1)
        await kv.revoke(lease.lease_id)
        with pytest.raises(LeaseLost, match="has ended lease"):
            await waiting


@pytest.mark.process
@async_test
async def test_a_lost_ticket_is_judged_by_the_history(cluster: LocalCluster) -> None:
    async with empty_keys(cluster) as kv, Lease(kv, ttl_s=20) as lease:
        barrier = Barrier(kv, "a", 2, lease=lease)
        for value, number in ((b"", None), (b"7", 7)):
            key = lease.new_name().encode()
            created = await kv.put(key, b"", lease=lease.lease_id)
            await kv.put(key, value, lease=lease.lease_id)
            await kv.delete(key)
            for since in (lease.lease_id, created):
                assert await barrier._find_out(_Place(lease, key, since)) == number
            assert await kv.get(key) is None
        assert await barrier._find_out(_Place(lease, b"never")) is None
        await kv.compact((await kv.status()).revision)
        with pytest.raises(LeaseLost, match="whether a round has released its participant"):
            await barrier._find_out(_Place(lease, key))
        assert await kv.get(key) is None


@pytest.mark.process
@async_test
async def test_arguments_and_foreign_keys_are_errors(cluster: LocalCluster) -> None:
    async with empty_keys(cluster) as kv:
        assert await Barrier(kv, "a", 1, ttl_s=20).wait() == 1
        with pytest.raises(ConfigError, match=r"has parties=2, and another one has parties=1"):
            await Barrier(kv, "a", 2, ttl_s=20).wait()
        for parties in (0, MAX_PARTIES + 1):
            with pytest.raises(ConfigError, match=rf"parties: {parties} is not from 1 to 498"):
                Barrier(kv, "a", parties)
        for wrong in (1.5, "2", True):
            with pytest.raises(ConfigError, match=r"barrier a: parties: .* is no integer"):
                Barrier(kv, "a", wrong)  # type: ignore[arg-type] # as a program without types does
        await kv.put("barrier/a//round", "many")
        with pytest.raises(ConfigError, match=r"barrier/a//round holds b'many', which is no int"):
            await Barrier(kv, "a", 1, ttl_s=20).wait()
        assert await keys_left(kv) == []


@pytest.mark.process
@async_test
async def test_the_largest_round_is_one_transaction(cluster: LocalCluster) -> None:
    async with empty_keys(cluster) as kv, Lease(kv, ttl_s=60) as lease:
        barrier = Barrier(kv, "a", MAX_PARTIES, lease=lease)
        prefix = "barrier/a//waiting/"
        others = [f"{prefix}{lease.new_name()}" for _ in range(MAX_PARTIES - 1)]
        await kv.txn([], [Put(key, b"", lease.lease_id) for key in others])
        assert await barrier.wait() == 1


@pytest.mark.parametrize("seed", SEEDS)
def test_it_survives_chaos(seed: int) -> None:
    records, wrong = chaos_records(barrier_program, seed)
    wrong += barrier_violations(records) + progress_violations(records, "passed", 20)
    assert not wrong


@pytest.mark.parametrize("mistake", BARRIER_MISTAKES.values(), ids=BARRIER_MISTAKES.keys())
def test_a_planted_mistake_is_found(mistake: type[Barrier]) -> None:
    program = barrier_program_of(lambda kv: mistake(kv, "shared", PARTIES, ttl_s=TTL_S))
    for seed in range(1, 11):
        if barrier_violations(chaos_records(program, seed, PAUSES)[0]):
            return
    pytest.fail("10 seeds did not find it")


def test_the_barrier_without_a_mistake_is_not_accused() -> None:
    for seed in range(1, 4):
        assert not chaos_violations(barrier_program, barrier_violations, seed, PAUSES)


def record(what: str, at: float, name: str, **more: int) -> ProgramRecord:
    return ProgramRecord(1, at, what, {"at": at, "name": name, "parties": 2, **more})


def test_the_check_finds_each_kind_of_violation() -> None:
    came = [record("arrived", at, name) for name, at in (("a", 1.0), ("b", 1.5), ("c", 1.6))]
    good = [record("passed", 2.0, "a", round=1), record("passed", 2.1, "b", round=1)]
    assert barrier_violations(came + good) == []
    (text,) = barrier_violations([*came, *good, record("passed", 2.1, "c", round=1)])
    assert text == "round 1: 3 passed, not 2"
    texts = barrier_violations([*came, record("passed", 2.0, "a", round=2)])
    assert "only 3 had come to rounds 1 to 2, not 4" in texts[0]
    late = record("arrived", 2.05, "d")
    (text,) = barrier_violations([*came, late, good[0], record("passed", 2.1, "d", round=1)])
    assert "came at 2.050000, after client 1 had passed at 2.000000" in text
    left = [record("left", 1.8, name, is_known=True) for name in ("b", "c")]
    (text,) = barrier_violations([*came, good[0], *left])
    assert text.endswith("so there are not 2 for rounds 1 to 1")
