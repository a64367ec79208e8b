"""`QueueItem`: an item that a consumer has claimed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from qcore.errors import ConfigError, QcoreError, RevisionCompacted, WatchCompacted
from qcore.kv.txn_parts import Condition, Delete, Put, TxnOperation
from qcore.recipes.checked_arguments import kept_text
from qcore.recipes.outliving import outlive
from qcore.recipes.queues.queue_keys import MAX_REASON, Marker, QueueKeys
from qcore.recipes.recipe_errors import LeaseLost, is_temporary
from qcore.recipes.retries import PAUSE_S

if TYPE_CHECKING:
    from qcore.kv.kv_client import KeyValue
    from qcore.recipes.lease import Lease


class Claimed(NamedTuple):
    """What a claim has given.

    Attributes:
        number, data: of the item.
        marker: with this attempt.
        token: the `create_revision` of the claim.
    """

    number: int
    data: bytes
    marker: Marker
    token: int


class QueueItem:
    """An item that this program has claimed. End it with `acknowledge` or `reject`, once.

    Args:
        kv, keys: where it is.
        lease: deletes the claim when it ends.
        claimed: the item.
        max_attempts: after so many attempts, a rejection makes it a dead letter.

    Attributes:
        number: its number in the queue. A later item has a larger one.
        data: what was put.
        attempt: 1 when it is claimed for the first time.
        token: a fencing token. Each claim of any item of the queue has a larger one than all claims before it. Send it
            with what the program writes to other systems, and let these reject a smaller one for the same item.
        lease: the lease on which the claim depends.
    """

    def __init__(
        self, kv: KeyValue, keys: QueueKeys, lease: Lease, claimed: Claimed, max_attempts: int
    ) -> None:
        self.number = claimed.number
        self.data = claimed.data
        self.attempt = claimed.marker.attempts
        self.token = claimed.token
        self.lease = lease
        self._kv = kv
        self._keys = keys
        self._marker = claimed.marker
        self._max_attempts = max_attempts
        self._end = ""
        #: Whether the cluster may have ended the claim by a request of this object.
        self._is_sent = False
        self._ending = asyncio.Lock()

    @property
    def text(self) -> str:
        """The data as text.

        Raises:
            UnicodeDecodeError: it is not UTF-8.
        """
        return self.data.decode()

    @property
    def condition(self) -> Condition:
        """A condition of `KeyValue.txn`: the transaction takes effect only as long as this program has the claim.

        For writes to the same cluster it takes the place of a comparison of tokens.
        """
        return Condition.number("create_revision", self._claim, "=", self.token)

    @property
    def is_ended(self) -> bool:
        """Whether it was acknowledged or rejected here."""
        return bool(self._end)

    @property
    def lost(self) -> LeaseLost | None:
        """Why the program must not work on it: its lease has ended, or it was ended here. None while it is claimed."""
        if self._end:
            return LeaseLost(f"item {self.number} of queue {self._keys.name} was {self._end}")
        if self._is_sent:
            return LeaseLost(f"item {self.number} of queue {self._keys.name} is being ended")
        return self.lease.lost

    def check(self) -> None:
        """Raise if the program must not work on the item any more. It costs no request.

        Raises:
            LeaseLost: another consumer may have the item.
        """
        lost = self.lost
        if lost is not None:
            raise LeaseLost(str(lost))

    async def acknowledge(self) -> None:
        """The work is done: take the item out of the queue. It tries until it succeeds, or the lease is lost.

        When this returns, no consumer gets the item again. If it raises, the item may be handled again, or not.

        Raises:
            LeaseLost: the claim has ended, or its lease was lost before the cluster confirmed.
            ConfigError: the item was rejected.
        """
        gone = [Delete(key) for key in (self._item, self._claim, self._keys.data(self.number))]
        await self._finish("acknowledged", gone)

    async def reject(self, reason: str | BaseException = "") -> None:
        """The work has failed: the item is free again, at its place in the queue, or becomes a dead letter.

        Args:
            reason: why: a text, or an exception. 500 characters of it are kept.

        Raises:
            LeaseLost: the claim has ended, or its lease was lost before the cluster confirmed.
            ConfigError: the item was acknowledged, or the reason is no text.
        """
        value = Marker(self._marker.attempts, kept_text("reason", reason, MAX_REASON)).to_text()
        # In this order: a watch of the line never shows the item without its claim while it leaves.
        parts: list[TxnOperation] = (
            [Put(self._item, value)]
            if self.attempt < self._max_attempts
            else [Delete(self._item), Put(self._keys.dead_letter(self.number), value)]
        )
        await self._finish("rejected", [*parts, Delete(self._claim)])

    async def give_back(self) -> None:
        """Make the item free again, as if it had not been claimed: the attempt does not count.

        Raises:
            LeaseLost, ConfigError: see `reject`.
        """
        before = Marker(self._marker.attempts - 1, self._marker.reason).to_text()
        await self._finish("given back", [Put(self._item, before), Delete(self._claim)])

    @property
    def _item(self) -> str:
        return self._keys.item(self.number)

    @property
    def _claim(self) -> str:
        return self._keys.claim(self.number)

    async def _finish(self, end: str, parts: Sequence[TxnOperation]) -> None:
        """End the claim. It goes on if the caller is cancelled: the item must not stay claimed."""
        await outlive(self.lease, self._finish_once(end, parts))

    async def _finish_once(self, end: str, parts: Sequence[TxnOperation]) -> None:
        async with self._ending:
            if self._end and self._end != end:
                raise ConfigError(
                    f"item {self.number} of queue {self._keys.name} was {self._end}: end each item once"
                )
            if not self._end:
                await self._try_finish(end, parts)

    async def _try_finish(self, end: str, parts: Sequence[TxnOperation]) -> None:
        may_be_done = False
        while True:
            self._is_sent = True
            try:
                done = await self._kv.txn([self.condition], parts)
                if done.succeeded or (may_be_done and await self._ended_by_this()):
                    self._end = end
                    return
            except (RevisionCompacted, WatchCompacted) as error:
                raise self._not_known(end) from error
            except QcoreError as error:
                if not is_temporary(error):
                    self._is_sent = may_be_done
                    raise
                # Whether the claim still exists is for the cluster to say, so it was asked at least once.
                if self.lease.lost is not None:
                    raise self._not_known(end) from error
                may_be_done = True
                await asyncio.sleep(PAUSE_S)
            else:
                raise LeaseLost(
                    f"item {self.number} of queue {self._keys.name} was not {end}: its claim has ended, and another "
                    "consumer may have the item"
                )

    async def _ended_by_this(self) -> bool:
        """Whether the claim was ended by an earlier attempt of `_try_finish`, and not by its lease.

        The attempt also changes the item, in the same revision. The end of the lease does not.
        """
        watch = self._kv.watch(self._claim, from_revision=self.token + 1, kinds=["delete"])
        async with watch as changes:
            revision = (await changes.next_change()).revision
        item = await self._kv.get(self._item, revision=revision)
        return item is None or item.mod_revision == revision

    def _not_known(self, end: str) -> LeaseLost:
        return LeaseLost(
            f"whether item {self.number} of queue {self._keys.name} was {end} is not known: its lease was lost, or the "
            "history compacted, before the cluster confirmed it"
        )
