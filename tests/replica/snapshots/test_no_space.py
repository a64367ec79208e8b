"""A disk without space for a snapshot: none is begun until there is space."""

from __future__ import annotations

import pytest

from qcore.core.events import Tick
from qcore.errors import QuotaExceeded, Refused
from qcore.replica.events import DiskSpaceChanged, RequestSnapshot
from tests.driver.replicas import ReplicaCluster, ReplicaDriver
from tests.replica.quotas.test_state_quota import get, outcome, put

QUOTA = 20_000


def let_snapshots_end(cluster: ReplicaCluster, driver: ReplicaDriver) -> None:
    for _ in range(5):  # chunk by chunk
        cluster.advance(1)
        driver.step(Tick())


@pytest.mark.parametrize(("entries", "size"), [(5, 0), (0, 2_000)])
def test_the_policy_waits_for_space(entries: int, size: int) -> None:
    cluster = ReplicaCluster(snapshot_entries=entries, snapshot_bytes=size)
    leader = cluster.elect(1)
    leader.step(DiskSpaceChanged(is_short=True, fits_snapshot=False))
    for _ in range(10):
        assert outcome(cluster, leader, put("k")) is None
    let_snapshots_end(cluster, leader)
    assert leader.core.snapshot is None
    assert cluster.drivers[2].core.snapshot is not None, "each node by its own disk"
    leader.step(DiskSpaceChanged(is_short=True, fits_snapshot=True))
    let_snapshots_end(cluster, leader)
    assert leader.core.snapshot is not None, "it makes space, so it is taken once it fits"


def test_a_request_for_a_snapshot_ends_immediately() -> None:
    cluster = ReplicaCluster()
    leader = cluster.elect(1)
    leader.step(DiskSpaceChanged(is_short=False, fits_snapshot=False))
    leader.step(RequestSnapshot(77, 5_000, 5_000, stale=True))
    leader.step(Tick())
    (reply,) = [each for each in leader.replies if each.request_id == 77]
    assert isinstance(reply.error, Refused)
    assert "no space for a snapshot" in str(reply.error)


def test_the_quota_of_the_log_bounds_what_waits() -> None:
    cluster = ReplicaCluster(log_quota_bytes=QUOTA)
    leader = cluster.elect(1)
    leader.step(DiskSpaceChanged(is_short=False, fits_snapshot=False))
    errors = [outcome(cluster, leader, put("k")) for _ in range(30)]
    assert isinstance(errors[-1], QuotaExceeded)
    assert outcome(cluster, leader, get("k"), "read") is None
    leader.step(DiskSpaceChanged(is_short=False))
    let_snapshots_end(cluster, leader)
    assert outcome(cluster, leader, put("k")) is None
