"""`Watch`: the changes that a client watches, as an asynchronous iterator that survives lost connections.

The connection of a watch also carries responses, so the client cannot stop reading it while the program handles a
change. If too many changes wait for the program, the client ends the registration at the node. Once the program has
taken the changes that wait, the watch resumes after the last of them. A program that is too slow for too long gets
`WatchCompacted`, because a node holds a bounded number of past changes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Generic, Self, TypeVar

from pydantic import JsonValue

from qcore.client.errors import decode_error
from qcore.client.watching.changes import (
    Notification,
    WatchPosition,
    decode_position,
)
from qcore.client.watching.registration import Registered, Registrar
from qcore.display import truncate
from qcore.errors import (
    ConfigError,
    QcoreError,
    RemoteProtocolError,
    Unauthenticated,
    WatchCompacted,
    WatchOverflow,
)

#: The most changes that wait for the program, and their approximate size, bytes.
MAX_WAITING: Final = 4096
MAX_WAITING_BYTES: Final = 8 * 1024 * 1024

C = TypeVar("C")


@dataclass(frozen=True, slots=True)
class WatchRequest(Generic[C]):
    """What to watch.

    Attributes:
        register: the message that registers the watch.
        unregister: the message that ends it.
        fields: the fields of `register`, without `after`.
        decode: makes the change of a notification.
    """

    register: str
    unregister: str
    fields: Mapping[str, JsonValue]
    decode: Callable[[Notification], C]


class Watch(Generic[C]):
    """Changes in the order of the log, each once. Made by `Client.watch`.

        async with client.watch(entity=user, field_type="Email") as changes:
            async for change in changes:
                print(change.current_value)

    When the context is entered, the watch is registered, so it receives every later change. Without a context, it is
    registered when the iteration begins, and ends with it. If the connection or the node is lost, the watch resumes
    after the last change, at any node. One task at a time may take changes.

    If changes come faster than the program takes them, up to 4,096 wait in the client. Then the client ends the
    registration at the node, and resumes after the last change that waits once the program has taken them all.

    Attributes:
        on_resumed: awaited after the watch was resumed, before a change that came after that is returned. If it raises
            an error, the iteration does, and it is awaited again by the next one. None for nothing.
    """

    def __init__(
        self,
        request: WatchRequest[C],
        registrar: Registrar,
        after: WatchPosition | None,
        timeout_s: float | None,
    ) -> None:
        self._request = request
        self._registrar = registrar
        self._timeout_s = timeout_s
        #: After which change to resume; and the last change that the program has taken.
        self._received = after
        self._taken = after
        self._waiting: deque[tuple[Notification, WatchPosition, int]] = deque()
        self._waiting_bytes = 0
        self._registered: Registered | None = None
        self._failure: QcoreError | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._busy = False
        self._in_context = False
        self._closed = False
        self._was_registered = self._is_resumed = False
        self.on_resumed: Callable[[], Awaitable[object]] | None = None

    @property
    def position(self) -> WatchPosition | None:
        """The position of the last change that the program has taken, or after which the watch began.

        None before the watch is registered. Give it as `after` to a later watch, which then misses nothing.
        """
        return self._taken

    @property
    def is_served(self) -> bool:
        """Whether a node serves the watch, as far as the client knows. A silent node is noticed after 10 to 15 s."""
        return self._registered is not None and self._registered.is_open

    @property
    def has_waiting(self) -> bool:
        """Whether a change waits, so that `__anext__` returns immediately."""
        return bool(self._waiting) and not self._is_resumed

    async def __aenter__(self) -> Self:
        await self._register()
        self._in_context = True
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._in_context = False
        await self.close()

    async def close(self) -> None:
        """End the watch, at the node too. May be called again."""
        self._closed = True
        self._registrar.watches.pop(self, None)
        self._waiting.clear()
        self._waiting_bytes = 0
        self._wake()
        unregistering = self._unregister()
        if unregistering is not None:
            await asyncio.wait([unregistering])

    def __aiter__(self) -> AsyncIterator[C]:
        return self._changes()

    async def _changes(self) -> AsyncIterator[C]:
        """The changes. Outside a context, the end of the iteration ends the watch."""
        try:
            while True:
                try:
                    change = await anext(self)
                except StopAsyncIteration:
                    return
                yield change
        finally:
            if not self._in_context:
                await self.close()

    async def __anext__(self) -> C:
        """The next change. Outside a context, call `close` at the end.

        Raises:
            Unauthenticated: the user's token has expired or was revoked, and the client has no other.
            WatchCompacted: no node has the changes after `position` any more.
            TransportError: the watch could not be registered in `timeout_s`.
            ConfigError: another task waits for a change of this watch.
            QcoreError: the nodes reject the watch; the text gives the reason.
        """
        if self._busy:
            raise ConfigError(
                "another task waits for a change of this watch: make a watch for each task"
            )
        self._busy = True
        try:
            while not self._waiting or self._is_resumed:
                if self._closed:
                    raise StopAsyncIteration
                if self._failure is not None:
                    raise self._failure
                if self._is_resumed:
                    await self._report_resumed()
                elif not self.is_served:
                    await self._register()
                else:
                    await self._wait()
            return self._take()
        finally:
            self._busy = False

    async def _report_resumed(self) -> None:
        if self.on_resumed is not None:
            await self.on_resumed()
        self._is_resumed = False

    def _take(self) -> C:
        notification, position, size = self._waiting.popleft()
        self._waiting_bytes -= size
        self._taken = position
        try:
            return self._request.decode(notification)
        except (ValueError, TypeError, KeyError) as error:
            raise RemoteProtocolError(
                f"a notification cannot be read ({type(error).__name__}: {error}): {truncate(repr(notification))}"
            ) from error

    async def _register(self) -> None:
        self._registered = None
        self._registrar.watches[self] = None
        try:
            registered = await self._registrar.register(
                self._request.register,
                self._request.unregister,
                self._request.fields,
                self._received,
                self._timeout_s,
            )
        except WatchCompacted as error:
            self._failure = error
            raise
        if self._received is None:
            self._received = self._taken = registered.after
        self._registered = registered
        self._is_resumed = self._was_registered
        self._was_registered = True
        registered.routes.add(registered.token, self)
        if self._closed:
            self._unregister()

    async def _wait(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        waiter = self._waiter
        # The event loop of a task that waited for a change may have been closed without notice.
        if waiter is not None and not (waiter.done() or waiter.get_loop().is_closed()):
            waiter.set_result(None)

    def _unregister(self) -> asyncio.Task[None] | None:
        registered, self._registered = self._registered, None
        if registered is None:
            return None
        return registered.routes.remove(registered.token, self._request.unregister)

    # -- called by the routes ------------------------------------------------------------------------

    def receive(self, notification: Notification) -> None:
        """Take a change from the node."""
        try:
            position = decode_position(notification)
        except ValueError as error:
            self._failure = RemoteProtocolError(f"{error}: {truncate(repr(notification))}")
            self._unregister()
            self._wake()
            return
        if self._received is not None and position <= self._received:
            return  # it was received before
        size = _size_of(notification)
        is_full = (
            len(self._waiting) >= MAX_WAITING or self._waiting_bytes + size > MAX_WAITING_BYTES
        )
        if self._waiting and is_full:
            self._unregister()
            return
        self._received = position
        self._waiting.append((notification, position, size))
        self._waiting_bytes += size
        self._wake()

    def end(self, text: str, detail: JsonValue) -> None:
        """Note that the node has ended the watch."""
        self._registered = None
        error = decode_error(text, detail)
        # Another node may have the changes that this one does not have any more, and another token more rights.
        may_resume = isinstance(error, WatchOverflow | WatchCompacted) or (
            isinstance(error, Unauthenticated) and self._registrar.renew is not None
        )
        if not (may_resume or error.retryable):
            self._failure = error
        self._wake()

    def lose_route(self) -> None:
        """Note that the connection has ended."""
        self._registered = None
        self._wake()


def _size_of(json: object) -> int:
    """The approximate memory of a decoded value, bytes."""
    size = 0
    rest = [json]
    while rest:
        value = rest.pop()
        size += 64
        if isinstance(value, str):
            size += len(value)
        elif isinstance(value, Mapping):
            rest.extend(value.values())
        elif isinstance(value, list):
            rest.extend(value)
    return size
