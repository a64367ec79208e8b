"""`SyncConfigWatch` and `SyncServiceRegistry`: configurations and services for programs without asyncio.

    with SyncConfigWatch(client, "flags", Flags) as config:
        print(config.value.new_page)
        with config.changes() as changes:
            for change in changes:
                print(change.value)

The thread of the client keeps values up to date, and calls predicates, callbacks and functions of updates. So these
must be quick. They must not use the client, also not by a recipe, which raises `ConfigError`: let them give such work
to another thread, for example by a `queue.Queue`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Generic, TypeVar

from pydantic import TypeAdapter

from qcore.client.synchronous.sync_facade import (
    SyncContext,
    SyncFacade,
    SyncIterator,
    sync_cleanup,
    sync_method,
    sync_object,
)
from qcore.kv.kv_client import KeyValue
from qcore.recipes.lease import DEFAULT_MAX_DRIFT, DEFAULT_TTL_S
from qcore.recipes.views.config_watch import ConfigChanges, ConfigWatch
from qcore.recipes.views.live_keys import DEFAULT_SYNC_S
from qcore.recipes.views.service_registration import Registration
from qcore.recipes.views.service_registry import ServiceRegistry
from qcore.recipes.views.service_view import ServiceChanges, ServiceView

if TYPE_CHECKING:
    from qcore.client.synchronous.sync_client import SyncClient
    from qcore.kv.key_values import Data
    from qcore.recipes.views.config_content import ConfigChange, InvalidContent
    from qcore.recipes.views.service_instances import Instance, InstancesChange

M = TypeVar("M")


class SyncConfigChanges(SyncIterator[ConfigChanges[M]]):
    """An iterator of each `ConfigChange`: see `ConfigChanges`. Use it as a context manager, or call `close`."""


class SyncConfigWatch(SyncContext[ConfigWatch[M]], Generic[M]):
    """Each method is the method of `ConfigWatch` with the same name, run to its end.

    Args:
        client: a client, which the caller closes.
        key, model, default, sync_every_s: see `ConfigWatch`.

    Raises:
        ConfigError: the key is empty, the default does not fit the model, or `sync_every_s` is out of its range.
    """

    def __init__(
        self,
        client: SyncClient,
        key: Data,
        model: type[M] | TypeAdapter[M],
        *,
        default: M | None = None,
        sync_every_s: float | None = DEFAULT_SYNC_S,
    ) -> None:
        kv = KeyValue(client.asynchronous)
        super().__init__(
            ConfigWatch(kv, key, model, default=default, sync_every_s=sync_every_s), client
        )

    @property
    def value(self) -> M:
        """See `ConfigWatch.value`."""
        return self._wrapped.value

    @property
    def revision(self) -> int:
        """See `ConfigWatch.revision`."""
        return self._wrapped.revision

    @property
    def invalid(self) -> InvalidContent | None:
        """See `ConfigWatch.invalid`."""
        return self._wrapped.invalid

    @property
    def is_served(self) -> bool:
        """See `ConfigWatch.is_served`."""
        return self._wrapped.is_served

    @property
    def failure(self) -> BaseException | None:
        """See `ConfigWatch.failure`."""
        return self._wrapped.failure

    def age_s(self) -> float:
        """See `ConfigWatch.age_s`."""
        return self._wrapped.age_s()

    def changes(self) -> SyncConfigChanges[M]:
        """See `ConfigWatch.changes`."""

        async def made() -> ConfigChanges[M]:
            return self._wrapped.changes()

        return SyncConfigChanges(self._runner.run(made()), self._runner)

    def on_change(self, callback: Callable[[ConfigChange[M]], object]) -> Callable[[], None]:
        """See `ConfigWatch.on_change`.

        The thread of the client calls it, so it must be quick, and must not use the client: that raises `ConfigError`.
        Let it give such work to another thread.
        """
        return self._wrapped.on_change(callback)

    def wait_for(self, predicate: Callable[[M], object], *, timeout_s: float | None = None) -> M:
        """See `ConfigWatch.wait_for`.

        The thread of the client calls the predicate, so it must be quick, and must not use the client: that raises
        `ConfigError`. Let it give such work to another thread.
        """
        return self._runner.run(self._wrapped.wait_for(predicate, timeout_s=timeout_s))

    def update(self, function: Callable[[M], M], *, timeout_s: float | None = None) -> M:
        """See `ConfigWatch.update`.

        The thread of the client calls the function, so it must be quick, and must not use the client: that raises
        `ConfigError`. Let it give such work to another thread.
        """
        return self._runner.run(self._wrapped.update(function, timeout_s=timeout_s))

    def set(self, value: M, *, timeout_s: float | None = None) -> int:
        """See `ConfigWatch.set`."""
        return self._runner.run(self._wrapped.set(value, timeout_s=timeout_s))

    def sync(self, *, timeout_s: float | None = None) -> M:
        """See `ConfigWatch.sync`."""
        return self._runner.run(self._wrapped.sync(timeout_s=timeout_s))

    delete = sync_method(ConfigWatch.delete)
    open = sync_method(ConfigWatch.open)
    close = sync_cleanup(ConfigWatch.close)


class SyncRegistration(SyncContext[Registration]):
    """Each method is the method of `Registration` with the same name, run to its end.

    Made by `SyncServiceRegistry.register`. Use it as a context manager, or call `open` and `close`.
    """

    @property
    def service(self) -> str:
        """The name of the service."""
        return self._wrapped.service

    @property
    def instance(self) -> str:
        """The name of the instance."""
        return self._wrapped.instance

    @property
    def is_registered(self) -> bool:
        """See `Registration.is_registered`."""
        return self._wrapped.is_registered

    @property
    def failure(self) -> BaseException | None:
        """See `Registration.failure`."""
        return self._wrapped.failure

    def on_change(self, callback: Callable[[bool], object]) -> Callable[[], None]:
        """See `Registration.on_change`.

        The thread of the client calls it, so it must be quick, and must not use the client: that raises `ConfigError`.
        Let it give such work to another thread.
        """
        return self._wrapped.on_change(callback)

    open = sync_method(Registration.open)
    close = sync_cleanup(Registration.close)
    update = sync_method(Registration.update)
    wait_registered = sync_method(Registration.wait_registered)


class SyncServiceChanges(SyncIterator[ServiceChanges]):
    """An iterator of each `InstancesChange`: see `ServiceChanges`. Use it as a context manager, or call `close`."""

    @property
    def instances(self) -> tuple[Instance, ...]:
        """See `ServiceChanges.instances`."""
        return self._wrapped.instances


class SyncServiceView(SyncContext[ServiceView]):
    """Each method is the method of `ServiceView` with the same name, run to its end.

    Made by `SyncServiceRegistry.watch`. Use it as a context manager, or call `open` and `close`.
    """

    @property
    def instances(self) -> tuple[Instance, ...]:
        """See `ServiceView.instances`."""

        async def listed() -> tuple[Instance, ...]:
            return self._wrapped.instances

        return self._runner.run(listed())

    @property
    def invalid(self) -> Mapping[str, str]:
        """See `ServiceView.invalid`."""
        return self._wrapped.invalid

    @property
    def revision(self) -> int:
        """See `ServiceView.revision`."""
        return self._wrapped.revision

    @property
    def is_served(self) -> bool:
        """See `ServiceView.is_served`."""
        return self._wrapped.is_served

    @property
    def failure(self) -> BaseException | None:
        """See `ServiceView.failure`."""
        return self._wrapped.failure

    def age_s(self) -> float:
        """See `ServiceView.age_s`."""
        return self._wrapped.age_s()

    def choose(self) -> Instance:
        """See `ServiceView.choose`."""

        async def chosen() -> Instance:
            return self._wrapped.choose()

        return self._runner.run(chosen())

    def changes(self) -> SyncServiceChanges:
        """See `ServiceView.changes`."""

        async def made() -> ServiceChanges:
            return self._wrapped.changes()

        return SyncServiceChanges(self._runner.run(made()), self._runner)

    def __iter__(self) -> SyncServiceChanges:
        """The same as `changes`."""
        return self.changes()

    def on_change(self, callback: Callable[[InstancesChange], object]) -> Callable[[], None]:
        """See `ServiceView.on_change`.

        The thread of the client calls it, so it must be quick, and must not use the client: that raises `ConfigError`.
        Let it give such work to another thread.
        """
        return self._wrapped.on_change(callback)

    open = sync_method(ServiceView.open)
    close = sync_cleanup(ServiceView.close)
    sync = sync_method(ServiceView.sync)
    wait_for = sync_method(ServiceView.wait_for)


class SyncServiceRegistry(SyncFacade[ServiceRegistry]):
    """Each method is the method of `ServiceRegistry` with the same name, run to its end.

    Args:
        client: a client, which the caller closes.
        ttl_s, max_drift: see `ServiceRegistry`.

    Raises:
        ConfigError: an argument is out of its range.
    """

    def __init__(
        self,
        client: SyncClient,
        *,
        ttl_s: float = DEFAULT_TTL_S,
        max_drift: float = DEFAULT_MAX_DRIFT,
    ) -> None:
        kv = KeyValue(client.asynchronous)
        super().__init__(ServiceRegistry(kv, ttl_s=ttl_s, max_drift=max_drift), client)

    register = sync_object(ServiceRegistry.register, SyncRegistration)
    watch = sync_object(ServiceRegistry.watch, SyncServiceView)
    instances = sync_method(ServiceRegistry.instances)
