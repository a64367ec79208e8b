"""`ServiceRegistry` with a cluster of real nodes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from pydantic import JsonValue

from qcore.errors import ConfigError, KeyTooLong
from qcore.kv import KeyValue
from qcore.recipes.recipe_errors import NotAcquired, NotAvailable
from qcore.recipes.views.service_instances import Instance
from qcore.recipes.views.service_registry import ServiceRegistry
from qcore.recipes.views.service_view import ServiceView
from qcore.testing import LocalCluster
from tests.transport.support.endpoints import async_test

pytestmark = pytest.mark.process

#: Long enough for a busy machine.
TTL_S = 5.0


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """Three nodes. Every test must leave them running."""
    with LocalCluster(machine="kv") as started:
        yield started


@asynccontextmanager
async def registry_of(cluster: LocalCluster) -> AsyncIterator[tuple[KeyValue, ServiceRegistry]]:
    """The registry of a cluster, empty at first."""
    async with cluster.client() as client:
        kv = KeyValue(client)
        await kv.delete(prefix="")
        yield kv, ServiceRegistry(kv, ttl_s=TTL_S)


def names(instances: list[Instance] | tuple[Instance, ...]) -> list[str]:
    """The names of instances."""
    return [each.name for each in instances]


async def listed(view: ServiceView, number: int) -> tuple[Instance, ...]:
    """Wait until so many instances are listed."""
    async with asyncio.timeout(60):
        changes = view.changes()
        while len(view.instances) != number:
            await anext(changes)
    return view.instances


@async_test
async def test_instances_come_change_and_go(cluster: LocalCluster) -> None:
    async with registry_of(cluster) as (_, registry), registry.watch("web") as view:
        changes = view.changes()
        with pytest.raises(NotAvailable, match="no instance now"):
            view.choose()
        async with registry.register("web", address="a:1", instance="one") as one:
            assert one.is_registered
            other = registry.register("web", address="b:2", metadata={"zone": ["x", 1, None]})
            async with registry.register("web/api", address="c:3"), other:
                assert len(await view.wait_for(at_least=2, timeout_s=60)) == 2
                assert sorted(each.address for each in view.instances) == ["a:1", "b:2"]
                assert await registry.instances("web") == [*view.instances]
                assert {view.choose().address for _ in range(100)} == {"a:1", "b:2"}
                await one.update(metadata={"weight": 3})
                instance = next(each for each in await view.sync() if each.name == "one")
                assert (instance.address, instance.metadata) == ("a:1", {"weight": 3})
            assert names(await listed(view, 1)) == ["one"]
        assert await listed(view, 0) == ()
        taken = [await anext(changes) for _ in range(5)]
        added, second, changed, gone, last = taken
        assert (names(added.added), added.removed, added.changed) == (["one"], (), ())
        assert names(second.added) == [other.instance]
        assert [each.metadata for each in changed.changed] == [{"weight": 3}]
        assert [each.metadata for each in gone.removed] == [{"zone": ["x", 1, None]}]
        assert names(last.removed) == ["one"]
        revisions = [each.revision for each in taken]
        assert revisions == sorted({*revisions})
        assert not any(each.skipped for each in taken)
    with pytest.raises(StopAsyncIteration):
        await anext(changes)
    await view.close()
    await one.close()
    with pytest.raises(ConfigError, match="make another one"):
        await one.open()
    for use in (one.wait_registered, one.update):
        with pytest.raises(ConfigError, match="registration is closed: make another one"):
            await use()
    with pytest.raises(ConfigError, match="not open"):
        await registry.register("web", address="d:4").wait_registered()


@async_test
async def test_a_registration_comes_back_after_its_loss(cluster: LocalCluster) -> None:
    async with registry_of(cluster) as (kv, registry), registry.watch("web") as view:
        async with registry.register("web", address="a:1", instance="one") as one:
            events: list[bool] = []
            one.on_change(events.append)
            for step in (1, 2):
                (lease,) = await kv.leases()
                await kv.revoke(lease)
                changes = view.changes()
                async with asyncio.timeout(60):
                    while len(events) < 2 * step:
                        await anext(changes)
                await one.wait_registered(timeout_s=60)
            assert events == [False, True] * 2
            await kv.delete("service/web//one")  # as an operator may do
            async with asyncio.timeout(60):
                while len(events) < 6:
                    await anext(changes)
            assert names(await view.sync()) == ["one"]
        assert await registry.instances("web") == []
        assert await kv.leases() == []


@async_test
async def test_a_name_belongs_to_one_registration(cluster: LocalCluster) -> None:
    async with registry_of(cluster) as (_, registry):
        first = registry.register("web", address="a:1", instance="one")
        second = registry.register("web", address="b:2", instance="one", timeout_s=0.3)
        async with first:
            with pytest.raises(NotAcquired, match=r"another program has registered it at a:1"):
                await second.open()
            third = registry.register("web", address="c:3", instance="one")
            opening = asyncio.create_task(third.open())
            await first.update(address="a:2")
            assert [each.address for each in await registry.instances("web")] == ["a:2"]
            assert not opening.done()
        await asyncio.wait_for(opening, 60)
        assert [each.address for each in await registry.instances("web")] == ["c:3"]
        await third.close()


@async_test
async def test_a_cancelled_end_of_a_registration_goes_on(cluster: LocalCluster) -> None:
    async with registry_of(cluster) as (_, registry):
        registration = registry.register("web", address="10.0.0.7:80")
        await registration.open()
        await registration.wait_registered()
        closing = asyncio.create_task(registration.close())
        await asyncio.sleep(0)
        closing.cancel()
        await asyncio.wait([closing])
        await registration.close()
        assert await registry.instances("web") == []


@async_test
async def test_a_dead_instance_disappears(cluster: LocalCluster) -> None:
    async with registry_of(cluster) as (_, registry), registry.watch("web") as view:
        async with cluster.client() as client:
            dying = ServiceRegistry(KeyValue(client), ttl_s=2)
            one = dying.register("web", address="a:1", instance="one")
            await one.open()
            await view.wait_for(timeout_s=60)
        # Its client is closed, so nothing keeps the lease alive.
        assert await listed(view, 0) == ()
        with pytest.raises(ConfigError, match="client is closed"):
            await one.wait_registered(timeout_s=60)
        await one.close()
        async with registry.register("web", address="b:2", instance="one", timeout_s=60):
            assert [each.address for each in await view.wait_for(timeout_s=60)] == ["b:2"]


@async_test
async def test_what_cannot_be_registered_is_rejected(cluster: LocalCluster) -> None:
    async with registry_of(cluster) as (kv, registry):
        cyclic: list[JsonValue] = []
        cyclic.append(cyclic)
        for metadata in (
            {"x": float("nan")},
            {"x": b"\xff"},
            {1: 2},
            {"x": object()},
            {"x": cyclic},
        ):
            with pytest.raises(ConfigError, match="metadata are no JSON"):
                registry.register("web", address="a", metadata=metadata)  # type: ignore[arg-type] # wrong on purpose
        for name in ("", "a//b", "/a", "a/"):
            with pytest.raises(ConfigError, match="empty"):
                registry.register(name, address="a")
            with pytest.raises(ConfigError, match="empty"):
                registry.watch(name)
        for instance in ("", "\ud800"):
            with pytest.raises(ConfigError, match="cannot be printed"):
                registry.register("web", address="a", instance=instance)
        with pytest.raises(ConfigError, match="address is empty"):
            registry.register("web", address="")
        with pytest.raises(ConfigError, match="address 5 is no text"):
            registry.register("web", address=5)  # type: ignore[arg-type] # wrong on purpose
        with pytest.raises(ConfigError, match=r"address .* has no UTF-8 form"):
            registry.register("web", address="\udcff")
        problems: list[dict[str, object]] = []
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: problems.append(context)
        )
        with pytest.raises(KeyTooLong):
            await registry.register("web", address="a", instance="x" * 5000).open()
        assert problems == []  # the caller has the error
        with pytest.raises(ConfigError, match="ttl_s"):
            ServiceRegistry(kv, ttl_s=0)
        assert await kv.leases() == []


@async_test
async def test_a_view_leaves_out_what_is_no_instance(cluster: LocalCluster) -> None:
    async with registry_of(cluster) as (kv, registry), registry.watch("nothing") as view:
        with pytest.raises(NotAcquired, match=r"has 0 instances, and not 1 within 0\.05 s"):
            await view.wait_for(timeout_s=0.05)
        await kv.put("service/nothing//bad", "{}")
        await kv.put("service/nothing//good", '{"address": "a", "added_later": 1}')
        assert names(await view.sync()) == ["good"]
        assert "address" in view.invalid["bad"]
        assert names(await registry.instances("nothing")) == ["good"]
        await kv.delete(prefix="service/")
        assert await view.sync() == ()
        assert view.invalid == {}


@async_test
async def test_a_view_survives_the_loss_of_its_nodes(cluster: LocalCluster) -> None:
    async with registry_of(cluster) as (_, registry), registry.watch("web") as view:
        changes = view.changes()
        for node_id in cluster.ids:
            await asyncio.to_thread(cluster.kill, node_id)
            async with registry.register("web", address=f"n:{node_id}"):
                pass
            await asyncio.to_thread(cluster.restart, node_id)
        async with asyncio.timeout(60):
            taken = [await anext(changes) for _ in range(2 * len(cluster.ids))]
        addresses = [(each.added or each.removed)[0].address for each in taken]
        assert addresses == ["n:1", "n:1", "n:2", "n:2", "n:3", "n:3"]
        assert not any(each.skipped for each in taken)
