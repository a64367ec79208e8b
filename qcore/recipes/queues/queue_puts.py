"""`QueuePuts`: how a program adds items to the end of a queue, each once.

The last number of the queue is the value of one key. A put changes it on the condition that it is as it was read. So
if the outcome of an attempt is not known, the same attempt may be sent again: at most one takes effect. If the key has
changed meanwhile, the history says who changed it first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from qcore.errors import (
    ConfigError,
    OutcomeUnknown,
    QcoreError,
    RevisionCompacted,
    WatchCompacted,
)
from qcore.kv.key_values import Page
from qcore.kv.txn_parts import Condition, Put, Range, TxnOperation
from qcore.recipes.checked_arguments import shown
from qcore.recipes.key_reads import page_of_txn
from qcore.recipes.queues.queue_keys import Marker, QueueKeys
from qcore.recipes.recipe_errors import NotAcquired, is_temporary
from qcore.recipes.retries import PAUSE_S, RandomPauses, last_error_text
from qcore.time_limit import time_limit

if TYPE_CHECKING:
    from qcore.kv.kv_client import KeyValue

#: So many items one transaction may add: it has at most 1,000 parts.
MAX_ITEMS: Final = 400


class _Tail(NamedTuple):
    """The end of the queue.

    Attributes:
        number: of the last item; 0 if there never was one.
        changed: the revision that added it.
        seen: the newest revision at which it was known to be so.
    """

    number: int
    changed: int
    seen: int


class QueuePuts:
    """Adds items. One put at a time goes to the cluster.

    Args:
        kv, keys: where the queue is.
    """

    def __init__(self, kv: KeyValue, keys: QueueKeys) -> None:
        self._kv = kv
        self._keys = keys
        self._random = kv.runtime.new_rng()
        self._turn = asyncio.Lock()
        #: As this program has seen it last.
        self._tail: _Tail | None = None

    async def put(self, items: Sequence[str | bytes], timeout_s: float | None) -> list[int]:
        """Add items, all or none, and return their numbers. See `Queue.put_many`."""
        if len(items) > MAX_ITEMS:
            raise ConfigError(
                f"{len(items)} items are more than the {MAX_ITEMS} that one transaction can add: call put_many for "
                "parts of them"
            )
        if isinstance(items, str | bytes):
            raise ConfigError("items: this is one item: call put, or give a list of items")
        for each in items:
            if not isinstance(each, str | bytes):
                raise ConfigError(f"the item {shown(each)} is neither a text nor bytes: encode it")
        if not items:
            return []
        put = _Put(self, items, f"{self._random.getrandbits(96):024x}")
        try:
            async with time_limit(timeout_s), self._turn:
                return await put.run()
        except TimeoutError:
            why = last_error_text(put.last_error)
            what = f"queue {self._keys.name} did not confirm the put within {timeout_s:g} s{why}"
            if put.is_sent:
                raise OutcomeUnknown(f"{what}. It may still take effect") from None
            raise NotAcquired(f"{what}. Nothing was put") from None

    async def tail(self) -> _Tail:
        """The end of the queue, as far as this program knows."""
        if self._tail is None:
            self._tail = self._read(await self._kv.range(Range(self._keys.tail)))[0]
        return self._tail

    async def append(
        self, tail: _Tail, put_id: str, items: Sequence[str | bytes]
    ) -> list[int] | None:
        """Add the items behind this tail. None if the queue has another one; it is known then."""
        last = tail.number + len(items)
        parts: list[TxnOperation] = [Put(self._keys.tail, f"{last} {put_id}")]
        marker = Marker(0, "").to_text()
        numbers = [*range(tail.number + 1, last + 1)]
        for number, data in zip(numbers, items, strict=True):
            parts += [Put(self._keys.data(number), data), Put(self._keys.item(number), marker)]
        is_same = Condition.number("mod_revision", self._keys.tail, "=", tail.changed)
        done = await self._kv.txn([is_same], parts, [Range(self._keys.tail)])
        if done.succeeded:
            self._tail = _Tail(last, done.revision, done.revision)
            return numbers
        self._tail = self._read(page_of_txn(done, 0))[0]
        return None

    async def first_after(self, tail: _Tail) -> str:
        """Which put has added the first items behind this tail, when it is known that one has.

        Raises:
            WatchCompacted: the history has lost that.
        """
        watch = self._kv.watch(self._keys.tail, from_revision=tail.seen + 1)
        async with watch as changes:
            change = await changes.next_change()
        page = Page((change.kv,), False, None, 1, change.revision)
        return self._read(page)[1]

    def new_pauses(self) -> RandomPauses:
        """The pauses of one put."""
        return RandomPauses(self._random)

    def _read(self, page: Page) -> tuple[_Tail, str]:
        """The tail, and the put that made it."""
        if not page.kvs:
            return _Tail(0, 0, page.revision), ""
        found = page.kvs[0]
        number, _, put_id = found.value.decode(errors="replace").partition(" ")
        if not number.isdecimal():
            raise self._keys.foreign(found.key)
        return _Tail(int(number), found.mod_revision, page.revision), put_id


class _Put:
    """One call of `QueuePuts.put`.

    Attributes:
        is_sent: whether it may have taken effect, or may still do so.
        last_error: why the last attempt failed.
    """

    def __init__(self, puts: QueuePuts, items: Sequence[str | bytes], put_id: str) -> None:
        self._puts = puts
        self._items = items
        self._id = put_id
        self.is_sent = False
        self.last_error: QcoreError | None = None

    async def run(self) -> list[int]:
        """Try until it is known that the items are in the queue."""
        pauses = self._puts.new_pauses()
        while True:
            try:
                tail = await self._puts.tail()
                numbers = await self._behind(tail)
            except (RevisionCompacted, WatchCompacted) as error:
                raise OutcomeUnknown(
                    "whether the items are in the queue is not known: the history was compacted meanwhile"
                ) from error
            except QcoreError as error:
                if not is_temporary(error):
                    if self.is_sent:
                        raise OutcomeUnknown(
                            f"whether the items are in the queue is not known: {error}"
                        ) from error
                    raise
                self.last_error = error
                await asyncio.sleep(PAUSE_S)
                continue
            if numbers is not None:
                return numbers
            await pauses.next()

    async def _behind(self, tail: _Tail) -> list[int] | None:
        """Add the items behind this tail; None if other items certainly follow it."""
        while True:
            was_sent, self.is_sent = self.is_sent, True
            try:
                numbers = await self._puts.append(tail, self._id, self._items)
            except QcoreError as error:
                if not is_temporary(error):
                    self.is_sent = was_sent
                    raise
                self.last_error = error
                await asyncio.sleep(PAUSE_S)
                continue
            break
        if numbers is None and was_sent and await self._was_first(tail):
            return [*range(tail.number + 1, tail.number + len(self._items) + 1)]
        self.is_sent = False
        return numbers

    async def _was_first(self, tail: _Tail) -> bool:
        while True:
            try:
                return await self._puts.first_after(tail) == self._id
            except (RevisionCompacted, WatchCompacted):
                raise
            except QcoreError as error:
                if not is_temporary(error):
                    raise
                self.last_error = error
                await asyncio.sleep(PAUSE_S)
