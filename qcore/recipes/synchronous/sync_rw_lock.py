"""`SyncRWLock`: `RWLock` for programs without asyncio."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

from qcore.client.synchronous.sync_facade import SyncFacade, sync_method
from qcore.errors import ConfigError
from qcore.kv.kv_client import KeyValue
from qcore.recipes.holding.rw_lock import NO_NESTING, RWLock
from qcore.recipes.lease import DEFAULT_MAX_DRIFT, DEFAULT_TTL_S
from qcore.recipes.synchronous.sync_held import SyncHeld, SyncLease

if TYPE_CHECKING:
    from qcore.client.synchronous.sync_client import SyncClient


class SyncRWLock(SyncFacade[RWLock]):
    """An `RWLock` for programs without asyncio; its guarantees are those of `RWLock`.

        lock = SyncRWLock(client, "catalogue", ttl_s=10)
        with lock.read():
            show(storage.read())
        with lock.write() as held:
            held.check()
            storage.write(data, fencing_token=held.token)

    Nothing can stop a thread that relies on the lock, so call `check` before each step that matters. It may be used by
    many threads. Each acquires it for itself.

    Args:
        client: a client, which the caller closes.
        name, ttl_s, max_drift, lease: see `RWLock`. Here a thread takes the place of a task.
    """

    def __init__(
        self,
        client: SyncClient,
        name: str,
        *,
        ttl_s: float = DEFAULT_TTL_S,
        max_drift: float = DEFAULT_MAX_DRIFT,
        lease: SyncLease | None = None,
    ) -> None:
        lock = RWLock(
            KeyValue(client.asynchronous),
            name,
            ttl_s=ttl_s,
            max_drift=max_drift,
            lease=None if lease is None else lease.asynchronous,
        )
        super().__init__(lock, client)
        #: The threads that are in a context.
        self._entered: dict[int, None] = {}

    def read(self) -> AbstractContextManager[SyncHeld]:
        """A context in which the current thread holds the lock for reading: `with lock.read() as held`.

        Raises:
            ConfigError: this thread is in a context of the lock already.
            LeaseLost: the lock was lost, and the block ended without another error.
        """
        return self._entering(self.acquire_read)

    def write(self) -> AbstractContextManager[SyncHeld]:
        """A context in which the current thread holds the lock for writing. It raises as `read`."""
        return self._entering(self.acquire_write)

    def acquire_read(self, *, timeout_s: float | None = None, label: str = "") -> SyncHeld:
        """See `RWLock.acquire_read`."""
        return SyncHeld.acquired_by(
            self._wrapped.acquire_read(timeout_s=timeout_s, label=label), self._runner
        )

    def acquire_write(self, *, timeout_s: float | None = None, label: str = "") -> SyncHeld:
        """See `RWLock.acquire_write`."""
        return SyncHeld.acquired_by(
            self._wrapped.acquire_write(timeout_s=timeout_s, label=label), self._runner
        )

    def try_acquire_read(self, *, label: str = "") -> SyncHeld | None:
        """See `RWLock.try_acquire_read`."""
        return SyncHeld.tried_by(self._wrapped.try_acquire_read(label=label), self._runner)

    def try_acquire_write(self, *, label: str = "") -> SyncHeld | None:
        """See `RWLock.try_acquire_write`."""
        return SyncHeld.tried_by(self._wrapped.try_acquire_write(label=label), self._runner)

    line = sync_method(RWLock.line)

    @contextmanager
    def _entering(self, acquire: Callable[[], SyncHeld]) -> Iterator[SyncHeld]:
        thread = threading.get_ident()
        if thread in self._entered:
            raise ConfigError(
                f"rwlock {self._wrapped.name}: this thread has entered it already: {NO_NESTING}"
            )
        self._entered[thread] = None
        try:
            with acquire() as held:
                yield held
        finally:
            del self._entered[thread]
