"""The client's connection, with qcore's server and with the server of the library `websockets`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest
from pydantic import JsonValue
from websockets.asyncio.server import ServerConnection as LibraryServerConnection
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosedError

from qcore.errors import (
    ConnectionLost,
    ErrorReply,
    LocalProtocolError,
    OutcomeUnknown,
    TransportError,
)
from qcore.transport.address import Address
from qcore.transport.connection.client_connection import ClientConnection
from qcore.transport.limits import MIB, TransportLimits
from tests.transport.support.endpoints import (
    RecordingHandler,
    assert_no_errors_logged,
    async_test,
    running_server,
    until,
)


@contextlib.asynccontextmanager
async def connected(address: str, **options: Any) -> AsyncIterator[ClientConnection]:
    connection = await ClientConnection.connect(Address.parse(address), **options)
    try:
        yield connection
    finally:
        await connection.close()


@contextlib.asynccontextmanager
async def library_server(
    handle: Callable[[LibraryServerConnection], Coroutine[Any, Any, None]],
) -> AsyncIterator[str]:
    """A server of the library `websockets`."""
    async with serve(handle, "127.0.0.1", 0) as server:
        yield str(Address(*next(iter(server.sockets)).getsockname()[:2]))


# --- requests -------------------------------------------------------------------------------------


@async_test
async def test_responses_in_random_order_match_their_requests() -> None:
    handler = RecordingHandler(hold=True)
    async with running_server(handler) as (_, _, address), connected(address) as client:
        requests = [
            asyncio.ensure_future(client.request("Perform", {"request": {"Get": {"n": number}}}))
            for number in range(500)
        ]
        await until(lambda: len(handler.held) == 500, "all requests arrived")
        random.Random(3).shuffle(handler.held)
        for connection, request in handler.held:
            body = {"id": request.id, "response": request.request["Get"]["n"]}
            connection.send_encoded(json.dumps({"PerformResponse": body}).encode())
        replies = await asyncio.gather(*requests)
        assert [reply["response"] for reply in replies] == [*range(500)]


@async_test
async def test_an_error_envelope_is_raised_with_its_detail() -> None:
    async with running_server() as (_, _, address), connected(address) as client:
        with pytest.raises(ErrorReply, match=r"GetMetrics\.extra: unknown field") as raised:
            await client.request("GetMetrics", {"extra": 1})
        assert raised.value.detail()["field"] == "GetMetrics.extra"
        with pytest.raises(ErrorReply, match="unknown message type"):
            await client.request("Nothing")
        assert (await client.request("GetMetrics"))["response"] == {"id": 1, "blob": ""}


@pytest.mark.parametrize(
    "fields",
    [
        {"x": float("nan")},
        {"x": [1.5, float("-inf")]},
        {"x": "\ud800"},
        {"x": object()},
        {"id": "mine"},
        {"x": "y" * (16 * MIB)},
    ],
    ids=["nan", "infinity", "surrogate", "no-json", "own-id", "oversized"],
)
@async_test
async def test_fields_that_cannot_be_sent_are_rejected_locally(
    fields: dict[str, JsonValue],
) -> None:
    async with running_server() as (_, handler, address), connected(address) as client:
        with pytest.raises(LocalProtocolError):
            await client.request("Perform", fields)
        reply = await client.request("Init", {"nodes": [[1, "NaN and Infinity are only words"]]})
        assert reply["response"] == {"Ok": None}
        assert len(handler.messages) == 1


@async_test
async def test_timed_out_request_is_unknown_late_response_dropped() -> None:
    handler = RecordingHandler(hold=True)
    pushed: list[str] = []
    async with running_server(handler) as (_, _, address), connected(address) as client:
        client.on_push = lambda name, value: pushed.append(name)
        with pytest.raises(OutcomeUnknown, match="did not reply to Perform"):
            await client.request("Perform", {"request": {}}, timeout_s=0.1)
        connection, request = handler.held[0]
        late = json.dumps({"PerformResponse": {"id": request.id, "response": 1}}).encode()
        connection.send_encoded(late)
        assert (await client.request("GetMetrics"))["response"] == {"id": 1, "blob": ""}
        assert pushed == []
        assert client._waiting == {}, "nothing is kept of completed requests"


@async_test
async def test_lost_connection_fails_every_waiting_request() -> None:
    handler = RecordingHandler(hold=True)
    closed: list[TransportError | None] = []
    async with running_server(handler) as (_, _, address), connected(address) as client:
        client.on_close = closed.append
        requests = [
            asyncio.ensure_future(client.request("Perform", {"request": {}})) for _ in range(50)
        ]
        await until(lambda: len(handler.held) == 50, "all requests arrived")
        handler.opened[0].abort("for the test")
        outcomes = await asyncio.gather(*requests, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {ConnectionLost}
        assert not ConnectionLost.retryable
        assert not client.is_open
        assert len(closed) == 1
        with pytest.raises(TransportError, match="connect again"):
            await client.request("GetMetrics")


@async_test
async def test_closing_fails_pending_requests_and_cancelling_drops_it() -> None:
    handler = RecordingHandler(hold=True)
    async with running_server(handler) as (_, _, address):
        client = await ClientConnection.connect(Address.parse(address))
        cancelled = asyncio.ensure_future(client.request("Perform", {"request": {}}))
        waiting = asyncio.ensure_future(client.request("Perform", {"request": {}}))
        await until(lambda: len(handler.held) == 2, "both requests arrived")
        cancelled.cancel()
        await client.close()
        with pytest.raises(ConnectionLost, match="closed"):
            await waiting
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        await until(lambda: handler.closed, "the server noticed")
        assert handler.closed[0][1] is None


@async_test
async def test_pushed_messages_reach_on_push() -> None:
    pushed: list[tuple[str, dict[str, JsonValue]]] = []
    async with running_server() as (_, handler, address), connected(address) as client:
        client.on_push = lambda name, value: pushed.append((name, value))
        await client.request("GetMetrics")
        handler.opened[0].send_encoded(b'{"StoreNotification":{"notification":{"n":1}}}')
        await until(lambda: pushed, "the notification")
        assert pushed == [("StoreNotification", {"notification": {"n": 1}})]


# --- connecting -----------------------------------------------------------------------------------


@async_test
async def test_connecting_where_no_server_listens_fails() -> None:
    async with running_server() as (_, _, address):
        pass
    with pytest.raises(TransportError, match=f"cannot connect to {address}"):
        await ClientConnection.connect(Address.parse(address))


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"", "no answer from .* within 0.3 s"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\ngone", "HTTP 404: gone"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "not a qcore node"),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "not a qcore node"),
        (b"\xff" * 20_000, "not a qcore node"),
    ],
)
@async_test
async def test_answer_of_another_program_is_an_error(
    answer: bytes, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()

    async with await asyncio.start_server(handle, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(TransportError, match=words):
            await ClientConnection.connect(Address("127.0.0.1", port), timeout_s=0.3)
    assert_no_errors_logged(caplog)


@async_test
async def test_server_that_closes_during_the_handshake_is_an_error() -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.close()

    async with await asyncio.start_server(handle, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(TransportError, match=f"127.0.0.1:{port}"):
            await ClientConnection.connect(Address("127.0.0.1", port))


# --- the library's server -------------------------------------------------------------------------


@async_test
async def test_client_works_with_the_websockets_server() -> None:
    async def handle(ws: LibraryServerConnection) -> None:
        async for text in ws:
            value = json.loads(text)
            for envelope in value if isinstance(value, list) else [value]:
                ((name, body),) = envelope.items()
                await ws.send(json.dumps({f"{name}Response": {"id": body["id"], "response": name}}))

    async with library_server(handle) as address, connected(address) as client:
        replies = await asyncio.gather(*(client.request(f"Type{n}") for n in range(100)))
        assert [reply["response"] for reply in replies] == [f"Type{n}" for n in range(100)]


@async_test
async def test_invalid_frames_from_a_server_are_survived(caplog: pytest.LogCaptureFixture) -> None:
    nonsense: list[str | bytes] = [
        b"\x00",
        b"",
        "not json",
        "[" * 100_000,
        "[]",
        "{}",
        "5",
        '{"A":1}',
        '{"A":{"id":[1]}}',
        '{"A":{"id":{}},"B":{}}',
        '{"Error":{"id":"1","error":5,"detail":[1]}}',
        '[{"AResponse":{"id":null}},7,{"B":{"id":"1"}}]',
    ]

    async def handle(ws: LibraryServerConnection) -> None:
        async for text in ws:
            for piece in nonsense if "First" in str(text) else ():
                await ws.send(piece)
            if "Second" in str(text):
                await ws.send('{"SecondResponse":{"id":"2","response":null}}')

    async with library_server(handle) as address, connected(address) as client:
        client.on_push = lambda name, value: None
        with pytest.raises(ErrorReply, match="without a text"):
            await client.request("First")
        assert (await client.request("Second"))["response"] is None
    assert_no_errors_logged(caplog)


@async_test
async def test_oversized_frame_closes_the_client_with_1009() -> None:
    codes: list[int | None] = []

    async def handle(ws: LibraryServerConnection) -> None:
        with contextlib.suppress(ConnectionClosedError):
            async for _ in ws:
                await ws.send("x" * 200_000)
        codes.append(ws.close_code)

    limits = TransportLimits(max_frame_bytes=100_000)
    async with library_server(handle) as address:
        client = await ClientConnection.connect(Address.parse(address), limits=limits)
        with pytest.raises(ConnectionLost, match="broke the protocol"):
            await client.request("GetMetrics")
        await client.close()
        await until(lambda: codes, "the server saw the close")
        assert codes == [1009]


@async_test
async def test_close_reason_of_a_server_is_reported() -> None:
    async with running_server() as (server, _, address), connected(address) as client:
        await client.request("GetMetrics")
        await server.stop()
        await until(lambda: not client.is_open, "the client noticed")
