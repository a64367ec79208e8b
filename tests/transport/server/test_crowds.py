"""Many connections: places for admins, safe closing of idle ones, and the limit of open files."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import socket
from collections.abc import Iterator, Sequence

import pytest
from websockets.asyncio.client import ClientConnection as PlainConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus

from qcore.errors import ConfigError, ConnectionLost, RequestNotReceived
from qcore.node.access.access_gate import Answer
from qcore.runtime.listener import Listener
from qcore.transport.address import Address
from qcore.transport.connection.client_connection import ClientConnection
from qcore.transport.connection.outgoing import ADMIN, GOING_AWAY, IDLE_REASON, ROLE_HEADER
from qcore.transport.limits import TransportLimits
from qcore.transport.server.handler import Principal, ServerConnection
from qcore.transport.wire import GetMetricsResponse
from tests.transport.server.test_server import UPGRADE
from tests.transport.support.endpoints import (
    HELLO,
    RecordingHandler,
    ask,
    async_test,
    http,
    open_raw,
    plain,
    running_server,
    until,
)

AS_ADMIN = {"additional_headers": {ROLE_HEADER: ADMIN}}
METRICS = {"GetMetrics": {"id": "1"}}
HOLD = {"Perform": {"id": "held", "request": {"GetSchema": {}}}}
#: Connections are idle soon, and this is noticed soon.
IDLE = TransportLimits(idle_timeout_s=0.1, ping_interval_s=0.1)


async def connect(address: str, *, admin: bool = False) -> ClientConnection:
    return await ClientConnection.connect(Address.parse(address), admin=admin)


# --- admin connections ----------------------------------------------------------------------------


@async_test
async def test_full_clients_leave_room_for_admin_and_http() -> None:
    limits = TransportLimits(max_clients=2, reserved_for_admin=1)
    async with (
        running_server(limits=limits) as (server, _, address),
        plain(address),
        plain(address),
    ):
        with pytest.raises(InvalidStatus, match="503"):
            await plain(address)
        admin = await connect(address, admin=True)
        assert (await admin.request("GetMetrics"))["response"] == {"id": 1, "blob": ""}
        assert b"200 OK" in await http(address, b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        assert server.stats.clients == 3
        await admin.close()


@async_test
async def test_idlest_admin_connection_gives_way_to_a_new_one() -> None:
    handler = RecordingHandler(hold=True)
    limits = TransportLimits(reserved_for_admin=2)
    async with running_server(handler, limits) as (server, _, address):
        waiting, idle = plain(address, **AS_ADMIN), plain(address, **AS_ADMIN)
        async with waiting as first, idle as second:
            await first.send(json.dumps(HOLD))
            await ask(second, METRICS)  # later than the first, which waits for its response
            await until(lambda: handler.held, "the request arrived")
            admin = await connect(address, admin=True)
            with pytest.raises(ConnectionClosed):
                async with asyncio.timeout(5):
                    await second.recv()
            assert (await admin.request("GetMetrics"))["response"]["id"] == 1  # type: ignore[index,call-overload]  # JSON
            connection, _ = handler.held[0]
            connection.send(GetMetricsResponse("held", {}))
            assert "GetMetricsResponse" in json.loads(await first.recv())
            assert server.stats.clients == 2
            await admin.close()


class HandlerThatKnowsUsers(RecordingHandler):
    """Takes the header `Authorization` as the name of the user."""

    def on_request(
        self, connection: ServerConnection, authorization: Sequence[str], answer: Answer
    ) -> None:
        for user in authorization:
            connection.principal = Principal(user, 1, 0, 1, "", False)
        answer(None)

    def needs_user(self) -> bool:
        return True


def of_user(**headers: str) -> dict[str, dict[str, str]]:
    return {"additional_headers": {"Authorization": "ann", **headers}}


@async_test
async def test_strangers_give_way_to_users() -> None:
    limits = TransportLimits(max_clients=2, reserved_for_admin=1)
    async with (
        running_server(HandlerThatKnowsUsers(), limits) as (_, _, address),
        plain(address) as idle,
        plain(address) as busy,
    ):
        await ask(busy, METRICS)
        with pytest.raises(InvalidStatus, match="503"):
            await plain(address)
        async with plain(address, **of_user()) as first:
            with pytest.raises(ConnectionClosed):
                await idle.recv()
            async with plain(address, **of_user()) as second:
                with pytest.raises(ConnectionClosed):
                    await busy.recv()
                with pytest.raises(InvalidStatus, match="503"):
                    await plain(address, **of_user())  # users take no places of users
                await ask(first, METRICS)
                await ask(second, METRICS)


@async_test
async def test_a_stranger_holds_no_place_for_ever() -> None:
    """A browser has no user when it connects. It gets the place of a stranger who never authenticated."""
    limits = TransportLimits(max_clients=3, login_timeout_s=0.2)
    async with (
        running_server(HandlerThatKnowsUsers(), limits) as (server, _, address),
        plain(address, **of_user()) as user,
        plain(address) as older,
        plain(address) as newer,
    ):
        for stranger in (older, newer):
            async with asyncio.timeout(10):
                browser = await _get_in(address)
            with pytest.raises(ConnectionClosed):
                await stranger.recv()
            (opened,) = [each for each in server.connections() if each.remote == _name_of(browser)]
            opened.principal = Principal("bob", 1, 0, 1, "", False)  # it has authenticated
        await asyncio.sleep(0.3)
        with pytest.raises(InvalidStatus, match="503"):
            await plain(address)
        await ask(user, METRICS)
        await ask(browser, METRICS)


@async_test
async def test_without_users_no_client_loses_its_place() -> None:
    limits = TransportLimits(max_clients=1, login_timeout_s=0.01)
    async with running_server(limits=limits) as (_, _, address), plain(address) as first:
        await asyncio.sleep(0.05)
        with pytest.raises(InvalidStatus, match="503"):
            await plain(address)
        await ask(first, METRICS)


async def _get_in(address: str) -> PlainConnection:
    """Connect as soon as there is a place."""
    while True:
        try:
            return await plain(address)
        except InvalidStatus as error:
            assert error.response.status_code == 503  # noqa: PT017 - it decides whether to try again
            await asyncio.sleep(0.02)


def _name_of(connection: PlainConnection) -> str:
    host, port = connection.local_address
    return f"{host}:{port}"


@async_test
async def test_an_admin_stranger_takes_no_place_of_a_user() -> None:
    limits = TransportLimits(reserved_for_admin=1)
    as_user = of_user(**{ROLE_HEADER: ADMIN})
    async with (
        running_server(HandlerThatKnowsUsers(), limits) as (_, _, address),
        plain(address, **AS_ADMIN) as stranger,
        plain(address, **as_user) as user,
    ):
        with pytest.raises(ConnectionClosed):
            await stranger.recv()
        with pytest.raises(InvalidStatus, match="503"):
            await plain(address, **AS_ADMIN)
        await ask(user, METRICS)


@async_test
async def test_unknown_role_is_a_client_and_a_peer_is_no_admin() -> None:
    limits = TransportLimits(max_clients=1, reserved_for_admin=1)
    headers = {"additional_headers": {ROLE_HEADER: "king"}}
    async with running_server(limits=limits) as (server, _, address), plain(address, **headers):
        with pytest.raises(InvalidStatus, match="503"):
            await plain(address, **headers)
        async with plain(address, **AS_ADMIN) as ws:
            assert "Ok" in (await ask(ws, HELLO))["HelloResponse"]["response"]
            assert (server.stats.clients, server.stats.peers) == (1, 1)


# --- idle connections -----------------------------------------------------------------------------


@async_test
async def test_idle_client_is_closed_with_a_reason() -> None:
    async with running_server(limits=IDLE) as (_, handler, address), plain(address) as ws:
        await ask(ws, METRICS)
        with pytest.raises(ConnectionClosed) as closed:
            await ws.recv()
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (GOING_AWAY, IDLE_REASON)
        await until(lambda: handler.closed, "closed")
        assert handler.closed[0][1] is None


@async_test
async def test_busy_clients_and_peers_are_not_idle() -> None:
    handler = RecordingHandler(hold=True)
    async with (
        running_server(handler, IDLE) as (server, _, address),
        plain(address) as waiting,
        plain(address) as busy,
        plain(address) as peer,
        plain(address),
    ):
        await ask(peer, HELLO)
        await waiting.send(json.dumps(HOLD))
        enough = 0
        while enough < 10:  # an idle one is closed by then, and twice that time has passed
            await ask(busy, METRICS)
            await asyncio.sleep(0.02)
            enough += server.stats.clients <= 2
        connection, _ = handler.held[0]
        connection.send(GetMetricsResponse("held", {}))
        assert "GetMetricsResponse" in json.loads(await waiting.recv())
        assert server.stats.peers == 1


@pytest.mark.parametrize("piece", [b"x", b"\x00\x81\0\0\0\0x"], ids=["frame", "fragments"])
@async_test
async def test_a_large_request_that_arrives_slowly_is_not_idle(piece: bytes) -> None:
    limits = TransportLimits(idle_timeout_s=0.4, ping_interval_s=0.1)
    async with running_server(limits=limits) as (server, _, address), plain(address):
        _, writer = await open_raw(address)
        writer.write(UPGRADE + (b"\x81\xe4\0\0\0\0" if piece == b"x" else b"\x01\x81\0\0\0\0x"))
        await until(lambda: server.stats.clients == 2, "both are open")
        (slow,) = server.connections()[1:]
        while server.stats.clients == 2:  # until the other one, which sends nothing, is closed
            writer.write(piece)
            await asyncio.sleep(0.02)
        writer.write(piece)
        await asyncio.sleep(0.05)
        assert slow.is_open
        writer.close()


@async_test
async def test_idle_connections_stay_without_an_idle_timeout() -> None:
    limits = TransportLimits(idle_timeout_s=0, ping_interval_s=0.05)
    async with running_server(limits=limits) as (server, _, address), plain(address):
        await asyncio.sleep(0.2)
        assert server.stats.clients == 1


@async_test
async def test_request_that_meets_the_close_is_known_to_have_no_effect() -> None:
    async with running_server() as (server, handler, address):
        connection = await connect(address)
        await until(lambda: handler.opened, "opened")
        (other_end,) = server.connections()
        asked = asyncio.ensure_future(connection.request("GetMetrics"))
        await asyncio.sleep(0)  # sent
        other_end.close(GOING_AWAY, IDLE_REASON)  # before the request arrives
        with pytest.raises(RequestNotReceived) as refused:
            await asked
        assert refused.value.retryable
        assert handler.messages == []


@async_test
async def test_a_server_that_stops_leaves_the_outcome_unknown() -> None:
    async with running_server() as (server, handler, address):
        connection = await connect(address)
        await until(lambda: handler.opened, "opened")
        (other_end,) = server.connections()
        asked = asyncio.ensure_future(connection.request("GetMetrics"))
        await asyncio.sleep(0)  # sent
        other_end.close(GOING_AWAY, "the server stops")
        with pytest.raises(ConnectionLost):
            await asked


def test_idle_timeout_must_be_finite_and_not_negative() -> None:
    for value in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match="idle_timeout_s"):
            TransportLimits(idle_timeout_s=value)


# --- file descriptors -----------------------------------------------------------------------------


@contextlib.contextmanager
def no_more_files() -> Iterator[None]:
    """Let this process open no further files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(name) for name in os.listdir("/dev/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, hard))
    gaps: list[int] = []
    with contextlib.suppress(OSError):
        while True:
            gaps.append(os.dup(0))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for gap in gaps:
            os.close(gap)


@pytest.mark.parametrize("spare", [True, False])
@async_test
async def test_without_descriptors_connections_wait_or_are_closed(
    spare: bool, caplog: pytest.LogCaptureFixture
) -> None:
    loop = asyncio.get_running_loop()
    async with running_server() as (server, _, address):
        callers = [socket.socket() for _ in range(20)]
        for caller in callers:
            caller.setblocking(False)
        if not spare:
            assert isinstance(server._listener, Listener)
            os.close(server._listener._spare)
            server._listener._spare = -1
        with no_more_files():
            for caller in callers:
                caller.connect_ex(Address.parse(address))
            if spare:
                for caller in callers:
                    with contextlib.suppress(ConnectionResetError):
                        async with asyncio.timeout(5):
                            assert await loop.sock_recv(caller, 1) == b""
                assert server.stats.connections_refused == len(callers)
            else:
                await asyncio.sleep(0.2)
                assert server.stats.connections_refused == 1  # it does not retry all the time
        if not spare:  # they still wait
            callers[0].send(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b"200 OK" in await loop.sock_recv(callers[0], 100)
        assert b"200 OK" in await http(address, b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        for caller in callers:
            caller.close()
    lines = [record for record in caplog.records if "cannot be accepted" in record.getMessage()]
    assert len(lines) == 1
    assert not any(record.exc_info for record in caplog.records)
