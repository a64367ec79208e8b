"""Clients that take turns with a lock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from qcore.client.programs.program_context import ClientProgram, ProgramContext
from qcore.kv import KeyValue
from qcore.recipes import LeaseLost, Lock
from tests.recipes.programs.holding.holder_records import record_acquired, record_held

TTL_S: Final = 1.5


def lock_program_of(make: Callable[[KeyValue], Lock], *, steps: int = 10) -> ClientProgram:
    """The program with another lock, or with work of more steps than 10 while it is held."""

    async def program(ctx: ProgramContext) -> None:
        lock = make(KeyValue(ctx.client))
        while True:
            try:
                async with lock as held:
                    record_acquired(ctx, held)
                    for _ in range(ctx.random.randint(1, steps)):
                        await asyncio.sleep(ctx.random.uniform(0.01, 0.2))
                        record_held(ctx, held)
            except LeaseLost as lost:
                ctx.record("lost", why=str(lost))
            await asyncio.sleep(ctx.random.uniform(0, 0.1))

    return program


async def lock_program(ctx: ProgramContext) -> None:
    """Take the lock again and again, and work while it is held."""
    await lock_program_of(lambda kv: Lock(kv, "shared", ttl_s=TTL_S))(ctx)
