"""`Queue`: items that programs put, and that other programs handle, each at least once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, Self

from qcore.errors import ConfigError, QcoreError
from qcore.kv.txn_parts import Condition, Delete, Put, Range
from qcore.recipes.checked_arguments import whole_number
from qcore.recipes.lease import DEFAULT_MAX_DRIFT, DEFAULT_TTL_S, Lease, LeaseGuard
from qcore.recipes.queues.queue_consumer import QueueConsumer
from qcore.recipes.queues.queue_keys import Marker, QueueKeys
from qcore.recipes.queues.queue_puts import QueuePuts
from qcore.recipes.recipe_errors import LeaseLost, NotAcquired, is_temporary
from qcore.recipes.retries import PAUSE_S, last_error_text
from qcore.time_limit import time_limit

if TYPE_CHECKING:
    from qcore.kv.kv_client import KeyValue
    from qcore.recipes.queues.queue_items import QueueItem


class DeadLetter(NamedTuple):
    """An item that no consumer could handle.

    Attributes:
        number: its number in the queue.
        data: what was put.
        attempts: how often it was claimed.
        reason: the reason of its last rejection, or that there was none.
    """

    number: int
    data: bytes
    attempts: int
    reason: str

    @property
    def text(self) -> str:
        """The data as text.

        Raises:
            UnicodeDecodeError: it is not UTF-8.
        """
        return self.data.decode()


class QueueSize(NamedTuple):
    """How many items are in a queue.

    Attributes:
        waiting: no consumer has them.
        claimed: a consumer has them.
        dead: the dead letters.
    """

    waiting: int
    claimed: int
    dead: int


class Queue:
    """A queue whose items stay until a consumer acknowledges them.

        async with Queue(kv, "mails", ttl_s=30) as queue:
            await queue.put("to ada")
            async with queue.take() as item:
                await send(item.text)  # acknowledged at the end; rejected if this raises

    **Guarantee.** A put that was confirmed is in the queue once. It stays there until a consumer's acknowledgement is
    confirmed or it has become a dead letter, and after that no consumer gets it. No two consumers have an item at the
    same time, as long as clocks differ in speed by less than `max_drift`. Each item is claimed at most `max_attempts`
    times. Consumers claim items in the order of the puts, and an item that comes back goes to its old place. So with
    one consumer, the items are handled in order, also after failures.

    An item is handled *at least* once: a consumer may do its work and lose the item before its acknowledgement. So let
    the work do no harm if it is done again, or let what it writes to compare `item.token`.

    - Disconnect: the client tries other nodes. If no keep-alive succeeds in time, the claims end: the tasks in `take`
      are cancelled with `LeaseLost`, and other consumers get the items.
    - Pause of the process: if it is longer than `ttl_s`, the same. `QueueItem.check` says so as soon as it runs.
    - Leader change: nothing is lost if it takes less than about two thirds of `ttl_s`. Puts go on behind it.
    - Expiry: another consumer gets the item at the earliest when this one has stopped by its clock.
    - Clock jump: without effect, because no wall clock is read.
    - End of the process without an acknowledgement: other consumers get its items after at most `ttl_s`.

    All claims of one `Queue` object depend on one lease. It is opened when the first item is taken, kept until `close`,
    and replaced when it was lost. Many tasks may use one `Queue`; items are then claimed one after another, and handled
    at the same time. Programs that only put need no lease and no `close`.

    Args:
        kv: the keys of the cluster.
        name: names the queue. Its keys are below `queue/NAME//`.
        ttl_s: how long an item stays claimed after its consumer has ended, seconds; see `Lease`.
        max_attempts: an item that was claimed so often becomes a dead letter in place of another attempt. Give the same
            number in all programs.
        max_drift: see `Lease`.
        lease: a lease to depend on, which the caller opens and closes. Then `ttl_s` and `max_drift` have no effect.

    Raises:
        ConfigError: an argument is out of its range.
    """

    def __init__(
        self,
        kv: KeyValue,
        name: str,
        *,
        ttl_s: float = DEFAULT_TTL_S,
        max_attempts: int = 5,
        max_drift: float = DEFAULT_MAX_DRIFT,
        lease: Lease | None = None,
    ) -> None:
        self.name = name
        self._kv = kv
        self._ttl_s = ttl_s
        self._max_attempts = whole_number("max_attempts", max_attempts, 1)
        self._max_drift = max_drift
        self._shared = lease
        self._keys = QueueKeys(name)
        self._puts = QueuePuts(kv, self._keys)
        #: Which task claims the next item.
        self._turn = asyncio.Lock()
        self._consumer: QueueConsumer | None = None
        self._is_closed = False
        if lease is None:
            self._new_lease()  # checks the arguments now

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    # -- puts ------------------------------------------------------------------------------------

    async def put(self, data: str | bytes, *, timeout_s: float | None = None) -> int:
        """Add an item to the end of the queue, and return its number. It tries until the cluster has confirmed it.

        Args:
            data: what consumers get. As JSON, with its number and its keys, it fits into a command: 1 MiB. So
                a text has somewhat less than that, with two bytes for each quotation mark, backslash and line end, and
                six for each other control character. Bytes that are no UTF-8 take a third more.
            timeout_s: how long to try, seconds; None for any time.

        Raises:
            NotAcquired: the time was over, and nothing was put.
            OutcomeUnknown: the time was over, or the cluster has compacted its history, and the item may be in the
                queue or not.
            ConfigError: the data is neither a text nor bytes.
            TooLarge: the data is too large; see above. Nothing was put.
            QcoreError: the cluster rejects the item.
        """
        return (await self._puts.put([data], timeout_s))[0]

    async def put_many(
        self, items: Sequence[str | bytes], *, timeout_s: float | None = None
    ) -> list[int]:
        """Add items to the end of the queue, all or none, one behind the other, and return their numbers.

        Args:
            items: at most 400. All together fit into a command, with about 250 bytes more for each; see `put`.
            timeout_s: see `put`.

        Raises:
            ConfigError: these are too many items, or one is neither a text nor bytes.
            NotAcquired, OutcomeUnknown, TooLarge, QcoreError: see `put`.
        """
        return await self._puts.put(items, timeout_s)

    # -- consumers -------------------------------------------------------------------------------

    def take(self, *, timeout_s: float | None = None) -> Taking:
        """A context with the next item, which is acknowledged at its end; see `Taking`.

        Args:
            timeout_s: see `receive`.
        """
        return Taking(self, timeout_s)

    async def receive(self, *, timeout_s: float | None = None) -> QueueItem:
        """Claim the first item that no consumer has. It waits also while the cluster cannot be reached.

        The caller ends the item with `QueueItem.acknowledge` or `QueueItem.reject`, and calls `QueueItem.check` before
        whatever must not happen twice at the same time. `take` does all this.

        Args:
            timeout_s: how long to wait, seconds; None for any time.

        Raises:
            NotAcquired: the time was over first.
            LeaseLost: the shared lease was lost.
            ConfigError: the queue is closed.
            QcoreError: the cluster rejects a request.
        """
        last_error: QcoreError | None = None
        try:
            async with time_limit(timeout_s), self._turn:
                while True:
                    try:
                        return await self._next()
                    except QcoreError as error:
                        self._check_open()
                        is_lost = isinstance(error, LeaseLost) and self._shared is None
                        if not (is_lost or is_temporary(error)):
                            raise
                        last_error = error
                        await asyncio.sleep(PAUSE_S)
        except TimeoutError:
            why = last_error_text(last_error)
            raise NotAcquired(
                f"queue {self.name} had no item within {timeout_s:g} s{why}"
            ) from None

    async def try_receive(self) -> QueueItem | None:
        """Claim the first item that no consumer has; None if there is none, or another task waits for one.

        Raises:
            LeaseLost: the lease was lost meanwhile.
            ConfigError: the queue is closed.
            QcoreError: the cluster did not answer in time, or rejects a request.
        """
        self._check_open()
        if self._turn.locked():
            return None
        async with self._turn:
            consumer = await self._open_consumer()
            async with consumer.lease.guard():
                return await consumer.next(wait=False)

    async def close(self) -> None:
        """End all claims of this object, so that other consumers get the items. May be called again.

        With a shared lease, the items stay claimed until they are ended, or the lease is.
        Tasks that wait for an item get a `ConfigError`. Puts are still possible.
        """
        self._is_closed = True
        consumer, self._consumer = self._consumer, None
        if consumer is not None and self._shared is None:
            await consumer.lease.close()

    # -- the state of the queue ------------------------------------------------------------------

    async def size(self) -> QueueSize:
        """How many items there are. It reads all keys of the waiting items, 10,000 with a request."""
        waiting = claimed = 0
        async for found in self._kv.items(self._keys.line, page_size=10_000, keys_only=True):
            if self._keys.read_line_key(found.key)[1]:
                claimed += 1
                waiting -= 1  # its item is counted, too
            else:
                waiting += 1
        dead = (await self._kv.range(Range(prefix=self._keys.dead, count_only=True))).count
        return QueueSize(waiting, claimed, dead)

    async def dead_letters(self) -> AsyncIterator[DeadLetter]:
        """The items that no consumer could handle, in the order of their numbers."""
        async for found in self._kv.items(self._keys.dead):
            marker = Marker.from_value(found.value)
            if marker is None:
                raise self._keys.foreign(found.key)
            number = self._keys.read_dead_key(found.key)
            data = await self._kv.get(self._keys.data(number))
            if data is not None:  # else it was deleted meanwhile
                yield DeadLetter(number, data.value, marker.attempts, marker.reason)

    async def retry_dead(self, number: int) -> bool:
        """Put a dead letter back to its old place in the queue, as if it had never been claimed.

        Returns whether there was such a dead letter.
        """
        letter = self._keys.dead_letter(number)
        fresh = Put(self._keys.item(number), Marker(0, "").to_text())
        return (await self._kv.txn([Condition.exists(letter)], [Delete(letter), fresh])).succeeded

    async def delete_dead(self, number: int) -> bool:
        """Delete a dead letter. Returns whether there was one."""
        letter = self._keys.dead_letter(number)
        gone = [Delete(letter), Delete(self._keys.data(number))]
        return (await self._kv.txn([Condition.exists(letter)], gone)).succeeded

    # -- its lease -------------------------------------------------------------------------------

    async def _next(self) -> QueueItem:
        consumer = await self._open_consumer()
        try:
            async with consumer.lease.guard():
                item = await consumer.next(wait=True)
        except LeaseLost:
            # The cluster may know that before the lease does, as after the restore of a backup.
            if self._consumer is consumer:
                self._consumer = None
            if self._shared is None:
                await consumer.lease.close()
            raise
        assert item is not None, "it waits until there is one"
        return item

    async def _open_consumer(self) -> QueueConsumer:
        """What claims items with a lease that is not lost."""
        self._check_open()
        before = self._consumer
        if before is not None and before.lease.lost is None:
            return before
        lease = self._shared
        if lease is None:
            self._consumer = None
            if before is not None:
                await before.lease.close()
            lease = self._new_lease()
            await lease.open()
            if self._is_closed:
                await lease.close()
                self._check_open()
        else:
            lease.check()
        self._consumer = QueueConsumer(self._kv, self._keys, lease, self._max_attempts)
        return self._consumer

    def _check_open(self) -> None:
        if self._is_closed:
            raise ConfigError(f"queue {self.name}: this Queue object is closed")

    def _new_lease(self) -> Lease:
        return Lease(self._kv, ttl_s=self._ttl_s, max_drift=self._max_drift)


class Taking:
    """A context with the next item. Made by `Queue.take`, for one use.

    At the end of the block the item is acknowledged. If the block raises an exception, the item is rejected with its
    text as the reason, and the exception goes on. If the block is cancelled or the program is to end, the item is given
    back, which counts no attempt: so it is after any error that is no `Exception`. If the lease is lost, the task is
    cancelled, and the context raises `LeaseLost` in place of the `CancelledError`.

    Args:
        queue: the queue.
        timeout_s: see `Queue.receive`.
    """

    def __init__(self, queue: Queue, timeout_s: float | None) -> None:
        self._queue = queue
        self._timeout_s = timeout_s
        self._item: QueueItem | None = None
        self._guard: LeaseGuard | None = None

    async def __aenter__(self) -> QueueItem:
        """Wait for the item, and guard the current task.

        Raises:
            NotAcquired, LeaseLost, ConfigError, QcoreError: see `Queue.receive`.
        """
        if self._guard is not None:
            raise ConfigError(f"queue {self._queue.name}: call take() for each item")
        item = await self._queue.receive(timeout_s=self._timeout_s)
        self._item, self._guard = item, item.lease.guard()
        await self._guard.__aenter__()
        return item

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._item is not None, "entered"
        assert self._guard is not None, "entered"
        await self._guard.__aexit__(kind, error, trace)
        if self._item.is_ended:
            return
        if error is None:
            await self._item.acknowledge()
            return
        # If the claim has ended, the item is free again; or what the block has begun goes on, and ends the item. What
        # goes on here is the error of the block.
        with contextlib.suppress(LeaseLost, ConfigError):
            if isinstance(error, Exception):
                await self._item.reject(error)
            else:
                await self._item.give_back()  # the work did not fail
