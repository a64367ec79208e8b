"""Honest members never differ: not while the machine is upgraded, after snapshots and restarts, or as new members."""

from __future__ import annotations

import json
from dataclasses import replace

from qcore.core.entry import Membership
from qcore.machines.register import RegisterMachine
from qcore.replica.events import AddLearner, ChangeMembers, TriggerSnapshot, UpgradeMachine
from tests.driver.replicas import ReplicaCluster
from tests.replica.apply.test_versions import SUPPORT, Second, add, report_support
from tests.replica.divergence.test_containment import cluster_of, diverge, diverged_at


def found(cluster: ReplicaCluster) -> list[int]:
    return [driver.node_id for driver in cluster.alive() if diverged_at(driver) is not None]


def write_and_wait(cluster: ReplicaCluster, first_id: int) -> None:
    """Writes at several indexes, each followed by some reports."""
    for number in range(3):
        cluster.leader().request(first_id + number, add("n"))
        cluster.settle()
        cluster.pass_time(1200)
    assert found(cluster) == []
    comparison = cluster.leader().replica.containment.comparison()
    assert comparison is not None
    assert comparison.differs_at is None
    assert len(comparison.compared) == len(cluster.alive())


def test_a_rolling_upgrade_is_no_divergence() -> None:
    cluster = cluster_of()
    leader = cluster.elect(1)
    write_and_wait(cluster, 100)
    cluster.machine = Second
    for node_id in (3, 2):
        cluster.restart(node_id)
        write_and_wait(cluster, 200 + 10 * node_id)
    cluster.restart(1)
    leader = cluster.elect(2)
    report_support(cluster, replace(SUPPORT, machine_max=2))
    for number in range(5):  # writes before, while and after the version becomes active
        leader.request(300 + number, add("n"))
        if number == 2:
            leader.step(UpgradeMachine(400, None, 1000))
    cluster.settle()
    write_and_wait(cluster, 310)
    assert leader.replica.versions.active.machine_version == 2
    state = json.loads(leader.replica.machine.query('{"op":"get","key":"n"}'))
    assert state["value"] > 20, "the later ones count twice"


def test_snapshots_and_new_members_are_no_divergence() -> None:
    cluster = cluster_of()
    leader = cluster.elect(1)
    cluster.isolate(3)
    write_and_wait_without_3(cluster)
    leader.step(TriggerSnapshot(0))
    cluster.pass_time(200)
    cluster.heal()
    cluster.pass_time(1000)  # node 3 restores the snapshot
    write_and_wait(cluster, 200)
    joins = cluster.join(4)
    leader.step(AddLearner(300, 4, "10.0.0.4:80", 5000))
    cluster.settle()
    cluster.pass_time(1000)
    write_and_wait(cluster, 310)
    cluster.restart(2)
    cluster.pass_time(200)
    assert joins.replica.applied_index == leader.replica.applied_index
    leader.step(ChangeMembers(400, (1, 2, 4), (), (), 5000))
    cluster.settle()
    cluster.pass_time(1000)
    cluster.drivers[3].crash()
    write_and_wait(cluster, 410)


def write_and_wait_without_3(cluster: ReplicaCluster) -> None:
    for number in range(10):
        cluster.leader().request(10 + number, add("n"))
        cluster.settle()
    cluster.pass_time(500)


def test_a_removed_member_judges_no_other() -> None:
    """What a member reported counts no more once it has left: then only a majority of the others decides."""
    cluster = cluster_of(3)
    leader = cluster.elect(1)
    diverge(cluster, 3)
    assert found(cluster) == [3]
    leader.step(ChangeMembers(400, (1, 2), (), (), 5000))
    cluster.settle()
    cluster.pass_time(1500)
    assert isinstance(leader.core.membership, Membership)
    assert leader.core.membership.members() == (1, 2)
    assert found(cluster) == [3]
    assert leader.replica.containment._known_diverged == set()
    comparison = leader.replica.containment.comparison()
    assert comparison is not None
    assert comparison.differs_at is None


def test_without_a_majority_all_serve() -> None:
    """Two against two, and three that all differ: the leader shows it, and no node stops."""
    for size, odd in ((4, (3, 4)), (3, (2, 3))):
        cluster = cluster_of(size)
        leader = cluster.elect(1)
        leader.request(1, '{"op":"set","key":"a","value":7}')
        cluster.settle()
        cluster.pass_time(100)
        for place, node_id in enumerate(odd):
            machine = cluster.drivers[node_id].replica.machine
            assert isinstance(machine, RegisterMachine)
            other = "8" if size == 4 else str(8 + place)
            machine.restore(["".join(machine.snapshot()).replace("7", other)])
        cluster.pass_time(3000)
        assert found(cluster) == []
        assert cluster.leader() is leader
        comparison = leader.replica.containment.comparison()
        assert comparison is not None
        assert comparison.different == 2
        for number, driver in enumerate(cluster.drivers.values(), 10):
            driver.request(number, '{"op":"get","key":"a"}', "follower_read")
            cluster.settle()
            cluster.pass_time(100)
            assert driver.replies[-1].error is None
