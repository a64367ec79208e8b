"""The process of a client program at its end of the network: what it does in a pause, after it, and after a kill."""

from __future__ import annotations

import asyncio
import inspect
from contextvars import ContextVar
from functools import partial
from random import Random

import pytest

from qcore.errors import TransportError
from qcore.sim.world.clock.engine import Engine
from qcore.sim.world.network import LinkQuality, Network
from qcore.sim.world.node.node_clock import NodeClock
from qcore.sim.world.programs.client_vertex import ClientVertex
from qcore.sim.world.programs.frames import (
    ClientFrame,
    Close,
    FromNode,
    NodeFrame,
    Open,
    Opened,
    Pong,
)
from qcore.sim.world.programs.lives.process_loop import new_program_loop
from qcore.sim.world.programs.sim_connection import SimConnection
from qcore.sim.world.random_streams import Streams
from qcore.transport.address import Address
from qcore.transport.limits import TransportLimits

NODE = Address.parse("node-1:1")


class Bench:
    """One client, and a node that takes what it sends. Each message takes a millisecond."""

    def __init__(self) -> None:
        self.engine = Engine()
        network = Network(self.engine, Streams(1), lambda _link, _payload, _id, _why: None)
        self.client = ClientVertex(
            1,
            partial(new_program_loop, self.engine),
            NodeClock(),
            lambda: self.engine.now,
            network,
            {str(NODE): 1},
            lambda: Random(1),
        )
        network.connect(-1, 1, self.receive, LinkQuality())
        self.back = network.connect(1, -1, self.client.receive, LinkQuality())
        self.network = network
        self.client.attach()
        self.received: list[ClientFrame] = []
        self.steps: list[str] = []

    def receive(self, _source: int, frame: object, _message_id: str) -> None:
        assert isinstance(frame, ClientFrame)
        self.received.append(frame)

    def reply(self, connection: int, number: int, content: FromNode) -> None:
        self.network.send(self.back, NodeFrame(connection, number, content), "")

    def run(self, ms: float) -> None:
        self.engine.run(self.engine.now + round(ms * 1000))

    async def connect(self) -> SimConnection:
        connection = await self.client.connect(
            NODE,
            timeout_s=100.0,
            limits=TransportLimits(),
            admin=False,
            runtime=self.client.runtime,
        )
        self.steps.append("connected")
        return connection

    def connected(self) -> None:
        """Let the client open a connection."""
        self.client.loop.create_task(self.connect())
        self.run(2)
        self.reply(self.received[-1].connection, 1, Opened())
        self.run(2)

    def contents(self) -> list[object]:
        return [frame.content for frame in self.received]


def test_after_a_pause_messages_come_before_late_timers() -> None:
    bench = Bench()
    loop = bench.client.loop
    loop.create_task(bench.connect())
    loop.call_later(0.005, bench.steps.append, "first timer")
    loop.call_later(0.003, bench.steps.append, "cancelled").cancel()
    bench.run(2)
    loop.call_soon(bench.steps.append, "ready")
    bench.client.pause()
    bench.run(10)
    loop.call_later(0, bench.steps.append, "second timer")
    bench.reply(1, 1, Opened())
    bench.run(10)
    assert bench.steps == [], "a paused process takes no step"
    bench.client.resume()
    bench.run(1)
    assert bench.steps == ["ready", "connected", "first timer", "second timer"]


def test_a_paused_client_sends_nothing_to_what_it_receives() -> None:
    bench = Bench()
    bench.connected()
    bench.client.pause()
    bench.reply(
        1, 7, Pong()
    )  # the network has lost what came before: the client will close the connection
    bench.run(1000)
    assert bench.contents() == [Open(admin=False)]
    bench.client.resume()
    bench.run(2)
    assert bench.contents() == [Open(admin=False), Close()]


def test_the_system_closes_the_connections_of_a_killed_client() -> None:
    bench = Bench()
    bench.connected()
    dead = bench.client.loop
    bench.client.kill()
    bench.run(2)
    assert bench.received[-1] == ClientFrame(1, 2, Close())
    bench.reply(1, 2, Pong())
    bench.run(3)
    assert bench.contents().count(Close()) == 2, "there is no such connection any more"
    bench.client.restart()
    assert bench.client.loop is not dead
    bench.connected()
    assert bench.received[-1] == ClientFrame(2, 1, Open(admin=False))
    assert bench.steps == ["connected", "connected"]
    dead.close()


def test_code_of_a_killed_process_does_nothing_when_it_is_closed() -> None:
    bench = Bench()
    bench.connected()
    refused: list[str] = []

    async def program() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            bench.steps.append("closed")
            try:
                await bench.connect()
            except TransportError as error:
                refused.append(str(error))
            await asyncio.sleep(1)
            await asyncio.gather(bench.connect(), bench.connect())

    loop = bench.client.loop
    coroutine = program()
    loop.create_task(coroutine)
    bench.run(1)
    bench.client.kill()
    bench.run(1000)
    assert bench.steps == ["connected"]
    loop.close()
    bench.run(1000)
    assert bench.steps == ["connected", "closed"]
    assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED, (
        "it has ended, however often it waited"
    )
    assert refused == [f"cannot connect to {NODE}: the process of this client was killed"]
    assert bench.contents() == [Open(admin=False), Close()]


def test_a_killed_coroutine_is_closed_in_its_context() -> None:
    """Else a `ContextVar` that it resets raises an error, which an `except Exception` of the program would see."""
    bench = Bench()
    variable = ContextVar("variable", default=0)

    async def program() -> None:
        try:
            token = variable.set(1)
            try:
                await asyncio.Event().wait()
            finally:
                variable.reset(token)
        except Exception as error:  # noqa: BLE001  # what the test is about
            bench.steps.append(repr(error))

    loop = bench.client.loop
    loop.create_task(program())
    bench.run(1)
    bench.client.kill()
    loop.close()
    assert bench.steps == []


@pytest.mark.parametrize("callbacks", [0, 1, 3])
def test_an_interruption_comes_after_so_many_callbacks(callbacks: int) -> None:
    bench = Bench()
    loop = bench.client.process
    for number in range(5):
        loop.call_soon(bench.steps.append, str(number))
    loop.interrupt_after(callbacks, bench.client.pause)
    bench.run(1)
    assert bench.steps == [str(number) for number in range(callbacks)]
    bench.client.resume()
    bench.run(1)
    assert bench.steps == ["0", "1", "2", "3", "4"]
