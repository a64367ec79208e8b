"""The cluster's version when a raise has no effect, waits, or is overtaken, and a restart with a long log."""

from __future__ import annotations

import random

import pytest

from qcore.core.config import RaftConfig
from qcore.core.entry import DurableState, Entry, HardState, Membership
from qcore.core.version import LATEST_RULES, ClusterVersion, VersionSupport
from qcore.errors import OutcomeUnknown, QcoreError
from qcore.machines.register import RegisterMachine
from qcore.replica.apply.apply_backlog import MAX_STEP_COST
from qcore.replica.config import ReplicaConfig
from qcore.replica.events import TransferLeader, UpgradeMachine
from qcore.replica.replica import Replica
from tests.driver.replicas import ReplicaCluster, ReplicaDriver
from tests.replica.apply.test_versions import Second, add, report_support, versions

SUPPORT = VersionSupport(1, LATEST_RULES, "register", 1, 2)


def started(*entries: tuple[str, str]) -> Replica:
    """A replica that starts with these entries (kind and data), all committed."""
    held = [Entry(1, 1, "membership", Membership(voters=(1, 2)).to_json(), 0)]
    for kind, data in entries:
        held.append(Entry(len(held) + 1, 1, kind, data, 0))  # type: ignore[arg-type]  # a kind is a literal
    durable = DurableState(HardState(1, None, len(held)), None, held)
    config = ReplicaConfig(RaftConfig(1))
    return Replica(config, RegisterMachine(), durable, rng=random.Random(1), now=0)


def test_raise_that_comes_too_late_changes_nothing() -> None:
    """Two leaders appended one; the older comes last."""
    newest, older = ClusterVersion(3, "register", 1), ClusterVersion(2, "register", 1)
    replica = started(("version", newest.to_json()), ("version", older.to_json()))
    assert replica.applied_index == 3
    assert replica.versions.active == newest


def test_restart_applies_the_whole_committed_log() -> None:
    """However much it costs: a client of a node that runs must not meet an old state."""
    replica = started(*[("command", add("n"))] * (2 * MAX_STEP_COST))
    assert replica.applied_index == 2 * MAX_STEP_COST + 1
    assert not replica.has_apply_backlog


def ready_to_upgrade() -> tuple[ReplicaCluster, ReplicaDriver]:
    cluster = ReplicaCluster(3, machine=Second)
    report_support(cluster, SUPPORT)
    leader = cluster.elect(1)
    cluster.settle()
    cluster.pass_time(100)
    assert versions(cluster) == 3 * [ClusterVersion(LATEST_RULES, "register", 1)]
    return cluster, leader


def error_of_upgrade(driver: ReplicaDriver) -> QcoreError | None:
    (error,) = [reply.error for reply in driver.replies if reply.request_id == 77]
    return error


@pytest.mark.parametrize(
    ("timeout_ms", "why"),
    [(60, "was not raised in time; it may still happen"), (5000, "lost the leadership before")],
)
def test_upgrade_that_cannot_commit_has_unknown_outcome(timeout_ms: int, why: str) -> None:
    cluster, leader = ready_to_upgrade()
    cluster.network.isolated = {2, 3}
    leader.step(UpgradeMachine(77, 2, timeout_ms))
    cluster.pass_time(1000)
    error = error_of_upgrade(leader)
    assert isinstance(error, OutcomeUnknown)
    assert why in str(error)


def test_upgrade_waits_for_the_end_of_a_transfer() -> None:
    """The core accepts no entry during a transfer, so the leader appends the raise after it."""
    cluster, leader = ready_to_upgrade()
    cluster.network.isolated = {3}
    leader.step(TransferLeader(50, 3, 3000))
    leader.step(UpgradeMachine(77, 2, 5000))
    assert leader.replica.core.transferring
    cluster.pass_time(1000)
    assert error_of_upgrade(leader) is None
    assert leader.replica.versions.active == ClusterVersion(LATEST_RULES, "register", 2)


def test_upgrade_that_expires_leaves_an_earlier_one_waiting() -> None:
    cluster, leader = ready_to_upgrade()
    cluster.network.isolated = {2, 3}
    leader.step(UpgradeMachine(77, 2, 5000))
    leader.step(UpgradeMachine(78, 2, 60))
    cluster.pass_time(100)
    assert [reply.request_id for reply in leader.replies if reply.request_id in (77, 78)] == [78]
    cluster.heal()
    cluster.pass_time(200)
    assert error_of_upgrade(leader) is None
