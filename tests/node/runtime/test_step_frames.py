"""The driver holds back what the connections send while it executes a step, and only then."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, cast

from qcore.core.config import RaftConfig
from qcore.core.effects import Write
from qcore.core.entry import DurableState, Membership
from qcore.core.events import Campaign
from qcore.machines.register import RegisterMachine
from qcore.node.observability.metrics import NodeMetrics
from qcore.node.runtime.driver import ReplicaDriver, ReplicaObserver, RequestOutcomes, WatchClients
from qcore.replica.config import ReplicaConfig
from qcore.replica.events import InitCluster
from qcore.replica.messages import PeerMessage
from qcore.replica.replica import Replica
from qcore.runtime.real import REAL
from tests.transport.support.endpoints import async_test, until


class Parts:
    """The parts of a node that the driver uses. It records what it sees."""

    def __init__(self, *, fails: bool = False) -> None:
        config = ReplicaConfig(RaftConfig(1))
        durable = DurableState()
        now = REAL.monotonic_us()
        replica = Replica(config, RegisterMachine(), durable, rng=random.Random(1), now=now)
        self.driver = ReplicaDriver(replica, NodeMetrics(), runtime=REAL)
        self.fails = fails
        self.held_at_sends: list[bool] = []
        self.held_at_writes: list[bool] = []
        self.errors: list[BaseException] = []

    def send(self, to: int, message: PeerMessage) -> None:
        self.held_at_sends.append(self.driver.held.active)
        if self.fails:
            raise RuntimeError("a bug of the links")

    def submit(self, writes: Sequence[Write], commit: int | None = None) -> None:
        self.held_at_writes.append(self.driver.held.active)
        for write in writes:
            self.driver.on_durable(write.write_id)

    def fatal(self, error: BaseException) -> None:
        self.errors.append(error)

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None  # what else the driver reports

    def start(self) -> None:
        self.driver.start(
            self,
            self,
            cast(RequestOutcomes, self),
            cast(WatchClients, self),
            cast(ReplicaObserver, self),
        )
        addresses = tuple((node, f"n{node}:1") for node in (1, 2, 3))
        members = Membership(voters=(1, 2, 3), addresses=addresses, cluster_id="c")
        self.driver.inbox.add_event(InitCluster(1, members, 1000))
        self.driver.inbox.add_event(Campaign())


@async_test
async def test_sends_of_a_step_are_held_until_its_end() -> None:
    parts = Parts()
    parts.start()
    await until(lambda: len(parts.held_at_sends) >= 2, "a vote from each of the others")
    parts.driver.stop()
    assert all(parts.held_at_sends), "also those that waited for the disk"
    assert parts.held_at_writes, "the first entry was written"
    assert not any(parts.held_at_writes), "the frames leave before the disk gets its work"
    assert not parts.driver.held.active
    assert not parts.errors


@async_test
async def test_a_step_that_fails_holds_nothing_back() -> None:
    parts = Parts(fails=True)
    parts.start()
    await until(lambda: parts.errors, "the error")
    assert not parts.driver.held.active
