"""`RunOnce` with real nodes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any  # Any: arguments of wrong types

import pytest

from qcore.client import SyncClient
from qcore.errors import ConfigError
from qcore.kv import KeyValue
from qcore.recipes import LeaseLost, RunOnce, SlotRun
from qcore.recipes.schedules.run_once import Job
from qcore.recipes.synchronous.sync_run_once import SyncRunOnce, SyncSlotRun
from qcore.testing import LocalCluster
from tests.recipes.queues.counted_client import CountedClient
from tests.recipes.schedules.set_clock import SetClock
from tests.transport.support.endpoints import async_test

pytestmark = pytest.mark.process


class Failed(Exception):
    """What a job raises."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """One node. Every test must leave it running."""
    with LocalCluster(size=1, machine="kv") as started:
        yield started


async def states(run_once: RunOnce) -> list[tuple[int, str, int, str]]:
    """What the records say."""
    records = await run_once.records()
    return [(each.slot, each.state, each.attempt, each.result) for each in records]


async def requests_of(client: CountedClient, number: int) -> None:
    """Wait until a client has sent so many requests."""
    async with asyncio.timeout(30):
        while len(client.requests) < number:  # noqa: ASYNC110 - another task sends them
            await asyncio.sleep(0.01)


@async_test
async def test_a_slot_is_given_once(cluster: LocalCluster) -> None:
    async with cluster.client() as client:
        run_once = RunOnce(KeyValue(client), "once", retry=True)
        run = await run_once.try_slot(5)
        assert run is not None
        assert (run.slot, run.attempt) == (5, 1)
        # While it goes on, no other one starts.
        assert await run_once.try_slot(5) is None
        assert await run_once.try_slot(6) is None
        async with run:
            run.check()
            run.result = "fine"
        with pytest.raises(LeaseLost, match="was done"):
            run.check()
        assert await run_once.try_slot(5) is None
        assert await run_once.try_slot(4) is None
        later = await run_once.try_slot(6)
        assert later is not None
        assert later.token > run.token
        await later.finish("by hand")
        await later.finish("by hand")
        with pytest.raises(ConfigError, match="was done: end each run once"):
            await later.fail("no")
        assert await states(run_once) == [(5, "done", 1, "fine"), (6, "done", 1, "by hand")]


@async_test
async def test_a_worker_that_ends_leaves_the_slot(cluster: LocalCluster) -> None:
    async with cluster.client() as client:
        kv = KeyValue(client)
        for retry in (True, False):
            run_once = RunOnce(kv, f"ends/{retry}", retry=retry)
            run = await run_once.try_slot(5)
            assert run is not None
            await kv.revoke(run.lease.lease_id)  # as the end of the lease does
            with pytest.raises(LeaseLost, match="has ended before"):
                await run.finish()
            again = await run_once.try_slot(5)
            assert (again is not None) == retry
            if again is not None:
                assert (again.attempt, again.token > run.token) == (2, True)
                await again.finish("late")
            last = (5, "done", 2, "late") if retry else (5, "started", 1, "")
            assert await states(run_once) == [last]


@async_test
async def test_a_lost_lease_cancels_the_job(cluster: LocalCluster) -> None:
    async with cluster.client() as client:
        kv = KeyValue(client)
        run_once = RunOnce(kv, "lost", retry=True, ttl_s=0.6)
        runs: list[SlotRun] = []

        async def job(run: SlotRun) -> str:
            runs.append(run)
            if len(runs) == 1:
                await kv.revoke(run.lease.lease_id)
                await asyncio.Event().wait()
            return "fine"

        working = asyncio.create_task(run_once.run(job, every_s=0.2))
        async with asyncio.timeout(30):
            while len(runs) < 3:  # noqa: ASYNC110 - it changes behind a socket
                await asyncio.sleep(0.01)
        working.cancel()
        await asyncio.wait([working])
        assert (runs[1].slot, runs[1].attempt) == (runs[0].slot, 2)
        assert runs[2].slot > runs[1].slot


@async_test
async def test_a_job_that_raises_has_an_end(cluster: LocalCluster) -> None:
    async with cluster.client() as client:
        run_once = RunOnce(KeyValue(client), "raises", retry=True)
        errors: list[tuple[int, str]] = []

        async def job(run: SlotRun) -> None:
            raise Failed(f"no disk {'x' * 2000}")

        with pytest.raises(Failed, match="no disk"):
            await run_once.run(job, every_s=0.01)
        records = await run_once.records()
        assert records[0].state == "failed"
        assert records[0].result.startswith("Failed: no disk xxx")
        assert len(records[0].result) == 1000

        def on_error(run: SlotRun, error: Exception) -> None:
            errors.append((run.attempt, type(error).__name__))
            if len(errors) == 2:
                raise KeyError

        with pytest.raises(KeyError):
            await run_once.run(job, every_s=0.01, on_error=on_error)
        assert errors == [(1, "Failed"), (1, "Failed")]


@async_test
async def test_a_cancelled_job_is_started_again(cluster: LocalCluster) -> None:
    async with cluster.client() as client:
        run_once = RunOnce(KeyValue(client), "cancelled", retry=True)
        began = asyncio.Event()

        async def job(_: SlotRun) -> None:
            began.set()
            await asyncio.Event().wait()

        working = asyncio.create_task(run_once.run(job, every_s=0.01))
        await began.wait()
        working.cancel()
        await asyncio.wait([working])
        run = await run_once.wait_slot(every_s=3600)
        assert run.attempt == 2
        await run.finish()


@async_test
async def test_workers_share_the_slots(cluster: LocalCluster) -> None:
    slots: list[int] = []
    running: list[int] = []

    async def job(run: SlotRun) -> None:
        assert not running
        running.append(run.slot)
        slots.append(run.slot)
        await asyncio.sleep(0.02)
        running.remove(run.slot)

    async with cluster.client() as client:
        kv = KeyValue(client)
        workers = [RunOnce(kv, "share", retry=False, keep_slots=4) for _ in range(4)]
        tasks = [asyncio.create_task(worker.run(job, every_s=0.1)) for worker in workers]
        async with asyncio.timeout(60):
            while len(slots) < 8:  # noqa: ASYNC110 - it changes behind a socket
                await asyncio.sleep(0.01)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        assert slots == sorted(set(slots))
        assert all(slot % 100 == 0 for slot in slots)
        assert len(await workers[0].records()) == 4


@async_test
async def test_the_wall_clock_decides_what_is_due(cluster: LocalCluster) -> None:
    async with cluster.client() as client:
        clock = SetClock(client, 1_000_000.5)
        kv = KeyValue(clock)
        run_once = RunOnce(kv, "clock", retry=False)
        late = RunOnce(kv, "clock", retry=False, catch_up=2)
        # The first slot is the next that is due.
        first = asyncio.create_task(run_once.wait_slot(every_s=10))
        await requests_of(clock, 1)
        assert not first.done()
        clock.wall_s = 1_000_010.2
        run = await first
        assert (run.slot, run.time_s) == (1_000_010_000, 1_000_010.0)
        await run.finish()
        # Forward: what was missed stays away, or the newest of it is started late.
        clock.wall_s = 1_000_075.0
        for due in (1_000_050_000, 1_000_060_000, 1_000_070_000):
            run = await late.wait_slot(every_s=10)
            assert run.slot == due
            await run.finish()
        clock.wall_s = 1_000_500.0
        run = await run_once.wait_slot(every_s=10)
        assert run.slot == 1_000_500_000
        await run.finish()
        # Backward: nothing runs again.
        clock.wall_s = 1_000_100.0
        waiting = asyncio.create_task(run_once.wait_slot(every_s=10))
        await asyncio.sleep(0.05)
        clock.wall_s = 1_000_500.0
        await asyncio.sleep(0.05)
        assert not waiting.done()
        clock.wall_s = 1_000_511.0
        run = await waiting
        assert run.slot == 1_000_510_000
        await run.finish()
        # A clock that was far ahead.
        clock.wall_s = 2_000_000.0
        run = await run_once.wait_slot(schedule=lambda time_s: time_s // 60 * 60 + 60)
        await run.finish()
        clock.wall_s = 1_000_600.5
        assert await run_once.try_slot(1_000_600_000) is None
        await run_once.forget()
        assert await run_once.records() == []
        before = len(clock.requests)
        next_run = asyncio.create_task(run_once.wait_slot(every_s=10))
        await requests_of(clock, before + 1)
        clock.wall_s = 1_000_610.5
        assert (await next_run).slot == 1_000_610_000
        await (await next_run).abandon()


@async_test
async def test_a_resumed_watch_reads_the_records_again(cluster: LocalCluster) -> None:
    async with cluster.client() as client:
        counted = CountedClient(client)
        run_once = RunOnce(KeyValue(client), "resumed", retry=True)
        run = await run_once.try_slot(5)
        assert run is not None
        other = RunOnce(KeyValue(counted), "resumed", retry=True)
        waiting = asyncio.create_task(other.wait_slot(every_s=1e6))
        await counted.resume_watch()
        assert '"op": "range"' in counted.requests[-1]
        await run.abandon()
        again = await waiting
        assert again.attempt == 2
        await again.finish()


@async_test
async def test_forgotten_slots_do_not_start_beside_a_run(cluster: LocalCluster) -> None:
    async with cluster.client() as client:
        kv = KeyValue(client)
        run_once = RunOnce(kv, "forget", retry=False)
        seen = await run_once._keys.read(kv)
        run = await run_once.try_slot(5)
        assert run is not None
        await run_once.forget()
        assert await run_once._start(6, seen) is None
        await run.finish()


@async_test
async def test_a_start_of_unknown_outcome_is_found_out(cluster: LocalCluster) -> None:
    async with cluster.client() as client:
        broken = CountedClient(client)
        run_once = RunOnce(KeyValue(broken), "unknown", retry=False)
        broken.lose_answers(2)
        run = await run_once.try_slot(5)
        assert run is not None
        found = await KeyValue(client).get("run_once/unknown//running")
        assert found is not None
        assert found.create_revision == run.token
        broken.lose_answers(2)
        await run.finish("fine")
        assert await states(run_once) == [(5, "done", 1, "fine")]


@async_test
async def test_wrong_arguments_are_refused(cluster: LocalCluster) -> None:
    async with cluster.client() as client:
        kv = KeyValue(client)
        with pytest.raises(ConfigError, match="catch_up"):
            RunOnce(kv, "a", retry=True, catch_up=-1)
        with pytest.raises(ConfigError, match="keep_slots"):
            RunOnce(kv, "a", retry=True, keep_slots=0)
        with pytest.raises(ConfigError, match="ttl_s"):
            RunOnce(kv, "a", retry=True, ttl_s=0)
        with pytest.raises(ConfigError, match="name"):
            RunOnce(kv, "", retry=True)
        with pytest.raises(ConfigError, match="slot"):
            await RunOnce(kv, "a", retry=True).try_slot(-1)
        with pytest.raises(ConfigError, match="every_s"):
            await RunOnce(kv, "a", retry=True).wait_slot()
        await kv.put("run_once/foreign//slot/x", "y")
        with pytest.raises(ConfigError, match="is not as RunOnce leaves it"):
            await RunOnce(kv, "foreign", retry=True).try_slot(1)


def test_the_synchronous_version(cluster: LocalCluster) -> None:
    with SyncClient(cluster.endpoints) as client:
        run_once = SyncRunOnce(client, "sync", retry=True)
        run = run_once.try_slot(5)
        assert run is not None
        assert run_once.try_slot(5) is None
        with run:
            run.check()
            run.result = "fine"
        run = run_once.try_slot(6)
        assert run is not None
        with pytest.raises(Failed), run:
            raise Failed("no disk")
        records = [(each.state, each.result) for each in run_once.records()]
        assert records == [("done", "fine"), ("failed", "Failed: no disk")]
        runs: list[int] = []

        def job(run: SyncSlotRun) -> str | None:
            runs.append(run.slot)
            if len(runs) == 2:
                raise Failed
            return None

        with pytest.raises(Failed):
            run_once.run(job, every_s=0.05)
        assert runs == sorted(set(runs))
        run_once.forget()
        assert run_once.records() == []


@async_test
async def test_a_job_that_gives_no_text_fails_once(cluster: LocalCluster) -> None:
    async with cluster.client() as client:
        run_once = RunOnce(KeyValue(client), "number", retry=True)

        async def job(run: SlotRun) -> Any:
            return 5

        number: Any = 5
        jobs: Sequence[Job] = (job, lambda run: number)
        for give_number in jobs:
            with pytest.raises(ConfigError, match="result: 5 is no text"):
                await run_once.run(give_number, every_s=0.05)
        seen = await states(run_once)
        assert [(state, attempt) for _, state, attempt, _ in seen] == [("failed", 1)] * 2
        run = await run_once.try_slot(10**18)
        assert run is not None
        await run.fail(ValueError("x"))
        assert (await states(run_once))[-1] == (10**18, "failed", 1, "ValueError: x")


@async_test
async def test_a_job_may_be_no_coroutine_function(cluster: LocalCluster) -> None:
    async with cluster.client() as client:
        run_once = RunOnce(KeyValue(client), "plain", retry=True)
        ran = asyncio.Event()

        def job(run: SlotRun) -> str:
            ran.set()
            return "fine"

        running = asyncio.create_task(run_once.run(job, every_s=0.05))
        async with asyncio.timeout(30):
            await ran.wait()
            while not (seen := await states(run_once)) or seen[0][1] == "started":  # noqa: ASYNC110 - it changes behind a socket
                await asyncio.sleep(0.01)
        running.cancel()
        await asyncio.wait([running])
        assert seen[0][1:] == ("done", 1, "fine")


def test_a_threaded_job_that_gives_no_text_fails(cluster: LocalCluster) -> None:
    number: Any = 5
    with SyncClient(cluster.endpoints) as client:
        run_once = SyncRunOnce(client, "threaded number", retry=True)
        with pytest.raises(ConfigError, match="result: 5 is no text"):
            run_once.run(lambda run: number, every_s=0.05)
        assert [(each.state, each.attempt) for each in run_once.records()] == [("failed", 1)]


@async_test
async def test_arguments_of_wrong_types_are_refused(cluster: LocalCluster) -> None:
    async with cluster.client() as client:
        kv = KeyValue(client)
        options: Sequence[dict[str, Any]] = (
            {"retry": "no"},
            {"retry": None},
            {"retry": True, "catch_up": 1.5},
            {"retry": True, "keep_slots": "20"},
        )
        for each in options:
            with pytest.raises(
                ConfigError, match=r"neither True nor False|is no whole number from"
            ):
                RunOnce(kv, "types", **each)
        run_once = RunOnce(kv, "types", retry=True)
        slots: Sequence[Any] = (1.5, "1", True, -1, 10**20)
        for slot in slots:
            with pytest.raises(ConfigError, match=r"slot: .* is no whole number from 0"):
                await run_once.try_slot(slot)
        assert await run_once.records() == []
        nothing: Any = None
        with pytest.raises(ConfigError, match="is None: it must be a later time"):
            await run_once.wait_slot(schedule=lambda t: nothing)
        every: Any = "5"
        with pytest.raises(ConfigError, match="every_s: '5' is no number"):
            await run_once.wait_slot(every_s=every)
        with pytest.raises(ConfigError, match="schedule: '5' is no function"):
            await run_once.wait_slot(schedule=every)
