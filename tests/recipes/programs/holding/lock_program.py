"""Clients that take turns with a lock."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

from qcore.client.programs.program_context import ClientProgram, ProgramContext
from qcore.kv import KeyValue
from qcore.recipes import Held, Lease, LeaseLost, Lock, NotAcquired
from tests.recipes.programs.holding.holder_records import record_acquired, record_held

TTL_S: Final = 1.5
#: Some calls of `acquire` wait at most so long, and some are cancelled within this time, seconds.
MAX_PATIENCE_S: Final = 1.0


def lock_program_of(make: Callable[[KeyValue], Lock], *, steps: int = 10) -> ClientProgram:
    """The program with another lock, or with work of more steps than 10 while it is held."""

    async def program(ctx: ProgramContext) -> None:
        await use_lock(ctx, make(KeyValue(ctx.client)), steps)

    return program


async def use_lock(ctx: ProgramContext, lock: Lock, steps: int = 10) -> None:
    """Take the lock again and again, and work while it is held."""
    while True:
        try:
            async with lock as held:
                await work(ctx, held, steps)
        except LeaseLost as lost:
            ctx.record("lost", why=str(lost))
        await asyncio.sleep(ctx.random.uniform(0, 0.1))


async def work(ctx: ProgramContext, held: Held, steps: int = 10) -> None:
    """Record the lock as acquired, and then as held for some time."""
    record_acquired(ctx, held)
    for _ in range(ctx.random.randint(1, steps)):
        await asyncio.sleep(ctx.random.uniform(0.01, 0.2))
        record_held(ctx, held)


async def lock_program(ctx: ProgramContext) -> None:
    """Three tasks that take the lock: one waits, one is impatient, and one shares a lease with other keys."""
    kv = KeyValue(ctx.client)
    lock = Lock(kv, "shared", ttl_s=TTL_S)
    async with asyncio.TaskGroup() as group:
        group.create_task(use_lock(ctx, lock))
        group.create_task(use_impatiently(ctx, lock))
        group.create_task(use_with_shared_lease(ctx, kv))


async def use_impatiently(ctx: ProgramContext, lock: Lock) -> None:
    """Take the lock with a time limit, or be cancelled. A ticket that stayed would keep all others waiting."""
    while True:
        try:
            held = await acquire_or_leave(ctx, lock)
            if held is not None:
                async with held:
                    await work(ctx, held, 3)
        except LeaseLost as lost:
            ctx.record("lost", why=str(lost))
        await asyncio.sleep(ctx.random.uniform(0, 1))


async def acquire_or_leave(ctx: ProgramContext, lock: Lock) -> Held | None:
    """Acquire the lock, or be in time to leave the line: None."""
    patience_s = ctx.random.uniform(0, MAX_PATIENCE_S)
    if ctx.random.random() < 0.5:
        with contextlib.suppress(NotAcquired):
            return await lock.acquire(timeout_s=patience_s)
        return None
    acquiring = asyncio.create_task(lock.acquire())
    try:
        await asyncio.wait([acquiring], timeout=patience_s)
    finally:
        acquiring.cancel()
    await asyncio.wait([acquiring])
    return None if acquiring.cancelled() else acquiring.result()


async def use_with_shared_lease(ctx: ProgramContext, kv: KeyValue) -> None:
    """Take the lock with a lease that lives on after each release, until it is lost."""
    while True:
        try:
            async with Lease(kv, ttl_s=TTL_S) as lease:
                lock = Lock(kv, "shared", lease=lease)
                while True:
                    held = await acquire_or_leave(ctx, lock)
                    if held is not None:
                        async with held:
                            await work(ctx, held, 3)
                    await asyncio.sleep(ctx.random.uniform(0, 1))
        except LeaseLost as lost:
            ctx.record("lost", why=str(lost))
        await asyncio.sleep(ctx.random.uniform(0, 0.1))
