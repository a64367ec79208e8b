"""Clients that count together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from qcore.client.programs.program_context import ClientProgram, ProgramContext
from qcore.errors import OutcomeUnknown, QcoreError
from qcore.kv import KeyValue
from qcore.recipes import Counter, NotAcquired
from qcore.recipes.recipe_errors import is_temporary

#: There is no lease. A drill pauses its workers for longer than this.
TTL_S: Final = 1.5
#: A request has so little time that many end without an answer, seconds.
REQUEST_S: Final = 0.3
_HASTY: Final = 5


def counter_program_of(make: Callable[[KeyValue], Counter]) -> ClientProgram:
    """The program with another counter, such as one with a mistake."""

    async def program(ctx: ProgramContext) -> None:
        counter = make(KeyValue(ctx.client, timeout_s=REQUEST_S))
        async with asyncio.TaskGroup() as group:
            group.create_task(_add(ctx, counter))
            group.create_task(_read(ctx, counter))

    return program


async def counter_program(ctx: ProgramContext) -> None:
    """Add 1 again and again, and read."""
    await counter_program_of(lambda kv: Counter(kv, "shared"))(ctx)


async def _add(ctx: ProgramContext, counter: Counter) -> None:
    runtime = ctx.client.runtime
    while True:
        is_hasty = ctx.random.randrange(_HASTY) == 0
        timeout_s = ctx.random.uniform(0.02, 1) if is_hasty else None
        began = runtime.seconds()
        ctx.record("adding", at=began)
        try:
            value = await counter.add(timeout_s=timeout_s)
        except NotAcquired:
            ctx.record("added nothing", at=runtime.seconds())
        except OutcomeUnknown as error:
            ctx.record("unknown", at=runtime.seconds(), why=str(error))
        else:
            ctx.record("added", at=runtime.seconds(), began=began, value=value)
        await asyncio.sleep(ctx.random.uniform(0, 0.2))


async def _read(ctx: ProgramContext, counter: Counter) -> None:
    runtime = ctx.client.runtime
    while True:
        began = runtime.seconds()
        try:
            value = await counter.get()
        except QcoreError as error:
            if not is_temporary(error):
                raise
        else:
            ctx.record("read", at=runtime.seconds(), began=began, value=value)
        await asyncio.sleep(ctx.random.uniform(0.1, 0.5))
