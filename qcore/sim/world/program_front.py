"""`ProgramFront`: what a simulated node reports to the end of the connections of client programs.

See `qcore.sim.world.programs`.
"""

from __future__ import annotations

from typing import Final, Protocol

from qcore.core.effects import RoleChanged
from qcore.machines.interface import StateMachine
from qcore.replica.events import Notice, Reply, WatchEnded
from qcore.replica.replica import Replica
from qcore.replica.request_details import RequestDetails

#: The ids of its requests and watches begin here, above all others of the node.
FRONT_IDS: Final = 1 << 40


class ProgramFront(Protocol):
    """Serves client programs at one node.

    Attributes:
        request_details: writes the requests of the programs to the trace. The node sets it.
    """

    request_details: RequestDetails

    def begin_life(self, replica: Replica, machine: StateMachine) -> None:
        """A process has started, with this replica and this state machine."""

    def died(self) -> None:
        """The process has died."""

    def break_connections(self) -> None:
        """Close the connections, as the operating system does for a dead process."""

    def resumed(self) -> None:
        """A frozen process goes on."""

    def reply(self, reply: Reply) -> None:
        """The replica has the outcome of a request."""

    def notice(self, notice: Notice) -> None:
        """A watch receives a change."""

    def watch_ended(self, ended: WatchEnded) -> None:
        """The replica has ended a watch."""

    def role_changed(self, change: RoleChanged) -> None:
        """The node has another role, term or leader."""
