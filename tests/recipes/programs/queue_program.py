"""Clients that put items into a queue and handle them. One of them also reads the queue from time to time."""

from __future__ import annotations

import asyncio
from typing import Final

from qcore.client.programs.program_context import ProgramContext
from qcore.errors import OutcomeUnknown, QcoreError
from qcore.kv import KeyValue
from qcore.recipes import LeaseLost, NotAcquired, Queue, QueueItem

TTL_S: Final = 1.5
MAX_ATTEMPTS: Final = 3
NAME: Final = "shared"
#: Short, so that the outcome of some requests is not known.
REQUEST_TIMEOUT_S: Final = 0.8
#: The client that reads the queue.
READER: Final = 1


class WorkRefused(Exception):
    """The program fails to handle an item, on purpose."""


async def queue_program(ctx: ProgramContext) -> None:
    """Put and handle items without end."""
    kv = KeyValue(ctx.client, timeout_s=REQUEST_TIMEOUT_S)
    async with (
        Queue(kv, NAME, ttl_s=TTL_S, max_attempts=MAX_ATTEMPTS) as queue,
        asyncio.TaskGroup() as group,
    ):
        group.create_task(put_items(ctx, queue))
        group.create_task(take_items(ctx, queue))
        group.create_task(receive_items(ctx, queue))
        if ctx.number == READER:
            group.create_task(read_queue(ctx, kv))


async def put_items(ctx: ProgramContext, queue: Queue) -> None:
    """Put one item or a few, with data that no other item has."""
    began = f"{ctx.number}-{ctx.client.runtime.seconds():.6f}"
    count = 0
    while True:
        items = [
            f"{began}-{(count := count + 1)}" for _ in range(ctx.random.choice([1, 1, 1, 2, 3]))
        ]
        ctx.record("putting", items=[*items])
        try:
            if len(items) == 1:
                numbers = [await queue.put(items[0], timeout_s=3)]
            else:
                numbers = await queue.put_many(items, timeout_s=3)
        except NotAcquired:
            ctx.record("not_put", items=[*items])
        except OutcomeUnknown:
            ctx.record("perhaps_put", items=[*items])
        else:
            at = ctx.client.runtime.seconds()
            ctx.record("put", items=[*items], numbers=[*numbers], at=at)
        await asyncio.sleep(ctx.random.uniform(0.05, 0.6))


async def take_items(ctx: ProgramContext, queue: Queue) -> None:
    """Handle items in the context that ends them. Sometimes that fails."""
    while True:
        item: QueueItem | None = None
        try:
            async with queue.take() as item:
                record_item(ctx, "acquired", item)
                try:
                    await work(ctx, item)
                except asyncio.CancelledError:
                    if item.lost is None:  # else its lease has ended
                        ctx.record("cancelled", number=item.number, token=item.token)
                    raise
                if ctx.random.random() < 0.15:
                    raise WorkRefused
                ctx.record("acknowledging", number=item.number, token=item.token)
            record_acknowledged(ctx, item)
        except WorkRefused:
            assert item is not None, "the block was entered"
            ctx.record("rejected", number=item.number, token=item.token)
        except LeaseLost as lost:
            ctx.record("lost", why=str(lost))


async def receive_items(ctx: ProgramContext, queue: Queue) -> None:
    """Handle items without the context, and acknowledge them also if they may be lost."""
    while True:
        try:
            item = await queue.receive(timeout_s=ctx.random.choice([0.02, 0.5, None]))
        except NotAcquired:
            continue
        try:
            record_item(ctx, "acquired", item)
            await work(ctx, item)
        except LeaseLost as lost:
            ctx.record("lost", why=str(lost))
        try:
            ctx.record("acknowledging", number=item.number, token=item.token)
            await item.acknowledge()
            record_acknowledged(ctx, item)
        except LeaseLost as lost:
            ctx.record("lost", why=str(lost))


async def work(ctx: ProgramContext, item: QueueItem) -> None:
    """Handle an item, for some time.

    Raises:
        LeaseLost: another consumer may have the item.
    """
    for _ in range(ctx.random.randint(1, 3)):
        await asyncio.sleep(ctx.random.uniform(0.01, 0.15))
        record_item(ctx, "held", item)


def record_item(ctx: ProgramContext, what: str, item: QueueItem) -> None:
    """Record that the program has the item. The order matters: see `record_held`."""
    at = ctx.client.runtime.seconds()
    item.check()
    ctx.record(
        what,
        at=at,
        token=item.token,
        number=item.number,
        attempt=item.attempt,
        item=item.text,
    )


def record_acknowledged(ctx: ProgramContext, item: QueueItem) -> None:
    """Record that the acknowledgement was confirmed."""
    at = ctx.client.runtime.seconds()
    ctx.record("acknowledged", number=item.number, token=item.token, at=at)


async def read_queue(ctx: ProgramContext, kv: KeyValue) -> None:
    """Record which items are in the queue or dead, as of one revision, by the keys themselves."""
    while True:
        await asyncio.sleep(0.7)
        at = ctx.client.runtime.seconds()
        try:
            keys = [
                found.key.decode()
                async for found in kv.items(f"queue/{NAME}//", keys_only=True, page_size=5000)
            ]
        except QcoreError:
            continue
        ctx.record(
            "read",
            at=at,
            waiting=[int(key.split("/")[-2]) for key in keys if key.endswith("/item")],
            dead=[int(key.split("/")[-1]) for key in keys if "//dead/" in key],
        )
