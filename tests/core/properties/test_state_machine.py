"""Hypothesis tests drive the network, the disks, the clocks and the clients of a cluster of pure cores.

After every step `tests.core.support.safety_checks` checks the five properties of the paper's figure 3. It also checks
that the commit index never goes back and is durable at a quorum (by brute force over all majorities), that a server
gives one vote per term, and that no read is older than what was committed when it was requested. At the end of each
example the faults end, and the cluster must elect a leader, commit and serve.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from qcore.core import DurableState, Membership, RaftConfig, Safeguards
from qcore.core.effects import ChangeRejected
from qcore.core.events import (
    ChangeMembership,
    LeaveJoint,
    PeerUnreachable,
    Tick,
    TransferLeadership,
)
from tests.core.support.membership_changes import KINDS, ChangeKind, changed
from tests.core.support.recovery import recover
from tests.core.support.safety_checks import Safety, SafetyViolation, require
from tests.driver.cores import CoreCluster, CoreDriver, CoreObserver
from tests.driver.first_state import begun

picks = st.integers(0, 10_000)


class RaftMachine(RuleBasedStateMachine):
    """Rules name servers and messages by a number modulo their count, so that all examples shrink.

    With `lease` the clocks run together and no server campaigns early, because a lease relies on that
    (`tests/replica/properties/test_state_machine.py` has clocks of different speeds). Without it, safety does not
    depend on clocks.
    """

    voters: ClassVar[int] = 3
    size: ClassVar[int] = 4
    safeguards: ClassVar[Safeguards] = Safeguards()

    def __init__(self) -> None:
        super().__init__()
        self.cluster = CoreCluster.of(1)
        self.commands = 0
        self.lease = False

    @initialize(
        pre_vote=st.booleans(),
        check_quorum=st.booleans(),
        lease=st.booleans(),
        window=st.sampled_from([1, 2, 16]),
        batch=st.sampled_from([1, 150, 1 << 18]),
        chunk=st.sampled_from([3, 1 << 18]),
        priorities=st.lists(st.sampled_from([1, 1, 2, 0]), min_size=5, max_size=5),
        seed=st.integers(0, 1000),
        outgoing=st.booleans(),
    )
    def start(
        self,
        pre_vote: bool,
        check_quorum: bool,
        lease: bool,
        window: int,
        batch: int,
        chunk: int,
        priorities: list[int],
        seed: int,
        outgoing: bool,
    ) -> None:
        self.lease = lease and check_quorum
        config = RaftConfig(
            node_id=1,
            pre_vote=pre_vote,
            check_quorum=check_quorum,
            lease_reads=self.lease,
            max_inflight_messages=window,
            max_batch_bytes=batch,
            max_snapshot_chunk=chunk,
            safeguards=self.safeguards,
        )
        voters = tuple(range(1, self.voters + 1))
        membership = Membership(voters=voters)
        if outgoing and self.voters > 3:
            membership = Membership(voters=voters[:-1], voters_outgoing=voters[-3:])
        durable = {node_id: DurableState() for node_id in range(1, self.size + 1)}
        durable |= {node_id: begun(membership, 1 + seed % 2) for node_id in voters}
        self.cluster = CoreCluster(
            durable,
            config,
            seed=seed,
            observer=CoreObserver(Safety(), brute_force=True),
            priorities=dict(enumerate(priorities, start=1)),
        )

    def _alive(self, pick: int) -> CoreDriver | None:
        alive = self.cluster.alive()
        return alive[pick % len(alive)] if alive else None

    def _any_message(self) -> bool:
        return bool(self.cluster.network)

    def _clocks_are_free(self) -> bool:
        return not self.lease

    # -- the network -----------------------------------------------------------------------------

    @precondition(_any_message)
    @rule(count=st.integers(1, 8))
    def deliver_oldest(self, count: int) -> None:
        for _ in range(min(count, len(self.cluster.network))):
            self.cluster.deliver()

    @precondition(_any_message)
    @rule(pick=picks)
    def deliver_any(self, pick: int) -> None:
        self.cluster.deliver(pick % len(self.cluster.network))

    @precondition(_any_message)
    @rule(pick=picks)
    def lose(self, pick: int) -> None:
        self.cluster.network.take(pick % len(self.cluster.network))

    @precondition(_any_message)
    @rule(pick=picks)
    def duplicate(self, pick: int) -> None:
        network = self.cluster.network
        network.duplicate(pick % len(network))

    # -- clocks ----------------------------------------------------------------------------------

    @rule(pick=picks)
    def time_out(self, pick: int) -> None:
        if node := self._alive(pick):
            if self.lease:
                self.cluster.advance(
                    max(0, min(node.up.next_deadline() - node.now, 400_000)) // 1000 + 1
                )
                self.cluster.step(node.node_id, Tick())
            else:
                self.cluster.timeout(node.node_id)

    @precondition(_clocks_are_free)
    @rule(pick=picks)
    def campaign(self, pick: int) -> None:
        if node := self._alive(pick):
            self.cluster.campaign(node.node_id)

    @rule(milliseconds=st.integers(1, 500))
    def time_passes(self, milliseconds: int) -> None:
        self.cluster.advance(milliseconds)

    @precondition(_clocks_are_free)
    @rule(pick=picks, milliseconds=st.integers(1, 500))
    def one_clock_runs_ahead(self, pick: int, milliseconds: int) -> None:
        if node := self._alive(pick):
            node.now += milliseconds * 1000

    # -- clients ---------------------------------------------------------------------------------

    @rule(pick=picks, count=st.integers(1, 4))
    def propose(self, pick: int, count: int) -> None:
        if node := self._alive(pick):
            commands = [f"c{self.commands + number}" for number in range(count)]
            self.commands += count
            self.cluster.propose(node.node_id, *commands)

    @rule(count=st.integers(1, 4))
    def propose_to_the_leader(self, count: int) -> None:
        for leader in self.cluster.leaders():
            self.cluster.propose(leader, *[f"l{self.commands + n}" for n in range(count)])
        self.commands += count

    @rule(pick=picks, lease=st.booleans())
    def read(self, pick: int, lease: bool) -> None:
        if node := self._alive(pick):
            self.cluster.read(node.node_id, lease=lease)

    @rule(lease=st.booleans())
    def read_at_the_leader(self, lease: bool) -> None:
        for leader in self.cluster.leaders():
            self.cluster.read(leader, lease=lease)

    # -- membership and leadership ---------------------------------------------------------------

    @rule(
        kind=st.sampled_from(KINDS),
        pick=picks,
        expected=st.sampled_from(["none", "right", "wrong"]),
        auto_leave=st.booleans(),
    )
    def change_membership(
        self, kind: ChangeKind, pick: int, expected: str, auto_leave: bool
    ) -> None:
        """Propose the change to each server that believes it leads. While another is pending, it must reject."""
        for leader in self.cluster.leaders():
            core = self.cluster.core(leader)
            voters, learners = changed(core.membership, tuple(self.cluster.drivers), kind, pick)
            index = {"none": None, "right": core.membership_index}.get(expected, 1 << 20)
            may = (
                expected != "wrong"
                and core.membership_index <= core.commit_index
                and not core.membership.is_joint
                and core.term_at(core.commit_index) == core.term
            )
            addresses = tuple((node_id, f"h{node_id}:1") for node_id in self.cluster.drivers)
            verdict, *_ = self.cluster.step(
                leader,
                ChangeMembership(
                    voters, learners, addresses, 0, expected_index=index, auto_leave=auto_leave
                ),
            )
            require(
                may or isinstance(verdict, ChangeRejected),
                f"leader {leader} must reject the change",
            )

    @rule()
    def leave_the_joint_phase(self) -> None:
        for leader in self.cluster.leaders():
            self.cluster.step(leader, LeaveJoint(0))

    @rule(pick=picks, best=st.booleans())
    def transfer_leadership(self, pick: int, best: bool) -> None:
        to = None if best else pick % len(self.cluster.drivers) + 1
        for leader in self.cluster.leaders():
            self.cluster.step(leader, TransferLeadership(to))

    @rule(pick=picks)
    def isolate_or_heal(self, pick: int) -> None:
        if not self.cluster.network.is_whole:
            self.cluster.heal()
        else:
            self.cluster.isolate(pick % len(self.cluster.drivers) + 1)

    # -- disks and crashes -----------------------------------------------------------------------

    @rule(pick=picks, count=st.integers(1, 4))
    def some_writes_become_durable(self, pick: int, count: int) -> None:
        if node := self._alive(pick):
            self.cluster.persist(node.node_id, count)

    @rule()
    def all_writes_become_durable(self) -> None:
        for node in self.cluster.alive():
            self.cluster.persist(node.node_id)

    @rule(pick=picks, survive=st.integers(0, 5))
    def crash(self, pick: int, survive: int) -> None:
        if node := self._alive(pick):
            self.cluster.crash(node.node_id, min(survive, len(node.disk.pending)))

    @rule(pick=picks)
    def restart(self, pick: int) -> None:
        down = [node for node in self.cluster.drivers.values() if not node.is_up]
        if down:
            self.cluster.restart(down[pick % len(down)].node_id)

    @rule(pick=picks, keep=st.integers(0, 3))
    def take_a_snapshot(self, pick: int, keep: int) -> None:
        if node := self._alive(pick):
            self.cluster.take_snapshot(node.node_id, keep)

    @rule(pick=picks, peer=st.integers(1, 5))
    def a_peer_is_unreachable(self, pick: int, peer: int) -> None:
        if node := self._alive(pick):
            self.cluster.step(node.node_id, PeerUnreachable(peer))

    # -- calm periods, so that examples make progress ----------------------------------------------

    @rule(pick=picks)
    def all_is_well_for_a_while(self, pick: int) -> None:
        """All leases expire, one server campaigns, and nothing is lost meanwhile."""
        if node := self._alive(pick):
            self.cluster.advance(400)
            self.cluster.campaign(node.node_id)
            self.cluster.settle()

    def teardown(self) -> None:
        # Servers that may not lead can keep all others from leading if only they hold the newest entries.
        for node in self.cluster.drivers.values():
            if node.config.priority == 0:
                self.cluster.persist(node.node_id)
                self.cluster.crash(node.node_id)
                node.config = replace(node.config, priority=1)
        recover(self.cluster)


class RaftMachineOfFive(RaftMachine):
    """The same with five voters, or four of which three are outgoing voters."""

    voters: ClassVar[int] = 5
    size: ClassVar[int] = 5


class RaftMachineWithoutDurableAppends(RaftMachine):
    """Followers acknowledge entries that a crash may still lose."""

    safeguards: ClassVar[Safeguards] = Safeguards(append_durable_before_ack=False)


class RaftMachineWithoutFreshness(RaftMachine):
    """Any candidate may be elected."""

    safeguards: ClassVar[Safeguards] = Safeguards(log_freshness_check=False)


QUICK = settings(
    max_examples=60,
    stateful_step_count=60,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
LONG = settings(QUICK, max_examples=4000, stateful_step_count=150)


@pytest.mark.parametrize("machine", [RaftMachine, RaftMachineOfFive])
def test_the_cluster_is_safe_whatever_happens(machine: type[RaftMachine]) -> None:
    run(machine, QUICK)


@pytest.mark.parametrize(
    ("machine", "violation"),
    [
        pytest.param(
            RaftMachineWithoutDurableAppends,
            "commit rule|whose disk does not hold it",
            marks=pytest.mark.long,  # the pitfalls have a quicker test of this fault
        ),
        (RaftMachineWithoutFreshness, "leader completeness|state machine safety"),
    ],
)
def test_state_machine_test_finds_an_unsafe_core(
    machine: type[RaftMachine], violation: str
) -> None:
    search = settings(
        QUICK, max_examples=2000, phases=[Phase.generate], database=None, derandomize=True
    )
    with pytest.raises(SafetyViolation, match=violation):
        run(machine, search)


@pytest.mark.long
@pytest.mark.parametrize("machine", [RaftMachine, RaftMachineOfFive])
def test_the_cluster_is_safe_whatever_happens_for_long(machine: type[RaftMachine]) -> None:
    run(machine, LONG)


def run(machine: type[RaftMachine], profile: settings) -> None:
    run_state_machine_as_test(machine, settings=profile)
