"""The clients of the gateway: one for itself, and one for each token that requests have."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from qcore.client import Client
from qcore.client.errors import decode_error
from qcore.client.login.credentials import Credentials
from qcore.errors import AccessRefused, QcoreError, Unauthenticated
from qcore.gateway.etcd_errors import (
    AUTH_FAILED,
    AUTH_NOT_ENABLED,
    INVALID_TOKEN,
    USER_EMPTY,
    EtcdError,
)
from qcore.gateway.machine_access import Machine, Outage
from qcore.kv.kv_client import DEFAULT_COMMAND_BYTES
from qcore.security.tls import TlsFiles

#: How many tokens have a client while no request uses it.
_MOST_IDLE: Final = 256
#: Nodes accept no longer token.
_MOST_TOKEN_CHARS: Final = 4096


@dataclass(slots=True)
class _TokenUse:
    """The client of one token."""

    client: Client
    users: int = 0


@dataclass(slots=True)
class Connect:
    """How to reach the cluster.

    Attributes:
        endpoints: of nodes.
        timeout_s: how long one request may take, with all its retries.
        tls: for the connections to the nodes.
        credentials: of the gateway itself, for requests without a token; None for no user.
        max_command_bytes: of the nodes.
    """

    endpoints: Sequence[str]
    timeout_s: float
    tls: TlsFiles | None = None
    credentials: Credentials | None = field(default=None, repr=False)
    max_command_bytes: int = DEFAULT_COMMAND_BYTES

    def client(self, credentials: Credentials | None) -> Client:
        """A client with these credentials.

        Raises:
            ConfigError: the endpoints or the files for TLS are wrong.
        """
        return Client(
            self.endpoints,
            timeout_s=self.timeout_s,
            attempt_timeout_s=self.timeout_s,
            tls=self.tls,
            credentials=credentials,
        )


class ClusterUsers:
    """Gives each request the client of its user.

    Args:
        connect: how to reach the cluster.

    Attributes:
        own: the client of the gateway itself.
        outage: see `Outage`.
    """

    def __init__(self, connect: Connect) -> None:
        self._connect = connect
        self.own = connect.client(connect.credentials)
        self.outage = Outage()
        #: By token, the one that was used last at the end.
        self._by_token: OrderedDict[str, _TokenUse] = OrderedDict()
        self._closing: dict[asyncio.Task[None], None] = {}

    @asynccontextmanager
    async def machine(self, token: str | None) -> AsyncIterator[Machine]:
        """The machine for the user of this token; without one, for the gateway's own user."""
        if not token:
            yield self._machine(self.own, has_token=False)
            return
        if len(token) > _MOST_TOKEN_CHARS:
            raise EtcdError(*INVALID_TOKEN)
        use = self._by_token.get(token)
        if use is None:
            use = _TokenUse(self._connect.client(Credentials(token=token)))
            self._by_token[token] = use
        self._by_token.move_to_end(token)
        use.users += 1
        try:
            yield self._machine(use.client, has_token=True)
        except Unauthenticated:
            self._forget(token, use)
            raise
        finally:
            use.users -= 1
            self._drop_idle()

    def _machine(self, client: Client, *, has_token: bool) -> Machine:
        most = self._connect.max_command_bytes
        return Machine(client, self.outage, has_token=has_token, max_command_bytes=most)

    def _forget(self, token: str, use: _TokenUse) -> None:
        """Keep no client of a token that is not accepted. Requests that use it end first."""
        if self._by_token.get(token) is use and use.users == 1:
            del self._by_token[token]
            self._close(use.client)

    def _drop_idle(self) -> None:
        idle = [token for token, use in self._by_token.items() if not use.users]
        for token in idle[: max(0, len(idle) - _MOST_IDLE)]:
            self._close(self._by_token.pop(token).client)

    def _close(self, client: Client) -> None:
        task = asyncio.ensure_future(client.close())
        self._closing[task] = None
        task.add_done_callback(self._closing.pop)

    async def log_in(self, user: str, password: str) -> str:
        """The token of a user. Every gateway of the cluster accepts it.

        Raises:
            EtcdError: the password is wrong, or the cluster has no users.
            QcoreError: no node could answer.
        """
        last: QcoreError | None = None
        async with self._connect.client(None) as client:
            for endpoint in self._connect.endpoints:
                try:
                    reply = await client.request(
                        endpoint, "Authenticate", {"user": user, "password": password}
                    )
                    response = reply["response"]
                    if "Err" in response:
                        raise decode_error(response["Err"], reply.get("detail"))
                    return str(response["Ok"]["token"])
                except AccessRefused as error:
                    if error.name == "no_users":
                        raise EtcdError(*AUTH_NOT_ENABLED) from None
                    raise
                except Unauthenticated:
                    raise EtcdError(*(AUTH_FAILED if user else USER_EMPTY)) from None
                except QcoreError as error:
                    last = error
        assert last is not None, "there is an endpoint"
        raise last

    async def close(self) -> None:
        """Close all clients."""
        clients = [self.own, *(use.client for use in self._by_token.values())]
        self._by_token.clear()
        await asyncio.gather(*(each.close() for each in clients), *self._closing)
