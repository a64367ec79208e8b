"""`ServiceView`: the instances of a service, kept up to date in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Self

from qcore.errors import ConfigError
from qcore.recipes.recipe_errors import NotAcquired, NotAvailable
from qcore.recipes.views.change_callbacks import Callbacks
from qcore.recipes.views.live_keys import LiveKeys
from qcore.recipes.views.service_instances import Instance, InstancesChange, InstancesState
from qcore.time_limit import time_limit

if TYPE_CHECKING:
    from qcore.kv.kv_client import KeyValue
    from qcore.recipes.views.key_changes_feed import KeysChange, KeysReader


class ServiceView:
    """The instances of a service, for its clients. Made by `ServiceRegistry.watch`; see there for what it guarantees.

    Use it as an async context manager, or call `open` and `close`.

    Args:
        kv: the keys of the cluster.
        prefix: of the keys of the service.
        service: its name.
        sync_every_s: see `ServiceRegistry.watch`.

    Attributes:
        service: the argument.
    """

    def __init__(
        self, kv: KeyValue, prefix: bytes, service: str, *, sync_every_s: float | None
    ) -> None:
        self.service = service
        self._state = InstancesState(prefix)
        self._keys = LiveKeys(kv, prefix=prefix, sync_every_s=sync_every_s)
        self._keys.on_change = self._changed
        self._rng = kv.runtime.new_rng()
        self._callbacks: Callbacks[InstancesChange] = Callbacks(f"service {service}")

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

    async def open(self) -> None:
        """Read the instances, and begin to watch them. It waits also while the cluster cannot be reached.

        Raises:
            ConfigError: it was opened before.
            QcoreError: the cluster rejects the request.
        """
        await self._keys.open()
        for key, kv in self._keys.keys.items():
            self._state.read(key, kv)

    async def close(self) -> None:
        """Stop to watch. `instances` remains, and iterations end. May be called again."""
        self._callbacks.clear()
        await self._keys.close()

    # -- what it is ------------------------------------------------------------------------------

    @property
    def instances(self) -> tuple[Instance, ...]:
        """The instances that are listed, sorted by name.

        Raises:
            ConfigError: the view is not open.
        """
        self._keys.check_open()
        return self._state.instances

    @property
    def invalid(self) -> Mapping[str, str]:
        """What is wrong with keys of the service that have no instance, by their names."""
        return self._state.invalid

    @property
    def revision(self) -> int:
        """As of which revision the instances are known. It never goes back."""
        return self._keys.revision

    @property
    def is_served(self) -> bool:
        """Whether a node serves the watch, as far as the client knows; see `ConfigWatch.is_served`."""
        return self._keys.is_served

    @property
    def failure(self) -> BaseException | None:
        """Why the view has ended by itself, such as missing permissions. The instances are old from then on."""
        return self._keys.failure

    def age_s(self) -> float:
        """How old the list may be at most, seconds. It grows until the next `sync`."""
        return self._keys.age_s()

    def choose(self) -> Instance:
        """A random instance. Each is as likely as any other.

        Raises:
            NotAvailable: there is none.
            ConfigError: the view is not open.
        """
        instances = self.instances
        if not instances:
            raise NotAvailable(f"service {self.service} has no instance now: await wait_for()")
        return self._rng.choice(instances)

    async def sync(self, *, timeout_s: float | None = None) -> tuple[Instance, ...]:
        """Wait until the view shows at least what was written before this call, and return the instances.

        Args:
            timeout_s: how long to wait, seconds; None for any time, also while the cluster cannot be reached.

        Raises:
            NotAcquired: the time was over first.
            QcoreError: the cluster rejects the request, or the view has failed.
        """
        await self._keys.sync(timeout_s)
        return self.instances

    # -- changes ---------------------------------------------------------------------------------

    def changes(self) -> ServiceChanges:
        """An iterator of the changes. There may be several at the same time.

        The first change has the instances of now as `added`. So the changes alone give the instances at each time.
        """
        return ServiceChanges(self._keys.reader(), self._state.copy(), self.revision)

    def __aiter__(self) -> ServiceChanges:
        """The same as `changes`."""
        return self.changes()

    def on_change(self, callback: Callable[[InstancesChange], object]) -> Callable[[], None]:
        """Call this with each later change, before iterators get it. Then `instances` is that of the change.

        What it raises goes to the exception handler of the event loop.

        Returns:
            A function that ends this.
        """
        return self._callbacks.add(callback)

    async def wait_for(
        self, *, at_least: int = 1, timeout_s: float | None = None
    ) -> tuple[Instance, ...]:
        """Wait until so many instances are listed, and return the instances.

        Args:
            at_least: how many.
            timeout_s: how long to wait, seconds; None for any time.

        Raises:
            NotAcquired: the time was over first.
            QcoreError: the view was closed, or it has failed.
        """
        reader = self._keys.reader()
        try:
            async with time_limit(timeout_s):
                while len(self.instances) < at_least:
                    await reader.take()
        except StopAsyncIteration:
            raise ConfigError(f"service {self.service}: the view was closed") from None
        except TimeoutError:
            raise NotAcquired(
                f"service {self.service} has {len(self.instances)} instances, and not {at_least} within {timeout_s:g} s"
            ) from None
        return self.instances

    def _changed(self, change: KeysChange) -> None:
        self._callbacks.call(self._state.take(change))


class ServiceChanges:
    """An iterator of the changes of a `ServiceView`. Made by `ServiceView.changes`.

    If more than 1,024 changes or 8 MiB wait for it, the newest ones become one, with `skipped`. One task at a time may
    take changes.

    Args:
        reader: takes the changes of the keys.
        state: the instances before them.
        revision: as of which they are.
    """

    def __init__(self, reader: KeysReader, state: InstancesState, revision: int) -> None:
        self._reader = reader
        self._state = state
        self._first: InstancesChange | None = None
        if state.instances:
            self._first = InstancesChange(state.instances, (), (), revision, skipped=False)

    @property
    def instances(self) -> tuple[Instance, ...]:
        """The instances after the change that was taken last."""
        return () if self._first is not None else self._state.instances

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> InstancesChange:
        """The next change.

        Raises:
            ConfigError: another task waits for a change of this iterator.
            QcoreError: the view has failed.
        """
        first, self._first = self._first, None
        if first is not None:
            return first
        while True:
            change = self._state.take(await self._reader.take())
            if change.added or change.removed or change.changed:
                return change

    async def close(self) -> None:
        """End the iteration."""
        self._first = None
        self._reader.end()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()
