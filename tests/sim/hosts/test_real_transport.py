"""The real server, client connection and peer pool over the simulated TCP, through everything that a network does."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from random import Random

import pytest

from qcore.core.messages import RequestVote
from qcore.errors import ConnectionLost, OutcomeUnknown, TransportError
from qcore.sim.scenario.distributions import fixed, uniform
from qcore.sim.world.network import LinkQuality
from qcore.transport.address import Address
from qcore.transport.connection.client_connection import ClientConnection
from qcore.transport.limits import MIB, TransportLimits
from qcore.transport.peers.peer_pool import PeerPool
from qcore.transport.server.server import Server
from qcore.transport.wire import Hello, wrap_request
from tests.sim.support.computers import PORT, Computers
from tests.transport.peers.test_pool import RecordingPeers
from tests.transport.support.endpoints import CODEC, RecordingHandler

BAD = LinkQuality(latency=uniform(0.5, 20), loss=0.05, duplicate=0.1, reorder=0.2, corrupt=0.05)
LIMITS = TransportLimits()


class Served:
    """A real server on computer 2."""

    def __init__(self, computers: Computers, limits: TransportLimits = LIMITS) -> None:
        self.computers = computers
        self.handler = RecordingHandler()
        self.limits = limits
        self.start()

    def start(self) -> None:
        """Start the server in the process of its computer."""

        async def listen() -> Server:
            runtime = self.computers[2].runtime
            server = Server(CODEC, self.handler, self.limits, runtime=runtime)
            assert await server.start(Address("node-2", PORT)) == f"node-2:{PORT}"
            return server

        self.server = self.computers.finish(self.computers.start(2, listen()))

    def restart(self) -> None:
        """Start the computer's process again, with the server."""
        self.computers[2].boot()
        self.start()

    async def connect(self, vertex: int = 1, timeout_s: float = 5.0) -> ClientConnection:
        """A real connection from a computer."""
        return await ClientConnection.connect(
            Address("node-2", PORT),
            timeout_s=timeout_s,
            limits=self.limits,
            runtime=self.computers[vertex].runtime,
        )

    def connected(self, vertex: int = 1) -> ClientConnection:
        return self.computers.finish(self.computers.start(vertex, self.connect(vertex)))

    def ask(self, connection: ClientConnection, timeout_s: float = 10.0) -> asyncio.Task[object]:
        async def ask() -> object:
            return await connection.request("GetMetrics", timeout_s=timeout_s)

        return self.computers.start(1, ask())


def test_requests_are_answered_and_connections_end_on_both_sides() -> None:
    computers = Computers()
    served = Served(computers)
    connection = served.connected()
    assert computers.finish(served.ask(connection))
    assert served.server.stats.clients == 1
    computers.finish(computers.start(1, connection.close()))
    computers.run(0.1)
    assert served.server.stats.clients == 0
    assert [error for _, error in served.handler.closed] == [None]
    assert computers.errors == []


def test_many_requests_survive_a_bad_network() -> None:
    computers = Computers(quality=BAD, seed=3)
    served = Served(computers)
    connection = served.connected()

    async def all_of_them() -> list[object]:
        async def one(number: int) -> object:
            await asyncio.sleep(number / 100)
            return await connection.request("GetMetrics", timeout_s=60)

        return await asyncio.gather(*(one(number) for number in range(150)))

    answers = computers.finish(computers.start(1, all_of_them()), within_s=60)
    assert len(answers) == len(served.handler.messages) == 150  # each arrives once
    assert "corrupt" in computers.dropped
    assert "lost" in computers.dropped
    assert computers.network.duplicated
    assert computers.errors == []


def test_a_large_response_arrives_over_a_narrow_link() -> None:
    computers = Computers(quality=LinkQuality(bandwidth_bytes_per_s=MIB, queue_length=20))
    served = Served(computers)
    served.handler.blob = "x" * MIB
    connection = served.connected()
    answer = computers.finish(served.ask(connection), within_s=10)
    assert isinstance(answer, dict)
    assert 1_000_000 < computers.engine.now < 4_000_000
    assert "queue full" in computers.dropped  # slow start has found the end of the queue


def test_nothing_listens_and_no_computer_answers() -> None:
    computers = Computers()
    served = Served(computers)
    computers[2].kill()
    with pytest.raises(
        TransportError, match=r"cannot connect to node-2:8080: .*Connection refused"
    ):
        served.connected()
    computers[2].power_off()
    with pytest.raises(TransportError, match="no answer from node-2:8080 within 5 s"):
        served.connected()
    with pytest.raises(TransportError, match="cannot look up the host 'node-9'"):
        computers.finish(
            computers.start(
                1,
                ClientConnection.connect(Address("node-9", PORT), runtime=computers[1].runtime),
            )
        )


def test_a_short_partition_is_survived_and_a_long_one_noticed() -> None:
    computers = Computers()
    served = Served(computers, replace(LIMITS, silent_after_s=5.0))
    connection = served.connected()
    computers.cut(1, 2)
    task = served.ask(connection)
    computers.run(1.5)
    computers.heal()
    assert computers.finish(task)
    computers.cut(1, 2)
    with pytest.raises(ConnectionLost, match="no sign of life"):
        computers.finish(served.ask(connection))
    assert connection.was_unresponsive


def test_a_killed_server_ends_its_connections_immediately() -> None:
    computers = Computers()
    served = Served(computers)
    connection = served.connected()
    task = served.ask(connection)
    computers.run(0.0005)
    computers[2].kill()
    killed_us = computers.engine.now
    with pytest.raises(ConnectionLost):
        computers.finish(task)
    assert computers.engine.now - killed_us < 5000


def test_a_power_loss_is_noticed_by_silence_and_then_by_a_reset() -> None:
    computers = Computers()
    served = Served(computers)
    first, second = served.connected(), served.connected()
    computers[2].power_off()
    with pytest.raises(ConnectionLost, match="no sign of life"):
        computers.finish(served.ask(first))
    served.restart()
    with pytest.raises(ConnectionLost, match="Connection reset by peer"):
        computers.finish(served.ask(second))
    assert computers.finish(served.ask(served.connected()))


def test_a_frozen_server_accepts_and_answers_late() -> None:
    computers = Computers()
    served = Served(computers, replace(LIMITS, silent_after_s=60.0))
    connection = served.connected()
    computers[2].pause()
    task = served.ask(connection, timeout_s=60)
    with pytest.raises(TransportError, match="no answer from node-2:8080 within 2 s"):
        computers.finish(computers.start(1, served.connect(timeout_s=2.0)))
    computers.run(10)
    assert not task.done()
    computers[2].resume()
    assert computers.finish(task, within_s=0.1)


def test_a_client_that_does_not_read_is_dropped() -> None:
    computers = Computers()
    served = Served(computers, replace(LIMITS, max_clients_bytes=2 * MIB, send_stall_s=3.0))
    served.handler.blob = "x" * 100_000
    connection = served.connected()
    other = served.connected()

    async def ask_much() -> None:
        for _ in range(100):
            asyncio.create_task(ask())  # noqa: RUF006  # the loop keeps it
            await asyncio.sleep(0.002)
        computers[1].pause()

    async def ask() -> None:
        try:
            await connection.request("GetMetrics", timeout_s=60)
        except (TransportError, OutcomeUnknown):
            return

    computers.network.link(2, 1).set_quality(LinkQuality(latency=fixed(300)))
    computers.start(1, ask_much())
    most = 0
    for _ in range(400):
        computers.run(0.05)
        most = max(most, sum(each.held_bytes() for each in served.server.connections()))
    assert other is not None
    assert 0 < most < 4 * MIB
    assert served.server.stats.clients == 0
    assert computers[2].kernel.held_bytes() < MIB


# --- peers ----------------------------------------------------------------------------------------


def test_a_peer_pool_connects_again_after_every_kind_of_end() -> None:
    computers = Computers()
    served = Served(computers)
    peers = RecordingPeers()

    async def start_pool() -> PeerPool:
        runtime = computers[1].runtime
        pool = PeerPool(
            CODEC,
            peers,
            lambda number: Hello(number, 1, "c1", 2),
            Random(1),
            LIMITS,
            runtime=runtime,
        )
        pool.set_peers({1: f"node-2:{PORT}"})
        return pool

    pool = computers.finish(computers.start(1, start_pool()))
    computers.run(1)
    assert peers.connected == [1]
    computers[2].kill()
    computers.run(1)
    assert peers.unreachable == [1]
    served.restart()
    computers.run(2)
    assert peers.connected == [1, 1]
    computers[2].power_off()
    computers.run(20)  # a ping is not answered
    assert peers.unreachable == [1, 1]
    served.restart()
    computers.run(8)
    assert peers.connected == [1, 1, 1]
    computers.cut(1, 2)
    computers.run(20)
    computers.heal()
    computers.run(8)
    assert peers.connected == [1, 1, 1, 1]
    with computers[1].loop.entered():
        assert pool.send(1, wrap_request("v", RequestVote(5, 2, 0, 0)))
    computers.run(0.1)
    assert [peer for peer, _ in peers.messages] == [1]


# --- the same in every process ---------------------------------------------------------------------


def busy_trace() -> list[str]:
    """Every segment of a run with a server, clients, bad links, a kill and a restart, with all bytes."""
    computers = Computers(3, seed=7, quality=BAD)
    served = Served(computers)
    served.handler.blob = "x" * 20_000

    async def client(vertex: int) -> None:
        while True:
            try:
                connection = await served.connect(vertex)
                for _ in range(20):
                    await connection.request("GetMetrics", timeout_s=2)
                await connection.close()
            except (TransportError, OutcomeUnknown):
                await asyncio.sleep(0.1)

    for vertex in (1, 3):
        computers.start(vertex, client(vertex))
    computers.run(3)
    computers[2].kill()
    served.restart()
    computers.run(3)
    return [
        f"{at} {a}>{b} {segment.flags} {segment.seq} {segment.ack} {segment.window} "
        f"{hashlib.sha256(segment.data).hexdigest()[:8]}"
        for at, a, b, segment in computers.segments
    ]


def test_segments_are_the_same_in_every_process() -> None:
    code = f"import json, {__name__} as here; print(json.dumps(here.busy_trace()))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONHASHSEED": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    trace = busy_trace()
    assert json.loads(done.stdout) == trace
    assert len(trace) > 500
