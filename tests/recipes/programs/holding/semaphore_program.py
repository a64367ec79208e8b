"""Clients that share a few permits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from qcore.client.programs.program_context import ClientProgram, ProgramContext
from qcore.kv import KeyValue
from qcore.recipes import LeaseLost, Semaphore
from tests.recipes.programs.holding.holder_records import record_acquired, record_held

TTL_S: Final = 1.5
PERMITS: Final = 3
#: How many tasks of a client want a permit.
_TASKS: Final = 2


def semaphore_program_of(make: Callable[[KeyValue], Semaphore]) -> ClientProgram:
    """The program with another semaphore, such as one with a mistake."""

    async def program(ctx: ProgramContext) -> None:
        semaphore = make(KeyValue(ctx.client))
        async with asyncio.TaskGroup() as group:
            for _ in range(_TASKS):
                group.create_task(_take_turns(ctx, semaphore))

    return program


async def semaphore_program(ctx: ProgramContext) -> None:
    """Take a permit again and again."""
    await semaphore_program_of(lambda kv: Semaphore(kv, "shared", PERMITS, ttl_s=TTL_S))(ctx)


async def _take_turns(ctx: ProgramContext, semaphore: Semaphore) -> None:
    while True:
        try:
            async with semaphore as held:
                record_acquired(ctx, held, permits=PERMITS)
                for _ in range(ctx.random.randint(1, 4)):
                    await asyncio.sleep(ctx.random.uniform(0.01, 0.3))
                    record_held(ctx, held, permits=PERMITS)
        except LeaseLost as lost:
            ctx.record("lost", why=str(lost))
        await asyncio.sleep(ctx.random.uniform(0, 0.1))
