"""A node that differs from a majority stops serving its state, hands over, and serves again once it is reinstalled."""

from __future__ import annotations

from dataclasses import replace

from qcore.core.messages import InstallSnapshot
from qcore.errors import ChangeRefused, NotLeader, OutcomeUnknown, Refused
from qcore.machines.register import RegisterMachine
from qcore.replica.events import (
    BeginWatch,
    ClientRequest,
    KnownDiverged,
    ReinstallMember,
    RequestSnapshot,
    WatchEnded,
)
from tests.driver.observer import Observer
from tests.driver.replicas import ReplicaCluster, ReplicaDriver

GET = '{"op":"get","key":"a"}'


def write(number: int) -> str:
    return f'{{"op":"set","key":"a","value":{number}}}'


class Lenient(ReplicaCluster):
    """Its observer checks nothing: the tests break what it checks."""

    def _new_observer(self) -> Observer:  # type: ignore[override]  # fewer checks
        return Observer()


def cluster_of(size: int = 3) -> ReplicaCluster:
    return Lenient(size, rules=5, digest_interval_ms=500)


def flip(driver: ReplicaDriver) -> None:
    """Another state in the memory of this node only."""
    machine = driver.replica.machine
    assert isinstance(machine, RegisterMachine)
    machine.restore(["".join(machine.snapshot()).replace("7", "8")])


def diverged_at(driver: ReplicaDriver) -> int | None:
    return driver.replica.containment.diverged_at


def diverge(cluster: ReplicaCluster, node_id: int) -> ReplicaDriver:
    leader = cluster.leader()
    leader.request(1, write(7))
    cluster.settle()
    cluster.pass_time(100)
    driver = cluster.drivers[node_id]
    flip(driver)
    cluster.pass_time(1500)
    return driver


def test_a_diverged_follower_serves_no_state_but_replicates() -> None:
    cluster = cluster_of()
    leader = cluster.elect(1)
    watcher = cluster.drivers[3]
    watcher.step(BeginWatch(90, 1, "a", None, 1000))
    cluster.settle()
    driver = diverge(cluster, 3)
    assert diverged_at(driver) is not None
    assert isinstance(driver.notices[-1], WatchEnded)
    for number, kind in enumerate(("read", "lease_read", "follower_read", "stale_read"), 10):
        driver.step(ClientRequest(number, kind, GET, 1000, 60_000))  # type: ignore[arg-type]
        cluster.settle()
        assert isinstance(driver.replies[-1].error, NotLeader), kind
    driver.step(RequestSnapshot(20, 1000, 1000, stale=True))
    assert isinstance(driver.replies[-1].error, Refused)
    driver.step(BeginWatch(21, 2, "a", None, 1000))
    assert isinstance(driver.replies[-1].error, NotLeader)
    for other in (leader, cluster.drivers[2]):
        assert diverged_at(other) is None
    driver.request(30, write(9))
    cluster.settle()
    cluster.pass_time(100)
    assert driver.replies[-1].request_id == 30
    assert not [reply for reply in driver.replies[-1:] if reply.error], "the leader executes it"
    assert driver.replica.applied_index == leader.replica.applied_index


def test_members_know_how_far_the_others_have_applied() -> None:
    cluster = cluster_of()
    leader = cluster.elect(1)
    diverge(cluster, 3)
    cluster.pass_time(1000)
    known = leader.replica.containment
    assert known.diverged_peers == [3]
    assert known.reported_indexes == dict.fromkeys((2, 3), leader.replica.applied_index)


def test_a_diverged_leader_hands_over_and_does_not_campaign() -> None:
    cluster = cluster_of()
    cluster.elect(1)
    diverge(cluster, 1)
    cluster.pass_time(500)
    assert cluster.drivers[1].core.role == "follower"
    leader = cluster.leader()
    assert leader.core.node_id != 1
    leader.request(5, GET, "read")
    cluster.settle()
    cluster.pass_time(100)
    assert leader.replies[-1].result == '{"ok":true,"value":7}'


def test_the_mark_contains_a_node_from_its_first_step_on() -> None:
    cluster = cluster_of()
    cluster.elect(1)
    driver = cluster.drivers[3]
    driver.step(KnownDiverged(2), ClientRequest(1, "stale_read", GET, 1000, 60_000))
    assert isinstance(driver.replies[-1].error, NotLeader)


def test_without_a_majority_no_node_is_contained() -> None:
    cluster = cluster_of(2)
    leader = cluster.elect(1)
    diverge(cluster, 2)
    assert all(d.replica.containment.diverged_at is None for d in cluster.drivers.values())
    found = leader.replica.containment.comparison()
    assert found is not None
    assert found.differs_at is not None


def test_reinstalling_replaces_a_forged_committed_entry() -> None:
    cluster = cluster_of()
    leader = cluster.elect(1)
    leader.request(1, write(7))
    cluster.settle()
    cluster.pass_time(100)
    driver = cluster.drivers[3]
    driver.crash()
    entries = driver.disk.durable.entries
    at = next(place for place, entry in enumerate(entries) if entry.kind == "command")
    entries[at] = replace(entries[at], data=write(8))
    driver = cluster.restart(3)
    cluster.pass_time(1500)
    assert diverged_at(driver) is not None

    leader.step(ReinstallMember(9, 3, 5000))
    for number in range(20, 30):  # writes go on meanwhile
        leader.request(number, write(number))
        cluster.settle()
    cluster.pass_time(500)
    reply = next(reply for reply in leader.replies if reply.request_id == 9)
    assert reply.error is None
    assert diverged_at(driver) is None
    assert driver.replica.machine.state_hash() == leader.replica.machine.state_hash()
    driver.request(50, GET, "follower_read")
    cluster.settle()
    cluster.pass_time(100)
    assert driver.replies[-1].result == '{"ok":true,"value":29}'
    assert all(entry.data != write(8) for entry in driver.core.log_entries())


def test_two_voters_can_reinstall_each_other() -> None:
    cluster = cluster_of(2)
    leader = cluster.elect(1)
    driver = diverge(cluster, 2)
    leader.step(*(ClientRequest(n, "write", write(n), 1000) for n in range(20, 30)))
    leader.step(ReinstallMember(9, 2, 5000))
    leader.step(*(ClientRequest(n, "write", write(n), 1000) for n in range(30, 40)))
    cluster.settle()
    cluster.pass_time(500)
    assert not [reply for reply in leader.replies if reply.error is not None]
    assert driver.replica.machine.state_hash() == leader.replica.machine.state_hash()


def test_a_late_chunk_does_not_drop_acknowledged_entries() -> None:
    cluster = cluster_of()
    leader = cluster.elect(1)
    diverge(cluster, 3)
    leader.step(ReinstallMember(9, 3, 5000))
    cluster.settle()
    cluster.pass_time(200)
    snapshot = leader.core.snapshot
    assert snapshot is not None
    meta = snapshot.meta
    leader.request(20, write(20))
    cluster.settle()
    driver = cluster.drivers[3]
    last = driver.core.last_log_index
    assert last > meta.last_included_index
    text = str(snapshot.data[0 : len(snapshot.data)])
    late = InstallSnapshot(
        leader.core.term, 1, meta.last_included_index, meta.last_included_term,
        meta.last_included_time_us, meta.membership, 0, len(text), 0, text, reinstall=True,
    )  # fmt: skip
    driver.receive(1, late)
    assert driver.core.last_log_index == last


def test_what_cannot_be_reinstalled_is_rejected_with_the_reason() -> None:
    cluster = cluster_of()
    leader = cluster.elect(1)
    leader.step(ReinstallMember(1, 9, 1000))
    error = leader.replies[-1].error
    assert isinstance(error, ChangeRefused)
    assert "no member" in str(error)
    cluster.drivers[2].step(ReinstallMember(5, 3, 1000))
    assert isinstance(cluster.drivers[2].replies[-1].error, NotLeader)
    cluster.network.isolated = {3}
    leader.step(ReinstallMember(6, 3, 1000))
    cluster.pass_time(1200)
    assert isinstance(leader.replies[-1].error, OutcomeUnknown)
    cluster.heal()
    leader.request(7, write(1))
    cluster.settle()
    cluster.pass_time(500)
    assert cluster.drivers[3].replica.applied_index == leader.replica.applied_index


def test_a_diverged_node_keeps_the_quorum() -> None:
    cluster = cluster_of()
    cluster.elect(1)
    diverge(cluster, 3)
    cluster.drivers[1].crash()
    leader = cluster.elect(2)  # with its vote
    leader.request(20, write(20))
    cluster.settle()
    cluster.pass_time(100)
    assert [(reply.request_id, reply.error) for reply in leader.replies] == [(20, None)]


def test_a_repeated_request_joins_the_first() -> None:
    cluster = cluster_of()
    leader = cluster.elect(1)
    diverge(cluster, 3)
    cluster.isolate(3)
    leader.step(ReinstallMember(8, 3, 1000))  # whose client is gone
    leader.step(ReinstallMember(9, 3, 60_000))
    cluster.pass_time(1500)
    assert [r.request_id for r in leader.replies if isinstance(r.error, OutcomeUnknown)] == [8]
    cluster.heal()
    cluster.pass_time(1500)
    assert [r.error for r in leader.replies if r.request_id == 9] == [None]
    assert diverged_at(cluster.drivers[3]) is None
