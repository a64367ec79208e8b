"""The memory that clients' connections hold together is counted and bounded, and every connection ends."""

from __future__ import annotations

import asyncio
import errno
import time
from dataclasses import replace

import pytest

from qcore.transport.limits import MIB, TransportLimits
from qcore.transport.server import turns as turns_module
from qcore.transport.server.accepted_connection import AcceptedConnection
from qcore.transport.server.client_memory import ClientMemory
from qcore.transport.server.handler import ServerStats
from qcore.transport.server.server import Server
from qcore.transport.server.turns import HEAVY_BYTES, SLICE_S
from tests.transport.server.test_flow import masked, open_deaf
from tests.transport.server.test_server import UPGRADE
from tests.transport.server.test_turns import HEAVY, clients, frame
from tests.transport.support.endpoints import (
    assert_no_errors_logged,
    async_test,
    open_raw,
    running_server,
    until,
)

CLOSE = b"\x88\x82\0\0\0\0\x03\xe8"
UNFINISHED = b"\x81\xff" + MIB.to_bytes(8) + bytes(4) + b"x" * 200_000
LIMITS = TransportLimits(max_clients_bytes=2 * MIB)


def held(server: Server) -> int:
    return sum(each.held_bytes() for each in server.connections())


def drop(connections: list[AcceptedConnection]) -> None:
    """Abort: within a frame no close frame is read, so the other end would wait for an answer."""
    for connection in connections:
        connection.abort("test")


# --- counted --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [UNFINISHED, b"\x01" + UNFINISHED[1:2] + (200_000).to_bytes(8) + UNFINISHED[10:], frame(HEAVY)],
    ids=["unfinished", "fragments", "waits for its turn"],
)
@pytest.mark.parametrize("slice_s", [SLICE_S, 1e-9, 0.0])
@async_test
async def test_many_small_holders_are_bounded_together(
    data: bytes, slice_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 0: all connections wait from the start; 1e-9: after they began.
    monkeypatch.setattr(turns_module, "SLICE_S", slice_s)
    async with clients(30, LIMITS) as (server, handler, connections):
        for connection in connections:
            server.turns._spent_s = 0.0  # as in a separate turn
            connection.data_received(data)
            assert held(server) <= LIMITS.max_clients_bytes
        await until(lambda: handler.closed, "some were dropped")
        assert all("the most of all clients" in str(error) for _, error in handler.closed)
        assert len(server.connections()) >= LIMITS.max_clients_bytes // (len(data) * 2)
        # The garbage collector frees the library's objects late, but their memory is needed now.
        buffers = [connection._ws.reader.buffer for connection in connections]
        assert sum(buffer.__alloc__() for buffer in buffers) <= LIMITS.max_clients_bytes
        drop(connections)


@async_test
async def test_only_as_many_connections_are_dropped_as_needed() -> None:
    async with clients(11, LIMITS) as (server, _, connections):
        *most, last = connections
        for connection in most:
            connection.data_received(UNFINISHED[:110_000])
        assert len(server.connections()) == 11
        server.limits = replace(LIMITS, max_clients_bytes=MIB // 2)
        last.data_received(UNFINISHED[:30_000])
        assert held(server) <= MIB // 2
        assert last.is_open, "those that hold most are dropped first"
        drop(connections)


@async_test
async def test_unhandled_messages_of_a_partly_read_frame_count() -> None:
    async with clients(1) as (server, handler, (connection,)):

        def slow(_: object, message: object) -> None:
            time.sleep(0.001)
            handler.messages.append(message)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(handler, "on_message", slow)
            text = b"[%b]" % b",".join([b'{"Perform":{"id":"1","request":{}}}'] * 200)
            connection.data_received(masked(text))
            handled = len(handler.messages)
            assert handled < 200
            assert connection.held_bytes() > len(text) * (200 - handled) // 200
            await until(lambda: len(handler.messages) == 200, "all are handled")
        await until(lambda: server.turns.waiting == 0, "nothing waits")
        assert connection.held_bytes() == server.memory._held_bytes == 0


@async_test
async def test_unread_small_responses_count_until_the_connection_end() -> None:
    async with running_server() as (server, handler, address):
        deaf = await open_deaf(address)
        await until(lambda: handler.opened, "the connection is open")
        (connection,) = server.connections()
        while not connection._write_paused:
            connection.send_encoded(b'"' + b"x" * 100_000 + b'"')
            await asyncio.sleep(0)
        before = server.memory._held_bytes
        assert before > 0
        connection.send_encoded(b'"' + b"x" * 50_000 + b'"')
        assert server.memory._held_bytes > before + 32_000
        deaf.close()
        await until(lambda: handler.closed, "the connection is gone")
        assert server.memory._held_bytes == 0


@async_test
async def test_frames_after_a_close_are_not_kept() -> None:
    async with clients(1) as (_, _, (connection,)):
        connection.close()
        connection.data_received(masked(b"x" * 1000) * 100)
        assert connection.held_bytes() < HEAVY_BYTES
        assert connection._ws.events == []


# --- each ends ------------------------------------------------------------------------------------


@async_test
async def test_reset_connection_affects_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def reset() -> None:
        raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")

    async with clients(3) as (server, handler, connections):
        errors: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
        ignored = masked(b'{"Error":{"id":"1","error":"x"}}')
        with pytest.MonkeyPatch.context() as patch:
            for connection in connections[:2]:
                patch.setattr(connection._transport, "write_eof", reset)
            for connection in connections[:2]:
                connection.data_received(ignored * 5000 + CLOSE)
            connections[2].data_received(
                ignored * 5000 + masked(b'{"Perform":{"id":"1","request":{}}}')
            )
            assert server.turns.waiting == 3
            await until(lambda: len(handler.closed) == 2, "the two are gone")
            await until(lambda: handler.messages, "the third is served")
        assert server.turns.waiting == 0
        assert errors == []
        assert connections[2].is_open
    assert_no_errors_logged(caplog)


@async_test
async def test_half_closed_only_when_all_is_written() -> None:
    waiting: list[int] = []
    async with running_server() as (server, handler, address):
        reader, writer = await open_raw(address)
        writer.write(UPGRADE)
        await reader.readuntil(b"\r\n\r\n")
        (connection,) = server.connections()
        transport = connection._transport
        assert transport is not None
        write_eof = transport.write_eof

        def record_waiting() -> None:
            waiting.append(transport.get_write_buffer_size())
            write_eof()

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(transport, "write_eof", record_waiting)
            while not connection._write_paused:
                connection.send_encoded(b'"' + b"x" * 100_000 + b'"')
            connection.data_received(CLOSE)
            assert transport.get_write_buffer_size() > 0
            async with asyncio.timeout(10):
                everything = await reader.read()
        assert everything.endswith(b"\x88\x02\x03\xe8")
        assert waiting == [0]
        writer.close()
        await until(lambda: handler.closed, "the connection is gone")


@async_test
async def test_a_connection_that_closes_is_read_again() -> None:
    async with clients(1) as (_, handler, (connection,)):
        assert connection._transport is not None
        connection.pause_writing()
        assert not connection._transport.is_reading()
        connection.close()
        assert connection._transport.is_reading(), "otherwise its end would not be noticed"
        await until(lambda: handler.closed, "the other end answered")


# --- pushed ---------------------------------------------------------------------------------------


class Holder:
    """A client to which messages are pushed, and which reads as the test wants."""

    def __init__(self, memory: ClientMemory, remote: str) -> None:
        self.memory, self.remote = memory, remote
        self.held = 0
        self.aborted = False

    def held_bytes(self) -> int:
        return self.held

    def report_held_bytes(self) -> None:
        self.memory.update(self, self.held)

    def abort(self, reason: str) -> None:
        self.aborted = True

    def push(self, size: int) -> bool:
        may = self.memory.may_push(self, self.held + size)
        if may:
            self.held += size
            self.report_held_bytes()
        return may


@pytest.mark.parametrize("deaf", [1, 10, 200])
def test_clients_that_read_receive_pushes_beside_deaf_ones(deaf: int) -> None:
    """Those that hold most are refused first. Together they never reach the limit at which clients are dropped."""
    memory = ClientMemory(lambda: LIMITS, ServerStats())
    holders = [Holder(memory, str(number)) for number in range(deaf)]
    reads = Holder(memory, "reads")
    refused: set[Holder] = set()
    for _ in range(4000):
        for each in holders:
            if each not in refused and not each.push(1000):
                refused.add(each)
        assert reads.push(1000)
        reads.held = 0  # it is not reported before it matters
    assert len(refused) == deaf
    assert not any(each.aborted for each in holders)
    total = sum(each.held for each in holders)
    assert MIB // 2 - 1000 * deaf <= total <= MIB, "half of the limit is theirs"
    for each in holders:
        memory.forget(each)
    assert Holder(memory, "later").push(MIB // 3)
