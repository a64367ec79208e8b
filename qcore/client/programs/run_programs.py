"""`run_programs`: runs client programs against real nodes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from random import Random

from qcore.client.client import Client
from qcore.client.programs.program_context import ClientProgram, ProgramContext, ProgramRecord


async def run_programs(
    program: ClientProgram, endpoints: Sequence[str], *, clients: int = 1, seed: int = 1
) -> list[ProgramRecord]:
    """Run a program with several clients at the same time, each with its own `Client`, until all have ended.

    Args:
        program: the client program.
        endpoints: `host:port` of some nodes.
        clients: how many clients.
        seed: seeds `ProgramContext.random`.

    Returns:
        What the programs recorded, in the order of the records.

    Raises:
        BaseExceptionGroup: some programs raised an error; the others were cancelled.
    """
    records: list[ProgramRecord] = []

    async def run(number: int) -> None:
        rng = Random(f"{seed}/{number}")
        context = ProgramContext(
            number,
            clients,
            Client(endpoints),
            rng,
            records.append,
            lambda credentials: Client(endpoints, credentials=credentials),
        )
        try:
            await program(context)
        finally:
            await context.close()

    async with asyncio.TaskGroup() as group:
        for number in range(1, clients + 1):
            group.create_task(run(number))
    return records
