"""`Registrar`: registers a watch at one node after the other, until one accepts it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Final, Protocol, cast
from weakref import WeakKeyDictionary

from pydantic import JsonValue

from qcore.client.endpoints import Endpoints
from qcore.client.errors import decode_error, retry_delay
from qcore.client.event_loop import EventLoopUse
from qcore.client.watching.changes import WatchPosition, decode_after
from qcore.client.watching.push_routes import PushRoutes
from qcore.display import truncate
from qcore.errors import (
    ConnectionLost,
    ErrorReply,
    OutcomeUnknown,
    QcoreError,
    RemoteProtocolError,
    TransportError,
    Unauthenticated,
    WatchCompacted,
    WatchOverflow,
)
from qcore.transport.address import Address
from qcore.transport.connection.client_connection import ClientConnection

#: Authenticates again on a connection.
Renew = Callable[[ClientConnection], Awaitable[None]]

_PAUSE_FIRST_S: Final = 0.02
_PAUSE_LAST_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Registered:
    """A watch that a node serves.

    Attributes:
        routes: of the connection to the node. The registration waits for `add`.
        token: the node's name for the watch.
        after: the position after which the watch begins.
    """

    routes: PushRoutes
    token: str
    after: WatchPosition

    @property
    def is_open(self) -> bool:
        """Whether the connection to the node is open."""
        return self.routes.connection.is_open


class ClosableWatch(Protocol):
    """What `Registrar.close` needs of a watch."""

    async def close(self) -> None:
        """End the watch."""
        ...


class Registrar:
    """Registers the watches of one client.

    Args:
        endpoints: the nodes.
        event_loop: the event loop in which the client is used.
        attempt_timeout_s: how long one node may take to answer.
        rng: draws pauses.
        renew: authenticates again on a connection; None for a client without a user.

    Attributes:
        watches: the watches that were registered and are not closed.
        renew: the argument.
    """

    def __init__(
        self,
        endpoints: Endpoints,
        event_loop: EventLoopUse,
        attempt_timeout_s: float,
        rng: Random,
        renew: Renew | None = None,
    ) -> None:
        self.renew = renew
        self._endpoints = endpoints
        self._event_loop = event_loop
        self._attempt_timeout_s = attempt_timeout_s
        self._rng = rng
        self._routes: dict[ClientConnection, PushRoutes] = {}
        event_loop.when_new(self._new_loop)
        # Not a set, whose order would depend on addresses in memory.
        self.watches: WeakKeyDictionary[ClosableWatch, None] = WeakKeyDictionary()

    def _new_loop(self) -> None:
        routes, self._routes = self._routes, {}
        for each in routes.values():
            each.lose()

    async def close(self) -> None:
        """End every watch."""
        await asyncio.gather(*(watch.close() for watch in list(self.watches)))

    async def register(
        self,
        name: str,
        unregister: str,
        fields: Mapping[str, JsonValue],
        after: WatchPosition | None,
        timeout_s: float | None,
    ) -> Registered:
        """Register a watch; the caller calls `add` of its routes before its next wait.

        Args:
            name: the message.
            unregister: the message that ends the watch.
            fields: its fields, without `after`.
            after: the position to resume after; None to begin now.
            timeout_s: how long to try; None for no end.

        Raises:
            WatchCompacted: no node that can be reached has the changes after the position.
            TransportError: no node accepted it in time.
            QcoreError: a node rejected it for a reason that does not pass.
        """
        self._event_loop.enter()
        clock = asyncio.get_running_loop().time
        began = clock()
        pause = _PAUSE_FIRST_S
        sent = dict(fields)
        if after is not None:
            sent["after"] = [after.index, after.sequence]
        compacted: dict[Address, WatchCompacted] = {}
        failed: set[Address] = set()
        last: Address | None = None
        while True:
            endpoint = self._endpoints.choose_any(last, compacted)
            left_s = self._attempt_timeout_s
            if timeout_s is not None:
                left_s = min(left_s, max(0.05, began + timeout_s - clock()))
            try:
                return await self._register_at(endpoint, name, unregister, sent, left_s)
            except WatchCompacted as failure:
                compacted[endpoint] = failure
                error: QcoreError = failure
            except QcoreError as failure:
                if not _may_retry(failure):
                    raise
                failed.add(endpoint)
                error = failure
            last = endpoint
            if compacted and self._endpoints.are_all_in({*compacted, *failed}):
                first = next(iter(compacted.values()))
                raise WatchCompacted(
                    f"{first} (this watch has lost changes)",
                    first.first_index,
                ) from None
            pause = min(2 * pause, _PAUSE_LAST_S)
            delay = retry_delay(error, pause, self._rng)
            if timeout_s is not None and clock() + delay >= began + timeout_s:
                raise TransportError(
                    f"no node accepted the watch within {timeout_s:g} s; the last answer: {error}"
                ) from error
            await asyncio.sleep(delay)

    async def configurations(self) -> list[tuple[str, Mapping[str, JsonValue]]]:
        """Token and configuration of each watch of the entity store that a node holds for this client."""
        self._event_loop.enter()
        asked = [
            connection.request("StoreGetNotificationConfigs", {}, timeout_s=self._attempt_timeout_s)
            for connection in self._routes
        ]
        return [
            (token, config)
            for reply in await asyncio.gather(*asked)
            for token, config in cast("list[tuple[str, dict[str, JsonValue]]]", reply["response"])
        ]

    async def _register_at(
        self,
        endpoint: Address,
        name: str,
        unregister: str,
        fields: Mapping[str, JsonValue],
        left_s: float,
    ) -> Registered:
        connection = self._endpoints.connected(endpoint)
        if connection is None:
            connection = await self._endpoints.connect(endpoint, left_s)
        try:
            return await self._register_on(connection, name, unregister, fields, left_s)
        except Unauthenticated:
            if self.renew is None:
                raise
            await self.renew(connection)
        return await self._register_on(connection, name, unregister, fields, left_s)

    async def _register_on(
        self,
        connection: ClientConnection,
        name: str,
        unregister: str,
        fields: Mapping[str, JsonValue],
        left_s: float,
    ) -> Registered:
        routes = self._routes.get(connection)
        if routes is None:
            routes = self._routes[connection] = PushRoutes(connection, self._ended)
        routes.begin()
        request = asyncio.ensure_future(connection.request(name, fields, timeout_s=left_s))
        accepted = False
        try:
            reply = await asyncio.shield(request)
            token, after = _decode(name, reply)
            accepted = True
        except asyncio.CancelledError:
            # The node may register the watch nevertheless.
            request.add_done_callback(partial(_undo, routes, name, unregister))
            raise
        finally:
            if not accepted:
                routes.abandon()
        return Registered(routes, token, after)

    def _ended(self, connection: ClientConnection) -> None:
        self._routes.pop(connection, None)


def _undo(
    routes: PushRoutes,
    name: str,
    unregister: str,
    request: asyncio.Future[dict[str, JsonValue]],
) -> None:
    """Unregister a watch whose registration was cancelled before its response came."""
    if request.cancelled() or request.exception() is not None:
        return
    try:
        token, _ = _decode(name, request.result())
    except QcoreError:
        return  # the node rejected it
    routes.remove(token, unregister)


def _decode(name: str, reply: Mapping[str, JsonValue]) -> tuple[str, WatchPosition]:
    """Token and position in the response to a registration; raises its error."""
    match reply:
        case {"response": {"Ok": str(token)}, "after": after}:
            try:
                return token, decode_after(after)
            except ValueError as error:
                raise RemoteProtocolError(f"{name}: `after` in the response: {error}") from None
        case {"response": {"Err": str(text)}}:
            raise decode_error(text, reply.get("detail"))
    raise RemoteProtocolError(f"the response to {name} cannot be read: {truncate(repr(reply))}")


def _may_retry(error: QcoreError) -> bool:
    """Whether a registration may succeed later or elsewhere. To repeat it is harmless, whatever became of it."""
    if isinstance(error, ErrorReply):
        return False
    return error.retryable or isinstance(error, ConnectionLost | OutcomeUnknown | WatchOverflow)
