"""`SyncKeyValue`: `KeyValue` for programs without asyncio.

with SyncClient(["127.0.0.1:8080"]) as client:
    kv = SyncKeyValue(client)
    kv.put("config/colour", "blue")
    print(kv.get("config/colour").text)
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Self, TypeVar

from qcore.kv.key_values import KeyChange
from qcore.kv.key_watches import KeyWatch
from qcore.kv.kv_client import KeyValue

if TYPE_CHECKING:
    from qcore.client.sync_client import SyncClient

_P = ParamSpec("_P")
_R = TypeVar("_R")


def _method(
    method: Callable[Concatenate[KeyValue, _P], Coroutine[Any, Any, _R]],
) -> Callable[Concatenate[SyncKeyValue, _P], _R]:
    """The method of `SyncKeyValue` for a coroutine method of `KeyValue`."""

    @functools.wraps(method)
    def run(self: SyncKeyValue, /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        return self._client.run(method(self._kv, *args, **kwargs))

    return run


def _iterator(
    method: Callable[Concatenate[KeyValue, _P], AsyncIterator[_R]],
) -> Callable[Concatenate[SyncKeyValue, _P], Iterator[_R]]:
    """The method of `SyncKeyValue` for an asynchronous iterator of `KeyValue`."""

    @functools.wraps(method)
    def run(self: SyncKeyValue, /, *args: _P.args, **kwargs: _P.kwargs) -> Iterator[_R]:
        return self._client.iterate(method(self._kv, *args, **kwargs))

    return run


def _watch(
    method: Callable[Concatenate[KeyValue, _P], KeyWatch],
) -> Callable[Concatenate[SyncKeyValue, _P], SyncKeyWatch]:
    """The method of `SyncKeyValue` for a method of `KeyValue` that makes a watch."""

    @functools.wraps(method)
    def run(self: SyncKeyValue, /, *args: _P.args, **kwargs: _P.kwargs) -> SyncKeyWatch:
        return SyncKeyWatch(method(self._kv, *args, **kwargs), self._client)

    return run


class SyncKeyValue:
    """Each method is the method of `KeyValue` with the same name, run to its end.

    Args:
        client: a client, which the caller closes.
        timeout_s: see `KeyValue`.
    """

    def __init__(self, client: SyncClient, *, timeout_s: float | None = None) -> None:
        self._client = client
        self._kv = KeyValue(client.asynchronous, timeout_s=timeout_s)

    get = _method(KeyValue.get)
    range = _method(KeyValue.range)
    items = _iterator(KeyValue.items)
    put = _method(KeyValue.put)
    replace = _method(KeyValue.replace)
    delete = _method(KeyValue.delete)
    txn = _method(KeyValue.txn)
    grant = _method(KeyValue.grant)
    keep_alive = _method(KeyValue.keep_alive)
    revoke = _method(KeyValue.revoke)
    lease = _method(KeyValue.lease)
    leases = _method(KeyValue.leases)
    watch = _watch(KeyValue.watch)
    compact = _method(KeyValue.compact)
    keep_history = _method(KeyValue.keep_history)
    status = _method(KeyValue.status)


class SyncKeyWatch:
    """An iterator of the changes of keys. Use it as a context manager, or call `close`.

    Args:
        watch: what it reads.
        client: runs it.
    """

    def __init__(self, watch: KeyWatch, client: SyncClient) -> None:
        self._watch = watch
        self._client = client

    def __enter__(self) -> Self:
        """Begin to watch. After this, no change is missed."""
        self._client.run(self._watch.__aenter__())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the watch."""
        self._client.run(self._watch.close())

    def __iter__(self) -> Iterator[KeyChange]:
        return self

    def __next__(self) -> KeyChange:
        """The next change; see `KeyWatch`."""
        found = self._client.run(self._next())
        if found is None:
            raise StopIteration
        return found

    async def _next(self) -> KeyChange | None:
        try:
            return await self._watch.__anext__()
        except StopAsyncIteration:
            return None
