"""What the tests of recipes with real nodes share: empty keys, late answers, and waiting for a line."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

from qcore.kv import Condition, KeyValue, Put, TxnResult
from qcore.kv.kv_client import TextClient
from qcore.kv.txn_parts import TxnOperation
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


class LateAnswers(KeyValue):
    """Transactions take effect, and the answers to those with a lease come when `arrive` is set."""

    def __init__(self, client: TextClient) -> None:
        super().__init__(client)
        self.arrive = asyncio.Event()

    async def txn(
        self,
        conditions: Sequence[Condition],
        then: Sequence[TxnOperation] = (),
        otherwise: Sequence[TxnOperation] = (),
    ) -> TxnResult:
        done = await super().txn(conditions, then, otherwise)
        if any(isinstance(each, Put) and each.lease for each in then):
            await self.arrive.wait()
        return done
