"""A client of a real cluster that counts requests, and can lose the answers of writes, reject or fail requests."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from qcore.client import Client
from qcore.client.methods.call_options import Consistency
from qcore.client.watching.changes import MachineChange, WatchPosition
from qcore.client.watching.watch import Watch
from qcore.errors import OutcomeUnknown, StoreError, TransportError
from qcore.runtime.interface import Runtime


class CountedClient:
    """What `KeyValue` needs of a client, on top of a real one.

    Args:
        client: the real client.

    Attributes:
        requests: the texts of all requests.
        watches: all watches.
        is_down: every request fails before it is sent.
        rejection: with this error every transaction is rejected before it is sent.
        after_loss: awaited after an answer was lost.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._losses = 0
        self.requests: list[str] = []
        self.watches: list[Watch[MachineChange]] = []
        self.is_down = False
        self.rejection: StoreError | None = None
        self.after_loss: Callable[[], Awaitable[object]] | None = None

    @property
    def runtime(self) -> Runtime:
        """That of the real client."""
        return self._client.runtime

    def lose_answers(self, number: int) -> None:
        """The answers of the next transactions get lost, after these have taken effect."""
        self._losses = number

    def count_of(self, part: str) -> int:
        """How many requests have a text in them."""
        return sum(part in request for request in self.requests)

    async def execute(
        self,
        command: str,
        *,
        read: bool = False,
        consistency: Consistency | None = None,
        timeout_s: float | None = None,
    ) -> str:
        """See `Client.execute`."""
        if self.is_down:
            raise TransportError("the network is down, for a test")
        if self.rejection is not None and '"op": "txn"' in command:
            raise self.rejection
        self.requests.append(command)
        answer = await self._client.execute(
            command, read=read, consistency=consistency, timeout_s=timeout_s
        )
        if self._losses and '"op": "txn"' in command:
            self._losses -= 1
            if self.after_loss is not None:
                await self.after_loss()
            raise OutcomeUnknown("the answer got lost, for a test")
        return answer

    def watch(
        self,
        *,
        topic: str,
        after: WatchPosition | tuple[int, int] | None = None,
        timeout_s: float | None = None,
    ) -> Watch[MachineChange]:
        """See `Client.watch`."""
        watch = self._client.watch(topic=topic, after=after, timeout_s=timeout_s)
        self.watches.append(watch)
        return watch

    async def waits_for_change(self) -> None:
        """Wait until a program waits for the next change of the last watch."""
        while not (self.watches and self.watches[-1]._waiter is not None):  # noqa: ASYNC110 - behind a socket
            await asyncio.sleep(0.01)

    async def resume_watch(self) -> None:
        """Wait until a program waits for the next change of the last watch, and let that seem resumed.

        Returns when a program has sent another request since then.
        """
        async with asyncio.timeout(30):
            await self.waits_for_change()
            before = len(self.requests)
            self.watches[-1]._is_resumed = True
            self.watches[-1]._wake()
            while len(self.requests) == before:  # noqa: ASYNC110 - another task sends them
                await asyncio.sleep(0.01)
