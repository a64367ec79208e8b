"""`Credentials`: what a client proves its user with, and `Authenticator`, which does it on each connection."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

from qcore.client.endpoints import Connect
from qcore.client.errors import decode_error
from qcore.errors import (
    AccessRefused,
    ConfigError,
    ErrorReply,
    Overloaded,
    QcoreError,
    Unauthenticated,
)
from qcore.files import read_regular
from qcore.runtime.interface import Runtime
from qcore.security.secret_files import warn_once
from qcore.transport.address import Address
from qcore.transport.connection.client_connection import ClientConnection
from qcore.transport.limits import TransportLimits

logger = logging.getLogger("qcore.client")

#: A token is replaced after this part of the life that it has left.
_RENEW_AFTER: Final = 0.8
#: How long it waits before it looks whether to renew. Timers of closed connections must not pile up.
_LEAST_WAIT_S: Final = 0.5
_LONGEST_WAIT_S: Final = 600.0
_RENEWAL_TIMEOUT_S: Final = 10.0
#: More than a token and its line end can have.
_MAX_FILE_BYTES: Final = 8192
_NOT_YET_MS: Final = 50


@dataclass(slots=True, frozen=True)
class Credentials:
    """A token, a file with one, or a user and its password.

    Args:
        token: the token.
        user, password: these.
        token_file: a file whose first line is a token. It is read whenever a token is needed, so another program may
            replace the token.
        token_source: returns a token whenever one is needed; None while the cluster has no users.

    Raises:
        ConfigError: none or several are given.
    """

    token: str | None = field(default=None, repr=False)
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    token_file: Path | None = None
    token_source: Callable[[], str | None] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if (self.user is None) != (self.password is None):
            raise ConfigError("give `user` and `password` together")
        given = (self.token, self.user, self.token_file, self.token_source)
        if sum(each is not None for each in given) != 1:
            raise ConfigError("give one of `token`, `token_file`, or `user` and `password`")

    @property
    def has_tokens(self) -> bool:
        """Whether `current_token` returns tokens; otherwise there is a password."""
        return self.user is None

    @property
    def renews(self) -> bool:
        """Whether they may give another token later."""
        return self.token is None

    def current_token(self) -> str | None:
        """The token to use now; None if none is needed, because the cluster has no users.

        Raises:
            ConfigError: the file cannot be read.
            QcoreError: from the source.
        """
        if self.token_file is not None:
            try:
                content = read_regular(self.token_file, _MAX_FILE_BYTES)
                mode = self.token_file.stat().st_mode
            except OSError as error:
                raise ConfigError(f"{self.token_file}: {error.strerror}") from None
            warn_once(self.token_file, mode, logger.warning)
            return first_line(content, str(self.token_file))
        return self.token if self.token_source is None else self.token_source()


def first_line(content: bytes, source: str) -> str:
    """The secret in a file.

    Raises:
        ConfigError: there is none. The text begins with `source`, and does not quote the content.
    """
    first, _, _ = content.partition(b"\n")
    try:
        line = first.removesuffix(b"\r").decode()
    except UnicodeDecodeError:
        raise ConfigError(
            f"{source} is not UTF-8 text: write the secret as its first line"
        ) from None
    if not line:
        raise ConfigError(f"{source}: its first line is empty: write the secret there")
    return line


class _Login(NamedTuple):
    """With what a connection has authenticated.

    Attributes:
        token: the token, or the one that the password gave.
        renew_at, expires: when to replace it, and when it expires, by the event loop's clock.
    """

    token: str
    renew_at: float
    expires: float


class Authenticator:
    """Authenticates the connections of one client.

    A password is used once: the token that it gives serves the other connections, until it expires. Before a token
    expires, each connection authenticates again, so that its watches go on.

    Args:
        credentials: of the client's user.
        connect: opens connections.
    """

    def __init__(self, credentials: Credentials, connect: Connect) -> None:
        self._credentials = credentials
        self._connect = connect
        #: A token that the password has given.
        self._issued: str | None = None
        self._logins: weakref.WeakKeyDictionary[ClientConnection, _Login] = (
            weakref.WeakKeyDictionary()
        )
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
            Overloaded: there is no token yet.
            ConfigError: the file of the token cannot be read.
        """
        task = self._renewals.get(connection)
        if task is None:
            login = self._logins.get(connection)
            if login is None or login.token == self._issued:
                self._issued = None  # otherwise another connection has got a newer one
            task = asyncio.ensure_future(self._authenticate(connection, _RENEWAL_TIMEOUT_S))
            self._renewals[connection] = task
            task.add_done_callback(lambda _: self._renewals.pop(connection, None))
        try:
            await asyncio.shield(task)
        except ConfigError as error:
            raise ConfigError(str(error)) from None
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
        if given.has_tokens:
            token = given.current_token()
            if token is not None:
                await self._login(connection, {"token": token}, timeout_s)
            elif connection in self._renewals:
                raise Overloaded.because("the users are not known yet", _NOT_YET_MS)
            return
        fields = {"user": given.user, "password": given.password}
        self._issued = await self._login(connection, fields, timeout_s)
        if self._issued is None and connection in self._renewals:
            raise Overloaded.because("this node does not know the users yet", _NOT_YET_MS)

    async def _login(
        self, connection: ClientConnection, fields: Mapping[str, Any], timeout_s: float
    ) -> str | None:
        """Authenticate. Returns the token; None if the cluster has no users."""
        try:
            reply: dict[str, Any] = await connection.request(
                "Authenticate", fields, timeout_s=timeout_s
            )
        except ErrorReply as error:
            if "unknown message type" in str(error):
                return None  # an older node, which has no users
            raise
        response = reply["response"]
        if "Err" in response:
            rejection = decode_error(response["Err"], reply.get("detail"))
            if isinstance(rejection, AccessRefused) and rejection.name == "no_users":
                return None
            raise rejection
        found: dict[str, Any] = response["Ok"]
        now = asyncio.get_running_loop().time()
        left_s = found["expires_s"]
        login = _Login(found["token"], now + left_s * _RENEW_AFTER, now + left_s)
        self._logins[connection] = login
        if self._credentials.renews:
            self._renew_later(connection, login)
        return login.token

    def _renew_later(self, connection: ClientConnection, login: _Login) -> None:
        loop, held = asyncio.get_running_loop(), weakref.ref(connection)
        wait_s = max(_LEAST_WAIT_S, login.renew_at - loop.time())
        loop.call_later(min(wait_s, _LONGEST_WAIT_S), self._renew_early, held, login)

    def _renew_early(self, held: weakref.ref[ClientConnection], login: _Login) -> None:
        connection = held()
        if (
            connection is None
            or not connection.is_open
            or self._logins.get(connection) is not login
            or asyncio.get_running_loop().time() >= login.expires
        ):
            return  # it was renewed, or the next request does it
        task = asyncio.ensure_future(self._renewed(connection, login))
        self._early[task] = None
        task.add_done_callback(self._early.pop)

    async def _renewed(self, connection: ClientConnection, login: _Login) -> None:
        """Renew the login of a connection if it is time, and look again later if there is no other token yet."""
        with contextlib.suppress(QcoreError):  # the next request reports it
            if self._credentials.token_file is not None:
                is_due = self._credentials.current_token() != login.token
            else:
                is_due = asyncio.get_running_loop().time() >= login.renew_at
            if is_due:
                await self.renew(connection)
        if self._logins.get(connection) is login:
            self._renew_later(connection, login)


def credentials_of(
    token: str | None, token_file: Path | None, user: str | None, password: str | None
) -> Credentials | None:
    """The credentials of a client's arguments; None if there are none.

    Raises:
        ConfigError: they contradict each other.
    """
    if token is None and token_file is None and user is None and password is None:
        return None
    return Credentials(token, user, password, token_file)
