"""Clients that register themselves, compete for one name, and watch who is there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

from pydantic import JsonValue

from qcore.client.programs.program_context import ProgramContext
from qcore.kv import KeyValue
from qcore.recipes.views.service_instances import Instance
from qcore.recipes.views.service_registration import Registration
from qcore.recipes.views.service_registry import ServiceRegistry
from qcore.recipes.views.service_view import ServiceView
from tests.recipes.programs.compacting import compact_now_and_then
from tests.recipes.programs.new_ids import new_id

TTL_S: Final = 1.5
SERVICE: Final = "web"
#: A name that all clients want.
SHARED: Final = "shared"

#: Makes the registry of a client. A planted mistake makes another one.
REGISTRY: Final = ServiceRegistry


async def registry_program(ctx: ProgramContext, make: type[ServiceRegistry] = REGISTRY) -> None:
    """Be registered, and watch, without end."""
    kv = KeyValue(ctx.client)
    registry = make(kv, ttl_s=TTL_S)
    async with registry.watch(SERVICE) as view, asyncio.TaskGroup() as tasks:
        tasks.create_task(_follow(ctx, view))
        tasks.create_task(_compete(ctx, registry))
        tasks.create_task(_live(ctx, registry, view))
        if ctx.number == 1:
            tasks.create_task(compact_now_and_then(ctx, kv))


async def _live(ctx: ProgramContext, registry: ServiceRegistry, view: ServiceView) -> None:
    """Be registered, and look who else is."""
    life = new_id(ctx)
    lost = 0

    def changed(is_registered: bool) -> None:
        nonlocal lost
        lost += not is_registered

    registration = registry.register(
        SERVICE, address=str(ctx.number), instance=life, metadata={"number": ctx.number}
    )
    registration.on_change(changed)
    async with registration, asyncio.TaskGroup() as tasks:
        tasks.create_task(_compare(ctx, registry, view, life))
        tasks.create_task(_record_life(ctx, registration, lambda: lost))


async def _record_life(
    ctx: ProgramContext, registration: Registration, lost: Callable[[], int]
) -> None:
    while True:
        at = ctx.client.runtime.seconds()
        if registration.is_registered:
            ctx.record("alive", at=at, life=registration.instance, lost=lost())
        await asyncio.sleep(ctx.random.uniform(0.05, 0.2))


def instances_json(instances: Iterable[Instance]) -> JsonValue:
    """Name and revision of instances, for a record."""
    return [[each.name, each.revision] for each in instances]


async def _follow(ctx: ProgramContext, view: ServiceView) -> None:
    """Record each change, and what the iterator makes of it."""
    watcher = new_id(ctx)
    changes = view.changes()
    async for change in changes:
        ctx.record(
            "change",
            at=ctx.client.runtime.seconds(),
            watcher=watcher,
            added=instances_json(change.added),
            removed=instances_json(change.removed),
            changed=instances_json(change.changed),
            instances=instances_json(changes.instances),
            revision=change.revision,
            skipped=change.skipped,
        )


async def _compare(
    ctx: ProgramContext, registry: ServiceRegistry, view: ServiceView, life: str
) -> None:
    """Record what the view shows, and what a read shows if nothing changes meanwhile."""
    seconds = ctx.client.runtime.seconds
    while True:
        began = seconds()
        shown = instances_json(await view.sync())
        ctx.record("synced", began=began, ended=seconds(), life=life, instances=shown)
        revision = view.revision
        read = instances_json(await registry.instances(SERVICE))
        await view.sync()
        # An instance that came and went between the two calls of `sync` may be in one read, and not in both.
        again = instances_json(await registry.instances(SERVICE))
        if view.revision == revision and again == read:
            ctx.record("read", instances=shown, read=read)
        await asyncio.sleep(ctx.random.uniform(0.1, 0.6))


async def _compete(ctx: ProgramContext, registry: ServiceRegistry) -> None:
    """Register the shared name again and again, for a short time."""
    while True:
        await _hold_shared_name(ctx, registry)
        await asyncio.sleep(ctx.random.uniform(0, 0.3))


async def _hold_shared_name(ctx: ProgramContext, registry: ServiceRegistry) -> None:
    holder = new_id(ctx)
    registration = registry.register(SERVICE, address=holder, instance=SHARED)

    def record(what: str) -> None:
        at = ctx.client.runtime.seconds()
        if registration.is_registered:
            ctx.record(what, at=at, holder=holder)

    registration.on_change(lambda is_registered: record("took") if is_registered else None)
    async with registration:
        for _ in range(ctx.random.randint(1, 8)):
            await asyncio.sleep(ctx.random.uniform(0.02, 0.2))
            record("shared")
