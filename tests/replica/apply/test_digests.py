"""The recorded digests are the same on every replica, however its entries were divided into steps."""

from __future__ import annotations

import random

import pytest

from qcore.core.entry import Entry
from qcore.core.version import ClusterVersion
from qcore.errors import StateMachineFailed
from qcore.machines.interface import ApplyContext
from qcore.machines.register import RegisterMachine
from qcore.replica.access.access_table import AccessTable
from qcore.replica.apply.state_digests import DIGEST_INTERVAL, DIGESTS_KEPT, StateDigests
from qcore.replica.events import ClientRequest, TriggerSnapshot
from qcore.replica.machine_results import digest_of
from tests.driver.replicas import ReplicaCluster


def command(number: int) -> str:
    return f'{{"op":"set","key":"k{number % 50}","value":{number}}}'


def write_until(cluster: ReplicaCluster, index: int, rng: random.Random, written: int) -> int:
    """Write in steps of random sizes until the leader's log reaches `index`; return the total number of writes."""
    leader = cluster.leader()
    while leader.replica.applied_index < index:
        step = range(written, written + rng.randint(1, 300))
        leader.step(*(ClientRequest(n + 1, "write", command(n), 1000) for n in step))
        cluster.settle()
        written = step.stop
    return written


def test_replicas_that_never_stop_at_an_index_have_its_digest() -> None:
    rng = random.Random(5)
    cluster = ReplicaCluster(max_pending_requests=1000, rules=3)
    cluster.elect(1)
    before = cluster.leader().replica.applied_index  # entries before the first command
    written = write_until(cluster, DIGEST_INTERVAL, rng, 0)
    cluster.network.isolated = {3}  # it gets the rest in one message, and applies it in other steps
    write_until(cluster, 3 * DIGEST_INTERVAL, rng, written)
    cluster.heal()
    cluster.pass_time(500)
    while cluster.drivers[3].replica.has_apply_backlog:
        cluster.drivers[3].step()

    machine = RegisterMachine()
    expected: dict[int, str] = {}
    for index in range(before + 1, 3 * DIGEST_INTERVAL + 1):
        context = ApplyContext(index, 0, 3, 0)
        machine.apply(command(index - before - 1), context)
        if index % DIGEST_INTERVAL == 0:
            expected[index] = digest_of(machine)
    assert len(expected) == 3
    for driver in cluster.drivers.values():
        assert driver.replica.digests.kept == expected


def test_snapshot_that_replaces_the_state_clears_the_digests() -> None:
    rng = random.Random(6)
    cluster = ReplicaCluster(max_pending_requests=1000, rules=3)
    leader = cluster.elect(1)
    written = write_until(cluster, DIGEST_INTERVAL, rng, 0)
    cluster.pass_time(100)
    behind = cluster.drivers[3].replica
    assert list(behind.digests.kept) == [DIGEST_INTERVAL]
    cluster.network.isolated = {3}
    write_until(cluster, 2 * DIGEST_INTERVAL, rng, written)
    leader.step(TriggerSnapshot(keep_entries=0))
    cluster.heal()
    cluster.pass_time(500)
    while behind.has_apply_backlog:
        cluster.drivers[3].step()
    assert behind.applied_index == leader.replica.applied_index
    assert not behind.digests.kept


class Counted:
    """A machine that only returns digests."""

    name = "counted"

    def __init__(self) -> None:
        self.digests = 0

    def state_hash(self) -> str:
        self.digests += 1
        if self.digests > DIGESTS_KEPT + 3:
            raise ValueError("no more")
        return f"{self.digests:x}"


def test_digests_are_bounded_and_computed_once_per_interval() -> None:
    machine = Counted()
    digests = StateDigests(machine, AccessTable(), True)  # type: ignore[arg-type]  # only the digest is used
    newest = (DIGESTS_KEPT + 3) * DIGEST_INTERVAL
    for index in range(1, newest + DIGEST_INTERVAL):
        digests.applied(Entry(index, 1, "command", "", 0), ClusterVersion(3))
    assert machine.digests == DIGESTS_KEPT + 3
    assert list(digests.kept) == [
        newest - back * DIGEST_INTERVAL for back in reversed(range(DIGESTS_KEPT))
    ]
    with pytest.raises(StateMachineFailed, match="raised ValueError: no more"):
        digests.applied(Entry(newest + DIGEST_INTERVAL, 1, "command", "", 0), ClusterVersion(3))
