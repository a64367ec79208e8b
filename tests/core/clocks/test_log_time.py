"""Log time never goes back, even if a snapshot is all that is left of the log."""

from __future__ import annotations

import pytest

from qcore.core import Entry, RaftConfig
from qcore.core.effects import StoreSnapshot
from qcore.core.events import MessageReceived, Propose
from qcore.core.messages import AppendEntries
from qcore.core.version import ClusterVersion
from tests.core.support.safety_checks import SafetyViolation
from tests.core.support.single_core import THREE, become, only, receive, restored
from tests.driver.cores import CoreCluster
from tests.driver.first_state import whole_snapshot

LATE, EARLY = 9_000_000, 1_000_000


def compacted(late: int = LATE) -> CoreCluster:
    """A single-node cluster that knows the time `late` only from a snapshot."""
    cluster = CoreCluster.of(1)
    cluster.elect(1)
    cluster.step(1, Propose(["late"], late))
    cluster.settle()
    cluster.take_snapshot(1)
    cluster.settle()
    assert cluster.core(1).log_entries() == []
    return cluster


def test_restarted_leader_continues_from_the_snapshot_time() -> None:
    cluster = compacted()
    cluster.crash(1)
    cluster.restart(1)
    cluster.elect(1)
    assert cluster.core(1).log_entries()[0].time_us == LATE, "the entry that begins its term"
    cluster.step(1, Propose(["early"], EARLY))
    assert cluster.core(1).log_entries()[-1].time_us == LATE


def test_leader_continues_from_the_installed_snapshot_time() -> None:
    core = restored()
    effects = receive(core, 2, whole_snapshot(4, 2, 5, 3, THREE, "state", time_us=LATE))
    assert only(effects, StoreSnapshot).snapshot.meta.last_included_time_us == LATE
    become(core, "leader")
    core.step(Propose(["early"], EARLY), core.next_deadline())
    assert {entry.time_us for entry in core.log_entries()} == {LATE}


def test_a_snapshot_carries_its_last_entrys_time_to_a_follower() -> None:
    """Not the newest entry's time: the entries after the snapshot carry their times themselves."""
    cluster = CoreCluster.of(3, RaftConfig(1, max_snapshot_chunk=4))
    cluster.isolate(3)
    cluster.elect(1)
    cluster.step(1, Propose(["early"], EARLY))
    cluster.settle()
    cluster.take_snapshot(1)
    cluster.step(1, Propose(["late"], LATE))
    cluster.settle()
    cluster.heal()
    for _ in range(20):
        cluster.advance(60)
        cluster.timeout(1)
        cluster.settle()
    snapshot = cluster.drivers[3].disk.durable.snapshot
    assert snapshot is not None, "sent in chunks of 4 characters"
    assert snapshot == cluster.drivers[1].disk.durable.snapshot
    assert snapshot.meta.last_included_time_us == EARLY


def test_times_of_truncated_entries_do_not_count() -> None:
    """A deposed leader's clock was far ahead; none of its entries was committed."""
    core = restored((1,), commit=1)
    wrong = Entry(2, 1, "command", "wrong", LATE, LATE)
    receive(core, 2, AppendEntries(1, 2, 1, 1, 1, [wrong]))
    assert core.last_clock_us == LATE
    right = Entry(2, 2, "noop", "", EARLY, EARLY)
    receive(core, 3, AppendEntries(2, 3, 1, 1, 1, [right]))
    assert core.last_clock_us == EARLY
    become(core, "leader")
    assert core.log_entries()[-1].time_us == EARLY
    assert EARLY <= core.log_entries()[-1].clock_us < LATE


def test_times_of_entries_replaced_by_a_snapshot_do_not_count() -> None:
    core = restored((1,), commit=1)
    wrong = Entry(2, 1, "command", "wrong", LATE, LATE)
    receive(core, 2, AppendEntries(1, 2, 1, 1, 1, [wrong]))
    receive(core, 3, whole_snapshot(2, 3, 5, 2, THREE, "state", time_us=EARLY))
    assert (core._server.last_time_us, core.last_clock_us) == (EARLY, 0)


def test_snapshot_from_before_1970_is_invalid() -> None:
    core = restored()
    before = core.status()
    core.step(MessageReceived(2, whole_snapshot(1, 2, 5, 1, THREE, "state", time_us=-1)), 0)
    assert core.status().snapshot_index == before.snapshot_index == 0


def test_safety_checks_detect_log_time_that_goes_back() -> None:
    """`Safety` checks it in every random walk. This test removes a snapshot's time from a server."""
    cluster = compacted()
    cluster.crash(1)
    cluster.restart(1)
    cluster.core(1)._server.last_time_us = 0  # the fault that the snapshot's time prevents
    with pytest.raises(SafetyViolation, match="log time"):
        cluster.elect(1)


def test_safety_checks_detect_cluster_clock_that_goes_back() -> None:
    cluster = CoreCluster.of(1)
    cluster.elect(1)
    cluster.step(1, Propose([ClusterVersion(2, "register", 1).to_json()], 1, ["version"]))
    cluster.settle()
    cluster.advance(100)
    cluster.propose(1, "late")
    cluster.settle()
    server = cluster.core(1)._server
    server.last_clock_us = server.clock.value_us = 0
    cluster.propose(1, "early")
    with pytest.raises(SafetyViolation, match="cluster clock"):
        cluster.settle()
