"""Clusters of replicas on fast disks: a write is durable right after its step, unless the node is stalled."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

from qcore.core import DurableState, Entry, HardState, Membership, RaftConfig, RaftCore
from qcore.core.version import LATEST_RULES, ClusterVersion
from qcore.machines.interface import StateMachine
from qcore.machines.register import RegisterMachine
from qcore.replica import Replica, ReplicaConfig
from qcore.replica.events import (
    Applied,
    ClientRequest,
    Notice,
    ReplicaEffect,
    ReplicaEvent,
    Reply,
    Restored,
    WatchEnded,
)
from qcore.replica.messages import RequestKind
from tests.core.support.safety_checks import Safety
from tests.driver.clock import WALL_US, Clock
from tests.driver.cluster import Cluster
from tests.driver.driver import Driver, DriverEvent
from tests.driver.network import Network
from tests.driver.observer import Observer
from tests.driver.safety_observer import SafetyObserver


class ReplicaDriver(Driver[Replica, ReplicaEvent, ReplicaEffect]):
    """Drives one replica.

    Attributes:
        config: settings; a test may change them while the node is down.
        machine: makes the state machine of the next life.
        replies: the outcomes of the requests of this life.
        notices: what the watches of this life received, and how they ended.
    """

    def __init__(
        self,
        config: ReplicaConfig,
        machine: Callable[[], StateMachine],
        durable: DurableState,
        *,
        clock: Clock,
        network: Network,
        observer: Observer,
        seed: int = 0,
        instant_disk: bool = False,
    ) -> None:
        super().__init__(
            config.raft.node_id,
            durable,
            clock=clock,
            network=network,
            observer=observer,
            seed=seed,
            instant_disk=instant_disk,
        )
        self.config = config
        self.machine = machine
        self.replies: list[Reply] = []
        self.notices: list[Notice | WatchEnded] = []

    @property
    def replica(self) -> Replica:
        return self.up

    @property
    def core(self) -> RaftCore:
        return self.up.core

    def next_deadline(self) -> int:
        return self.up.next_deadline()

    def request(
        self, request_id: int, payload: str, kind: RequestKind = "write", timeout_ms: int = 1000
    ) -> None:
        """Send a request of a client of this node."""
        self.step(ClientRequest(request_id, kind, payload, timeout_ms))

    def _start(
        self, durable: DurableState, rng: random.Random
    ) -> tuple[Replica, list[ReplicaEffect]]:
        self.replies, self.notices = [], []
        replica = Replica(self.config, self.machine(), durable, rng=rng, now=self.now)
        return replica, replica.step([], self.clock.now, self.clock.wall_us)

    def _step(self, events: Sequence[ReplicaEvent | DriverEvent]) -> list[ReplicaEffect]:
        return self.up.step(events, self.clock.now, self.clock.wall_us)

    def _execute_other(self, effect: ReplicaEffect) -> None:
        match effect:
            case Reply():
                self.replies.append(effect)
                self._observer.responded(self, effect)
            case Notice() | WatchEnded():
                self.notices.append(effect)
            case Applied(entry=entry):
                self._observer.applied(self, entry)
            case Restored():
                self._observer.restored(self)
            case _:
                pass  # for traces


class ReplicaCluster(Cluster[ReplicaDriver]):
    """`size` replicas of a machine, initialised and without a leader.

    Args:
        rules: the apply rules of the first entries; 1 keeps them, and None lets the replicas raise them.

    Attributes:
        raft, machine: what the next start of a node uses; a test may change them.
    """

    def __init__(
        self,
        size: int = 3,
        machine: Callable[[], StateMachine] = RegisterMachine,
        max_pending_requests: int = 100,
        max_uncommitted_bytes: int = 1 << 20,
        snapshot_entries: int = 0,
        snapshot_bytes: int = 0,
        raft: RaftConfig | None = None,
        rules: int | None = None,
        digest_interval_ms: int = 0,
        state_quota_bytes: int = 0,
        log_quota_bytes: int = 0,
        gather_reads: bool = False,
    ) -> None:
        super().__init__()
        self._quotas = (state_quota_bytes, log_quota_bytes)
        self._digest_interval_ms = digest_interval_ms
        self._gather_reads = gather_reads
        self.observer = self._new_observer()
        self.machine = machine
        self.raft = raft or RaftConfig(1, max_uncommitted_bytes=max_uncommitted_bytes)
        self.max_rules = rules or LATEST_RULES
        self._max_pending_requests = max_pending_requests
        self._snapshot_entries = snapshot_entries
        self._snapshot_bytes = snapshot_bytes
        ids = tuple(range(1, size + 1))
        membership = Membership(
            voters=ids, addresses=tuple((i, f"10.0.0.{i}:80") for i in ids), cluster_id="test"
        )
        begin = [Entry(1, 1, "membership", membership.to_json(), 0)]
        if rules is not None and rules > 1:
            version = ClusterVersion(rules, machine().name, 1)
            begin.append(Entry(2, 1, "version", version.to_json(), 0))
        for node_id in ids:
            self._add(node_id, DurableState(HardState(1, None, len(begin)), None, list(begin)))
        for driver in self.drivers.values():
            driver.start()

    def _new_observer(self) -> SafetyObserver:
        """What sees every step. A subclass may note more."""
        return SafetyObserver(Safety())

    def _add(self, node_id: int, durable: DurableState) -> None:
        self.drivers[node_id] = ReplicaDriver(
            self._config(node_id),
            self.machine,
            durable,
            clock=Clock(self.time, wall_us=WALL_US + self.now),
            network=self.network,
            observer=self.observer,
            instant_disk=True,
        )

    def _config(self, node_id: int) -> ReplicaConfig:
        state_quota, log_quota = self._quotas
        return ReplicaConfig(
            replace(self.raft, node_id=node_id),
            max_command_bytes=4096,
            max_pending_requests=self._max_pending_requests,
            snapshot_entries=self._snapshot_entries,
            snapshot_bytes=self._snapshot_bytes,
            keep_entries=2,
            digest_interval_ms=self._digest_interval_ms,
            max_rules=self.max_rules,
            state_quota_bytes=state_quota,
            log_quota_bytes=log_quota,
            keep_bytes=log_quota // 4 or 64 * 1024 * 1024,
            gather_reads=self._gather_reads,
        )

    def join(self, node_id: int) -> ReplicaDriver:
        """Start a pristine node; it belongs to no cluster until the leader adds it."""
        self._add(node_id, DurableState())
        return self.restart(node_id)

    def restart(self, node_id: int) -> ReplicaDriver:
        """Restart a replica from its disk, with the settings and the machine of the cluster."""
        driver = self.drivers[node_id]
        driver.config, driver.machine = self._config(node_id), self.machine
        return super().restart(node_id)

    def leader(self) -> ReplicaDriver:
        """The leader of the newest term."""
        return self.leading()[-1]

    def elect(self, node_id: int) -> ReplicaDriver:
        """Make this node the leader, and let the others know what it has committed."""
        driver = super().elect(node_id)
        self.pass_time(60)
        assert driver.core.role == "leader"
        return driver

    def pass_time(self, milliseconds: int) -> None:
        """Let time pass in steps of a heartbeat: leaders send heartbeats and requests expire, but no node campaigns."""
        for _ in range(max(1, milliseconds // 50)):
            self.advance(50)
            for driver in self.alive():
                if driver.core.role == "leader":
                    driver.tick()
            self.settle()
