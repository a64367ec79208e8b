"""`PushRoutes`: gives what a node sends on a connection to the watch that it is for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

from pydantic import JsonValue

from qcore.client.watching.changes import Notification
from qcore.errors import QcoreError, TransportError
from qcore.transport.connection.client_connection import ClientConnection

#: The most notifications that are kept for a registration whose response is not handled yet.
_MAX_EARLY: Final = 1024

#: How long the client waits for the response to an unregistration, seconds. The watch also ends with the connection.
_UNREGISTER_S: Final = 2.0

_TOO_MANY: Final[dict[str, JsonValue]] = {"code": "WatchOverflow", "first_index": 0}

#: The notifications, and the message that ends their watch.
_PUSHES: Final = {
    "StoreNotification": "StoreUnregisterNotification",
    "ChangeNotification": "UnwatchChanges",
}


class PushReceiver(Protocol):
    """A watch, for the connection that serves it."""

    def receive(self, notification: Notification) -> None:
        """Take a change."""
        ...

    def end(self, text: str, detail: JsonValue) -> None:
        """The node has ended the watch."""
        ...

    def lose_route(self) -> None:
        """The connection has ended."""
        ...


class PushRoutes:
    """The watches that one connection serves.

    Args:
        connection: the connection; this object takes its `on_push`, and hears its end.
        ended: called when the connection has ended.
    """

    def __init__(
        self, connection: ClientConnection, ended: Callable[[ClientConnection], None]
    ) -> None:
        self.connection = connection
        self._receivers: dict[str, PushReceiver] = {}
        #: How many registrations wait for their response, and what came for tokens that are not known yet.
        self._registering = 0
        self._early: dict[str, list[tuple[str, dict[str, JsonValue]]]] = {}
        self._unregistering: dict[str, asyncio.Task[None]] = {}
        before = connection.on_close

        def closed(error: TransportError | None) -> None:
            if before is not None:
                before(error)
            ended(connection)
            self.lose()

        connection.on_push = self._pushed
        connection.on_close = closed

    def lose(self) -> None:
        """Report to the watches that the connection does not serve them any more."""
        receivers, self._receivers = self._receivers, {}
        self._early.clear()
        for receiver in receivers.values():
            receiver.lose_route()

    def begin(self) -> None:
        """A registration is about to be sent; call `add` or `abandon` for it."""
        self._registering += 1

    def add(self, token: str, receiver: PushReceiver) -> None:
        """A registration was answered: give its notifications to `receiver`."""
        self._receivers[token] = receiver
        early = self._early.pop(token, ())
        self.abandon()
        for name, content in early:
            self._pushed(name, content)
        if not self.connection.is_open:
            self.lose()

    def abandon(self) -> None:
        """A registration has ended without a watch."""
        self._registering -= 1
        if not self._registering:
            self._early.clear()

    def remove(self, token: str, unregister: str) -> asyncio.Task[None] | None:
        """End a watch of this connection, at the node too; returns the task that waits for the node."""
        self._receivers.pop(token, None)
        if token in self._unregistering or not self.connection.is_open:
            return self._unregistering.get(token)
        task = asyncio.ensure_future(self._unregister(token, unregister))
        self._unregistering[token] = task
        task.add_done_callback(lambda _: self._unregistering.pop(token, None))
        return task

    async def _unregister(self, token: str, unregister: str) -> None:
        try:
            await self.connection.request(unregister, {"token": token}, timeout_s=_UNREGISTER_S)
        except QcoreError:
            # The node ends the watch with the connection, and what it still sends is not wanted: see `_pushed`.
            return

    def _pushed(self, name: str, content: dict[str, JsonValue]) -> None:
        if name == "Error":
            self._ended(content)
            return
        body = content.get("notification") if name == "StoreNotification" else content
        token = body.get("token") if isinstance(body, dict) else None
        if name not in _PUSHES or not isinstance(body, dict) or not isinstance(token, str):
            return  # not about a watch
        receiver = self._receivers.get(token)
        if receiver is not None:
            receiver.receive(body)
        elif self._registering and token not in self._unregistering:
            self._keep(token, name, content)
        elif token not in self._unregistering:
            # A registration whose response came too late, or that was cancelled: its notifications are not wanted.
            self.remove(token, _PUSHES[name])

    def _ended(self, content: dict[str, JsonValue]) -> None:
        token = content.get("id")
        if not isinstance(token, str):
            return
        receiver = self._receivers.pop(token, None)
        if receiver is not None:
            receiver.end(str(content.get("error")), content.get("detail"))
        elif self._registering:
            self._keep(token, "Error", content)

    def _keep(self, token: str, name: str, content: dict[str, JsonValue]) -> None:
        """Keep a notification until the response to its registration is handled, which is soon."""
        early = self._early.setdefault(token, [])
        if len(early) < _MAX_EARLY:
            early.append((name, content))
        elif len(early) == _MAX_EARLY:
            # The watch resumes after the last one that is kept.
            early.append(("Error", {"id": token, "error": "too many", "detail": _TOO_MANY}))
