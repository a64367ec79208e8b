"""Clients that read and write under a lock for many readers or one writer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from qcore.client.programs.program_context import ClientProgram, ProgramContext
from qcore.kv import KeyValue
from qcore.recipes import LeaseLost, RWLock
from tests.recipes.programs.holding.holder_records import record_acquired, record_held

TTL_S: Final = 1.5
#: How many readers a client has beside its writer: at most half of the holders should be alone.
_READERS: Final = 2


def rw_lock_program_of(make: Callable[[KeyValue], RWLock]) -> ClientProgram:
    """The program with another lock, such as one with a mistake."""

    async def program(ctx: ProgramContext) -> None:
        lock = make(KeyValue(ctx.client))
        async with asyncio.TaskGroup() as group:
            for _ in range(_READERS):
                group.create_task(_take_turns(ctx, lock, "read"))
            group.create_task(_take_turns(ctx, lock, "write"))

    return program


async def rw_lock_program(ctx: ProgramContext) -> None:
    """Take the lock again and again, for reading and for writing."""
    await rw_lock_program_of(lambda kv: RWLock(kv, "shared", ttl_s=TTL_S))(ctx)


async def _take_turns(ctx: ProgramContext, lock: RWLock, kind: str) -> None:
    while True:
        try:
            async with lock.read() if kind == "read" else lock.write() as held:
                record_acquired(ctx, held, kind=kind)
                for _ in range(ctx.random.randint(1, 4)):
                    await asyncio.sleep(ctx.random.uniform(0.01, 0.2))
                    record_held(ctx, held, kind=kind)
        except LeaseLost as lost:
            ctx.record("lost", why=str(lost))
        await asyncio.sleep(ctx.random.uniform(0, 0.3))
