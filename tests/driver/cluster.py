"""`Cluster`: the drivers of several nodes, the network between them, and true time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar

from qcore.core import RaftCore
from qcore.core.effects import Effect
from qcore.replica.events import ReplicaEffect
from tests.driver.clock import Time
from tests.driver.driver import AnyDriver
from tests.driver.network import Envelope, Network

DriverT = TypeVar("DriverT", bound=AnyDriver)

#: `settle` must end within this many rounds.
MAX_ROUNDS = 20_000


class Cluster(Generic[DriverT]):
    """The nodes of one cluster, and the messages between them. A subclass fills `drivers`.

    Attributes:
        time: true time.
        network: the messages on their way.
        drivers: by node id.
    """

    def __init__(self) -> None:
        self.time = Time()
        self.network = Network()
        self.drivers: dict[int, DriverT] = {}

    # -- state -----------------------------------------------------------------------------------

    @property
    def now(self) -> int:
        """True time, µs. If a test advances it, every clock advances, and no node ticks."""
        return self.time.now

    @now.setter
    def now(self, true_us: int) -> None:
        self.time.now = true_us

    def core(self, node_id: int) -> RaftCore:
        return self.drivers[node_id].core

    def alive(self) -> list[DriverT]:
        return [driver for driver in self.drivers.values() if driver.is_up]

    def leading(self) -> list[DriverT]:
        """The nodes in the role of leader, by term, the newest last."""
        leading = [driver for driver in self.alive() if driver.core.role == "leader"]
        return sorted(leading, key=lambda driver: driver.core.term)

    def leaders(self) -> list[int]:
        """The ids of the nodes in the role of leader."""
        return [driver.node_id for driver in self.alive() if driver.core.role == "leader"]

    # -- the network -----------------------------------------------------------------------------

    def deliver(self, position: int = 0) -> Sequence[Effect | ReplicaEffect]:
        """Deliver the message at this position of the network."""
        return self.deliver_envelope(self.network.take(position))

    def deliver_envelope(self, envelope: Envelope) -> Sequence[Effect | ReplicaEffect]:
        """Deliver a message; it is lost over a cut link, and at a node that is down or does not exist.

        Returns:
            the effects of the receiver's step.
        """
        receiver = self.drivers.get(envelope.to)
        lost = self.network.loses(envelope.source, envelope.to)
        if lost or receiver is None or not receiver.is_up:
            return []
        return receiver.receive(envelope.source, envelope.message)

    def isolate(self, *node_ids: int) -> None:
        """Cut all links of these nodes, in both directions."""
        self.network.isolated.update(node_ids)

    def heal(self) -> None:
        """Let every link carry messages again."""
        self.network.heal()

    def settle(self) -> None:
        """Sync the disks that are not stalled and deliver all messages in order, until nothing waits."""
        for _ in range(MAX_ROUNDS):
            busy = False
            for driver in self.alive():
                if driver.disk.pending and not driver.stalled:
                    busy = True
                    driver.persist()
            if self.network.messages:
                busy = True
                self.deliver()
            if not busy:
                return
        raise AssertionError(f"the cluster did not settle within {MAX_ROUNDS} rounds")

    # -- crashes ---------------------------------------------------------------------------------

    def restart(self, node_id: int) -> DriverT:
        """Start a node from its disk. If it is up, it crashes first."""
        driver = self.drivers[node_id]
        if driver.is_up:
            driver.crash()
        driver.start()
        return driver

    # -- time ------------------------------------------------------------------------------------

    def advance(self, milliseconds: int) -> None:
        """Advance every clock, without a tick."""
        self.now += milliseconds * 1000

    def elect(self, node_id: int) -> DriverT:
        """Make this node the leader, after all leases have expired."""
        self.advance(1000)
        driver = self.drivers[node_id]
        driver.campaign()
        self.settle()
        assert driver.core.role == "leader", driver.core.status()
        return driver

    def run(self, milliseconds: int) -> None:
        """Let time pass without faults: timers on time, fast links, working disks."""
        end = self.now + milliseconds * 1000
        while True:
            self.settle()
            due = min((driver.true_deadline() for driver in self.alive()), default=end)
            self.now = max(self.now, min(due, end))
            for driver in self.alive():
                if driver.true_deadline() <= self.now:
                    driver.tick()
            if self.now >= end:
                self.settle()
                return
