"""`Lease` and its guard with a real node."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest

from qcore.errors import ConfigError, LeaseNotFound
from qcore.kv import KeyValue
from qcore.recipes import Lease, LeaseGuard, LeaseLost
from qcore.testing import LocalCluster
from tests.recipes.real_keys import empty_keys
from tests.transport.support.endpoints import async_test

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """One node. Every test must leave it running."""
    with LocalCluster(size=1, machine="kv") as started:
        yield started


@async_test
async def test_a_lease_is_kept_alive_and_revoked(cluster: LocalCluster) -> None:
    async with empty_keys(cluster) as kv:
        async with Lease(kv, ttl_s=0.4) as lease:
            await kv.put("a", "x", lease=lease.lease_id)
            await asyncio.sleep(1.2)  # three times as long as it lives alone
            lease.check()
            assert 0 < lease.remaining_s() <= 0.4
            assert (await kv.lease(lease.lease_id)).keys == (b"a",)
        assert await kv.get("a") is None
        with pytest.raises(LeaseLost, match="this program has closed the lease"):
            lease.check()
        await lease.close()  # again
        with pytest.raises(ConfigError, match="opened before"):
            await lease.open()


@async_test
async def test_a_stopped_program_knows_before_it_waits(cluster: LocalCluster) -> None:
    async with empty_keys(cluster) as kv, Lease(kv, ttl_s=0.3) as lease:
        time.sleep(0.35)  # noqa: ASYNC251 - as if the process were stopped
        assert lease.remaining_s() == 0
        with pytest.raises(LeaseLost, match=r"no keep-alive .*this process was stopped"):
            lease.check()


@async_test
async def test_a_revoked_lease_cancels_the_task_with_reason(cluster: LocalCluster) -> None:
    async with empty_keys(cluster) as kv, Lease(kv, ttl_s=0.6) as lease:
        steps: list[str] = []

        async def work() -> None:
            async with lease.guard():
                try:
                    await asyncio.sleep(20)
                except asyncio.CancelledError as error:
                    steps.append(str(error))
                    raise

        task = asyncio.create_task(work())
        await kv.revoke(lease.lease_id)
        with pytest.raises(LeaseLost, match=f"the cluster has ended lease {lease.lease_id}"):
            await task
        assert steps == [f"the cluster has ended lease {lease.lease_id}"]
        assert str(await lease.wait_lost()) == steps[0]
        with pytest.raises(LeaseLost):
            async with lease.guard():
                steps.append("not reached")
        assert len(steps) == 1


@async_test
async def test_a_block_that_ends_after_the_loss_learns_of_it(cluster: LocalCluster) -> None:
    async with empty_keys(cluster) as kv, Lease(kv, ttl_s=0.3) as lease:
        guard = lease.guard()
        await guard.__aenter__()
        time.sleep(0.35)  # noqa: ASYNC251 - as if the process were stopped
        with pytest.raises(LeaseLost):
            await guard.__aexit__(None, None, None)
        with pytest.raises(LeaseLost):
            lease.check()


@async_test
async def test_another_error_and_another_cancellation_go_on(cluster: LocalCluster) -> None:
    async with empty_keys(cluster) as kv:

        async def fail(lease: Lease) -> None:
            async with lease.guard():
                time.sleep(0.35)  # noqa: ASYNC251 - as if the process were stopped
                raise ZeroDivisionError

        async with Lease(kv, ttl_s=0.3) as lease:
            with pytest.raises(ZeroDivisionError):
                await fail(lease)
        async with Lease(kv, ttl_s=20) as lease:
            entered = asyncio.Event()

            async def work() -> None:
                async with LeaseGuard(lease):
                    entered.set()
                    await asyncio.sleep(20)

            task = asyncio.create_task(work())
            await entered.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert lease.lost is None
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05), lease.guard():
                    await asyncio.sleep(20)


@async_test
async def test_nested_guards_name_the_lease_that_was_lost(cluster: LocalCluster) -> None:
    async with (
        empty_keys(cluster) as kv,
        Lease(kv, ttl_s=20) as outer,
        Lease(kv, ttl_s=0.6) as inner,
    ):

        async def work() -> None:
            async with outer.guard(), inner.guard():
                await kv.revoke(inner.lease_id)
                await asyncio.sleep(20)

        with pytest.raises(LeaseLost, match=f"ended lease {inner.lease_id}"):
            await work()
        outer.check()


@async_test
async def test_arguments_out_of_range_are_refused(cluster: LocalCluster) -> None:
    async with empty_keys(cluster) as kv:
        for wrong in ({"ttl_s": 0.05}, {"ttl_s": float("nan")}, {"max_drift": 1.0}):
            with pytest.raises(ConfigError, match=next(iter(wrong))):
                Lease(kv, **wrong)
        with pytest.raises(LeaseLost, match="is not open"):
            Lease(kv).check()


def test_a_lease_survives_the_loss_of_the_leader() -> None:
    """A lease that is much longer than an election is not lost, and its keys stay."""

    async def hold(kv: KeyValue) -> None:
        async with Lease(kv, ttl_s=12) as lease, lease.guard():
            await kv.put("a", "x", lease=lease.lease_id)
            await asyncio.to_thread(three.kill, three.wait_leader())
            await kv.keep_alive(lease.lease_id)
            assert await kv.get("a") is not None
        with pytest.raises(LeaseNotFound):
            await kv.keep_alive(lease.lease_id)

    async def main() -> None:
        async with three.client() as client:
            await hold(KeyValue(client))

    with LocalCluster(machine="kv") as three:
        asyncio.run(main())
