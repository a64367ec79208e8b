"""Clients that wait for each other, round after round."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from qcore.client.programs.program_context import ClientProgram, ProgramContext
from qcore.kv import KeyValue
from qcore.recipes import Barrier, NotAcquired

TTL_S: Final = 1.5
#: Fewer than the tasks of all clients, so that a round does not wait for a client that is paused.
PARTIES: Final = 3
_TASKS: Final = 2
#: One of so many participants has not much time.
_HASTY: Final = 4


def barrier_program_of(make: Callable[[KeyValue], Barrier]) -> ClientProgram:
    """The program with another barrier, such as one with a mistake."""

    async def program(ctx: ProgramContext) -> None:
        barrier = make(KeyValue(ctx.client))
        async with asyncio.TaskGroup() as group:
            for _ in range(_TASKS):
                group.create_task(_pass_again_and_again(ctx, barrier))

    return program


async def barrier_program(ctx: ProgramContext) -> None:
    """Pass the barrier again and again."""
    await barrier_program_of(lambda kv: Barrier(kv, "shared", PARTIES, ttl_s=TTL_S))(ctx)


async def _pass_again_and_again(ctx: ProgramContext, barrier: Barrier) -> None:
    runtime = ctx.client.runtime
    while True:
        name = f"{ctx.number}-{runtime.seconds():.6f}-{ctx.random.getrandbits(64):016x}"
        is_hasty = ctx.random.randrange(_HASTY) == 0
        timeout_s = ctx.random.uniform(0.01, 0.5) if is_hasty else None
        ctx.record("arrived", at=runtime.seconds(), name=name, parties=PARTIES)
        try:
            number = await barrier.wait(timeout_s=timeout_s)
        except NotAcquired as error:
            is_known = "could not be found out" not in str(error)
            ctx.record("left", at=runtime.seconds(), name=name, is_known=is_known, why=str(error))
        else:
            ctx.record("passed", at=runtime.seconds(), name=name, round=number, parties=PARTIES)
        await asyncio.sleep(ctx.random.uniform(0.01, 0.3))
