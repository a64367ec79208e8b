"""`WireWatcher`: the watches of a built-in watcher over real connections, one connection for each watch.

`qcore.sim.workload.sim_watcher.SimWatcher` decides where it watches and when it moves. This class turns its messages
into requests of the wire protocol, and what the node sends into messages for it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, cast

from pydantic import JsonValue

from qcore.errors import QcoreError, TransportError, from_wire
from qcore.sim.workload.watcher_messages import (
    CloseWatch,
    ConnectionReset,
    FromNode,
    OpenWatch,
    ProbeAnswer,
    ToNode,
    WatchBegun,
    WatchFailed,
    WatchNotice,
)
from qcore.sim.world.hosts.host import Host
from qcore.sim.world.whole.answers import Answers
from qcore.sim.world.whole.host_connection import HostConnection, connect_to_node
from qcore.transport.address import Address

#: The watcher has its own timeouts, so those of its requests need not be exact.
_TIMEOUT_S: Final = 5.0

Content = WatchBegun | WatchNotice | WatchFailed | ProbeAnswer
#: JSON; its shape depends on the message.
Json = Any


class WireWatcher:
    """The connections of one watcher.

    Args:
        host: the watcher's computer; its process runs.
        addresses: the nodes.
        answers: what the checkers know about the answers.
        now: the simulated time.
        deliver: called with the node and its message.
    """

    def __init__(
        self,
        host: Host,
        addresses: Mapping[int, str],
        answers: Answers,
        now: Callable[[], int],
        deliver: Callable[[int, FromNode], None],
    ) -> None:
        self.host = host
        self.answers = answers
        self.now = now
        self.deliver = deliver
        self._addresses = {node: Address.parse(text) for node, text in addresses.items()}
        self._watches: dict[int, _Watch] = {}

    def send(self, node: int, message: ToNode) -> None:
        """Take a message of the watcher."""
        number = message.connection
        if isinstance(message, OpenWatch):
            self._watches[number] = _Watch(self, node, self._addresses[node], message)
        elif isinstance(message, CloseWatch):
            watch = self._watches.pop(number, None)
            if watch is not None:
                watch.close()
        elif number in self._watches:
            self._watches[number].probe()


class _Watch:
    """One watch, on its own connection."""

    def __init__(self, owner: WireWatcher, node: int, address: Address, opened: OpenWatch) -> None:
        self._owner = owner
        self._node = node
        self._address = address
        self._opened = opened
        self._loop = owner.host.loop
        self._connection: HostConnection | None = None
        self._sent = 0
        self._over = False
        #: What came before the response to the registration was handled; None afterwards.
        self._early: list[tuple[str, dict[str, Json]]] | None = []
        self._task = self._loop.create_task(self._begin())

    def close(self) -> None:
        """End the watch, and close its connection."""
        self._over = True
        self._task.cancel()
        if self._connection is not None:
            self._loop.create_task(self._connection.close())

    def probe(self) -> None:
        """Ask the node for a sign of life. It answers after all earlier notices."""
        if self._connection is not None and self._connection.is_open and self._early is None:
            self._loop.create_task(self._ask(self._connection, self._owner.now()))

    async def _ask(self, connection: HostConnection, asked_us: int) -> None:
        try:
            await connection.request("StoreGetNotificationConfigs", timeout_s=_TIMEOUT_S)
        except QcoreError:
            return  # the watcher notices the silence, or the end of the connection
        self._deliver(ProbeAnswer(asked_us))

    async def _begin(self) -> None:
        opened, owner = self._opened, self._owner
        try:
            connection = await connect_to_node(
                self._address, owner.answers, owner.host.runtime, timeout_s=_TIMEOUT_S
            )
        except TransportError:
            self._lost(None)
            return
        self._connection = connection
        connection.on_push = self._pushed
        connection.on_close = self._lost
        name, fields = registration(opened.request)
        after = None if opened.after is None else list(opened.after)
        try:
            content: Json = await connection.request(
                name, {**fields, "after": cast(JsonValue, after)}, timeout_s=_TIMEOUT_S
            )
        except TransportError:
            self._lost(None)
            return
        except QcoreError as error:
            self._deliver(WatchFailed(error))
            return
        if "Err" in content["response"]:
            refusal = from_wire(content["response"]["Err"], content.get("detail"))
            self._deliver(WatchFailed(refusal))
            return
        index, sequence = content["after"]
        self._deliver(WatchBegun((index, sequence)))
        early, self._early = self._early or [], None
        for push in early:
            self._pushed(*push)

    def _pushed(self, name: str, content: dict[str, Json]) -> None:
        if self._early is not None:
            self._early.append((name, content))
        elif name == "Error":
            error = from_wire(str(content.get("error")), content.get("detail"))
            self._deliver(WatchFailed(error))
        else:
            self._deliver(notice_of(name, content))

    def _lost(self, _error: TransportError | None) -> None:
        if not self._over:
            self._over = True
            message = FromNode(self._opened.connection, 0, ConnectionReset())
            self._loop.call_soon(partial(self._owner.deliver, self._node, message))

    def _deliver(self, content: Content) -> None:
        if not self._over:
            self._sent += 1
            message = FromNode(self._opened.connection, self._sent, content)
            self._owner.deliver(self._node, message)


def registration(request: str) -> tuple[str, dict[str, JsonValue]]:
    """The message that begins a watch, and its fields without the position.

    Args:
        request: the configuration of a watch of the entity store as JSON, or the topic of another machine.
    """
    try:
        config = json.loads(request)
    except ValueError:
        config = None
    if isinstance(config, dict):
        return "StoreRegisterNotification", {"config": config}
    return "WatchChanges", {"topic": request}


def notice_of(name: str, content: dict[str, Json]) -> WatchNotice:
    """The change in a notification, with its text as the state machine wrote it."""
    if name == "ChangeNotification":
        at = (content["index"], content["sequence"])
        return WatchNotice(at, _text(content["change"]))
    body = dict(content["notification"])
    at = (body.pop("index"), body.pop("sequence"))
    del body["token"]
    return WatchNotice(at, _text(body))


def _text(value: Json) -> str:
    """The text of a value: the state machines write theirs in the same form."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
