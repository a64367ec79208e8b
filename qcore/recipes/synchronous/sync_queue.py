"""`SyncQueue`: `Queue` for programs without asyncio.

with SyncQueue(client, "mails", ttl_s=30) as queue:
    queue.put("to ada")
    with queue.take() as item:
        send(item.text)
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Self

from qcore.client.synchronous.sync_facade import (
    SyncFacade,
    sync_cleanup,
    sync_method,
)
from qcore.kv.kv_client import KeyValue
from qcore.recipes.lease import DEFAULT_MAX_DRIFT, DEFAULT_TTL_S
from qcore.recipes.queues.queue_items import QueueItem
from qcore.recipes.queues.work_queue import DeadLetter, Queue
from qcore.recipes.recipe_errors import LeaseLost
from qcore.recipes.synchronous.sync_claim import SyncClaim

if TYPE_CHECKING:
    from qcore.client.synchronous.sync_client import SyncClient


class SyncQueueItem(SyncClaim[QueueItem]):
    """An item that this program has claimed: see `QueueItem`.

    Nothing can stop the thread that works on it if the lease is lost. So call `check` before whatever must not happen
    twice at the same time.
    """

    acknowledge = sync_cleanup(QueueItem.acknowledge)
    reject = sync_cleanup(QueueItem.reject)
    give_back = sync_cleanup(QueueItem.give_back)

    @property
    def number(self) -> int:
        """See `QueueItem`."""
        return self._wrapped.number

    @property
    def data(self) -> bytes:
        """See `QueueItem`."""
        return self._wrapped.data

    @property
    def text(self) -> str:
        """See `QueueItem.text`."""
        return self._wrapped.text

    @property
    def attempt(self) -> int:
        """See `QueueItem`."""
        return self._wrapped.attempt

    @property
    def is_ended(self) -> bool:
        """See `QueueItem.is_ended`."""
        return self._wrapped.is_ended


class SyncQueue(SyncFacade[Queue]):
    """Each method is the method of `Queue` with the same name, run to its end. Many threads may use one `SyncQueue`.

    Args:
        client: a client, which the caller closes.
        name, ttl_s, max_attempts, max_drift: see `Queue`.

    Raises:
        ConfigError: an argument is out of its range.
    """

    def __init__(
        self,
        client: SyncClient,
        name: str,
        *,
        ttl_s: float = DEFAULT_TTL_S,
        max_attempts: int = 5,
        max_drift: float = DEFAULT_MAX_DRIFT,
    ) -> None:
        queue = Queue(
            KeyValue(client.asynchronous),
            name,
            ttl_s=ttl_s,
            max_attempts=max_attempts,
            max_drift=max_drift,
        )
        super().__init__(queue, client)

    put = sync_method(Queue.put)
    put_many = sync_method(Queue.put_many)
    close = sync_cleanup(Queue.close)
    size = sync_method(Queue.size)
    retry_dead = sync_method(Queue.retry_dead)
    delete_dead = sync_method(Queue.delete_dead)

    def dead_letters(self) -> Iterator[DeadLetter]:
        """See `Queue.dead_letters`."""
        return self._runner.iterate(self._wrapped.dead_letters())

    def receive(self, *, timeout_s: float | None = None) -> SyncQueueItem:
        """See `Queue.receive`."""
        item = self._runner.run(self._wrapped.receive(timeout_s=timeout_s), undo=_give_back)
        return SyncQueueItem(item, self._runner)

    def try_receive(self) -> SyncQueueItem | None:
        """See `Queue.try_receive`."""
        item = self._runner.run(self._wrapped.try_receive(), undo=_give_back)
        return None if item is None else SyncQueueItem(item, self._runner)

    def take(self, *, timeout_s: float | None = None) -> SyncTaking:
        """A context with the next item, which is acknowledged at its end; see `SyncTaking`."""
        return SyncTaking(self, timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


async def _give_back(item: QueueItem | None) -> None:
    """Give back an item that was claimed when Ctrl-C came."""
    if item is not None:
        with contextlib.suppress(LeaseLost):  # then it is free already
            await item.give_back()


class SyncTaking:
    """A context with the next item. Made by `SyncQueue.take`.

    At the end of the block the item is acknowledged, which raises `LeaseLost` if the claim has ended meanwhile. If the
    block raises an `Exception`, the item is rejected; if it raises another error, such as `KeyboardInterrupt`, the item
    is given back, which counts no attempt. Nothing stops the block if the lease is lost: see `SyncQueueItem`.

    Args:
        queue: the queue.
        timeout_s: see `Queue.receive`.
    """

    def __init__(self, queue: SyncQueue, timeout_s: float | None) -> None:
        self._queue = queue
        self._timeout_s = timeout_s
        self._items: list[SyncQueueItem] = []

    def __enter__(self) -> SyncQueueItem:
        """Wait for the item; raises as `Queue.receive`."""
        item = self._queue.receive(timeout_s=self._timeout_s)
        self._items.append(item)
        return item

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        item = self._items.pop()
        if item.is_ended:
            return
        if error is None:
            item.acknowledge()
            return
        # If the claim has ended, the item is free again. What goes on is the error of the block.
        with contextlib.suppress(LeaseLost):
            if isinstance(error, Exception):
                item.reject(error)
            else:
                item.give_back()  # the work did not fail
