"""Workers that run a job in each time slot, with and without another attempt."""

from __future__ import annotations

import asyncio
from typing import Final

from qcore.client.programs.program_context import ClientProgram, ProgramContext
from qcore.kv import KeyValue
from qcore.recipes import LeaseLost, RunOnce, SlotRun

TTL_S: Final = 1.5
EVERY_S: Final = 0.6
#: Short, so that the outcome of some requests is not known.
REQUEST_TIMEOUT_S: Final = 0.8


def run_once_program_of(*, retry: bool, catch_up: int = 0, long_runs: float = 0.2) -> ClientProgram:
    """A program with such a job.

    Args:
        retry, catch_up: see `RunOnce`.
        long_runs: the share of the runs that take longer than a slot.
    """

    async def run_once_program(ctx: ProgramContext) -> None:
        kv = KeyValue(ctx.client, timeout_s=REQUEST_TIMEOUT_S)
        run_once = RunOnce(kv, "shared", ttl_s=TTL_S, retry=retry, catch_up=catch_up, keep_slots=3)

        async def job(run: SlotRun) -> str:
            ctx.record("begun", slot=run.slot, token=run.token, attempt=run.attempt)
            record_run(ctx, "acquired", run)
            steps = 25 if ctx.random.random() < long_runs else ctx.random.randint(1, 4)
            for _ in range(steps):
                await asyncio.sleep(ctx.random.uniform(0.02, 0.1))
                record_run(ctx, "held", run)
            ctx.record("finishing", slot=run.slot, token=run.token)
            return f"by client {ctx.number}"

        while True:
            run = await run_once.wait_slot(every_s=EVERY_S)
            try:
                if ctx.random.random() < 0.5:
                    async with run:
                        run.result = await job(run)
                else:  # without the guard: it also tries to finish what it may have lost
                    try:
                        await job(run)
                    except LeaseLost as lost:
                        ctx.record("lost", why=str(lost))
                        ctx.record("finishing", slot=run.slot, token=run.token)
                    await run.finish()
                at = ctx.client.runtime.seconds()
                ctx.record("done", slot=run.slot, token=run.token, at=at)
            except LeaseLost as lost:
                ctx.record("lost", why=str(lost))
            finally:
                await run.abandon()

    return run_once_program


run_once_program = run_once_program_of(retry=True)


def record_run(ctx: ProgramContext, what: str, run: SlotRun) -> None:
    """Record that the program runs the job. The order matters: see `record_held`."""
    at = ctx.client.runtime.seconds()
    run.check()
    ctx.record(what, at=at, token=run.token, slot=run.slot)
