"""Replicas with faults: clocks of different speeds, disks that lag, a network that loses messages.

Everything happens only on request. After each step of a replica, `tests.core.support.safety_checks` checks the paper's
properties, `tests.core.support.brute_force` recomputes log, configuration and commit index, and `ClientChecker`
compares the replies to clients with what was committed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from qcore.core import DurableState, Membership, RaftConfig
from qcore.core.effects import (
    AppendLog,
    Effect,
    MembershipChanged,
    ReadReady,
    SaveCommit,
    SaveHardState,
    StoreSnapshot,
    TruncateLog,
)
from qcore.core.entry import Entry
from qcore.machines.register import RegisterMachine
from qcore.replica import ReplicaConfig
from qcore.replica.events import (
    AddLearner,
    Applied,
    ChangeMembers,
    ClientRequest,
    InitCluster,
    ReplicaEffect,
    Reply,
    Restored,
    TransferLeader,
)
from qcore.replica.messages import (
    Forward,
    ForwardResponse,
    ReadIndex,
    ReadIndexResponse,
    RequestKind,
)
from tests.core.support.brute_force import check_leader
from tests.core.support.safety_checks import Safety
from tests.driver.clock import WALL_US, Clock, Time
from tests.driver.cluster import Cluster
from tests.driver.first_state import begun
from tests.driver.observer import Node
from tests.driver.replicas import ReplicaDriver
from tests.driver.safety_observer import SafetyObserver
from tests.replica.support.checker import ClientChecker
from tests.replica.support.client_sessions import text_of

TIMEOUT_MS = 500


@dataclass(slots=True)
class Settings:
    """The settings that an example draws once. Speeds are local µs for each 1000 true µs, by node id."""

    raft: RaftConfig
    voters: int = 3
    spares: int = 1
    bootstrap: bool = False
    snapshot_entries: int = 0
    speeds: Mapping[int, int] = field(default_factory=dict)
    wall_offsets_ms: Mapping[int, int] = field(default_factory=dict)
    priorities: Mapping[int, int] = field(default_factory=dict)


class FaultObserver(SafetyObserver):
    """Checks the safety of every step, and compares the replies to clients with what was committed."""

    def __init__(self, time: Time, safety: Safety, checker: ClientChecker) -> None:
        super().__init__(safety)
        self._time = time
        self._checker = checker

    def executed(self, node: Node, effects: Sequence[Effect | ReplicaEffect]) -> None:
        super().executed(node, effects)
        check_leader(node.node_id, node.core, self.durable_states())
        if any(isinstance(effect, _WATCHED) for effect in effects):
            self._check_state(node)

    def applied(self, node: Node, entry: Entry) -> None:
        self._checker.applied(node.node_id, entry)

    def responded(self, node: Node, outcome: ReadReady | Reply) -> None:
        assert isinstance(outcome, Reply)
        key = (node.node_id, node.life, outcome.request_id)
        self._checker.replied(key, outcome, self._time.now)

    def started(self, node: Node) -> None:
        super().started(node)
        self._check_state(node)

    def crashed(self, node: Node) -> None:
        self._checker.crashed(node.node_id)

    def _check_state(self, node: Node) -> None:
        """Check log, configuration and state after a step that wrote or applied something."""
        assert isinstance(node, ReplicaDriver)
        self.check_node(node)
        replica = node.up
        if replica.readable_index < 0:
            return  # a snapshot is being restored: the state is that of no index
        registers = {
            key: json.loads(replica.machine.query(json.dumps({"op": "get", "key": key})))["value"]
            for key in self._checker.model.registers[replica.applied_index]
        }
        digest = f"{replica.machine.state_hash()} {text_of(replica.sessions)}"
        self._checker.state(node.node_id, replica.applied_index, digest, registers)


class World(Cluster[ReplicaDriver]):
    """The drivers, the network between them, their clients and operators."""

    def __init__(self, settings: Settings, *, seed: int = 0) -> None:
        super().__init__()
        self.settings = settings
        self.safety = Safety()
        self.checker = ClientChecker()
        voters = tuple(range(1, settings.voters + 1))
        everyone = tuple(range(1, settings.voters + settings.spares + 1))
        self.addresses = tuple((node_id, f"h{node_id}:1") for node_id in everyone)
        self.first = Membership(
            voters=voters, addresses=self.addresses[: settings.voters], cluster_id="c"
        )
        self._last_request = dict.fromkeys(everyone, 0)
        observer = FaultObserver(self.time, self.safety, self.checker)
        for node_id in everyone:
            self.drivers[node_id] = self._driver(node_id, observer, seed)
        for driver in self.drivers.values():
            driver.start()
        if settings.bootstrap:
            self.initialise()

    def initialise(self) -> None:
        """Begin the cluster at node 1; all nodes are pristine."""
        self.ask(1, InitCluster(self._request_id(1), self.first, TIMEOUT_MS), "init")

    def _driver(self, node_id: int, observer: FaultObserver, seed: int) -> ReplicaDriver:
        settings = self.settings
        has_log = node_id in self.first.voters and not settings.bootstrap
        wall_us = WALL_US + settings.wall_offsets_ms.get(node_id, 0) * 1000
        return ReplicaDriver(
            ReplicaConfig(
                replace(
                    settings.raft, node_id=node_id, priority=settings.priorities.get(node_id, 1)
                ),
                snapshot_entries=settings.snapshot_entries,
                keep_entries=2,
                gather_reads=True,  # the simulator's scenarios ask for each read
            ),
            RegisterMachine,
            begun(self.first, 2, RegisterMachine.name) if has_log else DurableState(),
            clock=Clock(self.time, wall_us=wall_us, speed=settings.speeds.get(node_id, 1000)),
            network=self.network,
            observer=observer,
            seed=seed,
        )

    # -- clients ---------------------------------------------------------------------------------

    def _request_id(self, node_id: int) -> int:
        self._last_request[node_id] += 1
        return self._last_request[node_id]

    def ask(
        self,
        node_id: int,
        event: ClientRequest | InitCluster | ChangeMembers | AddLearner | TransferLeader,
        kind: str,
        stale_from: int = 0,
        wanted: tuple[tuple[int, ...], tuple[int, ...]] | None = None,
    ) -> None:
        """Send a request of a client of this node, which is up; the checker waits for the outcome."""
        driver = self.drivers[node_id]
        key = (node_id, driver.life, event.request_id)
        payload = event.payload if isinstance(event, ClientRequest) else ""
        self.checker.asked(key, kind, payload, stale_from, wanted)
        driver.step(event)

    def request(
        self, driver: ReplicaDriver, kind: RequestKind, payload: str, max_staleness_ms: int = 0
    ) -> None:
        event = ClientRequest(
            self._request_id(driver.node_id), kind, payload, TIMEOUT_MS, max_staleness_ms
        )
        # The clock of the node measures the bound. It may be slow, but nothing else may make the result older. The
        # remainder allows for rounding.
        stale_from = self.now - max_staleness_ms * 1_000_000 // driver.clock.speed - 10
        self.ask(driver.node_id, event, kind, stale_from)

    def change(
        self,
        driver: ReplicaDriver,
        voters: tuple[int, ...],
        learners: tuple[int, ...],
        expected: int | None,
    ) -> None:
        event = ChangeMembers(
            self._request_id(driver.node_id), voters, learners, self.addresses, TIMEOUT_MS, expected
        )
        self.ask(driver.node_id, event, "change", wanted=(voters, learners))

    def add_learner(self, driver: ReplicaDriver, node_id: int) -> None:
        address = dict(self.addresses)[node_id]
        event = AddLearner(self._request_id(driver.node_id), node_id, address, TIMEOUT_MS)
        self.ask(driver.node_id, event, "learner")

    def transfer(self, driver: ReplicaDriver, to: int | None) -> None:
        event = TransferLeader(self._request_id(driver.node_id), to, TIMEOUT_MS)
        self.ask(driver.node_id, event, "transfer")

    # -- faults ----------------------------------------------------------------------------------

    def duplicate(self, position: int) -> None:
        """Duplicate a message, but no request: requests between replicas use one connection and never arrive twice."""
        message = self.network.messages[position].message
        if not isinstance(message, Forward | ForwardResponse | ReadIndex | ReadIndexResponse):
            self.network.duplicate(position)

    def tick_at_deadline(self, driver: ReplicaDriver) -> None:
        """Advance true time to this node's deadline, within a limit, and step only this node."""
        self.now = max(self.now, min(driver.true_deadline(), self.now + 500_000))
        driver.tick()


_WATCHED = (
    SaveHardState,
    AppendLog,
    TruncateLog,
    StoreSnapshot,
    SaveCommit,
    MembershipChanged,
    Applied,
    Restored,
)
