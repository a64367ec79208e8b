"""`QueueConsumer`: how a program finds and claims the next item, with one lease for all its claims.

A consumer that finds nothing watches the line. If many wait, each new item wakes all of them, and all would try to
claim it. So a consumer that has come too late waits for a random time before its next attempt, and sees meanwhile if
another one has the item. The time doubles with each attempt that comes too late, and halves with each claim. So about
one attempt for each item comes too late, however many consumers wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from qcore.errors import LeaseNotFound, QcoreError
from qcore.kv.key_values import Page, TxnResult
from qcore.kv.txn_parts import Condition, Delete, Put, Range, Txn, TxnOperation
from qcore.recipes.key_reads import page_of_txn, read_again_when_resumed
from qcore.recipes.queues.queue_items import Claimed, QueueItem
from qcore.recipes.queues.queue_keys import Marker, QueueKeys
from qcore.recipes.queues.queue_line import FreeItem, QueueLine
from qcore.recipes.recipe_errors import LeaseLost, is_temporary
from qcore.recipes.retries import PAUSE_S, delete_until_lost
from qcore.time_limit import time_limit

if TYPE_CHECKING:
    from qcore.kv.key_watches import KeyWatch
    from qcore.kv.kv_client import KeyValue
    from qcore.recipes.lease import Lease

#: One transaction claims the first of so many items that is still free. A transaction nests 8 deep.
_CHOICES: Final = 6
#: The random time before an attempt to claim is below this, seconds. It begins with the first attempt that is too late.
_FIRST_SPREAD_S: Final = 0.005
_MAX_SPREAD_S: Final = 0.5
_ITS_ATTEMPTS: Final = (
    "each of its attempts ended without an acknowledgement and without a rejection"
)


class QueueConsumer:
    """Claims items, one after another.

    All attempts to claim change one key of the consumer, on the condition that it is as the last claim left it. So if
    the outcome of an attempt is not known, another change of that key ends it, or shows which item it has claimed.

    Args:
        kv, keys: where the queue is.
        lease: an open lease. It deletes the claims when it ends.
        max_attempts: see `Queue`.

    Attributes:
        lease: the lease.
    """

    def __init__(self, kv: KeyValue, keys: QueueKeys, lease: Lease, max_attempts: int) -> None:
        self.lease = lease
        self._kv = kv
        self._keys = keys
        self._max_attempts = max_attempts
        self._random = kv.runtime.new_rng()
        self._name = lease.new_name()
        self._taker = keys.taker(self._name)
        #: The `mod_revision` of `_taker`, as the last claim left it.
        self._taken = 0
        #: The items that an attempt may have claimed of which no caller knows yet, by number.
        self._tried: dict[int, FreeItem] = {}
        self._settling: asyncio.Task[None] | None = None
        self._spread_s = 0.0

    async def next(self, *, wait: bool) -> QueueItem | None:
        """Claim the first free item. One task at a time may call this.

        Args:
            wait: if there is none, wait for one; else return None.

        Raises:
            LeaseLost: the lease has ended.
            QcoreError: the cluster did not answer in time, or rejects a request. The same may be called again.
        """
        if self._settling is None and self._tried:
            self._settling = self.lease.run(self._settle())  # the last attempt to settle has failed
        if self._settling is not None:
            await asyncio.wait([self._settling])
            settling, self._settling = self._settling, None
            settling.result()
        try:
            item = await self._next(wait)
            # Only now: a task that is cancelled while it closes its watch does not return what it has claimed.
            self._tried = {}
            if item is not None:
                self._taken = item.token
            return item
        finally:
            if self._tried:
                self._settling = self.lease.run(self._settle())

    async def close(self) -> None:
        """Delete the key of the consumer, which makes an end of attempts to claim. It tries until the lease is lost.

        The items that it has claimed stay claimed.
        """
        if self._settling is not None:
            await asyncio.wait([self._settling])
        await delete_until_lost(self._kv, self._taker, self.lease)

    async def _next(self, wait: bool) -> QueueItem | None:
        while True:
            line = await QueueLine.read(self._kv, self._keys)
            if not line.has_free:
                break
            claimed = await self._claim(line)
            if claimed is not None:
                return self._item(claimed)
            await asyncio.sleep(self._random.uniform(0, self._spread_s))
        return self._item(await self._wait(line)) if wait else None

    async def _wait(self, line: QueueLine) -> Claimed:
        """Wait for an item, from a line without a free one on."""
        watch = self._kv.watch(prefix=self._keys.line, from_revision=line.revision + 1)
        async with read_again_when_resumed(watch) as changes:
            while True:
                line.change(await changes.next_change())
                if line.has_free:
                    await self._hesitate(line, changes)
                if line.has_free:
                    claimed = await self._claim(line)
                    if claimed is not None:
                        return claimed
                    # Something has changed that the line does not show yet. The watch will say what.

    async def _hesitate(self, line: QueueLine, changes: KeyWatch) -> None:
        """Let some time pass, and see what changes meanwhile."""
        if not self._spread_s:
            return
        try:
            async with time_limit(self._random.uniform(0, self._spread_s)):
                while True:
                    line.change(await changes.next_change())
        except TimeoutError:
            pass

    async def _claim(self, line: QueueLine) -> Claimed | None:
        """Claim the first free item of a line; None if other consumers have come first to all that were tried."""
        free = line.free(_CHOICES)
        tired = [each for each in free if each.marker.attempts >= self._max_attempts]
        for each in tired:
            await self._bury(each)
        fresh = [each for each in free if each not in tired]
        if not fresh:
            return None
        claimed = await self._try(fresh)
        if claimed is None:
            self._spread_s = min(max(2 * self._spread_s, _FIRST_SPREAD_S), _MAX_SPREAD_S)
        else:
            self._spread_s /= 2
        return claimed

    async def _try(self, free: Sequence[FreeItem]) -> Claimed | None:
        choices: tuple[TxnOperation, ...] = ()
        for each in reversed(free):
            choices = (Txn(self._is_free(each), self._take(each), choices),)
        self._tried = {each.number: each for each in free}
        done = await self._txn(choices)
        if not done.succeeded:  # the key of this consumer is gone
            raise self._lease_ended()
        inner = done.results[0]
        for each in free:
            assert isinstance(inner, TxnResult), "one transaction for each item"
            if inner.succeeded:
                data = page_of_txn(inner, len(inner.results) - 1)
                if not data.kvs:
                    raise self._keys.foreign(self._keys.data(each.number))
                return self._claimed(each, data.kvs[0].value, done.revision)
            inner = inner.results[0] if inner.results else None
        self._tried = {}
        return None

    async def _settle(self) -> None:
        """After an attempt of unknown outcome: see to it that it takes no effect, or make free what it has claimed.

        It tries until the lease is lost.
        """
        while self.lease.lost is None:
            try:
                done = await self._txn([Put(self._taker, "", self.lease.lease_id)])
                if done.succeeded:
                    self._taken = done.revision
                else:
                    await self._read_taken(page_of_txn(done, 0))
            except LeaseLost:
                return
            except QcoreError as error:
                if not is_temporary(error):
                    raise
                await asyncio.sleep(PAUSE_S)
            else:
                self._tried = {}
                return

    async def _read_taken(self, page: Page) -> None:
        """Make free what an attempt to claim has claimed."""
        if not page.kvs:
            raise self._lease_ended()
        taker = page.kvs[0]
        self._taken = taker.mod_revision
        if taker.value:  # else an attempt to settle has changed it
            claimed = self._claimed(self._tried[int(taker.value)], b"", taker.mod_revision)
            await self._item(claimed).give_back()

    async def _txn(self, parts: Sequence[TxnOperation]) -> TxnResult:
        """Do something if the key of this consumer is as its last claim has left it; else read it."""
        is_as_left = Condition.number("mod_revision", self._taker, "=", self._taken)
        try:
            return await self._kv.txn([is_as_left], parts, [Range(self._taker)])
        except LeaseNotFound as error:
            raise self._lease_ended() from error

    async def _bury(self, item: FreeItem) -> None:
        """Make an item a dead letter, because it has had all its attempts."""
        marker = Marker(item.marker.attempts, item.marker.reason or _ITS_ATTEMPTS)
        letter = Put(self._keys.dead_letter(item.number), marker.to_text())
        await self._kv.txn(self._is_free(item), [letter, Delete(self._keys.item(item.number))])

    def _is_free(self, item: FreeItem) -> list[Condition]:
        """Every claim and every rejection changes the key of the item. So while that is as seen, no consumer has it."""
        return [Condition.number("mod_revision", self._keys.item(item.number), "=", item.revision)]

    def _take(self, item: FreeItem) -> list[TxnOperation]:
        """In this order: a watch of the line never shows the item without its claim."""
        lease_id = self.lease.lease_id
        return [
            Put(self._keys.claim(item.number), self._name, lease_id),
            Put(self._keys.item(item.number), self._marker_after(item).to_text()),
            Put(self._taker, str(item.number), lease_id),
            Range(self._keys.data(item.number)),
        ]

    def _marker_after(self, item: FreeItem) -> Marker:
        return Marker(item.marker.attempts + 1, item.marker.reason)

    def _claimed(self, item: FreeItem, data: bytes, token: int) -> Claimed:
        return Claimed(item.number, data, self._marker_after(item), token)

    def _lease_ended(self) -> LeaseLost:
        return LeaseLost(f"the cluster has ended lease {self.lease.lease_id}")

    def _item(self, claimed: Claimed) -> QueueItem:
        return QueueItem(self._kv, self._keys, self.lease, claimed, self._max_attempts)
