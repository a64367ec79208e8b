"""`SyncHeld` and `SyncLease`: what a program without asyncio holds."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Self

from qcore.client.synchronous.sync_facade import SyncFacade, sync_method
from qcore.kv.kv_client import KeyValue
from qcore.kv.txn_parts import Condition
from qcore.recipes.holding.held import Held
from qcore.recipes.lease import DEFAULT_MAX_DRIFT, DEFAULT_TTL_S, Lease
from qcore.recipes.recipe_errors import LeaseLost

if TYPE_CHECKING:
    from qcore.client.synchronous.sync_client import SyncClient


class SyncLease(SyncFacade[Lease]):
    """A `Lease` for programs without asyncio. Use it as a context manager, or call `open` and `close`.

    The thread of the client keeps it alive. Nothing can stop a thread that relies on it, so call `check` before each
    step that matters.

    Args:
        client: a client, which the caller closes.
        ttl_s, max_drift: see `Lease`.
    """

    def __init__(
        self,
        client: SyncClient,
        *,
        ttl_s: float = DEFAULT_TTL_S,
        max_drift: float = DEFAULT_MAX_DRIFT,
    ) -> None:
        kv = KeyValue(client.asynchronous)
        super().__init__(Lease(kv, ttl_s=ttl_s, max_drift=max_drift), client)

    @property
    def asynchronous(self) -> Lease:
        """The lease that this one runs."""
        return self._wrapped

    open = sync_method(Lease.open)
    close = sync_method(Lease.close)

    @property
    def lease_id(self) -> int:
        """See `Lease.lease_id`."""
        return self._wrapped.lease_id

    @property
    def lost(self) -> LeaseLost | None:
        """See `Lease.lost`."""
        return self._wrapped.lost

    def remaining_s(self) -> float:
        """See `Lease.remaining_s`."""
        return self._wrapped.remaining_s()

    def check(self) -> None:
        """See `Lease.check`."""
        self._wrapped.check()

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class SyncHeld(SyncFacade[Held]):
    """A `Held` for programs without asyncio. As a context manager it releases at the end.

    Nothing can stop a thread that relies on it, so call `check` before each step that matters. If it was lost in the
    block, the end of the context raises `LeaseLost`, unless the block raises another error.
    """

    @property
    def token(self) -> int:
        """See `Held.token`."""
        return self._wrapped.token

    @property
    def condition(self) -> Condition:
        """See `Held.condition`."""
        return self._wrapped.condition

    @property
    def lost(self) -> LeaseLost | None:
        """See `Held.lost`."""
        return self._wrapped.lost

    @property
    def is_released(self) -> bool:
        """See `Held`."""
        return self._wrapped.is_released

    def remaining_s(self) -> float:
        """How long it may be relied on if no other keep-alive succeeds, seconds; 0 if it is lost."""
        return self._wrapped.lease.remaining_s()

    def check(self) -> None:
        """See `Held.check`."""
        self._wrapped.check()

    release = sync_method(Held.release)

    def __enter__(self) -> Self:
        """Begin the block.

        Raises:
            LeaseLost: it is lost already.
        """
        try:
            self.check()
        except LeaseLost:
            self.release()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        lost = None if self._wrapped.is_released else self.lost
        self.release()
        if error is None and lost is not None:
            raise lost
