"""`QueueItem`: an item that a consumer has claimed."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from qcore.kv.txn_parts import Delete, Put, TxnOperation
from qcore.recipes.checked_arguments import kept_text
from qcore.recipes.claims import EndingClaim
from qcore.recipes.queues.queue_keys import MAX_REASON, Marker, QueueKeys

if TYPE_CHECKING:
    from qcore.kv.key_values import TxnResult
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


class QueueItem(EndingClaim):
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
        super().__init__(
            kv,
            lease,
            keys.claim(claimed.number),
            claimed.token,
            title=f"item {claimed.number} of queue {keys.name}",
            advice="end each item once",
        )
        self.number = claimed.number
        self.data = claimed.data
        self.attempt = claimed.marker.attempts
        self._keys = keys
        self._marker = claimed.marker
        self._max_attempts = max_attempts

    @property
    def text(self) -> str:
        """The data as text.

        Raises:
            UnicodeDecodeError: it is not UTF-8.
        """
        return self.data.decode()

    async def acknowledge(self) -> None:
        """The work is done: take the item out of the queue. It tries until it succeeds, or the lease is lost.

        When this returns, no consumer gets the item again. If it raises, the item may be handled again, or not.

        Raises:
            LeaseLost: the claim has ended, or its lease was lost before the cluster confirmed.
            ConfigError: the item was rejected.
        """
        gone = [Delete(key) for key in (self._item, self._claim_key, self._keys.data(self.number))]
        await self._end_by("acknowledged", gone, self._was_by_this)

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
        await self._end_by("rejected", [*parts, Delete(self._claim_key)], self._was_by_this)

    async def give_back(self) -> None:
        """Make the item free again, as if it had not been claimed: the attempt does not count.

        Raises:
            LeaseLost, ConfigError: see `reject`.
        """
        before = Marker(self._marker.attempts - 1, self._marker.reason).to_text()
        parts: list[TxnOperation] = [Put(self._item, before), Delete(self._claim_key)]
        await self._end_by("given back", parts, self._was_by_this)

    @property
    def _item(self) -> str:
        return self._keys.item(self.number)

    async def _was_by_this(self, failed: TxnResult) -> bool:
        """Whether an attempt has ended the claim: it changes the item, too, which the end of the lease does not."""
        watch = self._kv.watch(self._claim_key, from_revision=self.token + 1, kinds=["delete"])
        async with watch as changes:
            revision = (await changes.next_change()).revision
        item = await self._kv.get(self._item, revision=revision)
        return item is None or item.mod_revision == revision
