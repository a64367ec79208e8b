"""Replicas with faults: clocks of different speeds, disks that lag, a network that loses messages.

Everything happens only on request. After each step of a replica, `tests.core.support.safety_checks` checks the paper's
properties, `tests.core.support.brute_force` recomputes log, configuration and commit index, and `ClientChecker`
compares the replies to clients with what was committed.
"""

from __future__ import annotations

import json
import random
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from qcore.core import DurableState, Entry, HardState, Membership, RaftConfig
from qcore.core.effects import (
    AppendLog,
    Effect,
    MembershipChanged,
    SaveCommit,
    SaveHardState,
    Send,
    StoreSnapshot,
    TruncateLog,
    Write,
)
from qcore.core.events import MessageReceived, Tick, WriteDurable
from qcore.core.log.durable_state import apply_write
from qcore.core.raft_server import NEVER
from qcore.core.version import ClusterVersion
from qcore.machines.register import KeyValueMachine
from qcore.replica import DurabilityGate, Replica, ReplicaConfig
from qcore.replica.events import (
    AddLearner,
    Applied,
    ChangeMembers,
    ClientRequest,
    InitCluster,
    ReplicaEffect,
    ReplicaEvent,
    Reply,
    Restored,
    TransferLeader,
)
from qcore.replica.messages import (
    Forward,
    ForwardResponse,
    PeerMessage,
    ReadIndex,
    ReadIndexResponse,
    RequestKind,
)
from tests.core.support.brute_force import check_leader, check_node
from tests.core.support.safety_checks import Safety
from tests.replica.support.checker import ClientChecker
from tests.replica.support.client_sessions import text_of

WALL_US = 1_700_000_000_000_000
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


@dataclass(slots=True)
class Envelope:
    """A message on its way."""

    source: int
    to: int
    message: PeerMessage


@dataclass(slots=True)
class Driver:
    """One node: its replica (None while it is down), disk, clock and clients."""

    node_id: int
    speed: int
    wall_offset_us: int
    priority: int
    durable: DurableState
    replica: Replica | None = None
    gate: DurabilityGate = field(default_factory=DurabilityGate)
    writes: deque[Write | SaveCommit] = field(default_factory=deque)  # not durable yet
    stalled: bool = False
    incarnation: int = 0
    last_request: int = 0
    set_at: tuple[int, int] = (0, 0)  # true and local µs when the clock got its speed

    @property
    def up(self) -> Replica:
        assert self.replica is not None, f"node {self.node_id} is down"
        return self.replica

    def local(self, true_us: int) -> int:
        """The monotonic clock of this node."""
        since, shown = self.set_at
        return shown + (true_us - since) * self.speed // 1000

    def true_time(self, local_us: int) -> int:
        """When this node's clock shows `local_us`, rounded up."""
        since, shown = self.set_at
        return local_us if local_us >= NEVER else since - (shown - local_us) * 1000 // self.speed

    def set_speed(self, speed: int, true_us: int) -> None:
        """Let the clock advance `speed` local µs for each 1000 true µs from now on."""
        self.set_at = (true_us, self.local(true_us))
        self.speed = speed

    def true_deadline(self) -> int:
        """This node's next deadline, in true µs."""
        return self.true_time(self.up.next_deadline())


class World:
    """The drivers, the network between them, and true time in µs."""

    def __init__(self, settings: Settings, *, seed: int = 0) -> None:
        self.settings = settings
        self.seed = seed
        self.now = 0
        self.network: list[Envelope] = []
        self.cut: set[tuple[int, int]] = set()  # (source, to): lost on arrival
        self.safety = Safety()
        self.checker = ClientChecker()
        voters = tuple(range(1, settings.voters + 1))
        everyone = tuple(range(1, settings.voters + settings.spares + 1))
        self.addresses = tuple((node_id, f"h{node_id}:1") for node_id in everyone)
        self.first = Membership(
            voters=voters, addresses=self.addresses[: settings.voters], cluster_id="c"
        )
        self.drivers = {node_id: self._driver(node_id) for node_id in everyone}
        for node_id in everyone:
            self.restart(node_id)
        if settings.bootstrap:
            self.initialise()

    def initialise(self) -> None:
        """Begin the cluster at node 1; all nodes are pristine."""
        self.ask(1, InitCluster(self._request_id(1), self.first, TIMEOUT_MS), "init")

    def _driver(self, node_id: int) -> Driver:
        durable = DurableState()
        if node_id in self.first.voters and not self.settings.bootstrap:
            entry = Entry(1, 1, "membership", self.first.to_json(), 0)
            version = ClusterVersion(2, KeyValueMachine.name, 1)
            entries = [entry, Entry(2, 1, "version", version.to_json(), 0)]
            durable = DurableState(HardState(1, None, 0), None, entries)
        return Driver(
            node_id,
            self.settings.speeds.get(node_id, 1000),
            self.settings.wall_offsets_ms.get(node_id, 0) * 1000,
            self.settings.priorities.get(node_id, 1),
            durable,
        )

    # -- state -----------------------------------------------------------------------------------

    def alive(self) -> list[Driver]:
        return [driver for driver in self.drivers.values() if driver.replica is not None]

    def leaders(self) -> list[Driver]:
        """The nodes in the role of leader, by term, the newest last."""
        leading = [driver for driver in self.alive() if driver.up.core.role == "leader"]
        return sorted(leading, key=lambda driver: driver.up.core.term)

    def _durable(self) -> dict[int, DurableState]:
        return {node_id: driver.durable for node_id, driver in self.drivers.items()}

    # -- steps -----------------------------------------------------------------------------------

    def step(self, driver: Driver, *events: ReplicaEvent) -> None:
        """Step one replica, execute its effects, and check everything."""
        replica, now = driver.up, driver.local(self.now)
        before = self.safety.before(replica.core)
        effects = replica.step(list(events), now, WALL_US + self.now + driver.wall_offset_us)
        self._carry_out(driver, effects)
        watched: list[Effect] = [effect for effect in effects if isinstance(effect, _WATCHED)]
        self.safety.after(self._durable(), driver.node_id, replica.core, before, watched)
        check_leader(driver.node_id, replica.core, self._durable())
        if watched or any(isinstance(effect, Applied | Restored) for effect in effects):
            self._check(driver)

    def _carry_out(self, driver: Driver, effects: list[ReplicaEffect]) -> None:
        for effect in effects:
            match effect:
                case SaveHardState() | AppendLog() | TruncateLog() | StoreSnapshot() | SaveCommit():
                    driver.writes.append(effect)
                case Send():
                    if driver.gate.admit(effect):
                        self._post(driver, effect)
                case Applied(entry=entry):
                    self.checker.applied(driver.node_id, entry)
                case Restored():
                    pass  # the state is checked after the step
                case Reply():
                    key = (driver.node_id, driver.incarnation, effect.request_id)
                    self.checker.replied(key, effect, self.now)
                case _:
                    pass

    def _check(self, driver: Driver) -> None:
        """Check log, configuration and state if this step wrote or applied something."""
        replica = driver.up
        check_node(driver.node_id, replica.core, self._durable(), driver.writes)
        if replica.readable_index < 0:
            return  # a snapshot is being restored: the state is that of no index
        registers = {
            key: json.loads(replica.machine.query(json.dumps({"op": "get", "key": key})))["value"]
            for key in self.checker.model.registers[replica.applied_index]
        }
        digest = f"{replica.machine.state_hash()} {text_of(replica.sessions)}"
        self.checker.state(driver.node_id, replica.applied_index, digest, registers)

    def _post(self, driver: Driver, send: Send[PeerMessage]) -> None:
        self.safety.sent(driver.node_id, send)
        self.network.append(Envelope(driver.node_id, send.to, send.message))

    # -- clients ---------------------------------------------------------------------------------

    def _request_id(self, node_id: int) -> int:
        driver = self.drivers[node_id]
        driver.last_request += 1
        return driver.last_request

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
        key = (node_id, driver.incarnation, event.request_id)
        payload = event.payload if isinstance(event, ClientRequest) else ""
        self.checker.asked(key, kind, payload, stale_from, wanted)
        self.step(driver, event)

    def request(
        self, driver: Driver, kind: RequestKind, payload: str, max_staleness_ms: int = 0
    ) -> None:
        event = ClientRequest(
            self._request_id(driver.node_id), kind, payload, TIMEOUT_MS, max_staleness_ms
        )
        # The clock of the node measures the bound. It may be slow, but nothing else may make the result older. The
        # remainder allows for rounding.
        stale_from = self.now - max_staleness_ms * 1_000_000 // driver.speed - 10
        self.ask(driver.node_id, event, kind, stale_from)

    def change(
        self,
        driver: Driver,
        voters: tuple[int, ...],
        learners: tuple[int, ...],
        expected: int | None,
    ) -> None:
        event = ChangeMembers(
            self._request_id(driver.node_id), voters, learners, self.addresses, TIMEOUT_MS, expected
        )
        self.ask(driver.node_id, event, "change", wanted=(voters, learners))

    def add_learner(self, driver: Driver, node_id: int) -> None:
        address = dict(self.addresses)[node_id]
        event = AddLearner(self._request_id(driver.node_id), node_id, address, TIMEOUT_MS)
        self.ask(driver.node_id, event, "learner")

    def transfer(self, driver: Driver, to: int | None) -> None:
        event = TransferLeader(self._request_id(driver.node_id), to, TIMEOUT_MS)
        self.ask(driver.node_id, event, "transfer")

    # -- the network -----------------------------------------------------------------------------

    def deliver(self, position: int = 0) -> None:
        """Deliver the message at this position; it is lost on a cut link and at a node that is down."""
        envelope = self.network.pop(position)
        driver = self.drivers[envelope.to]
        if (envelope.source, envelope.to) in self.cut or driver.replica is None:
            return
        self.step(driver, MessageReceived(envelope.source, envelope.message))

    def duplicate(self, position: int) -> None:
        """Duplicate a message, but no request: requests between replicas use one connection and never arrive twice."""
        envelope = self.network[position]
        if not isinstance(
            envelope.message, Forward | ForwardResponse | ReadIndex | ReadIndexResponse
        ):
            self.network.append(replace(envelope))

    def isolate(self, node_id: int) -> None:
        for peer in self.drivers:
            if peer != node_id:
                self.cut |= {(peer, node_id), (node_id, peer)}

    # -- disks and crashes -----------------------------------------------------------------------

    def persist(self, driver: Driver, count: int | None = None) -> None:
        """Make the oldest `count` pending writes durable (all by default), and report that to the replica."""
        write_id = self._sync(driver, count)
        if write_id is None or driver.replica is None:
            return
        for send in driver.gate.release(write_id):
            self._post(driver, send)
        self.step(driver, WriteDurable(write_id))

    def _sync(self, driver: Driver, count: int | None) -> int | None:
        last: int | None = None
        done = 0
        while driver.writes and (count is None or done < count):
            write = driver.writes.popleft()
            if isinstance(write, SaveCommit):
                driver.durable.hard_state.commit = write.commit
                continue
            apply_write(driver.durable, write)
            last = write.write_id
            done += 1
        return last

    def crash(self, driver: Driver, survive: int = 0) -> None:
        """Lose memory, clients, and all pending writes except the oldest `survive`."""
        if survive:
            self._sync(driver, survive)
        driver.replica = None
        driver.writes.clear()
        driver.gate = DurabilityGate()
        self.checker.crashed(driver.node_id)

    def restart(self, node_id: int) -> None:
        """Start a replica from its disk."""
        driver = self.drivers[node_id]
        assert driver.replica is None, f"node {node_id} is up"
        driver.incarnation += 1
        state = driver.durable
        copy = DurableState(replace(state.hard_state), state.snapshot, list(state.entries))
        config = ReplicaConfig(
            replace(self.settings.raft, node_id=node_id, priority=driver.priority),
            snapshot_entries=self.settings.snapshot_entries,
            keep_entries=2,
        )
        driver.replica = Replica(
            config,
            KeyValueMachine(),
            copy,
            rng=random.Random(f"{self.seed}/{node_id}/{driver.incarnation}"),
            now=driver.local(self.now),
        )
        self.step(driver)
        self._check(driver)
        self.safety.restarted(node_id, driver.up.core)

    # -- time ------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Let disks that are not stalled catch up and deliver all mail in order, until nothing is left."""
        for _ in range(5000):
            busy = False
            for driver in self.alive():
                if not driver.stalled and any(not isinstance(w, SaveCommit) for w in driver.writes):
                    busy = True
                    self.persist(driver)
            if self.network:
                busy = True
                self.deliver()
            if not busy:
                return
        raise AssertionError("the world did not settle")

    def tick(self, driver: Driver) -> None:
        """Advance true time to this node's deadline, within a limit, and step only this node."""
        self.now = max(self.now, min(driver.true_deadline(), self.now + 500_000))
        self.step(driver, Tick())

    def run(self, milliseconds: int) -> None:
        """Let time pass without faults: timers on time, fast links, working disks."""
        end = self.now + milliseconds * 1000
        while True:
            self.settle()
            due = min((driver.true_deadline() for driver in self.alive()), default=end)
            self.now = max(self.now, min(due, end))
            for driver in self.alive():
                if driver.true_deadline() <= self.now:
                    self.step(driver, Tick())
            if self.now >= end:
                self.settle()
                return


_WATCHED = (
    SaveHardState,
    AppendLog,
    TruncateLog,
    StoreSnapshot,
    SaveCommit,
    MembershipChanged,
)
