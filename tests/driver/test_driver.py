"""The driver keeps a driver's duties: order, durability, and nothing that is durable is ever lost."""

from __future__ import annotations

import json

import pytest

from qcore.core import DurableState, RaftConfig, Safeguards
from qcore.core.effects import AppendLog, SaveHardState
from qcore.core.entry import Entry, HardState
from qcore.core.messages import AppendEntriesResponse
from qcore.core.raft_server import NEVER
from qcore.replica.events import Applied
from tests.core.support.safety_checks import SafetyViolation
from tests.driver.clock import WALL_US, Clock, Time
from tests.driver.cores import CoreCluster
from tests.driver.disk import Disk
from tests.driver.replicas import ReplicaCluster


def entry(index: int) -> Entry:
    return Entry(index, 1, "command", f"c{index}", 0)


def with_an_unsynced_append() -> CoreCluster:
    """Node 1 leads, and node 2 has got an entry that it has not synced yet."""
    cluster = CoreCluster.of(3, RaftConfig(1, pre_vote=False))
    cluster.elect(1)
    cluster.isolate(3)
    cluster.propose(1, "x")
    while cluster.network:
        cluster.deliver()
    return cluster


def acknowledged(cluster: CoreCluster, index: int) -> bool:
    """Whether node 2 has sent an acknowledgement of this entry."""
    return any(
        sent.source == 2
        and isinstance(sent.message, AppendEntriesResponse)
        and sent.message.match_index >= index
        for sent in cluster.network
    )


# -- messages and durability -----------------------------------------------------------------------


def test_acknowledgement_waits_until_its_write_is_durable() -> None:
    cluster = with_an_unsynced_append()
    newest = cluster.core(2).last_log_index
    assert not acknowledged(cluster, newest)
    cluster.persist(2)
    assert acknowledged(cluster, newest)


def test_crash_loses_waiting_messages_and_unsynced_writes() -> None:
    cluster = with_an_unsynced_append()
    newest = cluster.core(2).last_log_index
    cluster.restart(2)
    assert cluster.core(2).last_log_index == newest - 1
    # The ids of its writes begin again, and pass the one that the message waited for.
    for _ in range(10):
        cluster.timeout(2)
        cluster.persist(2)
    assert not acknowledged(cluster, newest)


def test_crash_keeps_the_writes_that_reached_the_disk() -> None:
    cluster = with_an_unsynced_append()
    newest = cluster.core(2).last_log_index
    cluster.crash(2, survive=1)
    cluster.restart(2)
    assert cluster.core(2).last_log_index == newest


def test_what_is_durable_survives_any_number_of_crashes() -> None:
    cluster = with_an_unsynced_append()
    cluster.persist(2)
    before = cluster.core(2).log_entries()
    for _ in range(3):
        cluster.restart(2)
        assert cluster.core(2).log_entries() == before


@pytest.mark.parametrize("stalled", [False, True])
def test_instant_disk_loses_only_what_a_stall_holds_back(stalled: bool) -> None:
    cluster = ReplicaCluster(1)
    driver = cluster.elect(1)
    driver.stalled = stalled
    driver.request(1, json.dumps({"op": "set", "key": "x", "value": 1}))
    assert bool(driver.disk.pending) == stalled
    assert [reply.error for reply in driver.replies] == ([] if stalled else [None])
    written = driver.core.last_log_index
    driver.stalled = False
    restarted = cluster.restart(1)
    assert restarted.core.last_log_index == written - stalled
    assert restarted.replies == []


# -- the disk --------------------------------------------------------------------------------------


def test_writes_become_durable_in_their_order() -> None:
    disk = Disk(DurableState())
    disk.submit(AppendLog(1, [entry(1)]))
    disk.submit(AppendLog(2, [entry(2)]))
    disk.submit(AppendLog(3, [entry(3)]))
    assert disk.sync(2) == 2
    assert [held.index for held in disk.durable.entries] == [1, 2]
    assert disk.sync() == 3
    assert disk.sync() is None


def test_commit_index_is_stored_with_the_next_write() -> None:
    disk = Disk(DurableState())
    disk.submit(SaveHardState(1, HardState(1, None, 0)))
    disk.submit(AppendLog(2, [entry(1)]))
    disk.save_commit(1)
    disk.sync()
    assert disk.durable.hard_state.commit == 0
    disk.submit(AppendLog(3, [entry(2)]))
    disk.sync()
    assert disk.durable.hard_state.commit == 1


def test_loaded_state_is_a_copy() -> None:
    disk = Disk(DurableState(HardState(1), None, [entry(1)]))
    loaded = disk.load()
    loaded.entries.append(entry(2))
    loaded.hard_state.term = 9
    assert disk.durable == DurableState(HardState(1), None, [entry(1)])


# -- the network and the clocks --------------------------------------------------------------------


def test_cut_links_lose_what_arrives_over_them() -> None:
    cluster = CoreCluster.of(3)
    cluster.elect(1)
    cluster.network.cut = {(1, 2)}
    cluster.isolate(3)
    cluster.propose(1, "x")
    cluster.settle()
    assert [len(cluster.core(node).log_entries()) for node in (1, 2, 3)] == [3, 2, 2]
    cluster.heal()
    cluster.timeout(1)
    cluster.settle()
    assert [len(cluster.core(node).log_entries()) for node in (1, 2, 3)] == [3, 3, 3]


@pytest.mark.parametrize("speed", [500, 1000, 1700])
def test_a_clock_runs_at_its_speed_and_can_jump(speed: int) -> None:
    time = Time(7)
    clock = Clock(time, wall_us=WALL_US, speed=1000)
    time.now += 1000
    before = clock.now
    clock.speed = speed
    assert clock.now == before
    time.now += 3000
    assert clock.now == before + 3 * speed
    assert clock.wall_us == WALL_US + 4000, "the wall clock runs at the right speed"
    clock.now += 10_000
    due = clock.true_time(clock.now + 2 * speed)
    assert due == time.now + 2000
    assert clock.true_time(NEVER) == NEVER


def test_a_node_without_a_wall_clock_reports_none() -> None:
    time = Time()
    clock = Clock(time)
    time.now += 5
    assert clock.wall_us == 0
    clock.wall_us = WALL_US
    time.now += 5
    assert clock.wall_us == WALL_US + 5


# -- the observer ----------------------------------------------------------------------------------


def a_follower_acknowledges(safeguards: Safeguards) -> bool:
    """Node 2 gets a write while its disk stalls, and node 3 is cut off. Returns whether the write is committed."""
    cluster = ReplicaCluster(raft=RaftConfig(1, safeguards=safeguards))
    leader = cluster.elect(1)
    cluster.isolate(3)
    cluster.drivers[2].stalled = True
    leader.request(1, json.dumps({"op": "set", "key": "x", "value": 1}))
    cluster.settle()
    return bool(leader.replies)


def test_safety_is_checked_after_every_step_of_a_replica() -> None:
    assert not a_follower_acknowledges(Safeguards())
    with pytest.raises(SafetyViolation, match="commit rule"):
        a_follower_acknowledges(Safeguards(append_durable_before_ack=False))


def test_log_time_that_goes_back_at_a_replica_is_found() -> None:
    cluster = ReplicaCluster(1)
    driver = cluster.elect(1)
    applied = [Applied(Entry(index, 1, "command", "", time)) for index, time in ((98, 5), (99, 4))]
    cluster.observer.executed(driver, applied[:1])
    with pytest.raises(SafetyViolation, match="log time: node 1 applies entry 99"):
        cluster.observer.executed(driver, applied[1:])
