"""The members' keys: collected before the rules are raised to 5, complete from then on, and fixed."""

from __future__ import annotations

import pytest

from qcore.core.entry import Membership
from qcore.core.version import KEYS_SINCE_RULES, LATEST_RULES, VersionSupport
from qcore.errors import ChangeRefused
from qcore.replica.events import AddLearner, ChangeMembers, PeerVersionSupport, Reply
from tests.driver.replicas import ReplicaCluster, ReplicaDriver

SUPPORT = VersionSupport(1, LATEST_RULES, "register", 1, 1)


def key(node_id: int, letter: str = "A") -> str:
    return "ed25519:" + letter * 42 + "AEIMQUYcgkosw048"[node_id]


def connect(
    cluster: ReplicaCluster, one: ReplicaDriver, other: int, public_key: str | None = None
) -> None:
    """A node learns what another one supports, and its key."""
    shown = key(other) if public_key is None else public_key
    one.step(PeerVersionSupport(other, SUPPORT, shown))
    cluster.settle()
    cluster.pass_time(100)


def connect_all(cluster: ReplicaCluster, *without_key: int) -> None:
    for driver in cluster.drivers.values():
        for other in cluster.drivers:
            connect(cluster, driver, other, "" if other in without_key else None)


def rules(cluster: ReplicaCluster) -> set[int]:
    return {driver.replica.versions.active.rules for driver in cluster.drivers.values()}


def keys_of(driver: ReplicaDriver) -> dict[int, str]:
    return dict(driver.replica.core.membership.keys)


def with_keys() -> ReplicaCluster:
    """A cluster of three, led by 1, whose members have keys."""
    cluster = ReplicaCluster(3)
    cluster.elect(1)
    connect_all(cluster)
    assert rules(cluster) == {LATEST_RULES}
    return cluster


def outcome(
    cluster: ReplicaCluster, driver: ReplicaDriver, event: AddLearner | ChangeMembers
) -> Reply | None:
    """The outcome of a request, if it has one when the log has settled."""
    before = len(driver.replies)
    driver.step(event)
    cluster.settle()
    return driver.replies[-1] if len(driver.replies) > before else None


def test_all_keys_are_committed_before_the_rules_are_raised() -> None:
    cluster = ReplicaCluster(3)
    cluster.elect(1)
    connect_all(cluster, 3)
    assert rules(cluster) == {KEYS_SINCE_RULES - 1}, "node 3 has shown no key"
    assert not any(keys_of(driver) for driver in cluster.drivers.values())
    connect(cluster, cluster.drivers[1], 3)
    assert rules(cluster) == {LATEST_RULES}
    for driver in cluster.drivers.values():
        assert keys_of(driver) == {node: key(node) for node in (1, 2, 3)}
        kinds = [entry.kind for entry in driver.replica.core.log_entries()]
        assert kinds[-2:] == ["membership", "version"]


def test_a_claim_without_a_proof_hides_no_key() -> None:
    cluster = ReplicaCluster(3)
    cluster.elect(1)
    for other in (1, 3, 2):
        connect(cluster, cluster.drivers[1], other)
        connect(cluster, cluster.drivers[1], other, "")
    assert rules(cluster) == {LATEST_RULES}


def test_replicas_whose_driver_reports_no_key_need_none() -> None:
    cluster = ReplicaCluster(3)
    cluster.elect(1)
    for driver in cluster.drivers.values():
        for other in cluster.drivers:
            if other != driver.node_id:
                connect(cluster, driver, other, "")
    assert rules(cluster) == {LATEST_RULES}
    assert keys_of(cluster.drivers[1]) == {}


@pytest.mark.parametrize(
    ("node_id", "public_key", "name"),
    [
        (4, "", "key_missing"),
        (4, key(2), "invalid"),
        (4, "ed25519:short", "invalid"),
        (2, key(2, "B"), "is_voter"),
    ],
)
def test_a_new_member_needs_a_key_that_no_other_has(
    node_id: int, public_key: str, name: str
) -> None:
    cluster = with_keys()
    leader = cluster.drivers[1]
    reply = outcome(cluster, leader, AddLearner(901, node_id, "h:4", 1000, public_key))
    assert reply is not None
    assert isinstance(reply.error, ChangeRefused)
    assert reply.error.name == name
    assert set(keys_of(leader)) == {1, 2, 3}


def test_the_key_of_a_member_changes_only_by_removing_it() -> None:
    cluster = with_keys()
    leader = cluster.drivers[1]
    outcome(cluster, leader, AddLearner(901, 4, "h:4", 1000, key(4)))
    assert keys_of(leader)[4] == key(4)
    reply = outcome(cluster, leader, AddLearner(902, 4, "h:4", 1000, key(4, "B")))
    assert reply is not None
    assert isinstance(reply.error, ChangeRefused)
    assert reply.error.name == "other_key"
    other = ((2, key(2, "B")),)
    reply = outcome(cluster, leader, ChangeMembers(903, (1, 2, 3), (4,), (), 1000, None, other))
    assert reply is not None
    assert isinstance(reply.error, ChangeRefused)
    outcome(cluster, leader, ChangeMembers(904, (1, 2, 3), (), (), 1000))
    assert set(keys_of(leader)) == {1, 2, 3}
    outcome(cluster, leader, AddLearner(905, 4, "h:4", 1000, key(4, "B")))
    assert keys_of(leader)[4] == key(4, "B")


def test_keys_follow_the_members_through_a_joint_change() -> None:
    cluster = with_keys()
    leader = cluster.drivers[1]
    outcome(cluster, leader, ChangeMembers(901, (1, 2), (), (), 1000))
    assert keys_of(leader) == {1: key(1), 2: key(2)}


def test_a_cluster_without_keys_takes_no_key() -> None:
    cluster = ReplicaCluster(3, rules=KEYS_SINCE_RULES - 1)
    cluster.elect(1)
    leader = cluster.drivers[1]
    reply = outcome(cluster, leader, AddLearner(901, 4, "h:4", 1000, key(4)))
    assert reply is not None
    assert isinstance(reply.error, ChangeRefused)
    assert reply.error.name == "no_keys"


def test_a_configuration_without_keys_reads_as_before() -> None:
    """0.1.0 must be able to read it, so no key of JSON is added while there are no keys."""
    plain = Membership((1, 2), addresses=((1, "a:1"), (2, "b:1")), cluster_id="c")
    assert "keys" not in plain.to_json()
    keyed = Membership(
        (1, 2), addresses=plain.addresses, cluster_id="c", keys=((1, key(1)), (2, key(2)))
    )
    assert Membership.from_json(keyed.to_json()) == keyed
    assert keyed.invalid_reason() is None
    for keys in (((1, key(1)),), ((1, key(1)), (2, key(1))), ((1, key(1)), (2, "x"))):
        bad = Membership((1, 2), keys=keys)
        assert bad.invalid_reason() is not None
