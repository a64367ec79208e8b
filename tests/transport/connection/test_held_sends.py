"""What a node sends in one step: each connection gets one frame."""

from __future__ import annotations

import asyncio
import json
import random

from qcore.core.messages import RequestVote
from qcore.runtime.real import REAL
from qcore.transport.connection.held_sends import HeldSends
from qcore.transport.peers.peer_pool import PeerPool
from qcore.transport.wire import GetMetricsResponse, Hello, wrap_request
from tests.transport.peers.test_pool import RecordingPeers
from tests.transport.support.endpoints import (
    CODEC,
    RecordingHandler,
    async_test,
    plain,
    running_server,
    until,
)


@async_test
async def test_messages_of_a_step_to_a_peer_share_one_frame() -> None:
    held, peers = HeldSends(), RecordingPeers()
    async with running_server() as (server, handler, address):
        hello = lambda number: Hello(number, 1, "c1", 2)  # noqa: E731  # as short as it is
        pool = PeerPool(CODEC, peers, hello, random.Random(1), None, held, runtime=REAL)
        pool.set_peers({1: address})
        try:
            await until(lambda: peers.connected, "connected")
            frames = server.stats.frames_received
            held.active = True
            for term in range(1, 65):
                assert pool.send(1, wrap_request(str(term), RequestVote(term, 2, 0, 0)))
            await asyncio.sleep(0)
            assert not handler.messages, "nothing leaves before the end of the step"
            held.send_all()
            await until(lambda: len(handler.messages) == 64, "every request")
            assert server.stats.frames_received == frames + 1
            await until(lambda: len(peers.messages) == 64, "every response")
            assert pool.send(1, wrap_request("65", RequestVote(65, 2, 0, 0)))
            await until(lambda: len(handler.messages) == 65, "a message outside of a step")
        finally:
            await pool.close()


@async_test
async def test_responses_of_a_step_to_a_client_share_one_frame() -> None:
    class Silent(RecordingHandler):
        def on_message(self, connection: object, message: object) -> None:
            self.messages.append(message)

    async with running_server(Silent()) as (server, handler, address), plain(address) as ws:
        await ws.send(json.dumps([{"GetMetrics": {"id": str(number)}} for number in range(64)]))
        await until(lambda: len(handler.messages) == 64, "every request")
        server.held.active = True
        for number in range(64):
            handler.opened[0].send(GetMetricsResponse(str(number), {}))
        server.held.send_all()
        frame = json.loads(await ws.recv())
        ids = [envelope["GetMetricsResponse"]["id"] for envelope in frame]
        assert ids == [str(number) for number in range(64)]


@async_test
async def test_a_connection_that_ends_within_a_step_loses_nothing() -> None:
    async with running_server() as (server, handler, address), plain(address) as ws:
        await ws.send(json.dumps([{"Perform": {"id": "1", "request": {}}}]))
        await until(lambda: handler.messages, "the request")
        server.held.active = True
        handler.opened[0].send(GetMetricsResponse("a", {}))
        handler.opened[0].close()
        server.held.send_all()
        assert json.loads(await ws.recv())["GetMetricsResponse"]["id"] == "a"
