"""`HostPlaces`: the places of client programs with `fidelity: node`: separate computers, with real connections."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random

from qcore.runtime.interface import Runtime
from qcore.sim.world.hosts.host import Host, HostTable
from qcore.sim.world.hosts.host_loop import HostLoop, Processor
from qcore.sim.world.network import Receiver
from qcore.sim.world.node.node_clock import NodeClock
from qcore.sim.world.whole.answers import Answers
from qcore.sim.world.whole.host_connection import HostConnection, connect_to_node
from qcore.sim.world.whole.whole_node import WholeNode
from qcore.transport.address import Address
from qcore.transport.limits import TransportLimits


class HostPlace:
    """The place of one client program; see `qcore.sim.world.programs.program_place.ProgramPlace`.

    Args:
        host: its computer.
        answers: what the checkers know about the answers.
    """

    def __init__(self, host: Host, answers: Answers) -> None:
        self._host = host
        self._answers = answers
        self.vertex = host.vertex
        self.runtime: Runtime = host.boot()
        self.loop: HostLoop = host.loop
        self.receive = host.receive

    @property
    def process(self) -> HostLoop:
        """See `ProgramPlace`."""
        return self.loop

    def pause(self) -> None:
        """See `ProgramPlace`."""
        self._host.pause()

    def resume(self) -> None:
        """See `ProgramPlace`."""
        self._host.resume()

    def kill(self) -> None:
        """See `ProgramPlace`."""
        self._host.kill(abandon=True)

    def restart(self) -> None:
        """See `ProgramPlace`."""
        self.runtime = self._host.boot()
        self.loop = self._host.loop

    async def connect(
        self,
        address: Address,
        *,
        timeout_s: float,
        limits: TransportLimits,
        admin: bool,
        runtime: Runtime,
    ) -> HostConnection:
        """See `qcore.client.endpoints.Connect`."""
        return await connect_to_node(
            address, self._answers, runtime, timeout_s=timeout_s, limits=limits, admin=admin
        )

    def attach(self) -> None:
        """Do nothing: the computer finds its links."""


class HostPlaces:
    """See `ProgramPlaces`.

    Args:
        hosts: all computers.
        nodes: all nodes.
        answers: what the checkers know about the answers.
    """

    def __init__(self, hosts: HostTable, nodes: Mapping[int, WholeNode], answers: Answers) -> None:
        self._hosts = hosts
        self._nodes = nodes
        self._answers = answers

    def place(
        self, number: int, new_rng: Callable[[], Random], clock: NodeClock, *, has_faults: bool
    ) -> HostPlace:
        """See `ProgramPlaces`. The computer has its own random numbers, and exact timers."""
        host = self._hosts.add(
            -number,
            f"client-{number}",
            clock=clock,
            timer_clock=NodeClock(),
            processor=Processor(callback_us=1, socket_us=1),
        )
        return HostPlace(host, self._answers)

    def receivers(self) -> Mapping[int, Receiver]:
        """See `ProgramPlaces`."""
        return {node: each.receive for node, each in self._nodes.items()}

    def attach(self) -> None:
        """Do nothing: the computers find their links."""
