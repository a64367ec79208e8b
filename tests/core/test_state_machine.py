"""Hypothesis plays the network, the disks, the clocks and the clients of a cluster of pure cores.

After every step `tests.core.safety` has checked the five properties of the paper's figure 3, that the
commit index never goes back and is durable at a quorum (by brute force over all majorities), one vote a term,
and that no read is older than what was committed when it was asked for. At the end of each example the
trouble stops, and the cluster must elect, commit and serve.
"""

from __future__ import annotations

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

from qcore.core import Membership, RaftConfig, Safeguards
from qcore.core.events import PeerUnreachable
from tests.core.cluster import Cluster, Node, started
from tests.core.recovery import recover
from tests.core.safety import SafetyViolation

picks = st.integers(0, 10_000)


class RaftMachine(RuleBasedStateMachine):
    """Rules name servers and messages by number modulo how many there are, so that all examples shrink."""

    size: ClassVar[int] = 3
    safeguards: ClassVar[Safeguards] = Safeguards()

    def __init__(self) -> None:
        super().__init__()
        self.cluster = Cluster.of(1)
        self.commands = 0

    @initialize(
        pre_vote=st.booleans(),
        check_quorum=st.booleans(),
        window=st.sampled_from([1, 2, 16]),
        batch=st.sampled_from([1, 150, 1 << 18]),
        seed=st.integers(0, 1000),
        outgoing=st.booleans(),
    )
    def start(
        self,
        pre_vote: bool,
        check_quorum: bool,
        window: int,
        batch: int,
        seed: int,
        outgoing: bool,
    ) -> None:
        config = RaftConfig(
            node_id=1,
            pre_vote=pre_vote,
            check_quorum=check_quorum,
            max_inflight_messages=window,
            max_batch_bytes=batch,
            safeguards=self.safeguards,
        )
        everyone = tuple(range(1, self.size + 1))
        membership = Membership(voters=everyone)
        if outgoing and self.size > 3:
            membership = Membership(voters=everyone[:-1], voters_outgoing=everyone[-3:])
        durable = {node_id: started(membership) for node_id in everyone}
        self.cluster = Cluster(durable, config, seed=seed)

    def _alive(self, pick: int) -> Node | None:
        alive = self.cluster.alive()
        return alive[pick % len(alive)] if alive else None

    def _any_message(self) -> bool:
        return bool(self.cluster.network)

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
        del self.cluster.network[pick % len(self.cluster.network)]

    @precondition(_any_message)
    @rule(pick=picks)
    def duplicate(self, pick: int) -> None:
        network = self.cluster.network
        network.append(network[pick % len(network)])

    # -- clocks ----------------------------------------------------------------------------------

    @rule(pick=picks)
    def time_out(self, pick: int) -> None:
        if node := self._alive(pick):
            self.cluster.timeout(node.node_id)

    @rule(pick=picks)
    def campaign(self, pick: int) -> None:
        if node := self._alive(pick):
            self.cluster.campaign(node.node_id)

    @rule(milliseconds=st.integers(1, 500))
    def time_passes(self, milliseconds: int) -> None:
        self.cluster.advance(milliseconds)

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
    def propose_to_whoever_leads(self, count: int) -> None:
        for leader in self.cluster.leaders():
            self.cluster.propose(leader, *[f"l{self.commands + n}" for n in range(count)])
        self.commands += count

    @rule(pick=picks)
    def read(self, pick: int) -> None:
        if node := self._alive(pick):
            self.cluster.read(node.node_id)

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
            self.cluster.crash(node.node_id, min(survive, len(node.writes)))

    @rule(pick=picks)
    def restart(self, pick: int) -> None:
        down = [node for node in self.cluster.nodes.values() if node.core is None]
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

    # -- calm stretches, so that examples get somewhere --------------------------------------------

    @rule(pick=picks)
    def all_is_well_for_a_while(self, pick: int) -> None:
        """Everybody's leases run out, one campaigns, and nothing is lost meanwhile."""
        if node := self._alive(pick):
            self.cluster.advance(400)
            self.cluster.campaign(node.node_id)
            self.cluster.settle()

    def teardown(self) -> None:
        recover(self.cluster)


class RaftMachineOfFive(RaftMachine):
    """The same with five servers, or four of which three are outgoing voters."""

    size: ClassVar[int] = 5


class RaftMachineWithoutDurableAppends(RaftMachine):
    """Followers acknowledge what may still be lost."""

    safeguards: ClassVar[Safeguards] = Safeguards(append_durable_before_ack=False)


class RaftMachineWithoutFreshness(RaftMachine):
    """Anybody may be elected."""

    safeguards: ClassVar[Safeguards] = Safeguards(log_freshness_check=False)


QUICK = settings(
    max_examples=150,
    stateful_step_count=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
LONG = settings(QUICK, max_examples=4000, stateful_step_count=150)


@pytest.mark.parametrize("machine", [RaftMachine, RaftMachineOfFive])
def test_the_cluster_is_safe_whatever_happens(machine: type[RaftMachine]) -> None:
    run(machine, QUICK)


@pytest.mark.parametrize(
    ("machine", "violation"),
    [
        (RaftMachineWithoutDurableAppends, "commit rule"),
        (RaftMachineWithoutFreshness, "leader completeness|state machine safety"),
    ],
)
def test_the_machine_finds_a_core_that_is_not_safe(
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
