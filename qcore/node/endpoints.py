"""The nodes that a client knows of: one connection to each that it talks to, and which to ask next."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from random import Random
from typing import Final

from pydantic import JsonValue

from qcore.errors import ConfigError, NotLeader, QcoreError
from qcore.transport.address import parse_address
from qcore.transport.client import ClientConnection, Fields, NotTaken

_CONNECT_TIMEOUT_S: Final = 2.0


class Endpoints:
    """Connections that are opened when they are needed, and shared by all requests in flight.

    Args:
        given: `host:port` of some nodes; others are found when a node names the leader.
        rng: chooses among them.
        admin: take the places that nodes keep for operators.

    Attributes:
        given: the same, as they are written canonically.
        preferred: the node to ask next.

    Raises:
        ConfigError: an endpoint is not `host:port`, or there is none.
    """

    def __init__(self, given: Sequence[str], rng: Random, *, admin: bool = False) -> None:
        if not given:
            raise ConfigError("no endpoints: give at least one host:port")
        self.given = [str(parse_address(text, "endpoints")) for text in given]
        self.preferred = self.given[0]
        self._rng = rng
        self._admin = admin
        self._connections: dict[str, ClientConnection] = {}
        self._connecting: dict[str, asyncio.Task[ClientConnection]] = {}

    async def close(self) -> None:
        """Close every connection; requests in progress fail."""
        for task in self._connecting.values():
            task.cancel()
        connections, self._connections = list(self._connections.values()), {}
        for connection in connections:
            await connection.close()

    def look_elsewhere(self, error: QcoreError) -> None:
        """Choose the node for the next attempt: the leader that was named, else another one."""
        if isinstance(error, NotLeader) and error.leader_addr is not None:
            self.preferred = error.leader_addr
            return
        others = [endpoint for endpoint in self.given if endpoint != self.preferred]
        if others:
            self.preferred = self._rng.choice(others)

    async def connect(self, endpoint: str) -> ClientConnection:
        """The connection to a node, opened if need be; concurrent callers share the attempt.

        Raises:
            TransportError: the node cannot be reached.
        """
        connection = self._connections.get(endpoint)
        if connection is not None and connection.is_open:
            return connection
        task = self._connecting.get(endpoint)
        if task is None:
            task = asyncio.ensure_future(self._open(endpoint))
            self._connecting[endpoint] = task
            task.add_done_callback(lambda done: self._connected(endpoint, done))
        return await asyncio.shield(task)

    async def request(
        self, endpoint: str, name: str, fields: Fields, timeout_s: float
    ) -> dict[str, JsonValue]:
        """Send one message to a node; again if it closed the idle connection before it took the message.

        Raises:
            QcoreError: see `ClientConnection.request`.
        """
        connection = await self.connect(endpoint)
        try:
            return await connection.request(name, fields, timeout_s=timeout_s)
        except NotTaken:
            connection = await self.connect(endpoint)
            return await connection.request(name, fields, timeout_s=timeout_s)

    def _connected(self, endpoint: str, task: asyncio.Task[ClientConnection]) -> None:
        self._connecting.pop(endpoint, None)
        if not task.cancelled():
            task.exception()  # looked at, also if everybody who waited has given up

    async def _open(self, endpoint: str) -> ClientConnection:
        address = parse_address(endpoint, "endpoint")
        connection = await ClientConnection.connect(
            address.host, address.port, timeout_s=_CONNECT_TIMEOUT_S, admin=self._admin
        )
        # Leaders come and go, and with them the addresses that were named: the dead ones are not kept.
        self._connections = {
            known: held for known, held in self._connections.items() if held.is_open
        }
        self._connections[endpoint] = connection
        return connection
