"""`SimulatedNode`: what the rest of the simulator uses of a node, whichever fidelity it has.

| fidelity | class |
|---|---|
| replica | `qcore.sim.world.node.sim_node.SimNode` |
| node | `qcore.sim.world.whole.whole_node.WholeNode` |
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from qcore.core.entry import Entry, Membership
from qcore.replica.config import ReplicaConfig
from qcore.replica.events import ReplicaEvent, Reply
from qcore.replica.replica import Replica
from qcore.sim.faults.ledger import Fault, Firing
from qcore.sim.scenario.distributions import Sampler
from qcore.sim.verdict.snapshot_histories import NodeHistory
from qcore.sim.world.node.disk import SimDisk
from qcore.sim.world.node.node_clock import NodeClock


class Processor(Protocol):
    """What faults do to the processor of a node."""

    @property
    def holds(self) -> bool:
        """Whether events wait at the moment, because the process is frozen or slow."""
        ...

    def slow_down(self, firing: Firing, step_time: Sampler) -> None:
        """Let every step that begins from now on take time. The latest slow-down counts."""
        ...

    def end_slow_down(self, firing: Firing) -> None:
        """End a slow-down."""
        ...


class DiskReactionCounts(Protocol):
    """How a node reacted to errors of its disk, over all its lives.

    Attributes:
        stops: how often the node stopped because a write or sync failed.
        starts_refused: how often it refused to start, because its disk was damaged or could not be read.
    """

    stops: int
    starts_refused: int


class SimulatedNode(Protocol):
    """A simulated node: its hardware, and a process that can start, crash, pause and receive.

    Attributes:
        clock_faults: the faults that disturb its clock, by the setting that they change.
    """

    clock_faults: dict[str, Fault]

    @property
    def public_key(self) -> str:
        """Its public key; empty for a node that needs none."""
        ...

    @property
    def node_id(self) -> int:
        """Its id."""
        ...

    @property
    def disk(self) -> SimDisk:
        """Its disk, which outlives the process."""
        ...

    @property
    def clock(self) -> NodeClock:
        """Its clock, which outlives the process."""
        ...

    @property
    def events(self) -> Processor:
        """Its processor."""
        ...

    @property
    def disk_reactions(self) -> DiskReactionCounts:
        """How it reacted to errors of its disk."""
        ...

    @property
    def state_history(self) -> NodeHistory:
        """The entries that its state consists of."""
        ...

    @property
    def replica(self) -> Replica | None:
        """The replica; None while the process is down."""
        ...

    @property
    def powered(self) -> bool:
        """False after a power loss."""
        ...

    @property
    def up(self) -> bool:
        """Whether the process runs; a paused one does."""
        ...

    @property
    def paused(self) -> bool:
        """Whether the process is frozen."""
        ...

    @property
    def applied(self) -> list[Entry]:
        """The entries that this life has applied since its latest snapshot, started from or installed, in order."""
        ...

    @property
    def snapshots_installed(self) -> int:
        """How many snapshots of leaders the node has installed, over all its lives."""
        ...

    @property
    def messages_sent(self) -> int:
        """How many messages the node has sent to peers, over all its lives."""
        ...

    @property
    def visible_state(self) -> tuple[object, ...]:
        """A value that changes when the replica does anything visible: role, term, messages sent, snapshots taken."""
        ...

    def start(self) -> None:
        """Start the process from what the disk holds."""
        ...

    def reconfigure(self, config: ReplicaConfig) -> None:
        """Use these settings from the next start."""
        ...

    def crash(self, *, power_loss: bool = False, survivors: int = 0, torn: bool = False) -> int:
        """Kill the process, or cut the node's power; see `SimDisk.crash`. Returns how many writes were lost."""
        ...

    def wipe(self) -> int:
        """Kill the process and blank the disk. Returns how many unsynced writes the kill lost."""
        ...

    def pause(self) -> None:
        """Freeze the process."""
        ...

    def resume(self) -> None:
        """Let the process continue."""
        ...

    def clock_changed(self) -> None:
        """The clock runs at another speed."""
        ...

    def receive(self, source: int, payload: object, message_id: str) -> None:
        """Receive a message of another node."""
        ...

    def deliver_event(self, event: ReplicaEvent, fault: Fault | None = None) -> bool:
        """Give the replica one event: now, or when its paused or slow process comes to it.

        Args:
            event: the event.
            fault: the fault that causes the event. If the event waits, the fault has acted once the process finds it.

        Returns:
            False if the event is lost.
        """
        ...

    def receive_admin_request(
        self,
        make: Callable[[int, Membership], ReplicaEvent],
        then: Callable[[Reply | None], None],
    ) -> bool:
        """Give the replica an admin request.

        Args:
            make: makes the request from its id and the replica's effective configuration.
            then: called with the reply, or with None if the process dies first. It never runs during the call.

        Returns:
            False if the request is lost.
        """
        ...
