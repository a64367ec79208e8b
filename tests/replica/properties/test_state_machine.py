"""Hypothesis drives the network, disks, clocks, operators and clients of a cluster of whole replicas.

Membership changes, snapshots, transfers, sessions, and reads of all kinds happen at the same time.
`tests.replica.support.faulty_cluster` and `tests.replica.support.checker` describe the checks after every step. At the
end of each example the faults stop, and the cluster must elect, commit, serve and reach one state.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from qcore.core import RaftConfig, Safeguards
from qcore.core.events import PeerUnreachable
from qcore.replica.events import TriggerSnapshot
from qcore.replica.messages import RequestKind
from qcore.replica.sessions.session_table import (
    close_session_payload,
    keep_session_payload,
    open_session_payload,
)
from tests.core.support.membership_changes import KINDS, ChangeKind, changed
from tests.driver.replicas import ReplicaDriver
from tests.replica.support.client_sessions import ClientSession, opened
from tests.replica.support.faulty_cluster import Settings, World
from tests.replica.support.recovery import recover

picks = st.integers(0, 10_000)
GET = json.dumps({"op": "get", "key": "x"})
READS: tuple[RequestKind, ...] = ("read", "lease_read", "follower_read")

#: Speeds of clocks, the configured bound on their difference in percent, and whether lease reads are on.
CLOCKS: dict[str, tuple[tuple[int, ...], int, bool]] = {
    "equal": ((1000,), 10, True),
    "within 10 %": ((950, 1000, 1050), 10, True),
    "within 50 %": ((700, 1000, 1300), 50, True),
    "within 65 %": ((600, 1000, 1700), 65, False),
}


class ReplicaMachine(RuleBasedStateMachine):
    """Rules name drivers and messages by a number modulo their count, so that all examples shrink."""

    voters: ClassVar[int] = 3
    spares: ClassVar[int] = 1
    safeguards: ClassVar[Safeguards] = Safeguards()
    clocks: ClassVar[tuple[str, ...]] = tuple(CLOCKS)

    def __init__(self) -> None:
        super().__init__()
        self.world = World(Settings(RaftConfig(1), voters=1, spares=0))
        self.sessions: list[ClientSession] = []
        self.written = 0

    @initialize(
        elections=st.sampled_from([(True, True), (False, True), (True, False)]),
        clocks=st.sampled_from(tuple(CLOCKS)),
        speeds=st.lists(picks, min_size=6, max_size=6),
        limits=st.sampled_from([(16, 1 << 18, 1 << 18), (2, 150, 40), (1, 1, 200)]),
        snapshot_entries=st.sampled_from([0, 0, 4]),
        priorities=st.lists(st.sampled_from([1, 1, 2, 0]), min_size=6, max_size=6),
        walls=st.lists(st.sampled_from([0, -3000, 3000]), min_size=6, max_size=6),
        bootstrap=st.booleans(),
        seed=st.integers(0, 1000),
        warm=st.booleans(),
    )
    def start(
        self,
        elections: tuple[bool, bool],
        clocks: str,
        speeds: list[int],
        limits: tuple[int, int, int],
        snapshot_entries: int,
        priorities: list[int],
        walls: list[int],
        bootstrap: bool,
        seed: int,
        warm: bool,
    ) -> None:
        if clocks not in self.clocks:
            clocks = self.clocks[0]
        choices, bound, leases = CLOCKS[clocks]
        pre_vote, check_quorum = elections
        window, batch, chunk = limits
        raft = RaftConfig(
            node_id=1,
            pre_vote=pre_vote,
            check_quorum=check_quorum,
            heartbeat_ms=70,
            lease_reads=check_quorum and leases,
            max_clock_drift_percent=bound,
            max_inflight_messages=window,
            max_batch_bytes=batch,
            max_snapshot_chunk=chunk,
            safeguards=self.safeguards,
        )
        drawn = [choices[pick % len(choices)] for pick in speeds]
        if bootstrap:
            # A node that never leads may not begin a cluster.
            priorities = [max(1, priorities[0]), *priorities[1:]]
        self.world = World(
            Settings(
                raft,
                self.voters,
                self.spares,
                bootstrap,
                snapshot_entries,
                dict(enumerate(drawn, start=1)),
                dict(enumerate(walls, start=1)),
                dict(enumerate(priorities, start=1)),
            ),
            seed=seed,
        )
        if warm:
            self.run(600)

    def _alive(self, pick: int) -> ReplicaDriver | None:
        alive = self.world.alive()
        return alive[pick % len(alive)] if alive else None

    def _any_message(self) -> bool:
        return bool(self.world.network)

    # -- the network -----------------------------------------------------------------------------

    @precondition(_any_message)
    @rule(count=st.integers(1, 8))
    def deliver_oldest(self, count: int) -> None:
        for _ in range(min(count, len(self.world.network))):
            self.world.deliver()

    @precondition(_any_message)
    @rule(pick=picks)
    def deliver_any(self, pick: int) -> None:
        self.world.deliver(pick % len(self.world.network))

    @precondition(_any_message)
    @rule(pick=picks)
    def lose(self, pick: int) -> None:
        self.world.network.take(pick % len(self.world.network))

    @precondition(_any_message)
    @rule(pick=picks)
    def duplicate(self, pick: int) -> None:
        self.world.duplicate(pick % len(self.world.network))

    @rule(pick=picks, peer=picks)
    def a_peer_is_unreachable(self, pick: int, peer: int) -> None:
        if driver := self._alive(pick):
            driver.step(PeerUnreachable(peer % len(self.world.drivers) + 1))

    @rule(pick=picks)
    def isolate(self, pick: int) -> None:
        self.world.isolate(pick % len(self.world.drivers) + 1)

    @rule()
    def isolate_each_leader(self) -> None:
        for leader in self.world.leading():
            self.world.isolate(leader.node_id)

    @rule()
    def deafen_each_leader(self) -> None:
        """A leader can send and receives nothing."""
        for leader in self.world.leading():
            self.world.network.cut |= {(peer, leader.node_id) for peer in self.world.drivers}

    @rule(source=picks, to=picks)
    def cut_a_link(self, source: int, to: int) -> None:
        count = len(self.world.drivers)
        self.world.network.cut.add((source % count + 1, to % count + 1))

    @rule(side=st.integers(1, 62))
    def part_in_two(self, side: int) -> None:
        """The drivers whose bits are set, and the others."""
        for source in self.world.drivers:
            for to in self.world.drivers:
                if (side >> source & 1) != (side >> to & 1):
                    self.world.network.cut.add((source, to))

    @rule()
    def heal(self) -> None:
        self.world.heal()

    # -- time ------------------------------------------------------------------------------------

    @rule(milliseconds=st.integers(1, 400))
    def time_passes_without_a_step(self, milliseconds: int) -> None:
        self.world.now += milliseconds * 1000

    @rule(pick=picks)
    def tick(self, pick: int) -> None:
        if driver := self._alive(pick):
            self.world.tick_at_deadline(driver)

    @rule(milliseconds=st.sampled_from([20, 60, 100, 200, 300]))
    def run(self, milliseconds: int) -> None:
        """Time passes without faults, with a write from time to time; old leaders get reads of all kinds."""
        for _ in range(max(1, milliseconds // 50)):
            self.world.run(min(50, milliseconds))
            if leaders := self.world.leading():
                self._write(leaders[-1])
                self.world.settle()
            if len(leaders) > 1:
                for leader in leaders:
                    for kind in READS:
                        if leader.is_up:
                            self.world.request(leader, kind, GET)

    @rule()
    def a_long_pause(self) -> None:
        self.world.run(1200)

    # -- clients ---------------------------------------------------------------------------------

    def _write(self, driver: ReplicaDriver) -> None:
        self.written += 1
        command = json.dumps({"op": "set", "key": "x", "value": self.written})
        self.world.request(driver, "write", command)

    @rule(pick=picks)
    def write(self, pick: int) -> None:
        if driver := self._alive(pick):
            self._write(driver)

    @rule(kind=st.sampled_from(READS))
    def read_everywhere(self, kind: RequestKind) -> None:
        for driver in self.world.alive():
            self.world.request(driver, kind, GET)

    @rule(staleness_ms=st.sampled_from([30, 80, 150, 300, 700, 2000]))
    def read_stale_everywhere(self, staleness_ms: int) -> None:
        for driver in self.world.alive():
            self.world.request(driver, "stale_read", GET, staleness_ms)

    @rule(pick=picks, lifetime_ms=st.sampled_from([1000, 2000, 60_000]))
    def open_session(self, pick: int, lifetime_ms: int) -> None:
        if driver := self._alive(pick):
            self.world.request(driver, "session", open_session_payload(lifetime_ms))

    def _session(self, pick: int) -> ClientSession | None:
        self.sessions = opened(self.world.checker, self.sessions)
        return self.sessions[pick % len(self.sessions)] if self.sessions else None

    @rule(pick=picks, which=picks, acknowledge=st.booleans())
    def increment(self, pick: int, which: int, acknowledge: bool) -> None:
        """A new command in a session."""
        driver, session = self._alive(pick), self._session(which)
        if driver and session:
            session.last_sequence += 1
            up_to = session.acknowledgeable(self.world.checker) if acknowledge else 0
            payload = session.increment(session.last_sequence, up_to)
            self.world.request(driver, "session", payload)

    @rule(pick=picks, which=picks, back=st.integers(0, 3))
    def retry(self, pick: int, which: int, back: int) -> None:
        """Repeat an old command, perhaps at another node, whether it had an outcome or not."""
        driver, session = self._alive(pick), self._session(which)
        if driver and session and session.last_sequence:
            sequence = max(1, session.last_sequence - back)
            self.world.request(driver, "session", session.increment(sequence, 0))

    @rule(pick=picks, which=picks, close=st.booleans())
    def keep_or_close(self, pick: int, which: int, close: bool) -> None:
        driver, session = self._alive(pick), self._session(which)
        if driver and session:
            payload = (close_session_payload if close else keep_session_payload)(session.session_id)
            self.world.request(driver, "session", payload)

    # -- disks and crashes -----------------------------------------------------------------------

    @rule(pick=picks, count=st.integers(1, 4))
    def some_writes_become_durable(self, pick: int, count: int) -> None:
        if driver := self._alive(pick):
            driver.persist(count)

    @rule(pick=picks)
    def a_disk_stalls_or_works_again(self, pick: int) -> None:
        if driver := self._alive(pick):
            driver.stalled = not driver.stalled

    @rule(pick=picks, survive=st.integers(0, 5))
    def crash(self, pick: int, survive: int) -> None:
        if driver := self._alive(pick):
            driver.crash(min(survive, len(driver.disk.pending)))

    @rule()
    def restart_all(self) -> None:
        for driver in self.world.drivers.values():
            if not driver.is_up:
                driver.start()

    @rule(pick=picks, keep=st.integers(0, 2))
    def take_a_snapshot(self, pick: int, keep: int) -> None:
        if driver := self._alive(pick):
            driver.step(TriggerSnapshot(keep))

    # -- operators -------------------------------------------------------------------------------

    def _each_leader(self, act: Callable[[ReplicaDriver], None]) -> None:
        for leader in self.world.leading():
            act(leader)

    @rule(
        kind=st.sampled_from(KINDS),
        pick=picks,
        expected=st.sampled_from(["none", "right", "wrong"]),
    )
    def change_members(self, kind: ChangeKind, pick: int, expected: str) -> None:
        def act(leader: ReplicaDriver) -> None:
            core = leader.up.core
            voters, learners = changed(core.membership, tuple(self.world.drivers), kind, pick)
            index = {"none": None, "right": core.membership_index}.get(expected, 1 << 20)
            self.world.change(leader, voters, learners, index)

        self._each_leader(act)

    @rule(pick=picks)
    def add_a_learner(self, pick: int) -> None:
        node_id = pick % len(self.world.drivers) + 1
        self._each_leader(lambda leader: self.world.add_learner(leader, node_id))

    @rule(pick=picks, best=st.booleans())
    def transfer_leadership(self, pick: int, best: bool) -> None:
        to = None if best else pick % len(self.world.drivers) + 1
        self._each_leader(lambda leader: self.world.transfer(leader, to))

    @rule()
    def all_is_well_for_a_while(self) -> None:
        self.world.heal()
        self.restart_all()
        for driver in self.world.drivers.values():
            driver.stalled = False
        self.run(600)

    def teardown(self) -> None:
        recover(self.world)


class ReplicaMachineOfFive(ReplicaMachine):
    """The same with five voters and a spare node."""

    voters: ClassVar[int] = 5
    spares: ClassVar[int] = 1


QUICK = settings(
    max_examples=40,
    stateful_step_count=50,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
LONG = settings(QUICK, max_examples=4000, stateful_step_count=120)


def run(machine: type[ReplicaMachine], profile: settings) -> None:
    run_state_machine_as_test(machine, settings=profile)


@pytest.mark.parametrize("machine", [ReplicaMachine, ReplicaMachineOfFive])
def test_clients_get_correct_results_under_faults(machine: type[ReplicaMachine]) -> None:
    run(machine, QUICK)


@pytest.mark.long
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("machine", [ReplicaMachine, ReplicaMachineOfFive])
def test_clients_get_correct_results_under_faults_for_long(machine: type[ReplicaMachine]) -> None:
    run(machine, LONG)
