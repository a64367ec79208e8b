"""`Registration`: keeps one instance of a service registered until it is closed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Self

from pydantic import JsonValue

from qcore.errors import ConfigError, LeaseNotFound, QcoreError
from qcore.kv.txn_parts import Condition, Put, Range
from qcore.recipes.key_reads import read_range
from qcore.recipes.lease import Lease
from qcore.recipes.recipe_errors import LeaseLost, NotAcquired, is_temporary
from qcore.recipes.retries import PAUSE_S
from qcore.recipes.views.change_callbacks import Callbacks, reported_failure
from qcore.recipes.views.service_instances import content_of, instance_of
from qcore.time_limit import time_limit

if TYPE_CHECKING:
    from qcore.kv.key_watches import KeyWatch
    from qcore.kv.kv_client import KeyValue


class Registration:
    """An instance of a service, registered again whenever its lease is lost. Made by `ServiceRegistry.register`.

    Args:
        kv: the keys of the cluster.
        prefix: of the keys of the service.
        service, instance: the names.
        address, metadata: see `ServiceRegistry.register`.
        ttl_s, max_drift: of the leases; see `Lease`.
        timeout_s: how long `open` waits.

    Attributes:
        service, instance: the arguments.
        failure: why the registration has ended by itself, such as missing permissions. The context raises it at its
            end.

    Raises:
        ConfigError: an argument is out of its range.
    """

    def __init__(
        self,
        kv: KeyValue,
        prefix: bytes,
        service: str,
        instance: str,
        *,
        address: str,
        metadata: Mapping[str, JsonValue] | None,
        ttl_s: float,
        max_drift: float,
        timeout_s: float | None,
    ) -> None:
        if not (instance and instance.isprintable()):
            raise ConfigError(
                f"service {service}: the name of the instance {instance!r} is empty, or cannot be printed"
            )
        self.service = service
        self.instance = instance
        self._kv = kv
        self._prefix = prefix
        self._key = prefix + instance.encode()
        self._ttl_s = ttl_s
        self._max_drift = max_drift
        self._timeout_s = timeout_s
        self._address = address
        self._metadata = metadata
        self._content = content_of(address, metadata)
        self._new_lease()  # checks the arguments now
        #: The leases that the key may have if it is that of this registration. The last one is current.
        self._leases: dict[int, Lease] = {}
        self._lease: Lease | None = None
        self._written = b""
        self._watch: KeyWatch | None = None
        self._task: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._is_opened = self._is_closed = False
        self._taken_by = ""
        self.failure: BaseException | None = None
        self._callbacks: Callbacks[bool] = Callbacks(f"service {service}")
        self._waiters: dict[object, asyncio.Future[None]] = {}

    # -- what it is ------------------------------------------------------------------------------

    @property
    def is_registered(self) -> bool:
        """Whether the instance is registered, by the clock of this program. It costs no request."""
        return self._lease is not None and self._lease.lost is None

    def on_change(self, callback: Callable[[bool], object]) -> Callable[[], None]:
        """Call this with True when the instance was registered, and with False when that was lost.

        What it raises goes to the exception handler of the event loop.

        Returns:
            A function that ends this.
        """
        return self._callbacks.add(callback)

    # -- its life --------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()
        if error is None and self.failure is not None:
            raise self.failure

    async def open(self) -> None:
        """Register the instance. It waits also while the cluster cannot be reached, and while the name is taken.

        Raises:
            ConfigError: it was opened or closed before.
            NotAcquired: `timeout_s` was over first.
            QcoreError: the cluster rejects a request.
        """
        if self._is_opened or self._is_closed:
            raise ConfigError("this registration was opened before, or is closed: make another one")
        self._is_opened = True
        self._task = asyncio.get_running_loop().create_task(
            self._run(), name=f"qcore-service-{self.service}"
        )
        self._task.add_done_callback(self._ended)
        try:
            await self.wait_registered(timeout_s=self._timeout_s)
        except BaseException:
            await self.close()
            raise

    async def wait_registered(self, *, timeout_s: float | None = None) -> None:
        """Wait until the instance is registered, with the address and metadata that it has now.

        Args:
            timeout_s: how long to wait, seconds; None for any time.

        Raises:
            NotAcquired: the time was over first.
            ConfigError: the registration is closed, or was not opened.
            QcoreError: the cluster rejects a request.
        """
        try:
            async with time_limit(timeout_s):
                while not (self.is_registered and self._written == self._content):
                    if self._is_closed:
                        raise ConfigError("this registration is closed: make another one")
                    if self._task is None:
                        raise ConfigError(
                            "this registration is not open: use it as a context manager, or await open()"
                        )
                    if self.failure is not None:
                        raise self.failure
                    await self._wait()
        except TimeoutError:
            raise NotAcquired(
                f"service {self.service}: the instance {self.instance} was not registered within {timeout_s:g} s"
                f"{self._taken_by}"
            ) from None

    async def update(
        self,
        *,
        address: str | None = None,
        metadata: Mapping[str, JsonValue] | None = None,
        timeout_s: float | None = None,
    ) -> None:
        """Change the address or the metadata, and wait until they are registered.

        If the time is over first, they are registered later.

        Args:
            address, metadata: the new ones; None for the old ones.
            timeout_s: how long to wait, seconds; None for any time.

        Raises:
            ConfigError, NotAcquired, QcoreError: see `wait_registered`; or an argument is invalid.
        """
        new_address = self._address if address is None else address
        new_metadata = self._metadata if metadata is None else metadata
        self._content = content_of(new_address, new_metadata)
        self._address, self._metadata = new_address, new_metadata
        if self._watch is not None:
            await self._watch.close()
        await self.wait_registered(timeout_s=timeout_s)

    async def close(self) -> None:
        """Take the instance from the list. May be called again.

        If the cluster cannot be reached, this takes at most as long as the lease may live. Then the lease ends by
        itself.
        """
        task, self._task = self._task, None
        self._is_closed = True
        if task is not None:
            self._closing = asyncio.get_running_loop().create_task(self._close(task))
        if self._closing is not None:
            await asyncio.shield(
                self._closing
            )  # a cancellation here must not leave the instance in the list

    async def _close(self, task: asyncio.Task[None]) -> None:
        task.cancel()
        await asyncio.wait([task])
        leases, self._leases = self._leases, {}
        await asyncio.gather(*(lease.close() for lease in leases.values()))
        self._set_lease(None)
        self._callbacks.clear()
        self._wake()

    # -- the task --------------------------------------------------------------------------------

    async def _run(self) -> None:
        """Keep the instance registered, with one lease after the other."""
        while True:
            lease = self._new_lease()
            try:
                await lease.open()
                self._leases[lease.lease_id] = lease
                async with lease.guard():
                    await self._keep(lease)
            except QcoreError as error:
                self._set_lease(None)
                if not (isinstance(error, LeaseLost | LeaseNotFound) or is_temporary(error)):
                    raise
                await asyncio.sleep(PAUSE_S)

    async def _keep(self, lease: Lease) -> None:
        """Keep the instance registered with a lease, until that is lost."""
        while True:
            try:
                revision = await self._claim(lease)
                # Earlier claims whose answers did not come cannot succeed any more: the key has changed.
                self._leases = {lease.lease_id: lease}
                self._set_lease(lease)
                await self._watch_key(lease, revision)
            except QcoreError as error:
                if not is_temporary(error):
                    raise
                await asyncio.sleep(PAUSE_S)

    async def _claim(self, lease: Lease) -> int:
        """Write the key, once it belongs to no other program. Returns the revision as of which it is so."""
        while True:
            state = await read_range(self._kv, Range(self._key))
            content = self._content
            if not state.kvs:
                unchanged = Condition.exists(self._key, False)
            else:
                found = state.kvs[0]
                if found.lease == lease.lease_id and found.value == content:
                    self._written = content
                    return state.revision
                if found.lease not in self._leases:
                    other = instance_of(found, self._prefix)
                    where = other if isinstance(other, str) else other.address
                    self._taken_by = f": another program has registered it at {where}"
                    self._set_lease(None)
                    await self._wait_changed(state.revision)
                    continue
                unchanged = Condition.number("mod_revision", self._key, "=", found.mod_revision)
            self._taken_by = ""
            write = Put(self._key, content, lease.lease_id)
            done = await self._kv.txn([unchanged], [write])
            if done.succeeded:
                self._written = content
                return done.revision

    async def _wait_changed(self, revision: int) -> None:
        """Wait until the key changes after a revision, or may have: the watch may be at a node that is cut off."""
        with contextlib.suppress(TimeoutError):
            watch = self._kv.watch(self._key, from_revision=revision + 1)
            async with time_limit(self._ttl_s), watch as changes:
                await changes.next_change()

    async def _watch_key(self, lease: Lease, revision: int) -> None:
        """Wait until another program changes the key, or there is something else to write."""
        watch = self._kv.watch(self._key, from_revision=revision + 1)
        async with watch:
            self._watch = watch
            try:
                if self._written != self._content:
                    return
                async for change in watch:
                    if change.kv.lease != lease.lease_id:
                        self._set_lease(None)
                        return
            finally:
                self._watch = None

    def _set_lease(self, lease: Lease | None) -> None:
        was_registered, self._lease = self._lease is not None, lease
        if was_registered != (lease is not None):
            self._callbacks.call(lease is not None)
        self._wake()

    def _new_lease(self) -> Lease:
        return Lease(self._kv, ttl_s=self._ttl_s, max_drift=self._max_drift)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """The task has ended: the registration was closed, or it has failed."""
        self.failure = reported_failure(
            task,
            f"the registration {self.service}//{self.instance}",
            is_closed=self._task is None,
            is_awaited=bool(self._waiters),
        )
        self._wake()

    async def _wait(self) -> None:
        """Wait until something has changed."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        registration = object()
        self._waiters[registration] = waiter
        try:
            await waiter
        finally:
            del self._waiters[registration]

    def _wake(self) -> None:
        for waiter in self._waiters.values():
            if not waiter.done():
                waiter.set_result(None)
