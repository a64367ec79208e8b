"""A server survives malformed and oversized frames, and clients that do not read or are dead; each error is named."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import socket
import tracemalloc
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from qcore.errors import TransportError
from qcore.transport.connection.framing import clip_reason
from qcore.transport.limits import MIB, TransportLimits
from qcore.transport.wire import GetMetrics
from tests.transport.codec.test_codec_fuzz import PIECES, SEEDS, mutate
from tests.transport.server.test_server import UPGRADE
from tests.transport.support.endpoints import (
    RecordingHandler,
    ask,
    assert_no_errors_logged,
    async_test,
    next_object,
    open_raw,
    plain,
    read_to_the_end,
    running_server,
    until,
)

# --- invalid frames: the connection stays open ----------------------------------------------------


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        ("not json", "not valid JSON"),
        ("", "not valid JSON"),
        ("[]", "at least one envelope"),
        ("[[]]", "must be an object"),
        ("{}", "exactly one key"),
        ('{"Nothing":{"id":"1"}}', "Nothing: unknown message type"),
        ('{"GetMetrics":{}}', "GetMetrics.id"),
        ('{"GetMetrics":{"id":"1","id":"2"}}', "occurs twice"),
        ('{"GetMetrics":{"id":"\\ud800"}}', "not valid JSON"),
        ("[" * 50_000, "recursion limit"),
        ("7" * 1_000_000, "out of range"),
        (b'{"GetMetrics":{"id":"1"}}', "binary"),
        (b"\x00\xff", "binary"),
        (b"", "binary"),
    ],
    ids=lambda value: str(value)[:30],
)
@async_test
async def test_a_bad_frame_gets_an_error_and_the_connection_stays_open(
    frame: str | bytes, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_server() as (server, handler, address), plain(address) as ws:
        reply = await ask(ws, frame)
        assert words in reply["Error"]["error"]
        assert reply["Error"]["detail"]["code"] == "RemoteProtocolError"
        assert handler.messages == []
        assert "GetMetricsResponse" in await ask(ws, {"GetMetrics": {"id": "after"}})
        assert server.stats.malformed_received == 1
    assert_no_errors_logged(caplog)


@async_test
async def test_text_that_is_not_utf8_gets_an_error_too() -> None:
    async with running_server() as (_, _, address):
        reader, writer = await open_raw(address)
        writer.write(UPGRADE + b"\x81\x83\0\0\0\0\xff\xfe\xfd")
        await reader.readuntil(b"\r\n\r\n")
        head = await reader.readexactly(2)
        size = head[1] if head[1] < 126 else int.from_bytes(await reader.readexactly(2))
        assert "not valid JSON" in json.loads(await reader.readexactly(size))["Error"]["error"]
        writer.close()


@async_test
async def test_fuzzed_frames_do_not_affect_other_connections(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rng = random.Random(7)
    clients = [seed for seed in SEEDS[:-1] if b"Raft" not in seed and b"Forward" not in seed]
    async with running_server() as (server, _, address), plain(address) as other:
        for number in range(16):
            async with plain(address) as ws:
                reading = asyncio.ensure_future(read_to_the_end(ws))
                with contextlib.suppress(ConnectionClosed):  # 1008: it became a message of a peer
                    for _ in range(50):
                        frame = mutate(
                            rng, rng.choice(clients) if number % 2 else rng.choice(PIECES)
                        )
                        await ws.send(frame, text=rng.random() < 0.9)
                    await (await ws.ping())
                await ws.close()
                answers = await reading
                assert ws.close_code in (1000, 1008)
                assert answers or ws.close_code == 1008
            assert "GetMetricsResponse" in await ask(other, {"GetMetrics": {"id": "1"}})
        assert server.stats.malformed_received > 200
    assert_no_errors_logged(caplog)


@async_test
async def test_a_thousand_invalid_envelopes_leak_no_memory() -> None:
    frame = json.dumps([{"Nothing": {"id": "x" * 100, "field": [1, 2, 3] * 50}}] * 20)
    async with running_server() as (_, _, address), plain(address) as ws:
        await ws.send(frame)
        await ws.recv()
        tracemalloc.start()
        for round_number in range(50):
            await ws.send(frame)
            await ws.recv()
            if round_number == 5:
                base = tracemalloc.get_traced_memory()[0]
        grown = tracemalloc.get_traced_memory()[0] - base
        tracemalloc.stop()
        assert grown < 200_000, f"{grown} bytes more after 1000 invalid envelopes"


# --- sizes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("fragments", [1, 3])
@async_test
async def test_a_frame_over_the_limit_is_closed_with_1009(
    fragments: int, caplog: pytest.LogCaptureFixture
) -> None:
    limits = TransportLimits(max_frame_bytes=100_000)
    text = '{"GetMetrics":{"id":"%s"}}' % ("x" * 100_000)
    step = len(text) // fragments + 1
    pieces: Any = [text[at : at + step] for at in range(0, len(text), step)]
    async with running_server(limits=limits) as (_, handler, address), plain(address) as other:
        async with plain(address) as ws:
            with contextlib.suppress(ConnectionClosed):  # the server may close first
                await ws.send(text if fragments == 1 else pieces)
            assert await read_to_the_end(ws) == []
            assert ws.close_code == 1009
        await until(lambda: handler.closed, "the server dropped the connection")
        assert "broke the protocol" in str(handler.closed[0][1])
        assert "GetMetricsResponse" in await ask(other, {"GetMetrics": {"id": "1"}})
        assert handler.messages == [GetMetrics("1")]
    assert_no_errors_logged(caplog)


@async_test
async def test_a_frame_just_under_the_default_limit_is_read() -> None:
    async with running_server() as (server, _, address), plain(address, max_size=None) as ws:
        size = server.limits.max_client_frame_bytes
        big = '{"GetMetrics":{"id":"1","%s":1}}' % ("x" * (size - 100))
        assert "unknown field" in (await ask(ws, big))["Error"]["error"]


# --- ends that do not read ------------------------------------------------------------------------


async def open_deaf(address: str) -> socket.socket:
    """A WebSocket connection with a small receive buffer that is never read."""
    host, port = address.split(":")
    deaf = socket.socket()
    deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    deaf.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(deaf, (host, int(port)))
    await loop.sock_sendall(deaf, UPGRADE)
    return deaf


def masked(text: bytes) -> bytes:
    """A client's text frame, with the mask 0."""
    size = len(text)
    head = bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2)
    return b"\x81" + head + b"\0\0\0\0" + text


@async_test
async def test_client_that_never_reads_is_dropped_in_bounded_memory(
    caplog: pytest.LogCaptureFixture,
) -> None:
    limits = TransportLimits(send_stall_s=0.8)
    handler = RecordingHandler(blob="x" * 50_000)
    async with (
        running_server(handler, limits) as (server, _, address),
        plain(address, max_size=None) as other,
    ):
        deaf = await open_deaf(address)
        request = masked(b'{"GetMetrics":{"id":"%b"}}' % (b"-" * 1000)) * 200
        position = unsent = unhandled = 0
        while len(handler.closed) == 0:
            try:
                position = (position + deaf.send(request[position:])) % len(request)
            except (BlockingIOError, ConnectionError):
                await asyncio.sleep(0.01)
            await asyncio.sleep(0)
            for connection in server.connections():
                unsent = max(unsent, connection.unsent_bytes())
                unhandled = max(unhandled, len(connection._unread) + connection._backlog_bytes)
        assert "has read nothing for 0.8 s" in str(handler.closed[0][1])
        assert unsent < limits.max_queue_bytes + MIB
        assert 0 < unhandled <= 300 * 1024, "frames of one read wait, and reading is paused"
        assert "GetMetricsResponse" in await ask(other, {"GetMetrics": {"id": "1"}})
        deaf.close()
    assert_no_errors_logged(caplog)


@async_test
async def test_pushes_to_a_client_that_never_reads_are_bounded() -> None:
    limits = TransportLimits(max_queue_bytes=2 * MIB)
    async with running_server(limits=limits) as (server, handler, address):
        deaf = await open_deaf(address)
        await until(lambda: handler.opened, "the connection is open")
        (connection,) = server.connections()
        for _ in range(200):
            connection.send_encoded(b'"' + b"x" * 100_000 + b'"')
            await asyncio.sleep(0)
        await until(lambda: handler.closed, "the connection was dropped")
        assert "does not read: more than 2097152 bytes" in str(handler.closed[0][1])
        assert connection.unsent_bytes() == 0
        connection.send_encoded(b"{}")
        assert server.connections() == []
        deaf.close()


@async_test
async def test_memory_held_for_all_clients_is_bounded() -> None:
    limits = TransportLimits(max_queue_bytes=16 * MIB, max_clients_bytes=24 * MIB)
    async with running_server(limits=limits) as (server, handler, address):
        deaf = [await open_deaf(address) for _ in range(4)]
        await until(lambda: len(handler.opened) == 4, "the connections are open")
        for number in range(200):
            for connection in handler.opened[: 3 if number < 10 else 4]:
                connection.send_encoded(b'"' + b"x" * 100_000 + b'"')
            await asyncio.sleep(0)
            held = sum(each.held_bytes() for each in server.connections())
            assert held < limits.max_clients_bytes + MIB
        await until(lambda: handler.closed, "one was dropped")
        assert all("the most of all clients" in str(error) for _, error in handler.closed)
        assert server.connections(), "no more than necessary"
        for each in deaf:
            each.close()


@async_test
async def test_heaviest_unfinished_message_is_dropped_first() -> None:
    """Each is within the limit of one message, as one frame or as endless fragments."""
    limits = TransportLimits(max_client_frame_bytes=16 * MIB, max_clients_bytes=8 * MIB)
    async with running_server(limits=limits) as (server, handler, address):
        _, one = await open_raw(address)
        one.write(UPGRADE + b"\x81\xff" + (10 * MIB).to_bytes(8) + bytes(4) + b"x" * 5 * MIB)
        await until(lambda: any(c.held_bytes() > 4 * MIB for c in server.connections()), "5 MiB")
        _, other = await open_raw(address)
        piece = b"\xff" + MIB.to_bytes(8) + bytes(4) + b"x" * MIB
        other.write(UPGRADE + b"\x01" + piece + (b"\x00" + piece) * 3)
        await until(lambda: handler.closed, "the heavier one was dropped")
        assert handler.closed[0][0] is handler.opened[0]
        assert "the most of all clients" in str(handler.closed[0][1])
        assert [connection.held_bytes() > MIB for connection in server.connections()] == [True]
        one.close()
        other.close()


@async_test
async def test_client_that_sends_everything_before_reading_is_served() -> None:
    limits = TransportLimits(max_queue_bytes=16 * MIB)
    handler = RecordingHandler(blob="x" * 16_000)
    async with running_server(handler, limits) as (_, _, address):
        reader, writer = await open_raw(address)
        writer.write(UPGRADE)
        await reader.readuntil(b"\r\n\r\n")
        for number in range(4000):
            request = b'{"GetMetrics":{"id":"%d%b"}}' % (number, b"-" * 1000)
            writer.write(masked(request))
        seen = 0
        async with asyncio.timeout(30):
            while seen < 4000:
                head = await reader.readexactly(4)
                assert head[:2] == b"\x81\x7e"
                await reader.readexactly(int.from_bytes(head[2:]))
                seen += 1
        assert handler.closed == []
        writer.close()


# --- silence --------------------------------------------------------------------------------------

IMPATIENT = TransportLimits(ping_interval_s=0.1, dead_after_s=0.6)


@async_test
async def test_silence_is_answered_by_pings_and_a_dead_end_is_dropped() -> None:
    async with running_server(limits=IMPATIENT) as (_, handler, address):
        reader, writer = await open_raw(address)
        writer.write(UPGRADE)
        await reader.readuntil(b"\r\n\r\n")
        async with asyncio.timeout(10):
            rest = await reader.read()
        assert set(rest) == {0x89, 0x00}, (
            "pings, and no close frame: the dead end would not read it"
        )
        await until(lambda: handler.closed, "the connection was dropped")
        assert "no sign of life" in str(handler.closed[0][1])
        writer.close()


@async_test
async def test_a_silent_end_that_answers_pings_stays() -> None:
    async with (
        running_server(limits=IMPATIENT) as (_, handler, address),
        plain(address, ping_interval=None) as ws,
    ):
        await asyncio.sleep(3 * IMPATIENT.dead_after_s)
        assert "GetMetricsResponse" in await ask(ws, {"GetMetrics": {"id": "1"}})
        assert handler.closed == []


@async_test
async def test_a_close_that_is_never_answered_ends_in_time() -> None:
    limits = TransportLimits(close_timeout_s=0.3)
    async with running_server(limits=limits) as (_, handler, address):
        reader, writer = await open_raw(address)
        writer.write(UPGRADE)
        await reader.readuntil(b"\r\n\r\n")
        await until(lambda: handler.opened, "the connection is open")
        handler.opened[0].close(1000, "done")
        handler.opened[0].close(1011, "a second close does nothing")
        assert not handler.opened[0].is_open
        await until(lambda: handler.closed, "the connection is gone")
        assert (await reader.read()) == b"\x88\x06\x03\xe8done"
        assert handler.closed[0][1] is None
        writer.close()


@async_test
async def test_queued_responses_are_sent_before_the_close() -> None:
    async with running_server() as (_, handler, address), plain(address) as ws:
        await until(lambda: handler.opened, "the connection is open")
        for number in range(3):
            handler.opened[0].send(GetMetrics(str(number)))
        handler.opened[0].close(1000, "ü" * 200)
        frames = await read_to_the_end(ws)
        assert frames == [{"GetMetrics": {"id": str(number)}} for number in range(3)]
        assert ws.close_reason == "ü" * 61


def test_a_reason_is_clipped_at_a_character() -> None:
    assert clip_reason("x" * 300) == "x" * 123
    assert clip_reason("aü" * 100).encode() == ("aü" * 41).encode()
    assert clip_reason("\ud800") == "?"


@pytest.mark.parametrize(
    "request_frame",
    [b'{"GetMetrics":{"id":"1"}}', b'{"RaftVote":{"id":"1"}}', b"nonsense", b"[" * 100],
)
@pytest.mark.parametrize("end", [b"\x88\x80\0\0\0\0", b"\x88\x82\0\0\0\0\x03\xe8", b"\xff\xff"])
@async_test
async def test_frames_and_close_in_one_packet_end_the_connection(
    request_frame: bytes, end: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_server() as (_, handler, address):
        reader, writer = await open_raw(address)
        writer.write(UPGRADE)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(masked(request_frame) * 3 + end)
        async with asyncio.timeout(10):
            assert b"\x88" in await reader.read()
        writer.close()
        await until(lambda: handler.closed, "the connection is gone")
    assert_no_errors_logged(caplog)


@async_test
async def test_half_closed_connection_is_closed() -> None:
    async with running_server() as (_, handler, address):
        reader, writer = await open_raw(address)
        writer.write(UPGRADE)
        await reader.readuntil(b"\r\n\r\n")
        writer.write_eof()
        async with asyncio.timeout(10):
            await reader.read()
        await until(lambda: handler.closed, "the connection is gone")
        assert isinstance(handler.closed[0][1], TransportError)
        writer.close()


@async_test
async def test_no_response_is_lost_with_many_concurrent_clients() -> None:
    async def client(address: str) -> None:
        async with plain(address) as ws:
            for number in range(20):
                await ws.send(json.dumps({"GetMetrics": {"id": str(number)}}))
            for number in range(20):
                assert (await next_object(ws))["GetMetricsResponse"]["id"] == str(number)

    async with running_server() as (_, _, address):
        await asyncio.gather(*(client(address) for _ in range(50)))
