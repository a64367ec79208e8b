"""Simulated computers for tests: all linked with each other, and protocols that record."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Coroutine
from typing import Any, TypeVar

from qcore.sim.faults.ledger import FaultLedger, Firing
from qcore.sim.world.clock.engine import Engine
from qcore.sim.world.hosts.host import Host, HostTable
from qcore.sim.world.hosts.host_loop import Processor
from qcore.sim.world.hosts.segments import Segment
from qcore.sim.world.network import LinkQuality, Network
from qcore.sim.world.random_streams import Streams

T = TypeVar("T")

PORT = 8080


class Computers:
    """Computers 1 to `number`, which run a process each.

    Attributes:
        errors: what escaped from callbacks.
        segments: every segment that was sent: time, from, to, segment.
        dropped: why segments were lost.
    """

    def __init__(
        self,
        number: int = 2,
        *,
        seed: int = 1,
        quality: LinkQuality | None = None,
        processor: Processor | None = None,
    ) -> None:
        self.engine = Engine()
        self.streams = Streams(seed)
        self.errors: list[str] = []
        self.segments: list[tuple[int, int, int, Segment]] = []
        self.dropped: list[str] = []
        self.network = Network(
            self.engine, self.streams, lambda _link, _payload, _id, why: self.dropped.append(why)
        )
        self.hosts = HostTable(self.engine, self.network, self.streams)
        for vertex in range(1, number + 1):
            host = self.hosts.add(vertex, f"node-{vertex}", processor=processor)
            host.on_error = lambda _owner, error, what: self.errors.append(f"{what}: {error!r}")
            self.watch(vertex)
        for a, b in itertools.permutations(range(1, number + 1), 2):
            self.network.connect(a, b, self.hosts[b].receive, quality or LinkQuality())
        self._firing = Firing(FaultLedger().declare("test", "cut"))
        for host in self.hosts:
            host.boot()

    def watch(self, vertex: int) -> None:
        """Record the segments that a computer sends. Needed again after it had no power."""
        self.hosts[vertex].kernel.on_segment = lambda to, segment: self.segments.append(
            (self.engine.now, vertex, to, segment)
        )

    def __getitem__(self, vertex: int) -> Host:
        return self.hosts[vertex]

    def run(self, seconds: float) -> None:
        """Let this much time pass."""
        self.engine.run(self.engine.now + round(seconds * 1e6))

    def start(self, vertex: int, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Begin a task of the process of a computer."""
        return self.hosts[vertex].loop.create_task(work)

    def finish(self, task: asyncio.Task[T], within_s: float = 10.0) -> T:
        """Let time pass until the task is done, and return its result."""
        deadline = self.engine.now + round(within_s * 1e6)
        while not task.done() and self.engine.next_us <= deadline:
            self.engine.step()
        assert task.done(), f"not within {within_s} s"
        return task.result()

    def set_quality(self, quality: LinkQuality) -> None:
        """Change all links."""
        for link in self.network.links():
            link.set_quality(quality)

    def cut(self, a: int, b: int) -> None:
        """Cut the links between two computers."""
        self.network.cut([(a, b), (b, a)], self._firing)

    def heal(self) -> None:
        """End all cuts."""
        pairs = [(link.source, link.target) for link in self.network.links()]
        self.network.heal(pairs, self._firing)


class Recorder(asyncio.Protocol):
    """Records what happens to a connection.

    Attributes:
        calls: the names of the methods that were called, in order, without repeated `data_received`.
        received: all bytes.
        error: the argument of `connection_lost`.
    """

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.received = bytearray()
        self.error: Exception | None = None
        self.lost = False
        self._transport: asyncio.Transport | None = None

    @property
    def transport(self) -> asyncio.Transport:
        assert self._transport is not None, "the connection is not made"
        return self._transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self.calls.append("connection_made")

    def data_received(self, data: bytes) -> None:
        if self.calls[-1] != "data_received":
            self.calls.append("data_received")
        self.received += data

    def eof_received(self) -> bool | None:
        self.calls.append("eof_received")
        return None

    def pause_writing(self) -> None:
        self.calls.append("pause_writing")

    def resume_writing(self) -> None:
        self.calls.append("resume_writing")

    def connection_lost(self, exc: Exception | None) -> None:
        self.calls.append("connection_lost")
        self.error, self.lost = exc, True


def connected(computers: Computers, client: int = 1, server: int = 2) -> tuple[Recorder, Recorder]:
    """A connection between two computers: the end that opened it, and the one that accepted it."""
    accepted: list[Recorder] = []

    def accept() -> Recorder:
        accepted.append(Recorder())
        return accepted[-1]

    async def listen() -> None:
        computers[server].runtime.listener(accept, lambda: None).start(["0.0.0.0"], PORT)

    async def connect() -> Recorder:
        return await computers[client].runtime.connect(Recorder, computers[server].ip, PORT)

    computers.finish(computers.start(server, listen()))
    opened = computers.finish(computers.start(client, connect()))
    while not (accepted and accepted[0].calls):
        computers.run(0.001)
    return opened, accepted[0]
