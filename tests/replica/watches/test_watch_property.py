"""Random clusters: whatever happens, a watcher sees each change once and in order, or learns that it cannot."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qcore.core.entry import Entry
from qcore.machines.interface import ApplyContext
from qcore.machines.register import RegisterMachine
from qcore.replica.watches import catch_up
from qcore.replica.watches.change_history import Position
from tests.core.support.safety_checks import Safety
from tests.driver.observer import Node
from tests.driver.replicas import ReplicaDriver
from tests.driver.safety_observer import SafetyObserver
from tests.replica.watches.watchers import WatchedCluster, Watcher, put

#: What a watcher receives: where, and the text.
Seen = tuple[Position, str]
KEYS = ("x", "y")


class LogObserver(SafetyObserver):
    """Notes every entry that a node applies."""

    def __init__(self, safety: Safety) -> None:
        super().__init__(safety)
        self.entries: dict[int, Entry] = {}

    def applied(self, node: Node, entry: Entry) -> None:
        super().applied(node, entry)
        self.entries[entry.index] = entry

    def changes(self, topic: str) -> list[Seen]:
        """What a watcher of all the changes of a topic receives, recomputed from the log."""
        machine, found = RegisterMachine(), list[Seen]()
        for index, entry in sorted(self.entries.items()):
            if entry.kind == "command":
                machine.apply(entry.data, ApplyContext(index, entry.time_us))
                changes = enumerate(machine.last_changes())
                found += [((index, n), one.body) for n, one in changes if topic in one.topics]
        return found


@dataclass
class Client:
    """A client that keeps watching one topic, at one node after the other.

    Attributes:
        runs: what it received: where each watch without a position began, and the changes behind that. A client that
            resumes continues a run.
    """

    number: int
    topic: str
    watcher: Watcher | None = None
    taken: int = 0
    runs: list[tuple[Position, list[Seen]]] = field(default_factory=list)
    in_run: bool = False

    def connect(self, driver: ReplicaDriver, number: int) -> None:
        """Leave the node, and watch at this one from where the client is."""
        if self.watcher is not None and self.watcher.driver.is_up:
            self.watcher.end()
        after: Position | None = None
        if self.in_run:
            begun, seen = self.runs[-1]
            after = seen[-1][0] if seen else begun
        self.watcher, self.taken = Watcher(driver, number, self.topic, after), 0

    def take(self) -> None:
        """Take what has arrived."""
        if self.watcher is None:
            return
        answered = [reply for reply in self.watcher.replies if reply.error is None]
        if answered and not self.in_run:
            self.runs.append((self.watcher.begun_at, []))
            self.in_run = True
        new = self.watcher.notices[self.taken :]
        self.taken += len(new)
        if new:
            self.runs[-1][1].extend(((n.index, n.sequence), n.body) for n in new)
        if self.watcher.ended or any(reply.error for reply in self.watcher.replies):
            assert len(self.watcher.replies) == 1
            if self.watcher.compacted:
                self.in_run = False
            self.watcher = None

    def lost(self, driver: ReplicaDriver) -> None:
        """The node is about to stop."""
        self.take()
        if self.watcher is not None and self.watcher.driver is driver:
            self.watcher = None


class LoggedCluster(WatchedCluster):
    """A cluster that notes its log."""

    log: LogObserver

    def _new_observer(self) -> SafetyObserver:
        self.log = LogObserver(Safety())
        return self.log


class Run:
    """A cluster and its clients, and what may happen to them."""

    def __init__(self, changes: int, snapshot_entries: int) -> None:
        self.cluster = LoggedCluster(changes=changes, snapshot_entries=snapshot_entries)
        self.cluster.elect(1)
        self.clients = [Client(number, KEYS[number % 2]) for number in range(4)]
        self.numbers = 0
        for pick in range(4):  # from here on, most connections resume
            self.do("connect", 5 * pick)
        self.cluster.pass_time(100)
        self.take()

    def take(self) -> None:
        for client in self.clients:
            client.take()

    def node(self, pick: int) -> ReplicaDriver:
        return self.cluster.drivers[1 + pick % 3]

    def do(self, action: str, pick: int) -> None:
        """Let one thing happen."""
        cluster = self.cluster
        if action == "write":
            for value in range(1 + pick % 7):
                self.numbers += 1
                if not cluster.leading():
                    cluster.heal()
                    cluster.run(2000)
                key, number = KEYS[(pick + value) % 2], self.numbers
                cluster.leader().request(10**6 + number, put(key, number // 2))
                if pick % 2:
                    cluster.settle()
        elif action == "elect":
            cluster.advance(1000)
            self.node(pick).campaign()  # it may lose
            cluster.settle()
        elif action == "restart":
            for client in self.clients:
                client.lost(self.node(pick))
            cluster.restart(self.node(pick).node_id)
        elif action == "isolate":
            cluster.isolate(self.node(pick).node_id)
        elif action == "heal":
            cluster.heal()
        elif action == "connect":
            self.numbers += 1
            client = self.clients[pick % len(self.clients)]
            client.take()
            client.connect(self.node(pick // 4), self.numbers)
        elif action == "deliver":
            for _ in range(min(1 + pick % 5, len(cluster.network))):
                cluster.deliver()
        else:
            cluster.pass_time(50)
        self.take()

    def finish(self) -> None:
        """Without faults, every client catches up."""
        cluster = self.cluster
        cluster.heal()
        cluster.run(3000)
        for _ in range(3):
            for client in self.clients:
                if client.watcher is None:
                    self.numbers += 1
                    client.connect(self.node(self.numbers), self.numbers)
            cluster.run(300)
            self.take()

    def check(self) -> None:
        """Compare what the clients received with the log."""
        for client in self.clients:
            expected = self.cluster.log.changes(client.topic)
            assert client.in_run, "it watches at the end"
            for number, (begun, seen) in enumerate(client.runs, start=1):
                last = number == len(client.runs)
                end = (10**9, 0) if last else (seen[-1][0] if seen else begun)
                assert seen == [one for one in expected if begun < one[0] <= end]


ACTIONS = ("write", "write", "write", "connect", "connect", "connect", "isolate", "heal", "elect")


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    changes=st.sampled_from([4, 1000, 1000]),
    snapshot_entries=st.sampled_from([0, 0, 5]),
    step_cost=st.sampled_from([3, 3, 2000]),
    actions=st.lists(
        st.tuples(st.sampled_from((*ACTIONS, "restart", "deliver", "time")), st.integers(0, 99)),
        min_size=10,
        max_size=40,
    ),
)
def test_each_change_once_and_in_order(
    changes: int, snapshot_entries: int, step_cost: int, actions: list[tuple[str, int]]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catch_up, "MAX_STEP_COST", step_cost)  # 3: one change in each step
        run = Run(changes, snapshot_entries)
        for action, pick in actions:
            run.do(action, pick)
        run.finish()
    run.check()
