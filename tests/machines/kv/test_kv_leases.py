"""Leases on replicas: they end by the cluster clock, also on an idle cluster and across changes of leader."""

from __future__ import annotations

import json
from typing import Any  # JSON objects

from qcore.core.version import LATEST_RULES
from qcore.machines.interface import ApplyContext
from qcore.machines.kv.kv_machine import KeyValueMachine
from qcore.replica.sessions.session_table import SESSION_TICK
from tests.driver.replicas import ReplicaCluster, ReplicaDriver


def cluster_with_leader(rules: int = LATEST_RULES) -> ReplicaCluster:
    cluster = ReplicaCluster(machine=KeyValueMachine, rules=rules)
    cluster.elect(1)
    return cluster


def send(cluster: ReplicaCluster, driver: ReplicaDriver, **command: object) -> dict[str, Any]:
    driver.request(len(driver.replies) + 1, json.dumps(command))
    cluster.settle()
    reply = driver.replies[-1]
    assert reply.result is not None, reply
    result: dict[str, Any] = json.loads(reply.result)
    return result


def keys(driver: ReplicaDriver) -> list[str]:
    answer = json.loads(driver.replica.machine.query('{"op":"range","prefix":""}'))
    return [kv["key"] for kv in answer["kvs"]]


def ticks(driver: ReplicaDriver) -> int:
    return sum(entry.data == SESSION_TICK for entry in driver.replica.core.log_entries())


def test_a_lease_ends_on_an_idle_cluster() -> None:
    cluster = cluster_with_leader()
    leader = cluster.drivers[1]
    lease = send(cluster, leader, op="grant", ttl_ms=1000)["id"]
    send(cluster, leader, op="put", key="held", value="x", lease=lease)
    send(cluster, leader, op="put", key="free", value="y")
    cluster.pass_time(900)
    assert keys(leader) == ["free", "held"]
    cluster.pass_time(400)
    assert [keys(driver) for driver in cluster.drivers.values()] == [["free"]] * 3
    cluster.pass_time(30_000)
    assert ticks(leader) == 1
    assert send(cluster, leader, op="keep", id=lease)["detail"]["code"] == "LeaseNotFound"


def test_a_lease_that_is_kept_alive_does_not_end() -> None:
    cluster = cluster_with_leader()
    leader = cluster.drivers[1]
    lease = send(cluster, leader, op="grant", ttl_ms=1000)["id"]
    send(cluster, leader, op="put", key="held", value="x", lease=lease)
    for _ in range(5):
        cluster.pass_time(800)
        assert send(cluster, leader, op="keep", id=lease)["ok"]
    assert keys(leader) == ["held"]
    cluster.pass_time(1_400)
    assert keys(leader) == []


def test_a_new_leader_knows_every_extension() -> None:
    """etcd#4758 and its kind: the time that a lease has left is not lost or shortened by a change of leader."""
    cluster = cluster_with_leader()
    old = cluster.drivers[1]
    lease = send(cluster, old, op="grant", ttl_ms=3000)["id"]
    send(cluster, old, op="put", key="held", value="x", lease=lease)
    cluster.pass_time(2_500)
    assert send(cluster, old, op="keep", id=lease)["ok"]
    cluster.pass_time(100)
    old.crash()
    new = cluster.elect(2)
    cluster.pass_time(2_000)
    assert keys(new) == ["held"], "2.1 s of 3 s have passed since the keep-alive"
    cluster.pass_time(1_500)
    assert keys(new) == []


def test_under_rules_1_there_are_no_leases() -> None:
    cluster = cluster_with_leader(rules=1)
    result = send(cluster, cluster.drivers[1], op="grant", ttl_ms=1000)
    assert not result["ok"]
    assert "apply rules" in result["error"]


def test_an_ended_lease_is_not_revived_before_its_keys_are_deleted() -> None:
    machine = KeyValueMachine()
    machine.apply('{"op":"grant","ttl_ms":100,"id":7}', ApplyContext(1, 0, clock_us=1))
    late = ApplyContext(2, 0, clock_us=100_001)
    assert "LeaseNotFound" in machine.apply('{"op":"keep","id":7}', late)
    assert machine.next_expiry_us() == 100_001
