"""`HostProcessor`: the processor of a whole node, which events of its replica keep busy."""

from __future__ import annotations

from qcore.sim.faults.ledger import Firing
from qcore.sim.scenario.distributions import Sampler
from qcore.sim.world.hosts.host import Host


class HostProcessor:
    """The processor of a whole node; see `qcore.sim.world.simulated_node.Processor`.

    Args:
        host: the node's computer.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        self._slow: dict[Firing, Sampler] = {}

    @property
    def holds(self) -> bool:
        """True: an event waits at least for the next turn of the event loop."""
        return True

    def spend_on_events(self, events: int, us: int) -> None:
        """Let the process be busy with so many events of the replica, each for this long, and longer if it is slow."""
        busy_us = events * us
        if self._slow:
            firing, step_time = next(reversed(self._slow.items()))
            extra_us = sum(step_time() for _ in range(events))
            firing.fault.acted += extra_us > 0
            busy_us += extra_us
        self._host.spend(busy_us)

    def slow_down(self, firing: Firing, step_time: Sampler) -> None:
        """Let every event of the replica from now on take this time in addition. The latest slow-down counts."""
        self._slow[firing] = step_time

    def end_slow_down(self, firing: Firing) -> None:
        """End a slow-down."""
        self._slow.pop(firing, None)
