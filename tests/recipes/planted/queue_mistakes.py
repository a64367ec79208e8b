"""Mistakes in `Queue`, each of which makes it break its guarantee."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import pytest

from qcore.kv import Condition, Put
from qcore.kv.txn_parts import TxnOperation
from qcore.recipes.queues.queue_consumer import QueueConsumer
from qcore.recipes.queues.queue_items import QueueItem
from qcore.recipes.queues.queue_keys import Marker
from qcore.recipes.queues.queue_line import FreeItem
from qcore.recipes.queues.queue_puts import QueuePuts, _Put, _Tail


def claims_what_exists(patch: pytest.MonkeyPatch) -> None:
    """A claim asks whether the item exists, and not whether it is as it was seen."""

    def is_free(self: QueueConsumer, item: FreeItem) -> list[Condition]:
        return [Condition.exists(self._keys.item(item.number))]

    patch.setattr(QueueConsumer, "_is_free", is_free)


def claims_without_lease(patch: pytest.MonkeyPatch) -> None:
    """Nothing deletes the claim of a consumer that has ended."""
    original = QueueConsumer._take

    def take(self: QueueConsumer, item: FreeItem) -> list[TxnOperation]:
        claim, *others = original(self, item)
        assert isinstance(claim, Put)
        return [Put(claim.key, claim.value), *others]

    patch.setattr(QueueConsumer, "_take", take)


def does_not_count(patch: pytest.MonkeyPatch) -> None:
    """A claim leaves the attempts as they were."""
    patch.setattr(QueueConsumer, "_marker_after", lambda _self, item: item.marker)


def forgets_an_attempt(patch: pytest.MonkeyPatch) -> None:
    """A consumer that does not know whether it has claimed an item goes on, and does not find out."""

    async def settle(self: QueueConsumer) -> None:
        self._tried = {}
        self._taker = self._keys.taker(self.lease.new_name())
        self._taken = 0

    patch.setattr(QueueConsumer, "_settle", settle)


def acknowledges_any_claim(patch: pytest.MonkeyPatch) -> None:
    """An acknowledgement asks whether the item is claimed, and not by whom."""
    patch.setattr(QueueItem, "condition", property(lambda self: Condition.exists(self._claim)))


def puts_again(patch: pytest.MonkeyPatch) -> None:
    """A put whose outcome is not known is sent again without finding out."""

    async def was_first(self: _Put, tail: _Tail) -> bool:
        return False

    patch.setattr(_Put, "_was_first", was_first)


def puts_at_an_old_number(patch: pytest.MonkeyPatch) -> None:
    """A put does not ask whether the end of the queue is as it was read."""

    async def append(
        self: QueuePuts, tail: _Tail, put_id: str, items: Sequence[str | bytes]
    ) -> list[int] | None:
        last = tail.number + len(items)
        numbers = [*range(tail.number + 1, last + 1)]
        parts: list[TxnOperation] = [Put(self._keys.tail, f"{last} {put_id}")]
        for number, data in zip(numbers, items, strict=True):
            parts += [
                Put(self._keys.data(number), data),
                Put(self._keys.item(number), Marker(0, "").to_text()),
            ]
        await self._kv.txn([], parts)
        self._tail = None
        return numbers

    patch.setattr(QueuePuts, "append", append)


MISTAKES: Final = (
    claims_what_exists,
    claims_without_lease,
    does_not_count,
    forgets_an_attempt,
    acknowledges_any_claim,
    puts_again,
    puts_at_an_old_number,
)
