"""`SyncHeld` and `SyncLease`: what a program without asyncio holds."""

from __future__ import annotations

from collections.abc import Coroutine
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from qcore.client.synchronous.sync_facade import SyncContext, sync_cleanup
from qcore.kv.kv_client import KeyValue
from qcore.recipes.holding.held import Held
from qcore.recipes.lease import DEFAULT_MAX_DRIFT, DEFAULT_TTL_S, Lease
from qcore.recipes.recipe_errors import LeaseLost
from qcore.recipes.synchronous.sync_claim import SyncClaim

if TYPE_CHECKING:
    from qcore.client.synchronous.sync_client import SyncClient
    from qcore.client.synchronous.sync_facade import RunsCoroutines


class SyncLease(SyncContext[Lease]):
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

    def open(self) -> None:
        """See `Lease.open`."""
        self._runner.run(self._wrapped.open(), undo=lambda _: self._wrapped.close())

    close = sync_cleanup(Lease.close)

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


class SyncHeld(SyncClaim[Held]):
    """A `Held` for programs without asyncio. As a context manager it releases at the end.

    Nothing can stop a thread that relies on it, so call `check` before each step that matters. If it was lost in the
    block, the end of the context raises `LeaseLost`, unless the block raises another error.
    """

    @classmethod
    def acquired_by(cls, acquire: Coroutine[Any, Any, Held], runner: RunsCoroutines) -> Self:
        """Run a coroutine that acquires something. If Ctrl-C comes too late to stop it, that is released."""
        return cls(runner.run(acquire, undo=Held.release), runner)

    @classmethod
    def tried_by(
        cls, acquire: Coroutine[Any, Any, Held | None], runner: RunsCoroutines
    ) -> Self | None:
        """The same for a coroutine that gives None if it acquires nothing."""

        async def release(held: Held | None) -> None:
            if held is not None:
                await held.release()

        held = runner.run(acquire, undo=release)
        return None if held is None else cls(held, runner)

    @property
    def is_released(self) -> bool:
        """See `Held`."""
        return self._wrapped.is_released

    release = sync_cleanup(Held.release)

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
