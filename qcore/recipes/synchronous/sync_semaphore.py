"""`SyncSemaphore`: `Semaphore` for programs without asyncio."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qcore.client.synchronous.sync_facade import sync_method
from qcore.kv.kv_client import KeyValue
from qcore.recipes.holding.semaphore import Semaphore
from qcore.recipes.lease import DEFAULT_MAX_DRIFT, DEFAULT_TTL_S
from qcore.recipes.synchronous.sync_contexts import SyncContexts
from qcore.recipes.synchronous.sync_held import SyncHeld, SyncLease

if TYPE_CHECKING:
    from qcore.client.synchronous.sync_client import SyncClient


class SyncSemaphore(SyncContexts[Semaphore]):
    """A `Semaphore` for programs without asyncio; its guarantees are those of `Semaphore`.

        semaphore = SyncSemaphore(client, "licences", permits=3, ttl_s=10)
        with semaphore as held:
            held.check()
            work()

    Nothing can stop a thread that relies on a permit, so call `check` before each step that matters. It may be used by
    many threads.

    Args:
        client: a client, which the caller closes.
        name, permits, ttl_s, max_drift, lease: see `Semaphore`.
    """

    def __init__(
        self,
        client: SyncClient,
        name: str,
        permits: int,
        *,
        ttl_s: float = DEFAULT_TTL_S,
        max_drift: float = DEFAULT_MAX_DRIFT,
        lease: SyncLease | None = None,
    ) -> None:
        semaphore = Semaphore(
            KeyValue(client.asynchronous),
            name,
            permits,
            ttl_s=ttl_s,
            max_drift=max_drift,
            lease=None if lease is None else lease.asynchronous,
        )
        super().__init__(semaphore, client, title=f"semaphore {name}", no_nesting=None)

    def acquire(self, *, timeout_s: float | None = None, label: str = "") -> SyncHeld:
        """See `Semaphore.acquire`."""
        return SyncHeld.acquired_by(
            self._wrapped.acquire(timeout_s=timeout_s, label=label), self._runner
        )

    def try_acquire(self, *, label: str = "") -> SyncHeld | None:
        """See `Semaphore.try_acquire`."""
        return SyncHeld.tried_by(self._wrapped.try_acquire(label=label), self._runner)

    line = sync_method(Semaphore.line)
