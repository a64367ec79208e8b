"""A server, tested with the client of the library `websockets` and with bare sockets."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from qcore.errors import ConfigError, TransportError
from qcore.runtime.real import REAL
from qcore.transport.address import Address
from qcore.transport.limits import TransportLimits
from qcore.transport.server.server import Server
from qcore.transport.wire import GetMetrics, RaftVote
from tests.transport.support.endpoints import (
    CODEC,
    HELLO,
    VOTE,
    RecordingHandler,
    ask,
    assert_no_errors_logged,
    async_test,
    http,
    next_object,
    open_raw,
    plain,
    read_to_the_end,
    running_server,
    until,
)

# --- requests and responses -------------------------------------------------------------------------


@async_test
async def test_a_request_of_another_library_is_answered() -> None:
    async with running_server() as (_, handler, address), plain(address) as ws:
        reply = await ask(ws, {"GetMetrics": {"id": "req-1"}})
        assert reply == {"GetMetricsResponse": {"id": "req-1", "response": {"id": 1, "blob": ""}}}
        reply = await ask(ws, {"Init": {"id": "2", "nodes": []}})
        assert reply == {"InitResponse": {"id": "2", "response": {"Ok": None}}}
        assert handler.messages[0] == GetMetrics("req-1")


@async_test
async def test_responses_match_by_id_in_any_order() -> None:
    handler = RecordingHandler(hold=True)
    async with running_server(handler) as (_, _, address), plain(address) as ws:
        for number in range(20):
            envelope = {"Perform": {"id": str(number), "request": {"GetSchema": {}}}}
            await ws.send(json.dumps(envelope))
        await until(lambda: len(handler.held) == 20, "all requests arrived")
        for connection, request in reversed(handler.held):
            connection.send_encoded(json.dumps({"PerformResponse": {"id": request.id}}).encode())
        replies = [(await next_object(ws))["PerformResponse"]["id"] for _ in range(20)]
        assert replies == [str(number) for number in reversed(range(20))]


@async_test
async def test_client_that_sends_no_arrays_receives_none() -> None:
    async with running_server() as (_, _, address), plain(address) as ws:
        for number in range(50):
            await ws.send(json.dumps({"GetMetrics": {"id": str(number)}}))
        for number in range(50):
            assert (await next_object(ws))["GetMetricsResponse"]["id"] == str(number)


@async_test
async def test_an_array_is_answered_in_arrays_with_every_id() -> None:
    async with running_server() as (_, _, address), plain(address) as ws:
        requests: list[Any] = [{"GetMetrics": {"id": str(number)}} for number in range(600)]
        requests[7] = {"GetMetrics": {"id": "7", "x": 1}}
        await ws.send(json.dumps(requests))
        replies: list[dict[str, Any]] = []
        frames = 0
        while len(replies) < 600:
            value = json.loads(await ws.recv())
            frames += 1
            replies += value if isinstance(value, list) else [value]
        by_id = {next(iter(each.values()))["id"]: next(iter(each)) for each in replies}
        assert len(by_id) == 600
        assert by_id.pop("7") == "Error"
        assert set(by_id.values()) == {"GetMetricsResponse"}
        assert 3 <= frames < 20, "arrays, of a bounded size"


@async_test
async def test_a_fragmented_message_is_assembled() -> None:
    async def pieces() -> Any:
        for piece in ('{"GetMet', "", 'rics":{"id":', '"ä1"}}'):
            yield piece

    async with running_server() as (_, _, address), plain(address) as ws:
        await ws.send(pieces())
        assert (await next_object(ws))["GetMetricsResponse"]["id"] == "ä1"


@async_test
async def test_ping_is_answered_and_a_normal_close_is_orderly() -> None:
    async with running_server() as (_, handler, address):
        async with plain(address) as ws:
            await (await ws.ping(b"life?"))
        await until(lambda: handler.closed, "the server noticed the close")
        assert handler.closed[0][1] is None
        assert ws.close_code == 1000


@async_test
async def test_a_connection_torn_down_without_a_close_is_reported() -> None:
    async with running_server() as (_, handler, address):
        async with plain(address) as ws:
            await ask(ws, {"GetMetrics": {"id": "1"}})
            ws.transport.abort()
        await until(lambda: handler.closed, "the server noticed the loss")
        assert isinstance(handler.closed[0][1], TransportError)


# --- Hello and what only peers may send -----------------------------------------------------------


@async_test
async def test_after_hello_a_peer_is_known_and_its_votes_arrive() -> None:
    async with running_server() as (server, handler, address), plain(address) as ws:
        reply = await ask(ws, HELLO)
        assert reply["HelloResponse"]["id"] == "h"
        assert reply["HelloResponse"]["response"]["Ok"]["node_id"] == 1
        reply = await ask(ws, VOTE)
        assert reply == {
            "RaftVoteResponse": {"id": "v", "response": {"Ok": {"term": 5, "vote_granted": True}}}
        }
        (connection,) = server.connections()
        assert connection.peer is not None
        assert connection.peer.node_id == 2
        assert isinstance(handler.messages[0], RaftVote)
        assert (server.stats.clients, server.stats.peers) == (0, 1)
        second = await ask(ws, HELLO)
        assert "accepted already" in second["Error"]["error"]


PEER_ONLY: list[dict[str, Any]] = [
    VOTE,
    {"RaftVote": {"id": "x", "request": {"vote": {"term": 2**64 - 1}}}},
    {"RaftVote": 5},
    {"RaftPreVote": {"id": "x", "request": {}}},
    {"RaftAppend": {"id": "x"}},
    {"RaftSnapshot": {"id": "x"}},
    {"Forward": {"id": "x", "request": {}}},
    {"RaftVoteResponse": {"id": "x", "response": {"Ok": {"term": 9, "vote_granted": True}}}},
    {"RaftAppendResponse": {"id": "x", "response": {"Err": "no"}}},
]


@pytest.mark.parametrize("envelope", PEER_ONLY, ids=json.dumps)
@pytest.mark.parametrize("before", [[], [{"GetMetrics": {"id": "1"}}]], ids=["first", "second"])
@async_test
async def test_a_raft_message_without_hello_is_closed_with_1008(
    envelope: dict[str, Any], before: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    async with running_server() as (server, handler, address), plain(address) as ws:
        await ws.send(json.dumps([*before, envelope, {"Init": {"id": "2", "nodes": []}}]))
        await read_to_the_end(ws)
        assert ws.close_code == 1008
        assert "Hello" in (ws.close_reason or "")
        assert handler.messages == [GetMetrics("1")] * len(before)
        assert server.stats.policy_violations == 1
        async with plain(address) as other:
            await ask(other, {"GetMetrics": {"id": "still here"}})
    assert_no_errors_logged(caplog)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"cluster_id": "other"}, ["'other'", "'c1'"]),
        ({"protocol": 2}, ["protocol version 2", "1"]),
        ({"role": "client"}, ["role 'client'"]),
    ],
)
@async_test
async def test_rejected_hello_is_answered_and_closed_with_1008(
    change: dict[str, Any], words: list[str]
) -> None:
    async with running_server() as (_, handler, address), plain(address) as ws:
        hello = {"Hello": {**HELLO["Hello"], **change}}
        await ws.send(json.dumps([hello, VOTE]))
        reply = (await next_object(ws))["HelloResponse"]
        assert reply["id"] == "h"
        assert reply["detail"]["code"] == "RemoteProtocolError"
        with pytest.raises(ConnectionClosed):
            await ws.recv()
        assert ws.close_code == 1008
        for word in words:
            assert word in reply["response"]["Err"]
            assert word in (ws.close_reason or "")
        assert handler.messages == []


@async_test
async def test_a_malformed_hello_makes_no_peer() -> None:
    async with running_server() as (_, handler, address), plain(address) as ws:
        reply = await ask(ws, {"Hello": {"id": "h", "protocol": 1, "cluster_id": "c1"}})
        assert reply["Error"] == {
            "id": "h",
            "error": "Hello.node_id: the field is missing",
            "detail": {
                "code": "RemoteProtocolError",
                "retryable": False,
                "field": "Hello.node_id",
            },
        }
        await ws.send(json.dumps(VOTE))
        with pytest.raises(ConnectionClosed):
            await ws.recv()
        assert ws.close_code == 1008
        assert handler.hellos == []


@async_test
async def test_server_rejects_responses_and_answers_no_errors() -> None:
    async with running_server() as (_, handler, address), plain(address) as ws:
        reply = await ask(ws, {"InitResponse": {"id": "1", "response": {"Ok": None}}})
        assert reply["Error"]["id"] == "1"
        assert "not responses" in reply["Error"]["error"]
        await ws.send(json.dumps({"Error": {"id": "2", "error": "your fault"}}))
        reply = await ask(ws, {"GetMetrics": {"id": "3"}})
        assert "GetMetricsResponse" in reply
        assert handler.messages == [GetMetrics("3")]


@async_test
async def test_one_peer_cannot_hold_more_than_a_few_connections() -> None:
    async with running_server() as (server, _, address):
        sockets = [await plain(address) for _ in range(7)]
        for ws in sockets:
            await ask(ws, HELLO)
        assert server.stats.peers == 4
        for ws in sockets[:3]:
            await asyncio.wait_for(ws.wait_closed(), 10)
            assert ws.close_code == 1013
        for ws in sockets:
            await ws.close()


# --- HTTP on the same port ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_head", "status", "words"),
    [
        (b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n", 200, b"ok\n"),
        (b"GET /livez?verbose=1 HTTP/1.1\r\nHost: x\r\n\r\n", 200, b"ok\n"),
        (b"GET /livez HTTP/1.0\r\n\r\n", 200, b"ok\n"),
        (b"GET /livez HTTP/1.1\r\n\r\nGET /livez HTTP/1.1\r\n\r\n", 200, b"ok\n"),
        (b"GET /livez HTTP/1.1\r\n\r\n\x81\x85garbage\xff\xff", 200, b"ok\n"),
        (b"GET /nothing HTTP/1.1\r\n\r\n", 404, b"nothing at this path"),
        (b"GET / HTTP/1.1\r\n\r\n", 426, b"WebSocket"),
        (b"GET /broken HTTP/1.1\r\n\r\n", 500, b"log"),
        (b"POST /livez HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", 405, b"Allow: GET, HEAD"),
        (b"GET /livez HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", 400, b"body"),
        (b"GET /livez HTTP/9.9\r\n\r\n", 400, b"not a valid"),
        (b"GET \xff HTTP/1.1\r\n\r\n", 400, b"not a valid"),
        (b"GET / HTTP/1.1\r\nbad header\r\n\r\n", 400, b"not a valid"),
        (b"GET /" + b"a" * 40_000, 431, b"too long"),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n\r\n", 414, b""),
        (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 200 + b"\r\n", 431, b""),
        (b"\x16", 400, b"TLS was offered"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, b"TLS was offered"),
        (b"GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n", 426, b""),
        (
            b"GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: \xe4\r\n\r\n",
            400,
            b"Sec-WebSocket-Key",
        ),
        (b"GET /other HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", 404, b"/ws"),
    ],
    ids=lambda value: str(value)[:40],
)
@async_test
async def test_http_requests_get_the_documented_status(
    request_head: bytes, status: int, words: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_server() as (server, _, address):
        answer = await http(address, request_head)
        assert answer.startswith(b"HTTP/1.1 %d " % status), answer
        assert words in answer
        assert answer.count(b"HTTP/1.1") == 1
        head, _, body = answer.partition(b"\r\n\r\n")
        assert b"Content-Length: %d" % len(body) in head
        await until(lambda: server.stats.handshaking == 0, "the connection is gone")
    if status != 500:
        assert_no_errors_logged(caplog)


@pytest.mark.parametrize(("path", "status"), [(b"/livez", 200), (b"/nothing", 404), (b"/", 426)])
@async_test
async def test_an_answer_to_head_is_that_to_get_without_its_body(path: bytes, status: int) -> None:
    async with running_server() as (_, _, address):
        answers = [
            await http(address, method + path + b" HTTP/1.1\r\nHost: x\r\n\r\n")
            for method in (b"GET ", b"HEAD ")
        ]
    (full, _, text), (short, _, nothing) = (answer.partition(b"\r\n\r\n") for answer in answers)
    assert short.startswith(b"HTTP/1.1 %d " % status)
    assert b"Content-Length: %d" % len(text) in short
    assert b"Content-Length: %d" % len(text) in full
    assert text
    assert not nothing


@async_test
async def test_head_opens_no_websocket() -> None:
    async with running_server() as (server, _, address):
        answer = await http(address, UPGRADE.replace(b"GET", b"HEAD"))
        assert answer.startswith(b"HTTP/1.1 426 ")
        assert server.stats.clients == 0


@async_test
async def test_a_request_head_in_many_pieces_is_parsed() -> None:
    async with running_server() as (_, _, address):
        reader, writer = await open_raw(address)
        for byte in b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n":
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0)
        assert (await reader.read()).endswith(b"ok\n")
        writer.close()


@pytest.mark.parametrize("path", ["/", "/ws", "/?x=1"])
@async_test
async def test_websocket_is_served_at_the_documented_paths(path: str) -> None:
    async with running_server() as (_, _, address):
        from websockets.asyncio.client import connect

        async with connect(f"ws://{address}{path}", proxy=None) as ws:
            await ask(ws, {"GetMetrics": {"id": "1"}})
            assert ws.protocol.extensions == []


# --- start and end --------------------------------------------------------------------------------


@async_test
async def test_stop_closes_with_1001_and_frees_the_port() -> None:
    handler = RecordingHandler()
    async with running_server(handler) as (server, _, address):
        _, half_open = await open_raw(address)
        async with plain(address) as ws:
            await ask(ws, {"GetMetrics": {"id": "1"}})
            await server.stop()
            await asyncio.wait_for(ws.wait_closed(), 10)
            assert ws.close_code == 1001
        half_open.close()
        assert len(handler.closed) == 1
        with pytest.raises(OSError):
            await open_raw(address)
        port = int(address.rpartition(":")[2])
        async with running_server(port=port) as (_, _, again):
            assert again == address


@async_test
async def test_a_port_in_use_is_a_clear_error() -> None:
    async with running_server() as (_, _, address):
        with pytest.raises(TransportError, match=r"cannot listen on 127\.0\.0\.1:"):
            await Server(CODEC, RecordingHandler(), runtime=REAL).start(Address.parse(address))


@async_test
async def test_application_bug_closes_only_one_connection() -> None:
    async with running_server() as (_, _, address):
        async with plain(address) as ws:
            await ws.send(json.dumps({"Perform": {"id": "1", "request": {"Fail": {}}}}))
            with pytest.raises(ConnectionClosed):
                await ws.recv()
            assert ws.close_code == 1011
        async with plain(address) as ws:
            await ask(ws, {"GetMetrics": {"id": "1"}})


@async_test
async def test_connections_use_tcp_nodelay() -> None:
    async with running_server() as (server, _, address), plain(address) as ws:
        await ask(ws, {"GetMetrics": {"id": "1"}})
        (connection,) = server.connections()
        assert connection._transport is not None
        handle = connection._transport.get_extra_info("socket")
        assert handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


# --- too many connections -------------------------------------------------------------------------


@async_test
async def test_excess_clients_get_503_while_peers_and_probes_connect() -> None:
    limits = TransportLimits(max_clients=3)
    async with running_server(limits=limits) as (server, _, address):
        sockets = [await plain(address) for _ in range(3)]
        with pytest.raises(InvalidStatus) as refused:
            await plain(address)
        assert refused.value.response.status_code == 503
        assert (await http(address, b"GET /livez HTTP/1.1\r\n\r\n")).endswith(b"ok\n")
        async with plain(address, additional_headers={"Qcore-Role": "peer"}) as peer:
            assert "HelloResponse" in await ask(peer, HELLO)
            assert "RaftVoteResponse" in await ask(peer, VOTE)
        assert server.stats.connections_refused == 1
        await sockets[0].close()
        await until(lambda: server.stats.clients == 2, "the place is free again")
        async with plain(address) as ws:
            await ask(ws, {"GetMetrics": {"id": "1"}})
        for ws in sockets:
            await ws.close()


@async_test
async def test_unproven_peers_are_bounded_and_timed_out() -> None:
    limits = TransportLimits(max_clients=1, reserved_for_peers=3, hello_timeout_s=0.3)
    async with running_server(limits=limits) as (server, _, address):
        claim = {"Qcore-Role": "peer"}
        sockets = [await plain(address, additional_headers=claim) for _ in range(6)]
        assert server.stats.clients <= 3
        async with plain(address, additional_headers=claim) as peer:
            await ask(peer, HELLO)
            for ws in sockets:
                await asyncio.wait_for(ws.wait_closed(), 10)
            await until(lambda: server.stats.clients == 0, "announced peers are gone")
            await ask(peer, VOTE)


@async_test
async def test_half_open_handshakes_are_bounded_and_timed_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    limits = TransportLimits(max_handshakes=20, handshake_timeout_s=0.5)
    async with running_server(limits=limits) as (server, _, address):
        raw = []
        for number in range(100):
            reader, writer = await open_raw(address)
            writer.write(b"GET / HTTP/1.1\r\n" if number % 2 else b"")
            raw.append((reader, writer))
            assert server.stats.handshaking <= 20
        async with plain(address) as ws:
            await ask(ws, {"GetMetrics": {"id": "1"}})
        await until(lambda: server.stats.handshaking == 0, "half-open handshakes are gone")
        for _, writer in raw:
            writer.close()
    assert_no_errors_logged(caplog)


@async_test
async def test_hundreds_of_clients_may_connect_in_the_same_moment() -> None:
    """As with the pool of a client library, or many clients after a restart: no client is refused."""
    async with running_server() as (_, _, address):
        raw = await asyncio.gather(*(open_raw(address) for _ in range(300)))
        for _, writer in raw:
            writer.write(UPGRADE)
        answers = await asyncio.gather(*(reader.readuntil(b"\r\n") for reader, _ in raw))
        assert {*answers} == {b"HTTP/1.1 101 Switching Protocols\r\n"}
        for _, writer in raw:
            writer.close()


def test_limits_must_be_positive() -> None:
    with pytest.raises(ConfigError, match="max_clients is 0"):
        TransportLimits(max_clients=0)
    with pytest.raises(ConfigError, match="ping_interval_s is nan"):
        TransportLimits(ping_interval_s=float("nan"))
    with pytest.raises(ConfigError, match="dead_after_s"):
        TransportLimits(ping_interval_s=5, dead_after_s=5)


# --- broken WebSocket frames ----------------------------------------------------------------------

UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def close_code_of(stream: bytes) -> int | None:
    """The code of the close frame at the end of the bytes that a server sent, if there is one."""
    _, _, frames = stream.partition(b"\r\n\r\n")
    while frames:
        size = frames[1]
        if frames[0] == 0x88:
            code: int = struct.unpack("!H", frames[2:4])[0]
            return code
        frames = frames[2 + size :]
    return None


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        (b"\x81\x02{}", 1002),  # not masked
        (b"\x83\x80\0\0\0\0", 1002),  # reserved opcode
        (b"\xc1\x80\0\0\0\0", 1002),  # reserved bit
        (b"\x80\x80\0\0\0\0", 1002),  # continuation without a first fragment
        (b"\x01\x80\0\0\0\0\x81\x80\0\0\0\0", 1002),  # a message inside a fragmented one
        (b"\x09\x80\0\0\0\0", 1002),  # fragmented ping
        (b"\x89\xfe\x00\x7e\0\0\0\0", 1002),  # ping of 126 bytes; payload below
        (b"\x88\x81\0\0\0\0x", 1002),  # close frame of one byte
        (b"\x88\x82\0\0\0\0\x03\xed", 1002),  # close code that may not be sent
        (b"\x88\x84\0\0\0\0\x03\xe8\xff\xff", 1007),  # reason that is not UTF-8
        (b"\x81\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0", 1009),  # 2**64 - 1 bytes announced
        (b"\x81\xff\0\0\0\0\x01\x00\x00\x01\0\0\0\0", 1009),  # one more than 16 MiB announced
    ],
    ids=lambda value: str(value)[:40],
)
@pytest.mark.parametrize("together", [True, False], ids=["with the handshake", "after it"])
@async_test
async def test_broken_frames_are_closed_with_the_codes_of_the_standard(
    frames: bytes, code: int, together: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_server() as (server, handler, address), plain(address) as other:
        reader, writer = await open_raw(address)
        payload = frames + b"\0" * 130 * (frames[:1] == b"\x89")
        writer.write(UPGRADE + payload if together else UPGRADE)
        if not together:
            head = await reader.readuntil(b"\r\n\r\n")
            writer.write(payload)
        async with asyncio.timeout(10):
            stream = (b"" if together else head) + await reader.read()
        assert close_code_of(stream) == code
        writer.close()
        await until(lambda: handler.closed, "the server dropped the connection")
        await ask(other, {"GetMetrics": {"id": "1"}})
        assert server.stats.clients == 1
        assert handler.messages == [GetMetrics("1")]
    assert_no_errors_logged(caplog)
