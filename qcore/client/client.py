"""`Client`: the client of a cluster, with a method for each message.

    async with Client(["127.0.0.1:8080", "127.0.0.1:8081"]) as client:
        ada = await client.create_entity("User", "ada")
        await client.write(ada, "Email", "ada@example.org")
        print(await client.read(ada, "Email"))

The client keeps one connection to each node that it uses, shared by all requests in progress, and follows the leader.
Requests that begin together travel in one frame.

Each write takes effect once, however often the client has to send it: it opens a session and numbers its writes. If it
cannot know in time whether a write took effect, it raises `OutcomeUnknown`, and the caller decides.

A client may be used in several event loops, one after the other, as by several calls of `asyncio.run`. It keeps its
sessions, and connects again in each.

It leaves a silent node: one that does not answer a ping while a request waits, or does not accept a connection. A slow
node answers pings, and the client waits for it. See `qcore.client.endpoints`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from qcore.client.endpoints import Connect
from qcore.client.login.credentials import Authenticator, Credentials, credentials_of
from qcore.client.methods.call_options import check_timeout
from qcore.client.methods.cluster_methods import ClusterMethods
from qcore.client.methods.entity_methods import EntityMethods
from qcore.client.methods.machine_methods import MachineMethods
from qcore.client.methods.schema_methods import SchemaMethods
from qcore.client.methods.user_methods import UserMethods
from qcore.client.request_sender import RequestSender
from qcore.client.watching.watch_methods import WatchMethods
from qcore.runtime.interface import Runtime
from qcore.runtime.real import REAL
from qcore.security.tls import TlsFiles, client_context
from qcore.transport.connection.client_connection import ClientConnection
from qcore.transport.trace_context import RequestTracer

#: How long `close` waits for the cluster to close the client's sessions, seconds.
_CLOSE_SESSIONS_S: Final = 0.5


class Client(
    EntityMethods, SchemaMethods, MachineMethods, WatchMethods, UserMethods, ClusterMethods
):
    """A client of a cluster. Use it as an async context manager, or call `close`.

    Methods that read take the options `consistency` and `timeout_s` (`qcore.client.ReadOptions`). Methods that write
    take `session` and `timeout_s` (`qcore.client.WriteOptions`). An entity is an `EntityId`, a text such as `User$7`,
    or an `Entity` that the client returned. `Value` and `WritableValue` are the values of fields.

    Where there are users, requests raise `Unauthenticated` without a token or password, and `PermissionDenied` if no
    role of the user allows them.

    A cancelled write may still take effect.

    Args:
        endpoints: `host:port` of some nodes. The client learns others when a node names the leader.
        timeout_s: how long one operation may take, with all its retries.
        attempt_timeout_s: how long one attempt waits for the response of a node that answers pings.
        silent_after_s: how long a node may leave a ping unanswered while a request waits. After that the client leaves
            the node. The requests that wait there are repeated elsewhere if that is harmless, or else end in
            `OutcomeUnknown`.
        exactly_once: whether the client opens sessions and sends its writes in them, so that it may repeat them.
            Otherwise it sends a write again only after a definite rejection (`NotLeader`, `Overloaded`).
        admin: whether to open admin connections, which nodes reserve for operators.
        tls: the files for TLS; `TlsFiles()` accepts the authorities that the system trusts. None: no TLS.
        token: proves the client's user to the nodes.
        token_file: a file whose first line is a token. The client reads it again before the token expires, so that
            another program may replace the token; its watches go on.
        user, password: the same. The client uses the password once, and then the token that it gets for it; it gets
            another one before that expires.
        credentials: the same as `token`, as `token_file`, or as `user` and `password`.
        runtime: the world that the client runs in; a simulator gives another one.
        connect: opens a connection to a node.
        tracer: makes a span of each request, such as `qcore.client.OtelTracer`; None for no spans.

    Raises:
        ConfigError: an endpoint is not `host:port`, or there is none; or a file for TLS cannot be used; or `token`,
            `token_file`, `user` and `password` contradict each other.
    """

    def __init__(
        self,
        endpoints: Sequence[str],
        *,
        timeout_s: float = 15.0,
        attempt_timeout_s: float = 8.0,
        silent_after_s: float = 1.0,
        exactly_once: bool = True,
        admin: bool = False,
        tls: TlsFiles | None = None,
        token: str | None = None,
        token_file: Path | str | None = None,
        user: str | None = None,
        password: str | None = None,
        credentials: Credentials | None = None,
        runtime: Runtime = REAL,
        connect: Connect = ClientConnection.connect,
        tracer: RequestTracer | None = None,
    ) -> None:
        for name, seconds in (("timeout_s", timeout_s), ("attempt_timeout_s", attempt_timeout_s)):
            check_timeout(seconds, name)
        if tls is not None:
            connect = partial(ClientConnection.connect, tls=client_context(tls))
        file = None if token_file is None else Path(token_file)
        credentials, renew = credentials or credentials_of(token, file, user, password), None
        if credentials is not None:
            authenticator = Authenticator(credentials, connect)
            connect, renew = authenticator.connect, authenticator.renew
        sender = RequestSender(
            endpoints,
            timeout_s,
            attempt_timeout_s,
            silent_after_s,
            admin=admin,
            runtime=runtime,
            connect=connect,
            renew=renew,
            tracer=tracer,
        )
        super().__init__(sender, timeout_s, attempt_timeout_s, exactly_once=exactly_once)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    @property
    def runtime(self) -> Runtime:
        """The world that the client runs in, for code that must read the same clocks: a process, or a simulator."""
        return self._sender.runtime

    async def close(self) -> None:
        """Close the client's sessions and every connection; requests in progress fail, and watches end.

        The client accepts no other requests.
        """
        self._sender.event_loop.enter()
        await self._registrar.close()
        if self._pool is not None:
            await self._pool.close(_CLOSE_SESSIONS_S)
        await self._sender.close()
