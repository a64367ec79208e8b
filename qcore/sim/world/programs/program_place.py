"""`ProgramPlace`: where a client program runs: its event loop, its end of the links, and how its client connects."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import Protocol

from qcore.client.endpoints import Connect
from qcore.runtime.interface import Runtime
from qcore.sim.world.network import Receiver
from qcore.sim.world.node.node_clock import NodeClock
from qcore.sim.world.programs.lives.process_loop import ProcessLoop
from qcore.sim.world.programs.sim_loop import SimLoop


class ProgramPlace(Protocol):
    """The place of one client program."""

    @property
    def vertex(self) -> int:
        """Its vertex of the network."""
        ...

    @property
    def loop(self) -> SimLoop:
        """The event loop of the current life of the program; without faults, several programs may share one."""
        ...

    @property
    def process(self) -> ProcessLoop:
        """The same, of a place with faults."""
        ...

    @property
    def runtime(self) -> Runtime:
        """What its client runs in."""
        ...

    @property
    def connect(self) -> Connect:
        """Opens the connections of its client."""
        ...

    def receive(self, source: int, payload: object, message_id: str) -> None:
        """Receive what arrives over the links."""
        ...

    def attach(self) -> None:
        """All links exist."""
        ...

    # Only a place with faults has the rest.

    def pause(self) -> None:
        """Freeze the process."""
        ...

    def resume(self) -> None:
        """Let the process continue: with what was ready, then with the messages that arrived, then with late timers."""
        ...

    def kill(self) -> None:
        """Kill the process. Its connections end, and no code of it runs any more."""
        ...

    def restart(self) -> None:
        """Start another process with another event loop and another runtime, after `kill`."""
        ...


class ProgramPlaces(Protocol):
    """Makes the places of the programs of a run."""

    def place(
        self, number: int, new_rng: Callable[[], Random], clock: NodeClock, *, has_faults: bool
    ) -> ProgramPlace:
        """The place of a client's program.

        Args:
            number: the client, from 1.
            new_rng: makes the generators of its client.
            clock: the clocks of its runtime.
            has_faults: whether its process may be paused and killed.
        """
        ...

    def receivers(self) -> Mapping[int, Receiver]:
        """What gets the messages of the programs, by node."""
        ...

    def attach(self) -> None:
        """All links exist."""
        ...
