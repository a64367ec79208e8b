"""A seeded random walk over a `CoreCluster`: fast, and without knowledge of the state.

Each seed draws a cluster size, settings and a rate for each kind of fault. So some walks are nearly calm
(and make much progress), while others have faults all the time. `Safety` checks each step. At the end the network
heals, and the cluster must agree, elect a leader and serve.
"""

from __future__ import annotations

import random
from dataclasses import replace

from qcore.core import Membership, RaftConfig, Safeguards
from qcore.core.events import (
    ChangeMembership,
    LeaveJoint,
    PeerUnreachable,
    TransferLeadership,
)
from tests.core.support.recovery import recover
from tests.driver.cores import CoreCluster
from tests.driver.first_state import begun

ACTIONS = (
    "deliver",
    "deliver_old",
    "persist",
    "timeout",
    "campaign",
    "propose",
    "read",
    "drop",
    "duplicate",
    "crash",
    "restart",
    "snapshot",
    "unreachable",
    "advance",
    "cut",
    "change",
    "transfer",
)


class Walk:
    """One random run.

    Args:
        seed: decides everything.
        safeguards: if one is switched off, some seed must detect it.
        pre_vote, check_quorum: the seed decides if None.
        size: the number of voters. If None, the seed decides, also about learners and joint configurations.
    """

    def __init__(
        self,
        seed: int,
        safeguards: Safeguards | None = None,
        *,
        pre_vote: bool | None = None,
        check_quorum: bool | None = None,
        size: int | None = None,
    ) -> None:
        self.rng = rng = random.Random(seed)
        self.size = size or rng.choice((1, 2, 3, 3, 3, 4, 5, 5))
        settings = RaftConfig(
            node_id=1,
            pre_vote=rng.random() < 0.6 if pre_vote is None else pre_vote,
            check_quorum=rng.random() < 0.6 if check_quorum is None else check_quorum,
            max_inflight_messages=rng.choice((1, 2, 4, 16)),
            max_inflight_bytes=rng.choice((100, 400, 1 << 20)),
            max_batch_bytes=rng.choice((1, 60, 160, 1 << 18)),
            max_snapshot_chunk=rng.choice((1, 3, 1 << 18)),
            safeguards=safeguards or Safeguards(),
        )
        membership = _membership(rng, self.size)
        if size is not None:
            membership = Membership(voters=tuple(range(1, size + 1)))
        durable = {node_id: begun(membership, 1 + seed % 2) for node_id in range(1, self.size + 1)}
        self.cluster = CoreCluster(durable, settings, seed=seed)
        weights = {
            "deliver": 40.0,
            "deliver_old": rng.choice((0, 4, 20)),
            "persist": rng.choice((5, 15, 30)),
            "timeout": rng.choice((1, 3, 8)),
            "campaign": rng.choice((0, 0, 0.5, 2)),
            "propose": rng.choice((1, 4, 8)),
            "read": rng.choice((0, 2, 5)),
            "drop": rng.choice((0, 2, 10)),
            "duplicate": rng.choice((0, 2, 10)),
            "crash": rng.choice((0, 0.3, 1.5)),
            "restart": 2.0,
            "snapshot": rng.choice((0, 0.3, 1.5)),
            "unreachable": rng.choice((0, 0.3)),
            "advance": rng.choice((0.2, 2)),
            "cut": rng.choice((0, 0.3)),
            "change": rng.choice((0, 0, 1, 4)) if size is None else 0,
            "transfer": rng.choice((0, 0, 0.5, 2)),
        }
        self.actions = rng.choices(
            ACTIONS, [weights[action] for action in ACTIONS], k=4096
        )  # drawn together, which is much faster
        self.commands = 0
        self.steps = 0

    def run(self, steps: int) -> None:
        for number in range(steps):
            getattr(self, "_" + self.actions[number & 4095])()
            self.steps += 1
            if len(self.cluster.network) > 200:
                del self.cluster.network.messages[:50]

    def heal_and_check(self) -> None:
        """End all faults: the cluster must work again."""
        recover(self.cluster)

    # -- actions ---------------------------------------------------------------------------------

    def _node(self) -> int:
        return self.rng.randrange(self.size) + 1

    def _deliver(self) -> None:
        if self.cluster.network:
            self.cluster.deliver()

    def _deliver_old(self) -> None:
        if self.cluster.network:
            self.cluster.deliver(self.rng.randrange(len(self.cluster.network)))

    def _persist(self) -> None:
        self.cluster.persist(self._node(), self.rng.choice((1, 1, 2, 3, None)))

    def _timeout(self) -> None:
        node_id = self._node()
        if self.cluster.drivers[node_id].is_up:
            self.cluster.timeout(node_id)

    def _campaign(self) -> None:
        node_id = self._node()
        if self.cluster.drivers[node_id].is_up:
            self.cluster.campaign(node_id)

    def _propose(self) -> None:
        node_id = self._node()
        if self.cluster.drivers[node_id].is_up:
            count = self.rng.choice((1, 1, 1, 2, 5))
            self.cluster.propose(
                node_id, *[f"c{self.commands + number}" for number in range(count)]
            )
            self.commands += count

    def _read(self) -> None:
        node_id = self._node()
        if self.cluster.drivers[node_id].is_up:
            self.cluster.read(node_id)

    def _drop(self) -> None:
        network = self.cluster.network
        if network:
            network.take(self.rng.randrange(len(network)))

    def _duplicate(self) -> None:
        network = self.cluster.network
        if network:
            network.duplicate(self.rng.randrange(len(network)))

    def _crash(self) -> None:
        node = self.cluster.drivers[self._node()]
        if node.is_up:
            self.cluster.crash(node.node_id, self.rng.randrange(len(node.disk.pending) + 1))

    def _restart(self) -> None:
        node = self.cluster.drivers[self._node()]
        if not node.is_up:
            self.cluster.restart(node.node_id)

    def _snapshot(self) -> None:
        node = self.cluster.drivers[self._node()]
        if node.is_up:
            self.cluster.take_snapshot(node.node_id, self.rng.choice((0, 1, 5)))

    def _unreachable(self) -> None:
        node_id = self._node()
        if self.cluster.drivers[node_id].is_up:
            self.cluster.step(node_id, PeerUnreachable(self._node()))

    def _advance(self) -> None:
        if self.rng.random() < 0.5:
            self.cluster.advance(self.rng.randrange(400))
        else:  # one clock alone: safety must not depend on clocks
            self.cluster.drivers[self._node()].now += self.rng.randrange(600_000)

    def _cut(self) -> None:
        cut = self.cluster.network.cut
        if cut and self.rng.random() < 0.5:
            cut.clear()
        else:
            cut.add((self._node(), self._node()))

    def _change(self) -> None:
        """Any servers become voters and learners, or the joint phase ends; most changes are rejected, as required."""
        node_id = self._node()
        if not self.cluster.drivers[node_id].is_up:
            return
        everyone = list(self.cluster.drivers)
        voters = self.rng.sample(everyone, self.rng.randint(1, len(everyone)))
        rest = [member for member in everyone if member not in voters]
        learners = self.rng.sample(rest, self.rng.randint(0, len(rest)))
        addresses = tuple((member, f"h{member}:1") for member in everyone)
        now = self.cluster.drivers[node_id].now
        if self.rng.random() < 0.5:
            self.cluster.step(node_id, LeaveJoint(now))
        self.cluster.step(
            node_id,
            ChangeMembership(
                tuple(sorted(voters)),
                tuple(sorted(learners)),
                addresses,
                now,
                auto_leave=self.rng.random() < 0.7,
            ),
        )

    def _transfer(self) -> None:
        node_id = self._node()
        if self.cluster.drivers[node_id].is_up:
            to = self.rng.choice((None, self._node()))
            self.cluster.step(node_id, TransferLeadership(to))


def _membership(rng: random.Random, size: int) -> Membership:
    """Mostly simple; sometimes with a learner, sometimes joint, as after a restart during a change."""
    everyone = tuple(range(1, size + 1))
    kind = rng.random()
    if size >= 3 and kind < 0.15:
        return Membership(voters=everyone[:-1], learners=everyone[-1:])
    if size >= 4 and kind < 0.4:
        return Membership(voters=everyone[:-1], voters_outgoing=everyone[-3:])
    return Membership(voters=everyone)


def all_on_except(name: str) -> Safeguards:
    """The safeguards with one of them switched off."""
    return replace(Safeguards(), **{name: False})
