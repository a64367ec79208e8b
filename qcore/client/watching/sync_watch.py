"""`SyncWatch`: a `Watch` for programs without asyncio."""

from __future__ import annotations

from collections.abc import Coroutine, Iterator
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar

from qcore.client.watching.changes import WatchPosition
from qcore.client.watching.watch import Watch

_C = TypeVar("_C")
_R = TypeVar("_R")


class RunsCoroutines(Protocol):
    """Runs a coroutine in the client's event loop, and waits for its result."""

    def __call__(self, coroutine: Coroutine[Any, Any, _R], /) -> _R:
        """Run it to its end."""
        ...


class SyncWatch(Generic[_C]):
    """Changes in the order of the log, each once: see `Watch`. Made by `SyncClient.watch`.

        with client.watch(entity=user, field_type="Email") as changes:
            for change in changes:
                print(change.current_value)

    It is registered when the context is entered or the iteration begins. Without a context, call `close` at the end.
    """

    def __init__(self, watch: Watch[_C], run: RunsCoroutines) -> None:
        self._watch = watch
        self._run = run

    @property
    def position(self) -> WatchPosition | None:
        """See `Watch.position`."""
        return self._watch.position

    def __enter__(self) -> Self:
        self._run(self._watch.__aenter__())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._run(self._watch.__aexit__(kind, error, trace))

    def close(self) -> None:
        """End the watch, at the node too. May be called again."""
        self._run(self._watch.close())

    def __iter__(self) -> Iterator[_C]:
        return self

    def __next__(self) -> _C:
        """The next change; raises as `Watch`."""
        found = self._run(self._next())
        if found is None:
            raise StopIteration
        return found[0]

    async def _next(self) -> tuple[_C] | None:
        try:
            return (await anext(self._watch),)
        except StopAsyncIteration:
            return None
