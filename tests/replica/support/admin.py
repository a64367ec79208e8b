"""Clusters and requests for the tests of membership changes and leadership transfers."""

from __future__ import annotations

import json

from qcore.errors import (
    NotCaughtUp,
)
from qcore.replica.events import AddLearner, ChangeMembers, Reply
from tests.driver.replicas import ReplicaCluster, ReplicaDriver


def put(key: str, value: int) -> str:
    return json.dumps({"op": "set", "key": key, "value": value})


def last_reply(driver: ReplicaDriver) -> Reply:
    return driver.replies[-1]


def role_of(cluster: ReplicaCluster, node_id: int) -> str:
    return cluster.drivers[node_id].replica.core.role


def is_joint(driver: ReplicaDriver) -> bool:
    return driver.replica.core.membership.is_joint


def change(
    driver: ReplicaDriver,
    voters: list[int],
    learners: list[int] | None = None,
    expected: int | None = None,
) -> None:
    driver.step(
        ChangeMembers(
            len(driver.replies) + 1000, tuple(voters), tuple(learners or ()), (), 5000, expected
        )
    )


def voters_and_spares() -> ReplicaCluster:
    """Three voters with some entries, and two pristine nodes."""
    cluster = ReplicaCluster()
    leader = cluster.elect(1)
    for i in range(5):
        leader.request(i, put(f"k{i}", i))
        cluster.settle()
    cluster.join(4)
    cluster.join(5)
    return cluster


def with_silent_learner(timeout_ms: int = 1000) -> tuple[ReplicaCluster, ReplicaDriver]:
    """Node 4 is added and never responds until the deadline of the request."""
    cluster = voters_and_spares()
    leader = cluster.leader()
    cluster.network.isolated = {4}
    leader.replica.connection_problem = lambda peer: f"no process listens at node {peer}"
    leader.step(AddLearner(100, 4, "10.0.0.4:80", timeout_ms))
    assert leader.replica.core.membership.learners == (4,)
    cluster.pass_time(timeout_ms - 50)
    return cluster, leader


def failure_of(driver: ReplicaDriver, request_id: int) -> str:
    (error,) = [reply.error for reply in driver.replies if reply.request_id == request_id]
    assert isinstance(error, NotCaughtUp)
    return str(error)


def with_moved_learner(*addresses: str) -> tuple[ReplicaCluster, ReplicaDriver]:
    """Learner 4 has caught up and then gets these addresses, one after the other. None of them responds."""
    cluster = voters_and_spares()
    leader = cluster.leader()
    leader.step(AddLearner(100, 4, "10.0.0.4:80", 5000))
    cluster.pass_time(200)
    cluster.network.isolated = {4}
    leader.replica.connection_problem = lambda peer: f"that is not node {peer}"
    for number, address in enumerate(addresses):
        leader.step(AddLearner(200 + number, 4, address, 1000))
        cluster.pass_time(100)
    assert leader.replica.core.membership.address_of(4) == addresses[-1]
    return cluster, leader
