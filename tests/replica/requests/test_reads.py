"""The four kinds of read, and when each of them may be served."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from qcore.core.config import RaftConfig
from qcore.core.events import Campaign, Tick
from qcore.errors import DeadlineExceeded, TooStale
from qcore.replica.events import ClientRequest, TransferLeader
from tests.driver.replicas import ReplicaCluster, ReplicaDriver

GET = json.dumps({"op": "get", "key": "x"})
LEASE = RaftConfig(1, lease_reads=True)


def put(cluster: ReplicaCluster, driver: ReplicaDriver, value: int) -> None:
    driver.request(900 + value, json.dumps({"op": "set", "key": "x", "value": value}))
    cluster.settle()


def value(driver: ReplicaDriver, request_id: int) -> object:
    reply = next(reply for reply in driver.replies if reply.request_id == request_id)
    assert reply.error is None, reply.error
    return json.loads(reply.result or "null")["value"]


def role_of(cluster: ReplicaCluster, node_id: int) -> str:
    return cluster.drivers[node_id].replica.core.role


def served(driver: ReplicaDriver, request_id: int) -> bool:
    return any(reply.request_id == request_id for reply in driver.replies)


def test_lease_read_needs_no_message_while_the_lease_holds() -> None:
    cluster = ReplicaCluster(raft=LEASE)
    leader = cluster.elect(1)
    put(cluster, leader, 5)
    cluster.pass_time(100)
    cluster.network.isolated = {2, 3}
    leader.request(1, GET, "lease_read")
    assert value(leader, 1) == 5


def test_lease_expires_before_the_followers_promise() -> None:
    cluster = ReplicaCluster(raft=LEASE)
    leader = cluster.elect(1)
    put(cluster, leader, 5)
    cluster.pass_time(50)
    cluster.network.isolated = {2, 3}
    cluster.now += LEASE.election_timeout_min_ms * 900  # 90 % of the promise, in µs
    leader.request(1, GET, "lease_read", timeout_ms=100)
    assert not served(leader, 1), "it falls back to a read round, to which no node responds"
    cluster.now += 100_000
    leader.step(Tick())
    assert isinstance(leader.replies[-1].error, DeadlineExceeded)


def test_a_transfer_voids_the_lease_for_the_rest_of_the_term() -> None:
    cluster = ReplicaCluster(raft=LEASE)
    leader = cluster.elect(1)
    put(cluster, leader, 5)
    cluster.pass_time(100)
    cluster.network.isolated = {2, 3}
    leader.step(TransferLeader(50, 2, 5000))
    leader.request(1, GET, "lease_read", timeout_ms=100)
    assert not served(leader, 1)


def test_restarted_server_grants_no_vote_under_an_old_promise() -> None:
    cluster = ReplicaCluster(raft=LEASE)
    cluster.elect(1)
    cluster.restart(2)
    cluster.restart(3)
    cluster.network.isolated = {1}
    cluster.drivers[2].step(Campaign())
    cluster.settle()
    assert role_of(cluster, 2) != "leader"
    cluster.now += LEASE.election_timeout_min_ms * 1000
    cluster.drivers[2].step(Campaign())
    cluster.settle()
    assert role_of(cluster, 2) == "leader"


def test_without_the_option_a_lease_read_is_confirmed_by_a_round() -> None:
    cluster = ReplicaCluster()
    leader = cluster.elect(1)
    put(cluster, leader, 5)
    leader.request(1, GET, "lease_read")
    assert not served(leader, 1)
    cluster.settle()
    assert value(leader, 1) == 5


def test_follower_serves_a_read_at_the_leaders_read_index() -> None:
    cluster = ReplicaCluster()
    leader = cluster.elect(1)
    follower = cluster.drivers[2]
    put(cluster, leader, 5)
    assert follower.replica.applied_index < leader.replica.applied_index
    follower.request(1, GET, "follower_read")
    cluster.settle()
    assert value(follower, 1) == 5
    leader.request(2, GET, "follower_read")
    cluster.settle()
    assert value(leader, 2) == 5


def ask_stale(driver: ReplicaDriver, request_id: int, staleness_ms: int) -> object:
    """The value of a stale read, or the error."""
    driver.step(ClientRequest(request_id, "stale_read", GET, 1000, staleness_ms))
    error = driver.replies[-1].error
    return error if error is not None else value(driver, request_id)


@pytest.mark.parametrize("check_quorum", [True, False])
def test_stale_read_is_served_only_if_fresh_enough(
    check_quorum: bool,
) -> None:
    cluster = ReplicaCluster(raft=RaftConfig(1, check_quorum=check_quorum), rules=2)
    leader = cluster.elect(1)
    put(cluster, leader, 5)
    cluster.pass_time(100)
    follower = cluster.drivers[3]
    cluster.network.isolated = {3}
    assert ask_stale(follower, 1, 50) == 5, (
        "the leader's heartbeat echoed the response to the last one"
    )
    assert isinstance(ask_stale(follower, 2, 49), TooStale)
    put(cluster, leader, 6)
    cluster.now += 500_000
    assert ask_stale(follower, 3, 550) == 5, "old, but within the bound"
    assert isinstance(ask_stale(follower, 4, 549), TooStale)


def test_leader_knows_how_stale_its_state_may_be() -> None:
    cluster = ReplicaCluster(raft=RaftConfig(1, check_quorum=False))
    leader = cluster.elect(1)
    put(cluster, leader, 5)
    cluster.pass_time(50)
    assert ask_stale(leader, 1, 0) == 5, "a quorum responded just now"
    cluster.network.isolated = {1}
    cluster.pass_time(500)
    assert ask_stale(leader, 2, 500) == 5
    assert isinstance(ask_stale(leader, 3, 499), TooStale), "no quorum responds now"


def test_a_single_voters_state_is_never_stale() -> None:
    cluster = ReplicaCluster(size=1)
    leader = cluster.elect(1)
    put(cluster, leader, 5)
    cluster.now += 10_000_000
    assert ask_stale(leader, 1, 0) == 5


def test_deposed_leader_still_knows_the_age_of_its_state() -> None:
    cluster = ReplicaCluster()
    old = cluster.elect(1)
    put(cluster, old, 5)
    cluster.elect(2)
    age_ms = 1050
    assert old.replica.core.role == "follower"
    assert ask_stale(old, 1, age_ms) == 5
    assert isinstance(ask_stale(old, 2, age_ms - 1), TooStale)


def test_under_rules_1_a_follower_never_knows_its_staleness() -> None:
    """Its responses must not carry its clock, because a leader of 0.1.0 would reject them."""
    cluster = ReplicaCluster()
    put(cluster, cluster.elect(1), 5)
    cluster.pass_time(200)
    assert isinstance(ask_stale(cluster.drivers[3], 1, 60_000), TooStale)


def test_node_that_never_heard_a_leader_rejects_stale_reads() -> None:
    driver = ReplicaCluster().drivers[1]
    driver.step(ClientRequest(1, "stale_read", GET, 1000, 1_000_000))
    assert isinstance(driver.replies[-1].error, TooStale)


def test_higher_priority_takes_over_and_zero_never_leads() -> None:
    cluster = ReplicaCluster()
    cluster.raft = replace(cluster.raft, priority=5)
    cluster.restart(3)
    cluster.raft = replace(cluster.raft, priority=0)
    cluster.restart(2)
    leader = cluster.elect(1)
    put(cluster, leader, 1)
    cluster.pass_time(1500)
    assert cluster.leader().node_id == 3
    cluster.network.isolated = {3, 1}
    cluster.now += 1_000_000
    cluster.drivers[2].step(Campaign())
    assert cluster.drivers[2].replica.core.role == "follower"
