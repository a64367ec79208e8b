"""Requests of one turn of the event loop share array frames; a lone request is a plain envelope."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve

from qcore.errors import ConnectionLost, LocalProtocolError, Overloaded, TransportError
from qcore.transport.address import Address
from qcore.transport.connection.client_connection import ClientConnection
from qcore.transport.connection.framing import BATCH_BYTES, BATCH_MESSAGES
from qcore.transport.limits import KIB, TransportLimits
from tests.transport.support.endpoints import async_test, until


class FrameServer:
    """Answers every envelope, and keeps every frame as it was decoded, and the size of each."""

    def __init__(self) -> None:
        self.frames: list[Any] = []
        self.sizes: list[int] = []
        self.sockets: list[ServerConnection] = []
        self.address = ""

    async def handle(self, socket: ServerConnection) -> None:
        """Answer one connection."""
        self.sockets.append(socket)
        async for text in socket:
            frame = json.loads(text)
            self.frames.append(frame)
            self.sizes.append(len(text))
            for envelope in frame if isinstance(frame, list) else [frame]:
                ((name, fields),) = envelope.items()
                reply = {"id": fields["id"], "response": fields.get("n")}
                await socket.send(json.dumps({f"{name}Response": reply}))

    def numbers(self) -> list[list[int]]:
        """The `n` of the envelopes of each frame that is an array."""
        return [[each["Ask"]["n"] for each in frame] for frame in self.frames]


@contextlib.asynccontextmanager
async def talking(
    limits: TransportLimits | None = None,
) -> AsyncIterator[tuple[FrameServer, ClientConnection]]:
    """A server, and a client connected to it."""
    server = FrameServer()
    async with serve(server.handle, "127.0.0.1", 0, max_size=None) as listening:
        address = listening.sockets[0].getsockname()[:2]
        client = await ClientConnection.connect(Address(*address), limits=limits)
        try:
            yield server, client
        finally:
            await client.close()


def asked(client: ClientConnection, n: int, **fields: Any) -> asyncio.Task[dict[str, Any]]:
    return asyncio.ensure_future(client.request("Ask", {"n": n, **fields}))


@async_test
async def test_requests_of_one_turn_share_a_frame_in_order() -> None:
    async with talking() as (server, client):
        answers = await asyncio.gather(*(asked(client, n) for n in range(200)))
        assert [answer["response"] for answer in answers] == [*range(200)]
        assert server.numbers() == [[*range(200)]]


@async_test
async def test_a_lone_request_is_a_plain_envelope() -> None:
    async with talking() as (server, client):
        for n in range(3):
            await asked(client, n)
        assert [frame["Ask"]["n"] for frame in server.frames] == [0, 1, 2]


@async_test
async def test_frames_are_bounded_and_a_large_request_goes_alone() -> None:
    async with talking() as (server, client):
        small = BATCH_MESSAGES + 10
        tasks = [asked(client, n) for n in range(small)]
        tasks += [asked(client, 1000, text="x" * (2 * BATCH_BYTES)), asked(client, 1001)]
        tasks += [asked(client, 2000 + n, text="y" * (30 * KIB)) for n in range(20)]
        await asyncio.gather(*tasks)
        counts = [len(frame) if isinstance(frame, list) else 1 for frame in server.frames]
        assert max(counts) == BATCH_MESSAGES
        for count, size in zip(counts, server.sizes, strict=True):
            assert count == 1 or size <= BATCH_BYTES + 2 + BATCH_MESSAGES
        each = [one for f in server.frames for one in (f if isinstance(f, list) else [f])]
        order = [one["Ask"]["n"] for one in each]
        assert order == sorted(order)
        assert len(order) == small + 22


@async_test
async def test_a_request_cancelled_in_its_turn_is_not_sent() -> None:
    async with talking() as (server, client):
        tasks = [asked(client, n) for n in range(4)]
        loop = asyncio.get_running_loop()
        # The tasks have begun by then, and their frame is not sent yet.
        loop.call_soon(tasks[1].cancel)
        loop.call_soon(tasks[3].cancel)
        await asyncio.gather(tasks[0], tasks[2])
        assert server.numbers() == [[0, 2]]
        assert client._unsent_bytes == 0


@async_test
async def test_an_unsent_request_fails_as_not_sent() -> None:
    async with talking() as (server, client):
        await asked(client, 0)
        unsent = asked(client, 1)
        loop = asyncio.get_running_loop()
        loop.call_soon(client._wire.abort, "for the test")
        with pytest.raises(TransportError, match="nothing was sent") as raised:
            await unsent
        assert not isinstance(raised.value, ConnectionLost)
        assert raised.value.retryable
        assert len(server.frames) == 1


@async_test
async def test_the_queue_limit_counts_the_requests_of_this_turn() -> None:
    limits = TransportLimits(max_queue_bytes=100 * KIB)
    async with talking(limits) as (server, client):
        tasks = [asked(client, n, text="x" * (40 * KIB)) for n in range(3)]
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(each) for each in outcomes] == [dict, dict, Overloaded]
        with pytest.raises(LocalProtocolError):
            await asked(client, 4, text="x" * limits.max_frame_bytes)
        await until(lambda: len(server.frames) == 2, "each request in a frame")
