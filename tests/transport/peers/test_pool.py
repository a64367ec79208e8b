"""A pool of peer connections, tested with real servers that start, stop, refuse and fall silent."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import random
import re
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection as LibraryServerConnection
from websockets.asyncio.server import serve

from qcore.core.entry import Entry
from qcore.core.messages import (
    AppendEntries,
    AppendEntriesResponse,
    RequestVote,
    RequestVoteResponse,
)
from qcore.runtime.real import REAL
from qcore.transport.address import Address
from qcore.transport.limits import TransportLimits
from qcore.transport.peers.peer_pool import PeerPool, PeerState
from qcore.transport.server.server import Server
from qcore.transport.wire import (
    PEER_RESPONSES,
    Hello,
    HelloProof,
    HelloReply,
    Ok,
    RaftAppendResponse,
    RaftVote,
    RaftVoteResponse,
    wrap_request,
)
from tests.transport.support.endpoints import (
    CODEC,
    RecordingHandler,
    assert_no_errors_logged,
    async_test,
    plain,
    running_server,
    until,
)

VOTE = RequestVote(5, 2, 0, 0)


@dataclass
class RecordingPeers:
    """Records the calls of a pool."""

    messages: list[tuple[int, object]] = field(default_factory=list)
    unreachable: list[int] = field(default_factory=list)
    connected: list[int] = field(default_factory=list)
    responses: dict[type, Callable[[int, Any], None]] = field(init=False)

    def __post_init__(self) -> None:
        self.responses = dict.fromkeys(PEER_RESPONSES, self.on_response)

    def prove(self, hello: Hello, reply: HelloReply) -> HelloProof | None:
        return None

    def on_hello_reply(self, reply: HelloReply) -> None:
        return

    def on_response(self, peer_id: int, message: object) -> None:
        self.messages.append((peer_id, message))

    def on_unreachable(self, peer_id: int) -> None:
        self.unreachable.append(peer_id)

    def on_connected(self, peer_id: int) -> None:
        self.connected.append(peer_id)


@contextlib.asynccontextmanager
async def pool_of(
    peers: Mapping[int, str | Sequence[str]],
    cluster_id: str = "c1",
    limits: TransportLimits | None = None,
) -> AsyncIterator[tuple[PeerPool, RecordingPeers]]:
    """The pool of node 2."""
    handler = RecordingPeers()
    pool = PeerPool(
        CODEC,
        handler,
        lambda number: Hello(number, 1, cluster_id, 2),
        random.Random(1),
        limits,
        runtime=REAL,
    )
    pool.set_peers(peers)
    try:
        yield pool, handler
    finally:
        await pool.close()


def only(pool: PeerPool) -> PeerState:
    (state,) = pool.peer_states()
    return state


def send_vote(pool: PeerPool, peer_id: int = 1) -> bool:
    return pool.send(peer_id, wrap_request(pool.next_id(), VOTE))


# --- the normal case ------------------------------------------------------------------------------


@async_test
async def test_requests_and_responses_share_one_connection() -> None:
    async with running_server() as (server, handler, address):
        async with pool_of({1: address}) as (pool, peers):
            await until(lambda: peers.connected, "connected")
            for index in range(300):
                append = AppendEntries(3, 2, index, 3, 0, [Entry(index + 1, 3, "command", "x", 7)])
                assert pool.send(1, wrap_request(str(index), append))
            await until(lambda: len(peers.messages) == 300, "every response")
            for index, (peer_id, message) in enumerate(peers.messages):
                assert peer_id == 1
                response = AppendEntriesResponse(3, True, index, index, 0, 0)
                assert message == RaftAppendResponse(str(index), Ok(response))
            assert server.stats.peers == 1
            assert server.stats.connections_accepted == 1
            assert handler.hellos[0].node_id == 2
            state = only(pool)
            assert (state.connected, state.sent, state.received) == (True, 300, 300)
            assert (state.dropped, state.last_error, state.queued_bytes) == (0, None, 0)
        await until(lambda: handler.closed, "the pool closed its connection")
        assert handler.closed[0][1] is None


@async_test
async def test_messages_of_one_turn_travel_in_few_frames() -> None:
    async with running_server() as (server, _, address), pool_of({1: address}) as (pool, peers):
        await until(lambda: peers.connected, "connected")
        before = server.stats.frames_received
        for _ in range(200):
            send_vote(pool)
        await until(lambda: len(peers.messages) == 200, "every response")
        # A turn that takes long sends what it has, so their number depends on the speed of the machine.
        assert server.stats.frames_received - before <= 40


@async_test
async def test_peer_connects_when_clients_hold_every_place() -> None:
    limits = TransportLimits(max_clients=1)
    async with running_server(limits=limits) as (server, _, address), plain(address):
        await until(lambda: server.stats.clients == 1, "the only place is taken")
        async with pool_of({1: address}) as (pool, peers):
            await until(lambda: peers.connected or peers.unreachable, "an outcome")
            assert peers.connected == [1]
            assert send_vote(pool)
            await until(lambda: peers.messages, "answered")


# --- peers that come and go -----------------------------------------------------------------------


@async_test
async def test_down_peer_is_reported_once_and_found_when_it_starts() -> None:
    async with running_server() as (_, _, address):
        pass  # now the address is free, and no server listens
    async with pool_of({1: address}) as (pool, peers):
        assert not send_vote(pool)
        await until(lambda: peers.unreachable, "reported")
        await until(lambda: (only(pool).retry_in_s or 0) > 0.2, "several attempts failed")
        assert peers.unreachable == [1]
        assert not send_vote(pool)
        state = only(pool)
        assert not state.connected
        assert state.dropped == 2
        assert "cannot connect" in str(state.last_error)
        assert 0 < (state.retry_in_s or 0) <= 1.0
        async with running_server(port=int(address.rpartition(":")[2])):
            await until(lambda: peers.connected, "found")
            assert only(pool).last_error is None
            assert send_vote(pool)
            await until(lambda: peers.messages, "answered")


@async_test
async def test_a_server_that_restarts_is_connected_again(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with running_server() as (server, _, address), pool_of({1: address}) as (pool, peers):
        for number in range(3):
            await until(lambda: only(pool).connected, "connected")
            assert send_vote(pool)
            await until(lambda: peers.messages, "answered")
            peers.messages.clear()
            await server.stop()
            await until(lambda: not only(pool).connected, "noticed the end")
            assert peers.unreachable == [1] * (number + 1)
            server = await _restarted(address)
        await until(lambda: only(pool).connected, "connected")
        await server.stop()
    assert_no_errors_logged(caplog)


async def _restarted(address: str) -> Server:
    server = Server(CODEC, RecordingHandler(), runtime=REAL)
    await server.start(Address.parse(address))
    return server


@async_test
async def test_wake_ends_the_reconnect_pause() -> None:
    limits = TransportLimits(backoff_min_s=50, backoff_max_s=50)
    async with running_server() as (_, _, address):
        pass
    async with pool_of({1: address}, limits=limits) as (pool, peers):
        await until(lambda: only(pool).retry_in_s is not None, "waiting for the next attempt")
        assert 25 <= (only(pool).retry_in_s or 0) <= 50
        async with running_server(port=int(address.rpartition(":")[2])):
            pool.wake(1)
            pool.wake(77)
            await until(lambda: peers.connected, "connected long before the pause was over")


@async_test
async def test_peers_are_added_moved_and_removed() -> None:
    first, second = RecordingHandler(), RecordingHandler()
    async with (
        running_server(first) as (_, _, one),
        running_server(second) as (_, _, two),
        pool_of({1: one}) as (pool, peers),
    ):
        await until(lambda: only(pool).connected, "connected")
        pool.set_peers({1: one})
        assert only(pool).connected, "the same address: the connection is kept"
        pool.set_peers({1: two})
        await until(lambda: only(pool).connected, "connected to the new address")
        await until(lambda: first.closed, "the old connection is closed")
        assert send_vote(pool)
        await until(lambda: second.messages, "the message went to the new address")
        assert first.messages == []
        pool.set_peers({})
        assert pool.peer_states() == []
        assert not send_vote(pool)
        await until(lambda: second.closed, "closed")
        assert peers.unreachable == []


@async_test
async def test_a_bad_address_is_reported_not_raised() -> None:
    async with pool_of({1: "nonsense", 3: "h\u0300" * 31 + ":1"}) as (pool, peers):
        await until(lambda: len(peers.unreachable) == 2, "reported")
        states = pool.peer_states()
        assert "host:port" in str(states[0].last_error)
        assert "cannot connect" in str(states[1].last_error)


# --- Hello ----------------------------------------------------------------------------------------


@async_test
async def test_peer_of_another_cluster_is_rejected_naming_both(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with (
        running_server() as (_, handler, address),
        pool_of({1: address}, cluster_id="other") as (pool, peers),
    ):
        await until(lambda: only(pool).retry_in_s is not None, "refused")
        state = only(pool)
        assert "'other'" in str(state.last_error)
        assert "'c1'" in str(state.last_error)
        assert (state.retry_in_s or 0) >= 2.5, "a long pause after a refusal"
        assert peers.unreachable == [1]
        assert peers.connected == []
        assert not send_vote(pool)
        assert handler.messages == []
    assert_no_errors_logged(caplog)


@async_test
async def test_wrong_node_at_an_address_is_detected() -> None:
    async with (
        running_server(RecordingHandler(node_id=7)) as (_, _, address),
        pool_of({1: address}) as (pool, _),
    ):
        await until(lambda: only(pool).retry_in_s is not None, "noticed")
        assert "is node 7, not node 1" in str(only(pool).last_error)


LibraryHandler = Callable[[LibraryServerConnection], Coroutine[Any, Any, None]]


@contextlib.asynccontextmanager
async def library_server(handle: LibraryHandler) -> AsyncIterator[str]:
    """A server of the library `websockets`."""
    async with serve(handle, "127.0.0.1", 0, close_timeout=1) as server:
        yield str(Address(*next(iter(server.sockets)).getsockname()[:2]))


def hello_response(**changes: object) -> str:
    reply = {"protocol": 1, "cluster_id": "c1", "node_id": 1, **changes}
    return json.dumps({"HelloResponse": {"id": "1", "response": {"Ok": reply}}})


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (hello_response(protocol=2), "uses protocol 2, this node 1"),
        (hello_response(cluster_id="c9"), "belongs to cluster 'c9', this node to 'c1'"),
        (hello_response(node_id=0), "did not answer Hello"),
        ('{"HelloResponse":{"id":"1","response":{"Err":"no room"}}}', "refused by .*: no room"),
        ('{"Error":{"id":"1","error":"Hello: unknown message type"}}', "unknown message type"),
        ("nonsense", "did not answer Hello within 0.3 s"),
        (b"\x00", "did not answer Hello within 0.3 s"),
        ("", "did not answer Hello within 0.3 s"),
    ],
)
@async_test
async def test_unexpected_answers_to_hello_are_errors(
    answer: str | bytes, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def handle(ws: LibraryServerConnection) -> None:
        assert "Hello" in json.loads(await ws.recv())
        await ws.send(answer)
        await ws.wait_closed()

    limits = TransportLimits(hello_timeout_s=0.3)
    async with (
        library_server(handle) as address,
        pool_of({1: address}, limits=limits) as (pool, peers),
    ):
        await until(lambda: only(pool).retry_in_s is not None, "the attempt failed")
        assert re.search(words, str(only(pool).last_error)), only(pool).last_error
        assert peers.connected == []
        assert peers.unreachable == [1]
    assert_no_errors_logged(caplog)


@async_test
async def test_server_that_never_answers_hello_is_disconnected() -> None:
    async def handle(ws: LibraryServerConnection) -> None:
        async for _ in ws:
            pass

    limits = TransportLimits(hello_timeout_s=0.2)
    async with (
        library_server(handle) as address,
        pool_of({1: address}, limits=limits) as (pool, peers),
    ):
        assert not send_vote(pool)
        await until(lambda: peers.unreachable, "the attempt failed")
        assert "did not answer Hello within 0.2 s" in str(only(pool).last_error)


@async_test
async def test_close_with_1008_instead_of_an_answer_is_a_rejection() -> None:
    async def handle(ws: LibraryServerConnection) -> None:
        await ws.recv()
        await ws.close(1008, "go away")

    async with library_server(handle) as address, pool_of({1: address}) as (pool, _):
        await until(lambda: only(pool).retry_in_s is not None, "refused")
        assert "go away" in str(only(pool).last_error)
        assert (only(pool).retry_in_s or 0) >= 2.5


# --- messages from a peer -------------------------------------------------------------------------


@async_test
async def test_invalid_frames_and_requests_are_not_delivered(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def handle(ws: LibraryServerConnection) -> None:
        await ws.recv()
        await ws.send(hello_response())
        await ws.recv()
        await ws.send("nonsense")
        await ws.send(b"\x00")
        await ws.send(CODEC.encode(RaftVote("1", VOTE)), text=True)
        await ws.send('{"RaftVoteResponse":{"id":"1","response":{"Ok":{"term":-1}}}}')
        await ws.send('{"Error":{"id":"1","error":"what?"}}')
        await ws.send(
            '{"RaftVoteResponse":{"id":"2","response":{"Ok":{"term":1,"vote_granted":true}}}}'
        )
        await ws.wait_closed()

    async with library_server(handle) as address, pool_of({1: address}) as (pool, peers):
        await until(lambda: send_vote(pool), "connected")
        await until(lambda: peers.messages, "the last message")
        assert peers.messages == [(1, RaftVoteResponse("2", Ok(RequestVoteResponse(1, True))))]
    assert "node 1 did not understand a message: what?" in caplog.text
    assert_no_errors_logged(caplog)


# --- peers that do not read -----------------------------------------------------------------------


@async_test
async def test_peer_that_stops_reading_is_dropped_in_bounded_memory() -> None:
    hold = asyncio.Event()

    async def handle(ws: LibraryServerConnection) -> None:
        await ws.recv()
        await ws.send(hello_response())
        ws.transport.pause_reading()
        await hold.wait()

    limits = TransportLimits(send_stall_s=0.4, max_queue_bytes=4 * 1024 * 1024)
    entry = Entry(1, 1, "command", "x" * 100_000, 7)
    async with (
        library_server(handle) as address,
        pool_of({1: address}, limits=limits) as (pool, peers),
    ):
        await until(lambda: peers.connected, "connected")
        peak = dropped = 0
        while not peers.unreachable:
            append = AppendEntries(3, 2, 0, 0, 0, [entry])
            dropped += not pool.send(1, wrap_request(pool.next_id(), append))
            peak = max(peak, only(pool).queued_bytes)
            await asyncio.sleep(0.001)
        assert dropped > 0
        assert peak <= limits.max_queue_bytes + 200_000
        assert "has read nothing for 0.4 s" in str(only(pool).last_error)
        hold.set()


@async_test
async def test_the_queue_is_bounded_in_messages() -> None:
    limits = TransportLimits(max_peer_queue_messages=10)
    async with (
        running_server() as (_, _, address),
        pool_of({1: address}, limits=limits) as (pool, peers),
    ):
        await until(lambda: peers.connected, "connected")
        sent = [send_vote(pool) for _ in range(50)]
        assert 10 <= sum(sent) < 20
        assert not sent[-1]
        await until(lambda: len(peers.messages) == sum(sent), "the messages that were sent")
        assert send_vote(pool)


@async_test
async def test_oversized_message_is_dropped_and_reported(
    caplog: pytest.LogCaptureFixture,
) -> None:
    limits = TransportLimits(max_frame_bytes=1000)
    async with (
        running_server() as (_, _, address),
        pool_of({1: address}, limits=limits) as (pool, peers),
    ):
        await until(lambda: peers.connected, "connected")
        entry = Entry(1, 1, "command", "x" * 2000, 7)
        append = AppendEntries(3, 2, 0, 0, 0, [entry])
        assert not pool.send(1, wrap_request("1", append))
        assert "exceeds the limit of a frame" in str(only(pool).last_error)
        assert "exceeds the limit of a frame" in caplog.text
        assert only(pool).connected
        assert send_vote(pool)
