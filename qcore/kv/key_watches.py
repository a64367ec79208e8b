"""`KeyWatch`: the changes of keys, as Python values."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Self

from qcore.errors import ConfigError, RemoteProtocolError
from qcore.kv.key_values import KeyChange, change_of

if TYPE_CHECKING:
    from qcore.client.watching.changes import MachineChange
    from qcore.client.watching.watch import Watch


class KeyWatch:
    """An asynchronous iterator of the changes of keys, in the order of their revisions, each once.

    It survives lost connections and nodes, like the `qcore.client.Watch` that it reads.

    Args:
        watch: the watch of the client.
    """

    def __init__(self, watch: Watch[MachineChange]) -> None:
        self._watch = watch

    @property
    def is_served(self) -> bool:
        """See `qcore.client.Watch.is_served`."""
        return self._watch.is_served

    @property
    def has_waiting(self) -> bool:
        """See `qcore.client.Watch.has_waiting`."""
        return self._watch.has_waiting

    def when_resumed(self, call: Callable[[], Awaitable[object]]) -> None:
        """Await this after the watch was resumed; see `qcore.client.Watch.on_resumed`."""
        self._watch.on_resumed = call

    async def __aenter__(self) -> Self:
        """Begin to watch. After this, no change is missed."""
        await self._watch.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the watch."""
        await self._watch.__aexit__(kind, error, traceback)

    async def close(self) -> None:
        """End the watch."""
        await self._watch.close()

    def __aiter__(self) -> AsyncIterator[KeyChange]:
        return self

    async def next_change(self) -> KeyChange:
        """The next change, for code that cannot do without one.

        Raises:
            ConfigError: the watch or its client was closed.
            WatchCompacted, RemoteProtocolError: see `__anext__`.
        """
        try:
            return await anext(self)
        except StopAsyncIteration:
            raise ConfigError("this watch was closed, or its client: make another one") from None

    async def __anext__(self) -> KeyChange:
        """The next change.

        Raises:
            WatchCompacted: the history no longer has the next change: read the keys, and watch from their revision on.
            RemoteProtocolError: a node sent something else than a change of a key.
        """
        change = (await self._watch.__anext__()).change
        try:
            if isinstance(change, Mapping):
                return change_of(change)
        except (KeyError, TypeError, ValueError):
            pass
        raise RemoteProtocolError(f"a node sent no change of a key: {change!r}"[:300])
