"""What docs/coordination.md says about an operator who revokes a lease or deletes a key of a recipe is true."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator

import pytest

from qcore.client import Client
from qcore.kv import KeyValue, KeyVersion
from qcore.recipes import LeaseLost, Lock, Queue, RunOnce, ServiceRegistry
from qcore.testing import LocalCluster

pytestmark = pytest.mark.process

#: Nothing here ends because of its time.
LONG_S = 60.0


@pytest.fixture(scope="module")
def endpoints() -> Iterator[list[str]]:
    """The endpoint of one node."""
    with LocalCluster(size=1, machine="kv") as cluster:
        yield cluster.endpoints


def with_keys(
    endpoints: list[str], scenario: Callable[[KeyValue, KeyValue], Awaitable[None]]
) -> None:
    """Run a scenario with the keys as a program sees them, and as another program and the operator do."""

    async def run() -> None:
        async with Client(endpoints) as one, Client(endpoints) as other, asyncio.timeout(50):
            await scenario(KeyValue(one), KeyValue(other))

    asyncio.run(run())


async def delete_key(kv: KeyValue, prefix: str, end: str) -> None:
    """Delete the only key that begins and ends so."""
    (key,) = [found.key async for found in kv.items(prefix) if found.key.endswith(end.encode())]
    await kv.delete(key)


def test_the_holder_of_a_revoked_lease_stops(endpoints: list[str]) -> None:
    async def scenario(kv: KeyValue, operator: KeyValue) -> None:
        held = await Lock(kv, "revoked", ttl_s=1.5).acquire()
        await operator.revoke(held.lease.lease_id)
        later = await Lock(operator, "revoked", ttl_s=LONG_S).acquire()
        await held.lease.wait_lost()
        assert later.token > held.token
        await later.release()

    with_keys(endpoints, scenario)


def test_a_holder_does_not_notice_that_its_ticket_is_gone(endpoints: list[str]) -> None:
    async def scenario(kv: KeyValue, operator: KeyValue) -> None:
        held = await Lock(kv, "ticket", ttl_s=LONG_S).acquire()
        await delete_key(operator, "lock/ticket//", "")
        later = await Lock(operator, "ticket", ttl_s=LONG_S).acquire()
        assert held.lost is None
        assert later.lost is None
        await later.release()
        await held.release()

    with_keys(endpoints, scenario)


def test_one_that_waits_joins_the_end_again(endpoints: list[str]) -> None:
    async def scenario(kv: KeyValue, operator: KeyValue) -> None:
        lock = Lock(operator, "waits", ttl_s=LONG_S)
        held = await lock.acquire()
        waiting = asyncio.create_task(Lock(kv, "waits", ttl_s=1).acquire(label="waits"))
        tickets: list[KeyVersion] = []
        async with operator.watch(prefix="lock/waits//", from_revision=held.token + 1) as changes:
            async for change in changes:
                if change.kind == "put":
                    tickets.append(change.kv)
                    if len(tickets) == 2:
                        break
                    await operator.delete(change.kv.key)
        assert [ticket.text for ticket in tickets] == ["waits", "waits"]
        assert (await lock.line())[0].token == held.token
        await held.release()
        await (await waiting).release()

    with_keys(endpoints, scenario)


def test_an_item_whose_claim_is_deleted_goes_to_another_one(endpoints: list[str]) -> None:
    async def scenario(kv: KeyValue, operator: KeyValue) -> None:
        async with (
            Queue(kv, "q", ttl_s=LONG_S) as queue,
            Queue(operator, "q", ttl_s=LONG_S) as other,
        ):
            await queue.put("work")
            item = await queue.receive()
            await delete_key(operator, "queue/q//line/", "claim")
            again = await other.receive()
            assert again.attempt == 2
            assert item.lost is None
            with pytest.raises(LeaseLost, match="the claim has ended before"):
                await item.acknowledge()
            await again.acknowledge()

    with_keys(endpoints, scenario)


def test_a_slot_without_its_running_key_starts_again(endpoints: list[str]) -> None:
    async def scenario(kv: KeyValue, operator: KeyValue) -> None:
        run = await RunOnce(kv, "job", ttl_s=LONG_S, retry=True).try_slot(5)
        await delete_key(operator, "run_once/job//", "running")
        again = await RunOnce(operator, "job", ttl_s=LONG_S, retry=True).try_slot(5)
        assert run is not None
        assert again is not None
        assert run.lost is None
        with pytest.raises(LeaseLost, match="has ended before"):
            await run.finish("first")
        await again.finish("second")
        (record,) = await RunOnce(kv, "job", retry=True).records()
        assert record.result == "second"

    with_keys(endpoints, scenario)


def test_an_instance_registers_itself_again(endpoints: list[str]) -> None:
    async def scenario(kv: KeyValue, operator: KeyValue) -> None:
        registry = ServiceRegistry(kv, ttl_s=LONG_S)
        async with registry.register("web", address="here"), registry.watch("web") as view:
            (before,) = view.instances
            changes = view.changes()
            await anext(changes)  # the instances of now
            await delete_key(operator, "service/web//", "")
            assert (await anext(changes)).removed == (before,)
            (after,) = (await anext(changes)).added
            assert after.name == before.name

    with_keys(endpoints, scenario)
