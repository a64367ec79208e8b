"""Replicas on a network without faults, except for cut nodes, stepped by hand: time passes only on request."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import replace

from qcore.core.config import RaftConfig
from qcore.core.effects import AppendLog, SaveHardState, Send, StoreSnapshot, TruncateLog
from qcore.core.entry import DurableState, Entry, HardState, Membership
from qcore.core.events import Campaign, MessageReceived, Tick, WriteDurable
from qcore.core.log.durable_state import apply_write
from qcore.core.version import LATEST_RULES, ClusterVersion
from qcore.machines.interface import StateMachine
from qcore.machines.register import KeyValueMachine
from qcore.replica.config import ReplicaConfig
from qcore.replica.durability_gate import DurabilityGate
from qcore.replica.events import ClientRequest, ReplicaEffect, ReplicaEvent, Reply
from qcore.replica.messages import PeerMessage, RequestKind
from qcore.replica.replica import Replica

WALL_US = 1_700_000_000_000_000


class Driver:
    """Drives one replica. Its writes are durable immediately, unless `stalled`."""

    def __init__(
        self, cluster: Cluster, node_id: int, durable: DurableState, machine: StateMachine
    ) -> None:
        self.cluster = cluster
        self.durable = durable
        self.gate = DurabilityGate()
        self.stalled = False
        self.unsynced: list[int] = []
        self.replies: list[Reply] = []
        self.snapshots_stored: list[StoreSnapshot] = []
        config = ReplicaConfig(
            replace(cluster.raft, node_id=node_id),
            max_command_bytes=4096,
            max_pending_requests=cluster.max_pending_requests,
            snapshot_entries=cluster.snapshot_entries,
            snapshot_bytes=cluster.snapshot_bytes,
            keep_entries=2,
            max_rules=cluster.max_rules,
        )
        self.replica = Replica(
            config, machine, durable, rng=random.Random(node_id), now=cluster.now
        )
        self.node_id = node_id

    def step(self, *events: ReplicaEvent) -> list[ReplicaEffect]:
        effects = self.replica.step(
            list(events), self.cluster.now, self.cluster.wall_of(self.node_id)
        )
        for effect in effects:
            match effect:
                case SaveHardState() | AppendLog() | TruncateLog() | StoreSnapshot():
                    apply_write(self.durable, effect)
                    self.unsynced.append(effect.write_id)
                    if isinstance(effect, StoreSnapshot):
                        self.snapshots_stored.append(effect)
                case Send():
                    if self.gate.admit(effect):
                        self.cluster.post(self.node_id, effect)
                case Reply():
                    self.replies.append(effect)
        if not self.stalled:
            self.sync()
        return effects

    def sync(self) -> None:
        if self.unsynced:
            newest, self.unsynced = self.unsynced[-1], []
            for send in self.gate.release(newest):
                self.cluster.post(self.node_id, send)
            self.step(WriteDurable(newest))

    def request(
        self, request_id: int, payload: str, kind: RequestKind = "write", timeout_ms: int = 1000
    ) -> None:
        self.step(ClientRequest(request_id, kind, payload, timeout_ms))


class Cluster:
    """`size` replicas of a machine, initialised and without a leader.

    Args:
        rules: the apply rules of the first entries; 1 keeps them, and None lets the replicas raise them.
    """

    def __init__(
        self,
        size: int = 3,
        machine: Callable[[], StateMachine] = KeyValueMachine,
        max_pending_requests: int = 100,
        max_uncommitted_bytes: int = 1 << 20,
        snapshot_entries: int = 0,
        snapshot_bytes: int = 0,
        raft: RaftConfig | None = None,
        rules: int | None = None,
    ) -> None:
        self.max_rules = rules or LATEST_RULES
        self.now = 0
        self.wall_us = WALL_US  # the wall clock when `now` was 0; it may be set
        self.wall_ahead_us: dict[int, int] = {}  # of one node's wall clock
        self.machine = machine

        self.max_pending_requests = max_pending_requests
        self.raft = raft or RaftConfig(1, max_uncommitted_bytes=max_uncommitted_bytes)
        self.snapshot_entries = snapshot_entries
        self.snapshot_bytes = snapshot_bytes
        self.mail: deque[tuple[int, Send[PeerMessage]]] = deque()
        self.cut: set[int] = set()
        ids = tuple(range(1, size + 1))
        membership = Membership(
            voters=ids, addresses=tuple((i, f"10.0.0.{i}:80") for i in ids), cluster_id="test"
        )
        first = Entry(1, 1, "membership", membership.to_json(), 0)
        begin = [first]
        if rules is not None and rules > 1:
            version = ClusterVersion(rules, machine().name, 1)
            begin.append(Entry(2, 1, "version", version.to_json(), 0))
        self.drivers = {
            i: Driver(
                self, i, DurableState(HardState(1, None, len(begin)), None, list(begin)), machine()
            )
            for i in ids
        }
        for driver in self.drivers.values():
            driver.step()

    def join(self, node_id: int) -> Driver:
        """Start a pristine node; it belongs to no cluster until the leader adds it."""
        self.drivers[node_id] = Driver(self, node_id, DurableState(), self.machine())
        self.drivers[node_id].step()
        return self.drivers[node_id]

    def wall_of(self, node_id: int) -> int:
        """The wall clock of a node."""
        return self.wall_us + self.now + self.wall_ahead_us.get(node_id, 0)

    def leader(self) -> Driver:
        leaders = [h for h in self.drivers.values() if h.replica.core.role == "leader"]
        return max(leaders, key=lambda driver: driver.replica.core.term)

    def post(self, from_id: int, send: Send[PeerMessage]) -> None:
        self.mail.append((from_id, send))

    def settle(self) -> None:
        """Deliver all mail and what it causes; mail from and to cut nodes is lost."""
        while self.mail:
            from_id, send = self.mail.popleft()
            if from_id not in self.cut and send.to not in self.cut and send.to in self.drivers:
                self.drivers[send.to].step(MessageReceived(from_id, send.message))

    def elect(self, node_id: int) -> Driver:
        """Make `node_id` the leader: let all election timeouts pass, then let it campaign."""
        self.now += 1_000_000
        self.drivers[node_id].step(Campaign())
        self.settle()
        self.pass_time(60)
        assert self.drivers[node_id].replica.core.role == "leader"
        return self.drivers[node_id]

    def pass_time(self, milliseconds: int) -> None:
        """Let time pass in steps of a heartbeat: leaders send heartbeats and requests expire, but no node campaigns."""
        for _ in range(max(1, milliseconds // 50)):
            self.now += 50_000
            for driver in self.drivers.values():
                if driver.replica.core.role == "leader":
                    driver.step(Tick())
            self.settle()

    def restart(self, node_id: int) -> Driver:
        """Restart the replica from its disk."""
        self.drivers[node_id] = Driver(self, node_id, self.drivers[node_id].durable, self.machine())
        self.drivers[node_id].step()
        return self.drivers[node_id]
