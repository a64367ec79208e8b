"""`ConfigWatch`: a configuration in one key, as a value of a type, which every program has in memory."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Generic, Self, TypeVar

from pydantic import TypeAdapter

from qcore.errors import ConfigError, TooLarge, ValueTooLarge
from qcore.recipes.recipe_errors import NotAcquired
from qcore.recipes.views.change_callbacks import Callbacks
from qcore.recipes.views.config_content import (
    ConfigChange,
    ConfigModel,
    ConfigState,
    InvalidContent,
    Missing,
)
from qcore.recipes.views.key_changes_feed import KeysChange, KeysReader
from qcore.recipes.views.live_keys import DEFAULT_SYNC_S, LiveKeys
from qcore.recipes.views.once_writer import OnceWriter
from qcore.time_limit import time_limit

if TYPE_CHECKING:
    from qcore.kv.key_values import Data, KeyVersion
    from qcore.kv.kv_client import KeyValue

M = TypeVar("M")


class ConfigWatch(Generic[M]):
    """The configuration in one key, as JSON, kept up to date in memory. Use it as an async context manager.

        class Flags(BaseModel):
            new_page: bool = False

        async with ConfigWatch(kv, "flags", Flags) as config:
            print(config.value.new_page)
            async for change in config.changes():
                print(change.revision, change.value)

    **Guarantee.** `value` is the newest valid content that has arrived, and it never goes back to an earlier revision.
    Every change is delivered once and in order, as long as the cluster keeps the history since the last one that
    arrived. Otherwise the newest content arrives, with `skipped`. An `update` is applied once, and it sees the content
    that it replaces. It replaces no content that does not fit the model.

    `value` may be old, because a program that is cut off cannot know that there is a newer one. If a decision
    depends on the newest value, await `sync` first: after that `value` shows at least what was written before.

    - Disconnect: `value` stays. The watch resumes at any node after the last change. `is_served` is False then. But
      a silent node is noticed late. A node that is cut off from the others is noticed by the next `sync`. `age_s` is
      the bound.
    - Pause of the process: afterwards, the changes that it missed arrive one by one, or with `skipped` if the cluster
      does not keep them any more.
    - Leader change: no change is lost. There are no new ones while there is no leader.
    - Expiry: nothing here depends on a lease.
    - Clock jump: without effect, because no wall clock is read.
    - End of the process: nothing remains in the cluster, except the small key `config-writer//KEY`. `set`, `update` and
      `delete` write it, to find out what took effect.
    - Restore of a backup: the configuration of the backup arrives with `skipped`, once the watch has reached the new
      cluster.

    Content that does not fit the model is reported in `invalid` and as a change. The old value remains effective. So
    keep the model able to read what older and newer programs write: give new fields a default.

    Args:
        kv: the keys of the cluster.
        key: where the configuration is.
        model: a class of pydantic, or any type that `pydantic.TypeAdapter` takes.
        default: a value of the model. It is effective while the key does not exist, and until the first content that
            fits the model arrives; None for none.
        sync_every_s: how often the watch does a `sync` by itself, seconds; None for never. It notices that the node
            that serves the watch is cut off from the others.

    Attributes:
        key: the argument, as bytes.

    Raises:
        ConfigError: the key is empty, the default does not fit the model, or `sync_every_s` is out of its range.
    """

    def __init__(
        self,
        kv: KeyValue,
        key: Data,
        model: type[M] | TypeAdapter[M],
        *,
        default: M | None = None,
        sync_every_s: float | None = DEFAULT_SYNC_S,
    ) -> None:
        self.key = key.encode() if isinstance(key, str) else key
        if not self.key:
            raise ConfigError("config: the key is empty: write it like 'config/flags'")
        self._model = ConfigModel(self.key, model)
        self._state = ConfigState(
            self._model, Missing.VALUE if default is None else self._model.checked_default(default)
        )
        self._keys = LiveKeys(kv, key=self.key, sync_every_s=sync_every_s)
        self._keys.on_change = self._changed
        self._writer = OnceWriter(kv, self.key)
        self._callbacks: Callbacks[ConfigChange[M]] = Callbacks(self._model.name)

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
        """Read the key, and begin to watch it. It waits also while the cluster cannot be reached.

        Raises:
            ConfigError: it was opened before.
            QcoreError: the cluster rejects the request.
        """
        await self._keys.open()
        self._state.read(self._keys.keys.get(self.key))

    async def close(self) -> None:
        """Stop to watch. `value` remains, and iterations end. May be called again."""
        self._callbacks.clear()
        await self._keys.close()

    # -- what it is ------------------------------------------------------------------------------

    @property
    def value(self) -> M:
        """The effective value: that of the newest valid content, or the default. Do not change it.

        Raises:
            NotAvailable: no content that fits the model has arrived, and there is no default; or the key was deleted,
                and there is no default. The text says why.
            ConfigError: the watch is not open.
        """
        self._keys.check_open()
        return self._state.effective()

    @property
    def revision(self) -> int:
        """As of which revision the content is known. It never goes back."""
        return self._keys.revision

    @property
    def invalid(self) -> InvalidContent | None:
        """The content of the key, if it does not fit the model."""
        return self._state.invalid

    @property
    def is_served(self) -> bool:
        """Whether a node serves the watch, as far as the client knows.

        False says that the value may be old. True does not say that it is new; see `age_s` and `sync`.
        """
        return self._keys.is_served

    @property
    def failure(self) -> BaseException | None:
        """Why the watch has ended by itself, such as missing permissions. The value is old from then on."""
        return self._keys.failure

    def age_s(self) -> float:
        """How old the value may be at most, seconds. It grows until the next `sync`; see `sync_every_s`."""
        return self._keys.age_s()

    async def sync(self, *, timeout_s: float | None = None) -> M:
        """Wait until the value is at least as new as what was written before this call, and return it.

        Args:
            timeout_s: how long to wait, seconds; None for any time, also while the cluster cannot be reached.

        Raises:
            NotAcquired: the time was over first.
            NotAvailable: see `value`.
            QcoreError: the cluster rejects the request, or the watch has failed.
        """
        await self._keys.sync(timeout_s)
        return self.value

    # -- changes ---------------------------------------------------------------------------------

    def changes(self) -> ConfigChanges[M]:
        """An iterator of the changes from now on. There may be several at the same time.

        A value that was read just before this call and the changes together miss nothing.
        """
        return ConfigChanges(self._keys.reader(), self._state.copy(), self.key)

    def on_change(self, callback: Callable[[ConfigChange[M]], object]) -> Callable[[], None]:
        """Call this with each change, before iterators get it. Then `value` is that of the change.

        What it raises goes to the exception handler of the event loop.

        Returns:
            A function that ends this.
        """
        return self._callbacks.add(callback)

    async def wait_for(
        self, predicate: Callable[[M], object], *, timeout_s: float | None = None
    ) -> M:
        """Wait for a value for which the predicate is true, and return it. The effective value counts, too.

        Args:
            predicate: is called with each value, in order.
            timeout_s: how long to wait, seconds; None for any time.

        Raises:
            NotAcquired: the time was over first.
            QcoreError: the watch was closed, or it has failed.
        """
        changes = self.changes()
        try:
            async with time_limit(timeout_s) as limit:
                while True:
                    value = changes.effective
                    if value is not Missing.VALUE and predicate(value):
                        return value
                    await anext(changes)
        except StopAsyncIteration:
            raise ConfigError(f"{self._model.name}: the watch was closed") from None
        except TimeoutError:
            if not limit.expired():
                raise  # it comes from the predicate
            raise NotAcquired(f"{self._model.name}: no such value within {timeout_s:g} s") from None

    # -- writes ----------------------------------------------------------------------------------

    async def set(self, value: M, *, timeout_s: float | None = None) -> int:
        """Set the configuration, and return the revision. The watch need not be open.

        Returns before `value` shows it; see `sync`.

        Args:
            value: the new value.
            timeout_s: how long to try, seconds; None for any time, also while the cluster cannot be reached.

        Raises:
            ConfigError: the value does not fit the model, has no JSON, or has JSON of more than about a megabyte.
            NotAcquired: the time was over, and nothing was changed.
            OutcomeUnknown: the time was over, and the value may have been set, or may still be.
            QcoreError: the cluster rejects a request.
        """
        content = self._model.write(value)
        return await self._write(lambda _: content, timeout_s)

    async def update(self, function: Callable[[M], M], *, timeout_s: float | None = None) -> M:
        """Set the configuration to what the function makes of the newest one, and return that.

        It takes effect once, and no other write comes in between. The watch need not be open.

        Args:
            function: gets the value, or the default if the key does not exist. It must return another object. It is
                called again if another program writes at the same time.
            timeout_s: see `set`.

        Raises:
            NotAvailable: the content does not fit the model, whether or not there is a default. Nothing is written,
                because a newer program may need that content. Or the key does not exist, and there is no default.
                `set` writes in both cases.
            ConfigError, NotAcquired, OutcomeUnknown, QcoreError: see `set`.
        """
        result: M | Missing = Missing.VALUE

        def changed(before: KeyVersion | None) -> bytes:
            nonlocal result
            state = ConfigState(self._model, self._state.default)
            state.read(before)
            state.check_valid()
            result = function(state.effective())
            return self._model.write(result)

        await self._write(changed, timeout_s)
        assert result is not Missing.VALUE, "the function was called"
        return result

    async def delete(self, *, timeout_s: float | None = None) -> int:
        """Delete the key, and return the revision. The arguments and errors are those of `set`."""
        return await self._write(lambda _: None, timeout_s)

    async def _write(
        self, function: Callable[[KeyVersion | None], bytes | None], timeout_s: float | None
    ) -> int:
        size = 0

        def changed(before: KeyVersion | None) -> bytes | None:
            nonlocal size
            content = function(before)
            size = len(content or b"")
            return content

        try:
            return await self._writer.change(changed, timeout_s)
        except (TooLarge, ValueTooLarge) as error:
            raise ConfigError(
                f"{self._model.name}: its JSON has {size} bytes, which is too much ({error}): use several keys"
            ) from error

    def _changed(self, change: KeysChange) -> None:
        self._callbacks.call(self._state.take(change, self.key))


class ConfigChanges(Generic[M]):
    """An iterator of the changes of a `ConfigWatch`. Made by `ConfigWatch.changes`.

    If more than 1,024 changes or 8 MiB wait for it, the newest ones become one, with `skipped`. One task at a time may
    take changes.

    Args:
        reader: takes the changes of the key.
        state: the effective value before them.
        key: the key.
    """

    def __init__(self, reader: KeysReader, state: ConfigState[M], key: bytes) -> None:
        self._reader = reader
        self._state = state
        self._key = key

    @property
    def effective(self) -> M | Missing:
        """The value after the change that was taken last."""
        return self._state.value

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ConfigChange[M]:
        """The next change.

        Raises:
            ConfigError: another task waits for a change of this iterator.
            QcoreError: the watch has failed.
        """
        return self._state.take(await self._reader.take(), self._key)

    async def close(self) -> None:
        """End the iteration."""
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
