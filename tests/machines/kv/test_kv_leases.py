"""Leases on replicas: they end by the cluster clock, also on an idle cluster and across changes of leader."""

from __future__ import annotations

from qcore.machines.interface import ApplyContext
from qcore.machines.kv.kv_machine import KeyValueMachine
from qcore.replica.sessions.session_table import SESSION_TICK
from tests.driver.replicas import ReplicaDriver
from tests.machines.kv.kv_clusters import KeyValueCluster, keys


def ticks(driver: ReplicaDriver) -> int:
    return sum(entry.data == SESSION_TICK for entry in driver.replica.core.log_entries())


def test_a_lease_ends_on_an_idle_cluster() -> None:
    cluster = KeyValueCluster()
    leader = cluster.drivers[1]
    lease = cluster.send(leader, op="grant", ttl_ms=1000)["id"]
    cluster.send(leader, op="put", key="held", value="x", lease=lease)
    cluster.send(leader, op="put", key="free", value="y")
    cluster.pass_time(900)
    assert keys(leader) == ["free", "held"]
    cluster.pass_time(400)
    assert [keys(driver) for driver in cluster.drivers.values()] == [["free"]] * 3
    cluster.pass_time(30_000)
    assert ticks(leader) == 1
    assert cluster.send(leader, op="keep", id=lease)["detail"]["code"] == "LeaseNotFound"


def test_a_lease_that_is_kept_alive_does_not_end() -> None:
    cluster = KeyValueCluster()
    leader = cluster.drivers[1]
    lease = cluster.send(leader, op="grant", ttl_ms=1000)["id"]
    cluster.send(leader, op="put", key="held", value="x", lease=lease)
    for _ in range(5):
        cluster.pass_time(800)
        assert cluster.send(leader, op="keep", id=lease)["ok"]
    assert keys(leader) == ["held"]
    cluster.pass_time(1_400)
    assert keys(leader) == []


def test_a_new_leader_knows_every_extension() -> None:
    """etcd#4758 and its kind: the time that a lease has left is not lost or shortened by a change of leader."""
    cluster = KeyValueCluster()
    old = cluster.drivers[1]
    lease = cluster.send(old, op="grant", ttl_ms=3000)["id"]
    cluster.send(old, op="put", key="held", value="x", lease=lease)
    cluster.pass_time(2_500)
    assert cluster.send(old, op="keep", id=lease)["ok"]
    cluster.pass_time(100)
    old.crash()
    new = cluster.elect(2)
    cluster.pass_time(2_000)
    assert keys(new) == ["held"], "2.1 s of 3 s have passed since the keep-alive"
    cluster.pass_time(1_500)
    assert keys(new) == []


def test_under_rules_1_there_are_no_leases() -> None:
    cluster = KeyValueCluster(rules=1)
    result = cluster.send(cluster.drivers[1], op="grant", ttl_ms=1000)
    assert not result["ok"]
    assert "apply rules" in result["error"]


def test_a_lease_that_has_ended_is_of_no_use() -> None:
    machine = KeyValueMachine()
    machine.apply('{"op":"grant","ttl_ms":100,"id":7}', ApplyContext(1, 0, clock_us=1))
    late = ApplyContext(2, 0, clock_us=100_001)
    for command in (
        '{"op":"keep","id":7}',
        '{"op":"lease","id":7}',
        '{"op":"put","key":"a","value":"x","lease":7}',
    ):
        assert "LeaseNotFound" in machine.apply(command, late), command
    assert machine.next_expiry_us() == 100_001
