"""`SyncClaim`: what a program without asyncio has as long as a lease lives."""

from __future__ import annotations

from typing import TypeVar

from qcore.client.synchronous.sync_facade import SyncFacade
from qcore.kv.txn_parts import Condition
from qcore.recipes.claims import Claim
from qcore.recipes.recipe_errors import LeaseLost

_C_co = TypeVar("_C_co", bound=Claim, covariant=True)


class SyncClaim(SyncFacade[_C_co]):
    """A `Claim` for programs without asyncio.

    Nothing can stop a thread that relies on it, so call `check` before each step that matters.
    """

    @property
    def token(self) -> int:
        """The fencing token; see the asynchronous class."""
        return self._wrapped.token

    @property
    def condition(self) -> Condition:
        """A condition of `KeyValue.txn`; see the asynchronous class."""
        return self._wrapped.condition

    @property
    def lost(self) -> LeaseLost | None:
        """Why the program must not rely on it; None while it may."""
        return self._wrapped.lost

    def remaining_s(self) -> float:
        """How long it may be relied on if no other keep-alive succeeds, seconds; 0 if it is lost."""
        return 0.0 if self.lost is not None else self._wrapped.lease.remaining_s()

    def check(self) -> None:
        """Raise if the program must not rely on it any more. It costs no request.

        Raises:
            LeaseLost: it was lost or ended.
        """
        self._wrapped.check()
