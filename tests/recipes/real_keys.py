"""What the tests of recipes with real nodes share: empty keys, and waiting for a line."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from qcore.kv import KeyValue
from qcore.recipes import Participant
from qcore.testing import LocalCluster


@asynccontextmanager
async def empty_keys(cluster: LocalCluster) -> AsyncIterator[KeyValue]:
    """The keys of a cluster, none at first."""
    async with cluster.client() as client:
        kv = KeyValue(client)
        await kv.delete(prefix="")
        yield kv


async def line_of(line: Callable[[], Awaitable[list[Participant]]], length: int) -> list[str]:
    """The labels of a line when it is so long."""
    async with asyncio.timeout(30):
        while len(found := await line()) != length:  # noqa: ASYNC110 - it changes behind a socket
            await asyncio.sleep(0.01)
    return [each.label for each in found]
