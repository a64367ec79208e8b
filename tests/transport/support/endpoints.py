"""Helpers of the transport's tests: a server with a simple handler, raw sockets, and polling with a deadline."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import logging
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from ssl import SSLContext
from typing import Any, ParamSpec

import pytest
from websockets.asyncio.client import ClientConnection as LibraryConnection
from websockets.asyncio.client import connect as library_connect
from websockets.exceptions import ConnectionClosedError

from qcore.core.messages import (
    AppendEntries,
    AppendEntriesResponse,
    RequestVote,
    RequestVoteResponse,
)
from qcore.errors import RemoteProtocolError, TransportError
from qcore.runtime.real import REAL
from qcore.transport.address import Address
from qcore.transport.codec.codec import Codec
from qcore.transport.limits import TransportLimits
from qcore.transport.server.handler import HttpResponse
from qcore.transport.server.origins import AllowedOrigins
from qcore.transport.server.page_guard import PageGuard
from qcore.transport.server.server import MessageHandler, Server, ServerConnection
from qcore.transport.wire import (
    PEER_REQUESTS,
    REGISTRY,
    GetMetrics,
    GetMetricsResponse,
    Hello,
    HelloProof,
    HelloReply,
    Init,
    InitResponse,
    MessageId,
    Ok,
    RaftAppend,
    RaftVote,
    wrap_response,
)


@dataclass(slots=True)
class Perform:
    """An application's request, like the store's."""

    id: MessageId
    request: dict[str, dict[str, str | int | None]]


CODEC = Codec({**REGISTRY, "Perform": Perform})

P = ParamSpec("P")


def async_test(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run a coroutine test in its own event loop, with a deadline."""

    @functools.wraps(test)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(60):
                await test(*args, **kwargs)

        asyncio.run(bounded())

    return wrapper


async def until(condition: Callable[[], object], what: str, within_s: float = 60.0) -> None:
    """Poll until the condition holds; fail with `what` if it does not in time."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {within_s} s: {what}"
        await asyncio.sleep(0.005)


@dataclass
class RecordingHandler:
    """Answers the simple requests, accepts peers of cluster `c1`, and records everything."""

    cluster_id: str = "c1"
    node_id: int = 1
    messages: list[object] = field(default_factory=list)
    opened: list[ServerConnection] = field(default_factory=list)
    closed: list[tuple[ServerConnection, TransportError | None]] = field(default_factory=list)
    hellos: list[Hello] = field(default_factory=list)
    held: list[tuple[ServerConnection, Perform]] = field(default_factory=list)
    members: Sequence[str] = ()
    hold: bool = False
    blob: str = ""
    requests: dict[type, MessageHandler] = field(init=False)
    peer_requests: dict[type, MessageHandler] = field(init=False)

    def __post_init__(self) -> None:
        def handle(connection: ServerConnection, message: object) -> None:
            self.on_message(connection, message)  # looked up in each call: tests replace it

        self.requests = dict.fromkeys((GetMetrics, Init, Perform), handle)
        self.peer_requests = dict.fromkeys(PEER_REQUESTS, handle)

    def on_request(
        self,
        connection: ServerConnection,
        authorization: Sequence[str],
        answer: Callable[[HttpResponse | None], None],
    ) -> None:
        answer(None)

    def on_open(self, connection: ServerConnection) -> None:
        self.opened.append(connection)

    def on_hello(self, connection: ServerConnection, hello: Hello) -> HelloReply:
        self.hellos.append(hello)
        if hello.cluster_id not in ("", self.cluster_id):
            raise RemoteProtocolError(
                f"you belong to cluster {hello.cluster_id!r}, this node to {self.cluster_id!r}"
            )
        return HelloReply(1, self.cluster_id, self.node_id)

    def on_proof(
        self, connection: ServerConnection, hello: Hello, reply: HelloReply, proof: HelloProof
    ) -> None:
        raise AssertionError("this handler demands no proof")

    def on_message(self, connection: ServerConnection, message: object) -> None:
        self.messages.append(message)
        match message:
            case GetMetrics():
                connection.send(GetMetricsResponse(message.id, {"id": 1, "blob": self.blob}))
            case Init():
                connection.send(InitResponse(message.id, Ok(None)))
            case RaftVote(request=RequestVote(term=term)):
                connection.send(wrap_response(message.id, RequestVoteResponse(term, True)))
            case RaftAppend(request=AppendEntries(term=term, prev_log_index=index)):
                response = AppendEntriesResponse(term, True, index, index, 0, 0)
                connection.send(wrap_response(message.id, response))
            case Perform():
                if self.hold:
                    self.held.append((connection, message))
                elif "Fail" in message.request:
                    raise RuntimeError("a bug of the application")

    def on_close(self, connection: ServerConnection, error: TransportError | None) -> None:
        self.closed.append((connection, error))

    def needs_user(self) -> bool:
        return False

    def member_addresses(self) -> Sequence[str]:
        return self.members

    def on_http(self, connection: ServerConnection, path: str) -> HttpResponse | None:
        if path == "/broken":
            raise RuntimeError("a bug of the application")
        return HttpResponse(200, "ok\n") if path == "/livez" else None


@contextlib.asynccontextmanager
async def running_server(
    handler: RecordingHandler | None = None,
    limits: TransportLimits | None = None,
    port: int = 0,
    origins: AllowedOrigins | None = None,
    tls: SSLContext | None = None,
    *,
    pages: PageGuard | None = None,
    peers_need_certificates: bool = False,
) -> AsyncIterator[tuple[Server, RecordingHandler, str]]:
    """A server on loopback, with its handler and its address."""
    handler = handler or RecordingHandler()
    server = Server(
        CODEC,
        handler,
        limits,
        origins,
        runtime=REAL,
        pages=pages,
        tls=tls,
        peers_need_certificates=peers_need_certificates,
    )
    address = await server.start(Address("127.0.0.1", port))
    try:
        yield server, handler, address
    finally:
        await server.stop()


def plain(address: str, **options: Any) -> library_connect:
    """A client of the library `websockets`, as an independent program would use."""
    return library_connect(f"ws://{address}/", proxy=None, compression=None, **options)


async def ask(socket: LibraryConnection, envelope: object) -> dict[str, Any]:
    """Send JSON (or raw text) and return the next frame's value, which must be one object."""
    await socket.send(envelope if isinstance(envelope, str | bytes) else json.dumps(envelope))
    return await next_object(socket)


async def next_object(socket: LibraryConnection) -> dict[str, Any]:
    async with asyncio.timeout(10):
        value = json.loads(await socket.recv())
    assert isinstance(value, dict)
    return value


async def read_to_the_end(socket: LibraryConnection) -> list[Any]:
    """Every frame until the connection is closed in any way. Fails if it stays open."""
    frames: list[Any] = []
    with contextlib.suppress(ConnectionClosedError):
        async with asyncio.timeout(10):
            async for text in socket:
                frames.append(json.loads(text))  # noqa: PERF401  # keeps the frames before an error
    return frames


HELLO: dict[str, Any] = {
    "Hello": {"id": "h", "protocol": 1, "cluster_id": "c1", "node_id": 2, "role": "peer"}
}

VOTE: dict[str, Any] = {
    "RaftVote": {
        "id": "v",
        "request": {"term": 5, "candidate_id": 2, "last_log_index": 0, "last_log_term": 0},
    }
}


async def open_raw(address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A bare TCP connection."""
    return await asyncio.open_connection(*Address.parse(address))


async def http(address: str, request: bytes) -> bytes:
    """Send bytes, and return everything received until the end of the stream."""
    reader, writer = await open_raw(address)
    writer.write(request)
    try:
        async with asyncio.timeout(10):
            return await reader.read()
    finally:
        writer.close()


def assert_no_errors_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Check that no error or traceback was logged: nothing that the other end sends may cause one."""
    loud = [
        record
        for record in caplog.records
        if record.exc_info or record.levelno >= logging.ERROR or "Traceback" in record.getMessage()
    ]
    assert not loud, [record.getMessage() for record in loud]
