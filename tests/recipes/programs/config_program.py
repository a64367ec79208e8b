"""Clients that count in one configuration together, and watch it with two iterators each."""

from __future__ import annotations

import asyncio
from typing import Final

from pydantic import BaseModel

from qcore.client.programs.program_context import ProgramContext
from qcore.errors import OutcomeUnknown
from qcore.kv import KeyValue
from qcore.recipes.views.config_watch import ConfigWatch
from tests.recipes.programs.compacting import compact_now_and_then
from tests.recipes.programs.new_ids import new_id

#: Short, so that the outcome of a write is unknown now and then.
REQUEST_S: Final = 0.6
KEY: Final = "config/count"
#: There are no leases, but a drill pauses workers for about so long.
TTL_S: Final = 1.5


class Count(BaseModel):
    """A configuration whose versions have consecutive numbers.

    Attributes:
        number: the number of this version.
        update: names the update that made it.
    """

    number: int
    update: str


#: Makes the watch of a client. A planted mistake makes another one.
WATCH: Final = ConfigWatch[Count]


async def config_program(ctx: ProgramContext, make: type[ConfigWatch[Count]] = WATCH) -> None:
    """Count, watch, and ask for the newest value, without end."""
    kv = KeyValue(ctx.client, timeout_s=REQUEST_S)
    config = make(kv, KEY, Count, default=Count(number=0, update=""), sync_every_s=2)
    watcher = new_id(ctx)
    async with config, asyncio.TaskGroup() as tasks:
        tasks.create_task(_follow(ctx, config, f"{watcher}/quick", 0))
        tasks.create_task(_follow(ctx, config, f"{watcher}/slow", 0.3))
        tasks.create_task(_sync(ctx, config))
        tasks.create_task(_count(ctx, config))
        if ctx.number == 1:
            tasks.create_task(compact_now_and_then(ctx, kv))


async def _follow(
    ctx: ProgramContext, config: ConfigWatch[Count], watcher: str, pause_s: float
) -> None:
    changes = config.changes()
    ctx.record("began", watcher=watcher, value=config.value.number, revision=config.revision)
    async for change in changes:
        ctx.record(
            "change",
            watcher=watcher,
            value=None if change.value is None else change.value.number,
            update=None if change.value is None else change.value.update,
            previous=None if change.previous is None else change.previous.number,
            revision=change.revision,
            skipped=change.skipped,
        )
        await asyncio.sleep(ctx.random.uniform(0, pause_s))


async def _sync(ctx: ProgramContext, config: ConfigWatch[Count]) -> None:
    while True:
        began = ctx.client.runtime.seconds()
        value = await config.sync()
        ctx.record("synced", began=began, value=value.number, revision=config.revision)
        await asyncio.sleep(ctx.random.uniform(0.1, 1))


async def _count(ctx: ProgramContext, config: ConfigWatch[Count]) -> None:
    def add(count: Count) -> Count:
        return Count(number=count.number + 1, update=update)

    while True:
        update = new_id(ctx)
        try:
            done = await config.update(add)
        except OutcomeUnknown:  # the history that would say it was compacted
            ctx.record("unknown")
        else:
            ctx.record("written", at=ctx.client.runtime.seconds(), value=done.number, update=update)
        await asyncio.sleep(ctx.random.uniform(0, 0.4))
