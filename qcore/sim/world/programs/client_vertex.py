"""`ClientVertex`: the place of a client program in the network, and the connections that it opens from there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from random import Random
from typing import Final

from qcore.errors import TransportError
from qcore.runtime.interface import Runtime
from qcore.sim.world.network import Link, Network
from qcore.sim.world.node.node_clock import NodeClock
from qcore.sim.world.programs.frames import ClientFrame, Close, NodeFrame, Reset
from qcore.sim.world.programs.lives.process_loop import ProcessLoop, ProgramLoop
from qcore.sim.world.programs.message_runtime import MessageRuntime
from qcore.sim.world.programs.sim_connection import SimConnection, SimWire
from qcore.sim.world.programs.sim_loop import SimLoop
from qcore.transport.address import Address
from qcore.transport.limits import TransportLimits

#: The number of the answer for a connection that has ended, for which the client counts no more.
_AFTER_ALL_OTHERS: Final = 1 << 60


class ClientVertex:
    """One client program: a vertex of the network, with links to and from the nodes.

    Args:
        number: from 1; its vertex is `-number`.
        new_loop: makes the event loop of each life of its process. A `ProcessLoop` is needed for faults; without
            faults, several programs may share one loop.
        clock: its clocks.
        now_us: the simulated time.
        addresses: the nodes by address.
        new_rng: makes the generators of its client.

    Attributes:
        loop: the event loop of the current life.
        runtime: what its `qcore.Client` runs in.
    """

    def __init__(
        self,
        number: int,
        new_loop: Callable[[], SimLoop],
        clock: NodeClock,
        now_us: Callable[[], int],
        network: Network,
        addresses: Mapping[str, int],
        new_rng: Callable[[], Random],
    ) -> None:
        self.number = number
        self.vertex = -number
        self._new_loop = new_loop
        self._clock = clock
        self._now_us = now_us
        self._new_rng = new_rng
        self.loop, self.runtime = self._new_life()
        self._network = network
        self._addresses = addresses
        self._links: dict[int, Link] = {}
        self._wires: dict[int, SimWire] = {}
        self._connections = 0
        #: What arrived while the process was frozen: the node, and its message.
        self._backlog: list[tuple[int, NodeFrame]] = []

    def _new_life(self) -> tuple[SimLoop, Runtime]:
        loop = self._new_loop()
        runtime = MessageRuntime(
            loop,
            monotonic_us=self._monotonic_us,
            wall_us=lambda: self._clock.wall_of(self._monotonic_us()),
            new_rng=self._new_rng,
        )
        return loop, runtime

    def _monotonic_us(self) -> int:
        return self._clock.local(self._now_us())

    def attach(self) -> None:
        """Record the client's links, once all of them exist."""
        self._links = self._network.links_from(self.vertex)

    def receive(self, source: int, frame: object, _message_id: str) -> None:
        """Receive a message of a node. For a connection that has ended, the system answers that it is closed."""
        assert isinstance(frame, NodeFrame)
        wire = self._wires.get(frame.connection)
        if wire is not None and self._is_paused:
            self._backlog.append((source, frame))
        elif wire is not None and not self.loop.is_closed():
            with self.loop.entered():
                wire.receive(frame)
        elif wire is None and not isinstance(frame.content, Close | Reset):
            closed = ClientFrame(frame.connection, _AFTER_ALL_OTHERS, Close())
            self._network.send(self._links[source], closed, "")

    # -- faults ---------------------------------------------------------------------------------------

    @property
    def process(self) -> ProgramLoop:
        """See `ProgramPlace`."""
        assert isinstance(self.loop, ProgramLoop), "a client with faults has a separate event loop"
        return self.loop

    @property
    def _is_paused(self) -> bool:
        return isinstance(self.loop, ProgramLoop) and self.loop.paused

    def pause(self) -> None:
        """See `ProgramPlace`."""
        self.process.pause()

    def resume(self) -> None:
        """See `ProgramPlace`. As in a real process, messages come before timers that became due."""
        backlog, self._backlog = self._backlog, []
        with self.process.resumed():
            for source, frame in backlog:
                self.receive(source, frame, "")

    def kill(self) -> None:
        """See `ProgramPlace`. The system closes the connections."""
        self.process.abandon()
        self._backlog.clear()
        wires, self._wires = self._wires, {}
        for wire in wires.values():
            wire.process_died()

    def restart(self) -> None:
        """See `ProgramPlace`."""
        self.loop, self.runtime = self._new_life()

    # -- connections ----------------------------------------------------------------------------------

    async def connect(
        self,
        address: Address,
        *,
        timeout_s: float,
        limits: TransportLimits,
        admin: bool,
        runtime: Runtime,
    ) -> SimConnection:
        """See `qcore.client.endpoints.Connect`."""
        node = self._addresses.get(str(address))
        if node is None:
            known = ", ".join(self._addresses)
            raise TransportError(
                f"cannot connect to {address}: there is no such simulated node; there are {known}"
            )
        loop = asyncio.get_running_loop()
        if isinstance(loop, ProcessLoop) and loop.is_abandoned:
            raise TransportError(
                f"cannot connect to {address}: the process of this client was killed"
            )
        self._connections += 1
        number = self._connections
        wire = SimWire(address, number, self._links[node], self._network, limits, self._forget)
        self._wires[number] = wire
        wire.open(admin=admin)
        accepted = False
        try:
            async with asyncio.timeout(timeout_s):
                await wire.opened
            if not wire.is_open:
                raise TransportError(f"{address} hung up right after the handshake")
            accepted = True
        except TimeoutError:
            raise TransportError(f"no answer from {address} within {timeout_s:.3g} s") from None
        finally:
            if not accepted:
                wire.abort("abandoned while connecting")
        return SimConnection(wire)

    def _forget(self, number: int) -> None:
        self._wires.pop(number, None)
