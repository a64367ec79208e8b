"""Clients share the event loop fairly, and everything else runs between their frames."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator

import pytest
from websockets.exceptions import ConnectionClosedError

from qcore.transport.limits import MIB, TransportLimits
from qcore.transport.server import turns as turns_module
from qcore.transport.server.accepted_connection import AcceptedConnection
from qcore.transport.server.server import Server, ServerConnection
from qcore.transport.server.turns import HEAVY_BYTES, SLICE_S, ConnectionQueue, TurnScheduler
from qcore.transport.wire import Init
from tests.transport.server.test_flow import masked
from tests.transport.support.endpoints import (
    CODEC,
    HELLO,
    VOTE,
    RecordingHandler,
    ask,
    async_test,
    next_object,
    plain,
    running_server,
    until,
)

HEAVY = b'{"Perform":{"id":"heavy","request":{"a":{"b":"%b"}}}}' % (b"x" * 2 * HEAVY_BYTES)


class Ticks:
    """Counts turns of the event loop."""

    def __init__(self) -> None:
        self.count = 0
        self._on = True
        self._tick()

    def _tick(self) -> None:
        self.count += 1
        if self._on:
            asyncio.get_running_loop().call_soon(self._tick)

    def stop(self) -> None:
        self._on = False


@contextlib.asynccontextmanager
async def counted() -> AsyncIterator[Ticks]:
    ticks = Ticks()
    try:
        yield ticks
    finally:
        ticks.stop()


def frame(text: bytes) -> bytes:
    """A client's text frame of any size, with the mask 0."""
    if len(text) < 1 << 16:
        return masked(text)
    return b"\x81\xff" + len(text).to_bytes(8) + b"\0\0\0\0" + text


@contextlib.asynccontextmanager
async def clients(
    number: int, limits: TransportLimits | None = None
) -> AsyncIterator[tuple[Server, RecordingHandler, list[AcceptedConnection]]]:
    """A server, and its end of this many connections.

    Tests pass received bytes to the connections directly, so that they arrive in one turn of the event loop.
    """
    async with (
        running_server(limits=limits) as (server, handler, address),
        contextlib.AsyncExitStack() as stack,
    ):
        for _ in range(number):
            await stack.enter_async_context(plain(address, max_queue=None))
        await until(lambda: len(server.connections()) == number, "all are connected")
        yield server, handler, server.connections()


# --- one frame and many ---------------------------------------------------------------------------


@async_test
async def test_each_large_frame_has_a_separate_turn() -> None:
    async with clients(4) as (server, handler, connections), counted() as ticks:
        decoded: list[int] = []
        decode = server.codec.decode

        def record_turn(data: bytes | bytearray, *, from_peer: bool = False) -> list[object]:
            decoded.append(ticks.count)
            return decode(data, from_peer=from_peer)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(server.codec, "decode", record_turn)
            for connection in connections:
                connection.data_received(frame(HEAVY) * 2)
            assert not handler.messages, "nothing is parsed before the next turn"
            assert [connection.held_bytes() > len(HEAVY) for connection in connections] == [
                True
            ] * 4
            await until(lambda: len(handler.messages) == 8, "all are handled")
        assert len(set(decoded)) == 8, f"several in one turn: {decoded}"
        assert server.turns.waiting == 0


@async_test
async def test_other_clients_are_answered_between_large_frames() -> None:
    async with clients(3) as (_, handler, connections):
        first, second, third = connections
        first.data_received(frame(HEAVY) * 3)
        second.data_received(frame(HEAVY))
        third.data_received(masked(b'{"Init":{"id":"1","nodes":[[1,"a:1"]]}}'))
        await until(lambda: len(handler.messages) == 5, "all are handled")
        # Not behind the large frames that arrived before it, except for one if the slice of this turn is used.
        assert Init in map(type, handler.messages[:2])


@async_test
async def test_slow_large_frame_is_followed_by_an_equal_pause() -> None:
    async with clients(2) as (server, handler, connections), counted() as ticks:
        decoded: list[int] = []
        decode = server.codec.decode

        def slow(data: bytes | bytearray, *, from_peer: bool = False) -> list[object]:
            decoded.append(ticks.count)
            time.sleep(0.05)
            return decode(data, from_peer=from_peer)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(server.codec, "decode", slow)
            for connection in connections:
                connection.data_received(frame(HEAVY))
            await until(lambda: len(handler.messages) == 2, "both are handled")
        # Each empty turn takes microseconds: without a pause the second frame is handled one or two turns later.
        assert decoded[1] - decoded[0] > 10


@async_test
async def test_the_order_within_a_connection_is_kept() -> None:
    async with clients(1) as (_, handler, (connection,)):
        small = [masked(b'{"Perform":{"id":"%d","request":{}}}' % number) for number in range(9)]
        connection.data_received(
            b"".join(small[:3]) + frame(HEAVY) + b"".join(small[3:6]) + frame(HEAVY)
        )
        connection.data_received(b"".join(small[6:]))
        await until(lambda: len(handler.messages) == 11, "all are handled")
        ids = [getattr(message, "id", "") for message in handler.messages]
        assert ids == [*"012", "heavy", *"345", "heavy", *"678"]


@pytest.mark.parametrize(
    "flood",
    [
        b"\x81\x80\0\0\0\0",
        b"\x89\x80\0\0\0\0",
        b"\x01\x80\0\0\0\0" + b"\x00\x80\0\0\0\0" * 40 + b"\x80\x80\0\0\0\0",
        masked(b"{}"),
        masked(b'{"GetMetrics":{"id":"1"}}'),
    ],
    ids=["empty", "pings", "fragments", "no envelope", "requests"],
)
@async_test
async def test_many_small_frames_in_one_read_are_handled_in_parts(
    flood: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with clients(2) as (server, handler, connections), counted() as ticks:
        flooding, other = connections
        began = ticks.count
        # Short, so that even the fastest machine needs many slices: the whole work takes tens of milliseconds.
        monkeypatch.setattr(turns_module, "SLICE_S", 0.001)
        monkeypatch.setattr(turns_module, "LIGHT_SLICE_S", 0.0005)
        flooding.data_received(flood * (96 * 1024 // len(flood)))
        assert server.turns.waiting == 1, "the rest of it waits"
        other.data_received(masked(b'{"Perform":{"id":"other","request":{}}}'))
        await until(lambda: handler.messages, "the other client is served")
        await until(lambda: server.turns.waiting == 0, "all are handled")
        assert ticks.count - began >= 4
        assert flooding.held_bytes() < MIB
        assert flooding.is_open


@async_test
async def test_many_messages_in_one_frame_are_handled_in_parts() -> None:
    async with clients(1) as (server, handler, (connection,)):
        began = time.monotonic()

        def slow(_: ServerConnection, message: object) -> None:
            time.sleep(0.001)
            handler.messages.append(message)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(handler, "on_message", slow)
            envelopes = b",".join(b'{"Perform":{"id":"%d","request":{}}}' % n for n in range(200))
            connection.data_received(masked(b"[%b]" % envelopes))
            assert len(handler.messages) <= 64 or time.monotonic() - began < SLICE_S
            connection.data_received(masked(b'{"Perform":{"id":"200","request":{}}}'))
            await until(lambda: len(handler.messages) == 201, "all are handled")
        ids = [int(getattr(message, "id", "")) for message in handler.messages]
        assert ids == [*range(201)]
        assert server.turns.waiting == 0


@async_test
async def test_a_connection_that_ends_while_it_waits_is_forgotten() -> None:
    async with clients(1) as (server, handler, (connection,)):
        connection.data_received(frame(HEAVY) * 2)
        connection.abort("test")
        await until(lambda: handler.closed, "it is gone")
        await asyncio.sleep(0.01)
        assert server.turns.waiting == 0
        assert connection.held_bytes() == 0
        assert not handler.messages


@async_test
async def test_peer_does_not_wait_for_a_turn() -> None:
    async with (
        running_server() as (server, handler, address),
        plain(address) as one,
        plain(address) as other,
    ):
        await ask(one, HELLO)
        (peer,) = [each for each in server.connections() if each.peer is not None]
        (client,) = [each for each in server.connections() if each.peer is None]
        client.data_received(frame(HEAVY) * 3)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(turns_module, "SLICE_S", 0.0)  # nothing of this turn is left for clients
            peer.data_received(masked(json.dumps(VOTE).encode()))
            assert len(handler.messages) == 1
        assert "RaftVoteResponse" in await next_object(one)
        await until(lambda: len(handler.messages) == 4, "the client is served afterwards")
        assert other.close_code is None


def test_turns_serve_in_order_and_one_large_frame_at_a_time() -> None:
    async def body() -> None:
        turns = TurnScheduler()
        served: list[tuple[str, bool]] = []

        class Named:
            admin = False
            used_s = used_since = 0.0

            def __init__(self, name: str) -> None:
                self.name = name

            def resume_frames(self, *, heavy: bool) -> None:
                served.append((self.name, heavy))

            def abort(self, reason: str) -> None:
                raise AssertionError(reason)

        first, second, third, gone = (Named(name) for name in "abcd")
        turns.wait(first, heavy=True)
        turns.wait(second, heavy=False)
        turns.wait(third, heavy=True)
        turns.wait(gone, heavy=True)
        turns.forget(gone)
        assert served == []
        await until(lambda: not turns.waiting, "all are served")
        assert served == [("a", True), ("b", False), ("c", True)]

    asyncio.run(body())


# --- order of service -----------------------------------------------------------------------------


class Waiting:
    """A connection for `TurnScheduler` alone, of a client that has recently used this much."""

    def __init__(self, name: str, served: list[str], *, admin: bool = False, used_s: float = 0.0):
        self.name = name
        self.admin = admin
        self.used_s = used_s
        self.used_since = time.monotonic()
        self.aborted = ""
        self._served = served

    def resume_frames(self, *, heavy: bool) -> None:
        if self.name == "broken":
            raise RuntimeError("a bug")
        self._served.append(self.name)

    def abort(self, reason: str) -> None:
        self.aborted = reason


@pytest.mark.parametrize("heavy", [False, True])
@async_test
async def test_admins_go_before_clients_and_heavy_users_last(heavy: bool) -> None:
    turns, served = TurnScheduler(), list[str]()
    long = 1000 * turns_module.BUSY_WINDOW_S
    earlier = Waiting("was busy", served, used_s=1.0)
    earlier.used_since -= long
    for each in (
        Waiting("busy", served, used_s=SLICE_S),
        Waiting("busy admin", served, used_s=SLICE_S, admin=True),
        earlier,
        Waiting("light", served),
        Waiting("admin", served, admin=True),
    ):
        turns.wait(each, heavy=heavy)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(turns_module, "BUSY_WINDOW_S", long)  # however slow the machine is
        await until(lambda: not turns.waiting, "all are served")
    assert served == ["admin", "was busy", "light", "busy", "busy admin"]


def test_heavy_users_are_not_starved() -> None:
    queue, served = ConnectionQueue(), list[str]()
    queue.add(Waiting("busy", served), busy=True)
    for _ in range(6):
        queue.add(Waiting("light", served), busy=False)
        queue.begin_turn()
        queue.pop().resume_frames(heavy=False)
    assert served == [*["light"] * 3, "busy", *["light"] * 2]


@async_test
async def test_a_bug_in_one_connection_does_not_stop_the_turns(
    caplog: pytest.LogCaptureFixture,
) -> None:
    turns, served = TurnScheduler(), list[str]()
    broken, other = Waiting("broken", served), Waiting("other", served)
    turns.wait(broken, heavy=True)
    turns.wait(broken, heavy=False)
    turns.wait(other, heavy=False)
    await until(lambda: served == ["other"], "the other is served")
    assert "internal error" in broken.aborted
    assert "handling a client's waiting frames failed" in caplog.text
    turns.wait(other, heavy=True)
    await until(lambda: served == ["other", "other"], "there are more turns")


@async_test
async def test_small_request_does_not_wait_behind_all_that_flood() -> None:
    async with clients(10) as (server, handler, connections), counted():
        *flooding, small = connections
        decoded: list[bytes] = []
        decode = server.codec.decode

        def slow(data: bytes | bytearray, *, from_peer: bool = False) -> list[object]:
            decoded.append(bytes(data))
            time.sleep(SLICE_S / 4)
            return decode(data, from_peer=from_peer)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(server.codec, "decode", slow)
            patch.setattr(turns_module, "BUSY_WINDOW_S", 1000.0)
            for number, connection in enumerate(flooding):
                connection.data_received(masked(b'{"Flood%d":{}}' % number) * 24)
            await until(lambda: len(set(decoded)) == 9, "each had a turn")
            before = len(decoded)
            small.data_received(masked(b'{"Perform":{"id":"1","request":{}}}'))
            await until(lambda: handler.messages, "the small request is served")
            passed = {data for data in decoded[before:] if data.startswith(b'{"Flood')}
        assert len(passed) <= 4, "not behind all nine"


# --- the size of a frame --------------------------------------------------------------------------

SMALL = TransportLimits(max_client_frame_bytes=10_000, max_frame_bytes=100_000)


@pytest.mark.parametrize("announced", [False, True])
@async_test
async def test_before_hello_every_frame_has_the_limit_of_clients(announced: bool) -> None:
    headers = {"Qcore-Role": "peer"} if announced else {}
    async with (
        running_server(limits=SMALL) as (_, handler, address),
        plain(address, additional_headers=headers) as ws,
    ):
        assert "Error" in await ask(ws, '{"GetMetrics":{"id":"1","%s":1}}' % ("x" * 9_000))
        with pytest.raises(ConnectionClosedError):
            await ask(ws, '{"GetMetrics":{"id":"1","%s":1}}' % ("x" * 10_000))
        assert ws.close_code == 1009
        assert not handler.messages


@async_test
async def test_after_hello_a_frame_has_the_limit_of_peers() -> None:
    async with running_server(limits=SMALL) as (_, handler, address), plain(address) as ws:
        await ask(ws, HELLO)
        large = {"RaftVote": {**VOTE["RaftVote"], "id": "x" * 1000}}
        assert "RaftVoteResponse" in await ask(ws, large)
        assert "Error" in await ask(ws, '{"GetMetrics":{"id":"1","%s":1}}' % ("x" * 90_000))
        with pytest.raises(ConnectionClosedError):
            await ask(ws, '{"GetMetrics":{"id":"1","%s":1}}' % ("x" * 100_000))
        assert ws.close_code == 1009
        assert len(handler.messages) == 1


@async_test
async def test_rejected_hello_changes_no_limit() -> None:
    async with running_server(limits=SMALL) as (server, _, address), plain(address) as ws:
        (connection,) = server.connections()
        wrong = {"Hello": {**HELLO["Hello"], "cluster_id": "another"}}
        assert "Err" in (await ask(ws, wrong))["HelloResponse"]["response"]
        assert connection._protocol.max_message_size == 10_000


def test_the_codec_of_the_tests_has_the_default_bounds() -> None:
    assert CODEC.bounds.harmless_bytes > HEAVY_BYTES, "a light frame needs no counting"
