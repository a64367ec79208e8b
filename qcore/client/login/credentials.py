"""`Credentials`: what a client proves its user with, and `Authenticator`, which does it on each connection."""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from qcore.client.endpoints import Connect
from qcore.client.errors import decode_error
from qcore.errors import AccessRefused, ConfigError, ErrorReply, QcoreError, Unauthenticated
from qcore.runtime.interface import Runtime
from qcore.transport.address import Address
from qcore.transport.connection.client_connection import ClientConnection
from qcore.transport.limits import TransportLimits

#: A token of a password is replaced after this part of its life.
_RENEW_AFTER: Final = 0.8
_RENEWAL_TIMEOUT_S: Final = 10.0


@dataclass(slots=True, frozen=True)
class Credentials:
    """A token, or a user and its password.

    Raises:
        ConfigError: neither or both are given.
    """

    token: str | None = field(default=None, repr=False)
    user: str | None = None
    password: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if (self.user is None) != (self.password is None):
            raise ConfigError("give `user` and `password` together")
        if (self.token is None) == (self.user is None):
            raise ConfigError("give either `token`, or `user` and `password`")


class Authenticator:
    """Authenticates the connections of one client.

    A password is used once: the token that it gives serves the other connections, until it expires.

    Args:
        credentials: of the client's user.
        connect: opens connections.
    """

    def __init__(self, credentials: Credentials, connect: Connect) -> None:
        self._credentials = credentials
        self._connect = connect
        #: A token that the password has given.
        self._issued: str | None = None
        #: The renewals in progress, by connection.
        self._renewals: dict[ClientConnection, asyncio.Task[None]] = {}
        #: The tasks that renew a token before it expires, as an ordered set.
        self._early: dict[asyncio.Task[None], None] = {}

    async def connect(
        self,
        address: Address,
        *,
        timeout_s: float,
        limits: TransportLimits,
        admin: bool,
        runtime: Runtime,
    ) -> ClientConnection:
        """Open a connection, and authenticate; see `Connect`.

        Raises:
            Unauthenticated: the node does not accept token or password.
            Overloaded: too many logins have failed; try again later.
            TransportError: as `Connect`.
        """
        connection = await self._connect(
            address, timeout_s=timeout_s, limits=limits, admin=admin, runtime=runtime
        )
        try:
            await self._authenticate(connection, timeout_s)
        except BaseException:
            connection.drop()
            raise
        return connection

    async def renew(self, connection: ClientConnection) -> None:
        """Authenticate again on a connection whose user the node no longer accepts.

        Raises:
            Unauthenticated: the node does not accept it this time, either.
        """
        task = self._renewals.get(connection)
        if task is None:
            self._issued = None
            task = asyncio.ensure_future(self._authenticate(connection, _RENEWAL_TIMEOUT_S))
            self._renewals[connection] = task
            task.add_done_callback(lambda _: self._renewals.pop(connection, None))
        try:
            await asyncio.shield(task)
        except QcoreError as error:
            raise decode_error(str(error), error.detail()) from None  # one for each request

    async def _authenticate(self, connection: ClientConnection, timeout_s: float) -> None:
        given = self._credentials
        issued = self._issued
        if issued is not None:
            try:
                await self._login(connection, {"token": issued}, timeout_s)
                return
            except Unauthenticated:
                if self._issued == issued:
                    self._issued = None
        if given.token is not None:
            await self._login(connection, {"token": given.token}, timeout_s)
            return
        fields = {"user": given.user, "password": given.password}
        found = await self._login(connection, fields, timeout_s)
        if found is None:
            return
        self._issued = found["token"]
        loop, held = asyncio.get_running_loop(), weakref.ref(connection)
        loop.call_later(max(1.0, found["expires_s"] * _RENEW_AFTER), self._renew_early, held)

    async def _login(
        self, connection: ClientConnection, fields: Mapping[str, Any], timeout_s: float
    ) -> dict[str, Any] | None:
        """The `Ok` of an `Authenticate`; None if the cluster has no users."""
        try:
            reply: dict[str, Any] = await connection.request(
                "Authenticate", fields, timeout_s=timeout_s
            )
        except ErrorReply as error:
            if "unknown message type" in str(error):
                return None  # an older node, which has no users
            raise
        response = reply["response"]
        if "Err" not in response:
            found: dict[str, Any] = response["Ok"]
            return found
        rejection = decode_error(response["Err"], reply.get("detail"))
        if isinstance(rejection, AccessRefused) and rejection.name == "no_users":
            return None
        raise rejection

    def _renew_early(self, held: weakref.ref[ClientConnection]) -> None:
        connection = held()
        if connection is None or not connection.is_open:
            return

        async def renew() -> None:
            with contextlib.suppress(QcoreError):  # the next request reports it
                await self.renew(connection)

        task = asyncio.ensure_future(renew())
        self._early[task] = None
        task.add_done_callback(self._early.pop)


def credentials_of(token: str | None, user: str | None, password: str | None) -> Credentials | None:
    """The credentials of a client's arguments; None if there are none.

    Raises:
        ConfigError: they contradict each other.
    """
    if token is None and user is None and password is None:
        return None
    return Credentials(token, user, password)
