"""`Endpoints`: the nodes that a client knows, the connection to each, and the choice of the node to send to.

A silent node is suspected: the client sends to it only if there is no other node, even if other nodes still name it as
the leader. Whenever the client would have chosen a suspected node, it dials that node in the background instead. The
suspicion ends when the node answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Container, Iterable, Sequence
from dataclasses import replace
from random import Random
from typing import Final, Protocol

from qcore.client.dial import Dial
from qcore.display import truncate
from qcore.errors import ConfigError, NotLeader, QcoreError, TransportError
from qcore.runtime.interface import Runtime
from qcore.transport.address import Address
from qcore.transport.connection.client_connection import ClientConnection
from qcore.transport.limits import TransportLimits

#: How long requests wait for an attempt to connect, if there is another node to send to and if there is none, seconds.
#: The attempt continues after that.
_SHORT_PATIENCE_S: Final = 0.5
PATIENCE_S: Final = 2.0
#: The pause between two attempts to reach a suspected node, seconds.
_PROBE_PAUSE_S: Final = 0.25
#: How long `close` waits for the nodes to close their side, seconds.
_CLOSE_S: Final = 0.25


class Connect(Protocol):
    """Opens a connection."""

    async def __call__(
        self,
        address: Address,
        *,
        timeout_s: float,
        limits: TransportLimits,
        admin: bool,
        runtime: Runtime,
    ) -> ClientConnection:
        """See `ClientConnection.connect`."""
        ...


class Endpoints:
    """Knows the nodes, opens connections to them when they are needed, and chooses the node to send to.

    Args:
        configured: `host:port` of some nodes. Others are added when a node names the leader.
        rng: for the choice of a node.
        silent_after_s: how long a node may leave a ping unanswered while a request waits.
        admin: whether to open admin connections, which nodes reserve for operators.
        runtime: the world that the client runs in.
        connect: opens a connection.

    Attributes:
        configured: the configured endpoints.

    Raises:
        ConfigError: an endpoint is not `host:port`, or there is none.
    """

    def __init__(
        self,
        configured: Sequence[str],
        rng: Random,
        silent_after_s: float = 1.0,
        *,
        admin: bool = False,
        runtime: Runtime,
        connect: Connect = ClientConnection.connect,
    ) -> None:
        if isinstance(configured, str) or not isinstance(configured, Iterable):
            # A string would pass as a sequence of its characters.
            raise ConfigError(
                f"endpoints: {truncate(repr(configured))} is not a list: give several host:port, ['127.0.0.1:8080']"
            )
        self.configured = [Address.parse(text, "endpoints") for text in configured]
        if not self.configured:
            raise ConfigError("no endpoints: give at least one host:port")
        self._preferred = self.configured[0]
        self._rng = rng
        self._limits = replace(TransportLimits(), silent_after_s=silent_after_s)
        self._admin = admin
        self._runtime = runtime
        self._connect = connect
        self._connections: dict[Address, ClientConnection] = {}
        self._dials: dict[Address, Dial] = {}
        #: Suspected nodes, and when each may be dialled again.
        self._suspected: dict[Address, float] = {}

    async def close(self) -> None:
        """Close every connection; requests in progress fail."""
        for dial in self._dials.values():
            dial.cancel()
        connections, self._connections = list(self._connections.values()), {}
        await asyncio.gather(*(connection.close(_CLOSE_S) for connection in connections))

    def new_loop(self) -> None:
        """Forget what belongs to an event loop that does not run any more. The choice of the node stays."""
        self._dials.clear()
        self._suspected.clear()
        connections, self._connections = self._connections, {}
        for connection in connections.values():
            connection.drop()

    # -- the choice of a node ------------------------------------------------------------------------

    def choose(self) -> Address:
        """The node to send to."""
        if self._is_suspected(self._preferred):
            others = self._others(self._preferred)
            if others:
                self._preferred = self._rng.choice(others)
        return self._preferred

    def choose_any(self, last: Address | None, without: Container[Address]) -> Address:
        """A random node, for a request that any node can answer.

        Args:
            last: the node that failed last; avoided if possible.
            without: other nodes to avoid.
        """
        known = self._all()
        live = [each for each in known if not self._is_suspected(each)] or known
        wanted = [each for each in live if each not in without] or live
        return self._rng.choice([each for each in wanted if each != last] or wanted)

    def are_all_in(self, endpoints: Container[Address]) -> bool:
        """Whether these are all nodes that the client knows."""
        return all(each in endpoints for each in self._all())

    def _all(self) -> list[Address]:
        return list(dict.fromkeys((*self.configured, self._preferred)))

    def prefer_another(self, failed: Address, error: QcoreError) -> None:
        """Prefer another node than the one that failed: the leader that it named, or another one."""
        if failed != self._preferred:
            return  # another request has changed the preference already
        leader = _leader(error)
        if leader is not None:
            if not self._is_suspected(leader):
                self._preferred = leader
                return
            failed = leader
        others = self._others(failed) or [each for each in self.configured if each != failed]
        if others:
            self._preferred = self._rng.choice(others)

    def _others(self, than: Address) -> list[Address]:
        return [each for each in self.configured if each != than and not self._is_suspected(each)]

    def _is_suspected(self, endpoint: Address) -> bool:
        """Whether the node was silent when last used. If so, dial it again in the background."""
        again_at = self._suspected.get(endpoint)
        if again_at is None:
            return False
        now = asyncio.get_running_loop().time()
        if now >= again_at and endpoint not in self._dials:
            self._suspected[endpoint] = now + _PROBE_PAUSE_S
            self._dial(endpoint)
        return True

    def _suspect(self, endpoint: Address) -> None:
        self._suspected.setdefault(endpoint, 0.0)

    # -- connections ---------------------------------------------------------------------------------

    def connected(self, endpoint: Address) -> ClientConnection | None:
        """The open connection to a node, if there is one."""
        connection = self._connections.get(endpoint)
        return connection if connection is not None and connection.is_open else None

    async def connect(
        self, endpoint: Address, left_s: float, patience_s: float | None = None
    ) -> ClientConnection:
        """The connection to a node, opened if necessary; concurrent callers share the attempt.

        Args:
            endpoint: the node.
            left_s: how long the caller may wait.
            patience_s: how long the attempt may take, from its beginning; None for a short time if there is another
                node to send to.

        Raises:
            TransportError: the node cannot be reached.
        """
        connection = self.connected(endpoint)
        if connection is not None:
            return connection
        if patience_s is None:
            patience_s = _SHORT_PATIENCE_S if self._others(endpoint) else PATIENCE_S
        return await self._dial(endpoint).wait(patience_s, left_s)

    def _dial(self, endpoint: Address) -> Dial:
        dial = self._dials.get(endpoint)
        if dial is None:
            dial = self._dials[endpoint] = Dial(
                endpoint, self._open, self._suspect, self._dialled, self._runtime.is_resolving
            )
        return dial

    def _dialled(self, endpoint: Address) -> None:
        self._dials.pop(endpoint, None)

    async def _open(self, endpoint: Address, timeout_s: float) -> ClientConnection:
        connection = await self._connect(
            endpoint,
            timeout_s=timeout_s,
            limits=self._limits,
            admin=self._admin,
            runtime=self._runtime,
        )
        self._suspected.pop(endpoint, None)

        def ended(error: TransportError | None) -> None:
            if connection.was_unresponsive:
                self._suspect(endpoint)

        connection.on_close = ended
        # Leaders change, and with them the addresses that nodes name, so closed connections must not pile up.
        self._connections = {
            known: held for known, held in self._connections.items() if held.is_open
        }
        self._connections[endpoint] = connection
        return connection


def _leader(error: QcoreError) -> Address | None:
    """The leader that a node named, if its address can be read."""
    if not isinstance(error, NotLeader) or error.leader_addr is None:
        return None
    try:
        return Address.parse(error.leader_addr)
    except ConfigError:
        return None
