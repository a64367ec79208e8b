"""`Claim`: what a program has as long as a lease lives. `EndingClaim`: one that the program ends by a transaction."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Final

from qcore.errors import ConfigError, QcoreError, RevisionCompacted, WatchCompacted
from qcore.kv.txn_parts import Condition, Range, TxnOperation
from qcore.recipes.outliving import outlive
from qcore.recipes.recipe_errors import LeaseLost, is_temporary
from qcore.recipes.retries import PAUSE_S

if TYPE_CHECKING:
    from qcore.kv.key_values import Data, TxnResult
    from qcore.kv.kv_client import KeyValue
    from qcore.recipes.lease import Lease

    _Attempt = Callable[[], Awaitable[TxnResult]]
    _WasByThis = Callable[[TxnResult], Awaitable[bool]]


class Claim(ABC):
    """What a program has as long as a lease lives: a lock, an item of a queue, or the run of a slot.

    Args:
        lease: the lease.
        key: the key that the lease deletes when it ends.
        token: the `create_revision` of the key.

    Attributes:
        lease: the lease.
        token: the fencing token. Later claims of the same thing have larger ones.
    """

    def __init__(self, lease: Lease, key: Data, token: int) -> None:
        self.lease: Final = lease
        self.token: Final = token
        self._claim_key: Final = key

    @property
    def condition(self) -> Condition:
        """A condition of `KeyValue.txn`: the transaction takes effect only as long as the claim lasts.

        For writes to the same cluster it takes the place of a comparison of tokens.
        """
        return Condition.number("create_revision", self._claim_key, "=", self.token)

    @property
    @abstractmethod
    def lost(self) -> LeaseLost | None:
        """Why the program must not rely on the claim: its lease has ended, or the program has ended it. Else None."""

    def check(self) -> None:
        """Raise if the program must not rely on the claim any more. It costs no request.

        Raises:
            LeaseLost: the claim has ended, or may have ended, and another program may have it.
        """
        lost = self.lost
        if lost is not None:
            raise LeaseLost(str(lost))


class EndingClaim(Claim):
    """A claim that the program ends, once, by a transaction with a result.

    Args:
        kv: the keys of the cluster.
        lease, key, token: see `Claim`.
        title: names the claim in errors, such as `item 7 of queue mails`.
        advice: what to do about a second end, such as `end each item once`.
    """

    def __init__(
        self, kv: KeyValue, lease: Lease, key: Data, token: int, *, title: str, advice: str
    ) -> None:
        super().__init__(lease, key, token)
        self._kv = kv
        self._title = title
        self._advice = advice
        self._end = ""
        #: Whether the cluster may have ended the claim by a request of this object.
        self._is_sent = False
        self._ending = asyncio.Lock()

    @property
    def is_ended(self) -> bool:
        """Whether the program has ended it, and the cluster has confirmed that."""
        return bool(self._end)

    @property
    def lost(self) -> LeaseLost | None:
        """Why the program must not go on: the lease has ended, or the program has ended the claim. Else None."""
        if self._end:
            return LeaseLost(f"{self._title} was {self._end}")
        if self._is_sent:
            return LeaseLost(f"{self._title} is being ended")
        return self.lease.lost

    async def _end_by(
        self,
        end: str,
        parts: Sequence[TxnOperation],
        was_by_this: _WasByThis,
        reads: Sequence[Range] = (),
    ) -> None:
        """End the claim. It goes on if the caller is cancelled: nothing else would end it before its lease.

        Args:
            end: what that makes of it, such as `acknowledged`.
            parts: the transaction.
            was_by_this: whether an earlier attempt took effect, of which no answer arrived. It gets the result of the
                last attempt, which has found the claim ended.
            reads: what an attempt reads if it finds the claim ended.

        Raises:
            LeaseLost: the claim has ended before, or its lease was lost before the cluster confirmed the end.
            ConfigError: it was ended in another way.
        """

        async def attempt() -> TxnResult:
            return await self._kv.txn([self.condition], parts, reads)

        await outlive(self.lease, self._end_once(end, attempt, was_by_this))

    async def _end_once(self, end: str, attempt: _Attempt, was_by_this: _WasByThis) -> None:
        async with self._ending:
            if self._end and self._end != end:
                raise ConfigError(f"{self._title} was {self._end}: {self._advice}")
            if not self._end:
                await self._try_to_end(end, attempt, was_by_this)

    async def _try_to_end(self, end: str, attempt: _Attempt, was_by_this: _WasByThis) -> None:
        may_be_done = False
        while True:
            self._is_sent = True
            try:
                done = await attempt()
                if done.succeeded or (may_be_done and await was_by_this(done)):
                    self._end = end
                    return
            except (RevisionCompacted, WatchCompacted) as error:
                raise self._not_known(end) from error
            except QcoreError as error:
                if not is_temporary(error):
                    self._is_sent = may_be_done
                    raise
                # Whether the claim still lasts is for the cluster to say, so it was asked at least once.
                if self.lease.lost is not None:
                    raise self._not_known(end) from error
                may_be_done = True
                await asyncio.sleep(PAUSE_S)
            else:
                raise LeaseLost(
                    f"{self._title} was not {end}: the claim has ended before, and another program may have it"
                )

    def _not_known(self, end: str) -> LeaseLost:
        return LeaseLost(
            f"whether {self._title} was {end} is not known: its lease was lost, or the history compacted, before the "
            "cluster confirmed it"
        )
