"""Workers of which one leads, and all observe who does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from qcore.client.programs.program_context import ClientProgram, ProgramContext
from qcore.kv import KeyValue
from qcore.recipes import Held, LeaderElection
from tests.recipes.programs.holding.holder_records import record_acquired, record_held

TTL_S: Final = 1.5


def election_program_of(make: Callable[[KeyValue, str], LeaderElection]) -> ClientProgram:
    """The program with another election, such as one with a mistake."""

    async def program(ctx: ProgramContext) -> None:
        election = make(KeyValue(ctx.client), f"worker-{ctx.number}")
        async with asyncio.TaskGroup() as group:
            group.create_task(_campaign(ctx, election))
            group.create_task(_observe(ctx, election))

    return program


async def election_program(ctx: ProgramContext) -> None:
    """Campaign again and again, lead for a while, and resign; and observe."""
    await election_program_of(
        lambda kv, name: LeaderElection(kv, "shared", candidate=name, ttl_s=TTL_S)
    )(ctx)


async def _campaign(ctx: ProgramContext, election: LeaderElection) -> None:
    async def serve(leadership: Held) -> None:
        for _ in range(ctx.random.randint(1, 10)):
            await asyncio.sleep(ctx.random.uniform(0.01, 0.2))
            record_held(ctx, leadership)

    while True:
        await election.run(
            serve,
            on_elected=lambda leadership: record_acquired(ctx, leadership),
            on_lost=lambda lost: ctx.record("lost", why=str(lost)),
        )
        await asyncio.sleep(ctx.random.uniform(0, 0.1))


async def _observe(ctx: ProgramContext, election: LeaderElection) -> None:
    begun = ctx.client.runtime.seconds()
    async for leader in election.observe():
        at = ctx.client.runtime.seconds()
        if leader is not None:
            ctx.record("observed", at=at, token=leader.token, label=leader.label, begun=begun)
