"""`SyncLock`: `Lock` for programs without asyncio."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from qcore.client.synchronous.sync_facade import sync_method
from qcore.kv.kv_client import KeyValue
from qcore.recipes.holding.lock import Lock
from qcore.recipes.lease import DEFAULT_MAX_DRIFT, DEFAULT_TTL_S
from qcore.recipes.synchronous.sync_contexts import SyncContexts
from qcore.recipes.synchronous.sync_held import SyncHeld, SyncLease

if TYPE_CHECKING:
    from qcore.client.synchronous.sync_client import SyncClient


class SyncLock(SyncContexts[Lock]):
    """A `Lock` for programs without asyncio; its guarantees are those of `Lock`.

        lock = SyncLock(client, "jobs/nightly", ttl_s=10)
        with lock as held:
            held.check()
            storage.write(data, fencing_token=held.token)

    It may be used by many threads. Each acquires it for itself.

    Args:
        client: a client, which the caller closes.
        name, ttl_s, reentrant, max_drift, lease: see `Lock`. Here a thread takes the place of a task.
    """

    def __init__(
        self,
        client: SyncClient,
        name: str,
        *,
        ttl_s: float = DEFAULT_TTL_S,
        reentrant: bool = False,
        max_drift: float = DEFAULT_MAX_DRIFT,
        lease: SyncLease | None = None,
    ) -> None:
        lock = Lock(
            KeyValue(client.asynchronous),
            name,
            ttl_s=ttl_s,
            reentrant=reentrant,
            max_drift=max_drift,
            lease=None if lease is None else lease.asynchronous,
        )
        super().__init__(
            lock,
            client,
            title=f"lock {name}",
            no_nesting=None if reentrant else "make the lock with reentrant=True",
        )

    def acquire(self, *, timeout_s: float | None = None, label: str = "") -> SyncHeld:
        """See `Lock.acquire`."""
        holder = threading.current_thread()
        acquire = self._wrapped.acquire(timeout_s=timeout_s, label=label, holder=holder)
        return SyncHeld.acquired_by(acquire, self._runner)

    def try_acquire(self, *, label: str = "") -> SyncHeld | None:
        """See `Lock.try_acquire`."""
        holder = threading.current_thread()
        acquire = self._wrapped.try_acquire(label=label, holder=holder)
        return SyncHeld.tried_by(acquire, self._runner)

    line = sync_method(Lock.line)
