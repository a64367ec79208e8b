"""kill -9 hits the leader in the joint phase of a membership change, and the tests prove that it did.

A leader cannot leave the joint configuration without a majority of either side. So a test pauses the nodes of one side
to keep the leader there. Afterwards the leader's disk shows the configuration in which it died.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from qcore.processes import NodeProcess, ProcessCluster, wait_for
from tests.process.conftest import assert_no_traceback
from tests.process.support.load import Load
from tests.process.support.member_changes import (
    add_learner,
    change,
    configs_of,
    configuration_on_disk,
    initialised_cluster,
    last_role,
    start_together,
    wait_configs,
)
from tests.process.support.wire_client import WireClient

pytestmark = pytest.mark.process

#: An election timeout so long that a leader without responses keeps leading while the test inspects it.
SLOW = ("--election-timeout-min-ms", "600", "--election-timeout-max-ms", "1000")


def joint_and_durable(node: NodeProcess) -> bool:
    """Whether the node has a joint configuration, and has it on disk."""
    status = node.status()
    if not status or len(status["membership_config"]["membership"]["configs"]) != 2:
        return False
    return bool(status["qcore"]["durable_index"] >= status["qcore"]["membership_index"])


def wait_one_configuration(nodes: list[NodeProcess], *allowed: list[int]) -> list[int]:
    """Wait until all nodes have the same configuration, not joint, and return it. It must be allowed."""

    def settled() -> list[int] | None:
        seen = [configs_of(node) for node in nodes]
        same = all(configs == seen[0] for configs in seen)
        return seen[0][0] if same and len(seen[0]) == 1 else None

    settled_on = wait_for(settled, 30, "the nodes to agree on one configuration that is not joint")
    assert settled_on in allowed
    return settled_on


@pytest.mark.long  # the simulator and the property tests kill leaders in this phase
def test_a_change_only_the_dead_leader_knew_is_rolled_back(tmp_path: Path) -> None:
    with initialised_cluster(tmp_path, size=4, voters=3, start_all=True, arguments=SLOW) as cluster:
        add_learner(cluster, cluster.nodes[4])
        with Load(cluster.endpoints, clients=3) as load:
            load.wait_acknowledged(20)
            leader = cluster.wait_leader()
            others = [node for node in cluster.running() if node is not leader]
            with WireClient(leader.address) as client:
                # The node reads the request when it resumes, but its sender is gone.
                leader.pause()
                client.send({"ChangeMembership": {"id": "c", "members": [1, 2, 3, 4]}})
                for node in others:
                    node.kill()
                leader.resume()
                wait_for(lambda: joint_and_durable(leader), 60, "the joint phase")
                leader.kill()
            died_in = configuration_on_disk(leader)
            assert (died_in.voters, died_in.voters_outgoing) == ((1, 2, 3, 4), (1, 2, 3))

            for node in others:
                assert not configuration_on_disk(node).is_joint, (
                    "no other node had received the change"
                )
            start_together(others)
            load.wait_acknowledged(20)
            assert [configs_of(node) for node in others] == [[[1, 2, 3]]] * 3
            leader.start()
            wait_configs(cluster, [1, 2, 3])  # the old leader's log held the joint configuration
            load.wait_acknowledged(20)
        load.read_all()
        load.check()
        cluster.wait_converged()
    assert_no_traceback(cluster)


@pytest.mark.long  # the simulator and the property tests kill leaders in this phase
def test_the_next_leader_finishes_a_change_of_the_old_majority(tmp_path: Path) -> None:
    with initialised_cluster(tmp_path, size=5, voters=3, start_all=True, arguments=SLOW) as cluster:
        new = [cluster.nodes[4], cluster.nodes[5]]
        for node in new:
            add_learner(cluster, node)
        with Load(cluster.endpoints, clients=3) as load:
            load.wait_acknowledged(20)
            leader = cluster.wait_leader()
            followers = [cluster.nodes[n] for n in (1, 2, 3) if cluster.nodes[n] is not leader]
            target = [leader.node_id, 4, 5]
            # On the new side only the leader runs: the proposal is stored but not committed.
            for node in new:
                node.pause()
            with WireClient(leader.address) as client:
                client.send({"ChangeMembership": {"id": "c", "members": target}})
                wait_for(
                    lambda: all(map(joint_and_durable, (leader, *followers))), 20, "the joint phase"
                )
                leader.kill()
            assert last_role(leader) == "leader", "the node led until it died"
            died_in = configuration_on_disk(leader)
            assert (died_in.voters, died_in.voters_outgoing) == (tuple(target), (1, 2, 3))

            for node in new:
                node.resume()
            load.wait_acknowledged(20)
            wait_one_configuration(new, target)
            leader.start()
            for node in followers:
                node.kill()  # these nodes are no longer needed
            load.wait_acknowledged(20)
        load.read_all()
        load.check()
        wait_configs(cluster, target)
        cluster.wait_converged()
    assert_no_traceback(cluster)


@pytest.mark.long  # the simulator and the property tests kill leaders in this phase
def test_a_change_only_the_new_side_knew_is_decided_either_way(tmp_path: Path) -> None:
    """The new side alone must not commit the change: the old side has not received it and could continue without it."""
    with initialised_cluster(tmp_path, size=5, voters=3, start_all=True, arguments=SLOW) as cluster:
        new = [cluster.nodes[4], cluster.nodes[5]]
        for node in new:
            add_learner(cluster, node)
        with Load(cluster.endpoints, clients=3) as load:
            load.wait_acknowledged(20)
            leader = cluster.wait_leader()
            followers = [cluster.nodes[n] for n in (1, 2, 3) if cluster.nodes[n] is not leader]
            target = [leader.node_id, 4, 5]
            for node in followers:
                node.pause()
            with WireClient(leader.address) as client:
                client.send({"ChangeMembership": {"id": "c", "members": target}})
                wait_for(lambda: all(map(joint_and_durable, (leader, *new))), 60, "the joint phase")
                leader.kill()
            assert configuration_on_disk(leader).is_joint
            for node in followers:
                node.resume()
            load.wait_acknowledged(20)
            wait_one_configuration([cluster.wait_leader()], target, [1, 2, 3])
            leader.start()
            load.wait_acknowledged(20)
        load.read_all()
        load.check()
    assert_no_traceback(cluster)


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(3))
def test_random_kills_during_changes_lose_nothing(
    tmp_path: Path, seed: int, record_property: Callable[[str, object], None]
) -> None:
    """The dead leader's disk shows the phase of each kill. Enough kills must have hit the joint phase."""
    rng = random.Random(seed)
    died: Counter[str] = Counter()
    with initialised_cluster(tmp_path, size=5, voters=3, start_all=True) as cluster:
        for node_id in (4, 5):
            add_learner(cluster, cluster.nodes[node_id])
        voters = [1, 2, 3]
        with Load(cluster.endpoints, clients=3) as load:
            for _ in range(12):
                load.wait_acknowledged(20)
                target = sorted(rng.sample(range(1, 6), 3))
                died[kill_while_changing(cluster, rng, voters, target)] += 1
                load.wait_acknowledged(20)
                leader = cluster.wait_leader()
                settled = wait_one_configuration([leader], voters, target)
                cluster.start()
                voters = settled
                wait_configs(cluster, voters)
                change_keeping_all(cluster, voters)
        load.read_all()
        load.check()
        cluster.wait_converged()
    assert_no_traceback(cluster)
    record_property("leader died", dict(died))
    assert died["joint"] >= 3, died


def kill_while_changing(
    cluster: ProcessCluster, rng: random.Random, voters: list[int], target: list[int]
) -> str:
    """Request the change, kill the leader soon after, and return the phase: before, joint or after."""
    learners = [n for n in range(1, 6) if n not in target]

    def leading_voter() -> NodeProcess | None:
        found = cluster.leader()
        return found if found is not None and found.node_id in voters else None

    leader = wait_for(leading_voter, 30, "one of the voters to lead")
    held = rng.sample([n for n in cluster.running() if n is not leader], rng.choice((0, 0, 1, 2)))
    with WireClient(leader.address) as client:
        for node in held:
            node.pause()
        request = {"id": "c", "members": target, "learners": learners}
        client.send({"ChangeMembership": request})
        time.sleep(rng.random() * 0.03)  # the moment is random, and nothing depends on it
        leader.kill()
        for node in held:
            node.resume()
    configuration = configuration_on_disk(leader)
    if configuration.is_joint:
        return "joint"
    return "after" if configuration.voters == tuple(target) else "before"


def change_keeping_all(cluster: ProcessCluster, voters: list[int]) -> None:
    """Change the voters; nodes that are no longer voters become learners."""
    change(cluster, voters, learners=[n for n in range(1, 6) if n not in voters])
