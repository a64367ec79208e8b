"""The synchronous version of an asynchronous class: a facade whose methods run those of the class to their end.

    class SyncLock(SyncFacade[Lock]):
        acquire = sync_method(Lock.acquire)

    lock = SyncLock(Lock(KeyValue(client.asynchronous), "a"), client)

A facade runs its coroutines in the thread of a `SyncClient`.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, Self, TypeVar

_P = ParamSpec("_P")
_R = TypeVar("_R")
_A = TypeVar("_A")
_B = TypeVar("_B")
#: Covariant, so that a facade of a class also has the methods that the class inherits.
_A_co = TypeVar("_A_co", covariant=True)
_Item = TypeVar("_Item")
_Item_co = TypeVar("_Item_co", covariant=True)

#: Makes the coroutine that gives a result back, if no caller gets it.
Undo = Callable[[_R], Coroutine[Any, Any, object]]


class RunsCoroutines(Protocol):
    """Runs coroutines in the thread of an event loop, and waits for their results, as `SyncClient` does."""

    def run(
        self,
        coroutine: Coroutine[Any, Any, _R],
        /,
        *,
        undo: Undo[_R] | None = None,
        is_cleanup: bool = False,
    ) -> _R:
        """Run a coroutine to its end; see `SyncClient.run`."""
        ...

    def iterate(self, items: AsyncIterator[_R], /) -> Iterator[_R]:
        """Read an asynchronous iterator."""
        ...


class SyncFacade(Generic[_A_co]):
    """The base class of synchronous versions.

    Args:
        wrapped: the asynchronous object.
        runner: runs its coroutines.
    """

    def __init__(self, wrapped: _A_co, runner: RunsCoroutines) -> None:
        self._wrapped = wrapped
        self._runner = runner


def sync_object(
    method: Callable[Concatenate[_A, _P], _B], facade: Callable[[_B, RunsCoroutines], _R]
) -> Callable[Concatenate[SyncFacade[_A], _P], _R]:
    """The method of a facade for a method that makes another asynchronous object.

    Args:
        method: makes the object.
        facade: the synchronous version of its class.
    """

    @functools.wraps(method)
    def run(self: SyncFacade[_A], /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        return facade(method(self._wrapped, *args, **kwargs), self._runner)

    if isinstance(facade, type):
        _declare_return(run, facade)
    return run


def _declare_return(function: Callable[..., object], annotation: object) -> None:
    """Let `help` show what a method of a facade returns: it copies the annotations of the asynchronous method."""
    signature = inspect.signature(function).replace(return_annotation=annotation)
    function.__dict__["__signature__"] = signature
    # Another dictionary: that of `functools.wraps` is the one of the asynchronous method.
    function.__annotations__ = {**function.__annotations__, "return": annotation}


def sync_method(
    method: Callable[Concatenate[_A, _P], Coroutine[Any, Any, _R]],
) -> Callable[Concatenate[SyncFacade[_A], _P], _R]:
    """The method of a facade for a coroutine method."""
    return sync_object(method, lambda coroutine, runner: runner.run(coroutine))


def sync_cleanup(
    method: Callable[Concatenate[_A, _P], Coroutine[Any, Any, _R]],
) -> Callable[Concatenate[SyncFacade[_A], _P], _R]:
    """The method of a facade for a coroutine method that gives something back. Ctrl-C ends only the wait for it."""
    return sync_object(method, lambda coroutine, runner: runner.run(coroutine, is_cleanup=True))


def sync_iterator(
    method: Callable[Concatenate[_A, _P], AsyncIterator[_R]],
) -> Callable[Concatenate[SyncFacade[_A], _P], Iterator[_R]]:
    """The method of a facade for an asynchronous generator."""
    run = sync_object(method, lambda items, runner: runner.iterate(items))
    _declare_return(run, str(method.__annotations__["return"]).replace("AsyncIterator", "Iterator"))
    return run


_C_co = TypeVar("_C_co", bound=AbstractAsyncContextManager[object], covariant=True)


class SyncContext(SyncFacade[_C_co]):
    """The base class of synchronous versions of a context manager."""

    def __enter__(self) -> Self:
        """Open it."""
        wrapped = self._wrapped

        async def leave(_: object) -> None:
            await wrapped.__aexit__(None, None, None)

        self._runner.run(wrapped.__aenter__(), undo=leave)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._runner.run(self._wrapped.__aexit__(kind, error, trace), is_cleanup=True)


class AsyncWatch(AbstractAsyncContextManager[object], Protocol[_Item_co]):
    """An asynchronous iterator that is a context manager, such as `Watch`."""

    async def __anext__(self) -> _Item_co: ...

    async def close(self) -> None:
        """End the iteration."""
        ...


_W_co = TypeVar("_W_co", bound=AsyncWatch[object], covariant=True)


class SyncIterator(SyncContext[_W_co]):
    """The base class of synchronous versions of an `AsyncWatch`. Without a context, call `close` at the end.

    After `__enter__` no change is missed.
    """

    def close(self) -> None:
        """End the watch, at the node too. May be called again."""
        self._runner.run(self._wrapped.close(), is_cleanup=True)

    def __iter__(self) -> Self:
        return self

    def __next__(self: SyncIterator[AsyncWatch[_Item]]) -> _Item:
        """The next change; raises as the asynchronous iterator."""
        try:
            return self._runner.run(self._wrapped.__anext__())
        except StopAsyncIteration:
            raise StopIteration from None
