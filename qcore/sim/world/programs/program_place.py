"""`ProgramPlace`: where a client program runs: its event loop, its end of the links, and how its client connects."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import Protocol

from qcore.client.endpoints import Connect
from qcore.runtime.interface import Runtime
from qcore.sim.world.network import Receiver
from qcore.sim.world.programs.sim_loop import SimLoop


class ProgramPlace(Protocol):
    """The place of one client program."""

    @property
    def vertex(self) -> int:
        """Its vertex of the network."""
        ...

    @property
    def loop(self) -> SimLoop:
        """The event loop of the program; several programs may share one."""
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


class ProgramPlaces(Protocol):
    """Makes the places of the programs of a run."""

    def place(self, number: int, new_rng: Callable[[], Random]) -> ProgramPlace:
        """The place of a client's program.

        Args:
            number: the client, from 1.
            new_rng: makes the generators of its client.
        """
        ...

    def receivers(self) -> Mapping[int, Receiver]:
        """What gets the messages of the programs, by node."""
        ...

    def attach(self) -> None:
        """All links exist."""
        ...
