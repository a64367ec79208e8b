"""The quota of the log: a snapshot comes first, and only a log that grows nevertheless is stopped."""

from __future__ import annotations

import pytest

from qcore.core.config import RaftConfig
from qcore.core.events import Tick
from qcore.errors import ConfigError, QuotaExceeded
from qcore.replica.config import ReplicaConfig
from qcore.replica.requests.storage_quotas import QuotaUse
from tests.driver.replicas import ReplicaCluster, ReplicaDriver
from tests.replica.quotas.test_state_quota import delete, get, outcome, put

QUOTA = 20_000


def log_use(driver: ReplicaDriver) -> QuotaUse:
    (use,) = [use for use in driver.replica.quotas.uses() if use.name == "log"]
    return use


def test_a_snapshot_comes_before_the_quota_is_reached() -> None:
    cluster = ReplicaCluster(log_quota_bytes=QUOTA)  # without any policy for snapshots
    leader = cluster.elect(1)
    for _ in range(100):
        assert outcome(cluster, leader, put("k")) is None
        for driver in cluster.drivers.values():
            assert not log_use(driver).reached
    assert leader.core.snapshot is not None
    assert log_use(leader).refused == 0


def grown(cluster: ReplicaCluster, leader: ReplicaDriver) -> int:
    """Fill a log that no commit and so no snapshot shortens; return how many writes it took."""
    cluster.network.isolated = {2, 3}
    for number in range(100):
        leader.request(number, put("k"), timeout_ms=3_600_000)
        if leader.replies:
            return number
    raise AssertionError("the quota was never reached")


def test_a_log_that_no_snapshot_shortens_is_bounded() -> None:
    cluster = ReplicaCluster(log_quota_bytes=QUOTA)
    leader = cluster.elect(1)
    assert grown(cluster, leader) <= QUOTA // 1000 + 1
    error = leader.replies[0].error
    assert isinstance(error, QuotaExceeded)
    assert (error.quota, error.limit, error.retry_after_ms) == ("log", QUOTA, 1000)
    for number in range(1000, 1100):
        leader.request(number, delete("k"), timeout_ms=3_600_000)
    use = log_use(leader)
    assert use.reached
    assert use.use is not None
    assert QUOTA < use.use < QUOTA * 9 // 8 + 200, "deletes have an eighth more"
    cluster.heal()
    cluster.elect(1)
    assert outcome(cluster, leader, get("k"), "read") is None


def test_the_log_quota_clears_itself() -> None:
    cluster = ReplicaCluster(log_quota_bytes=QUOTA)
    leader = cluster.elect(1)
    grown(cluster, leader)
    assert log_use(leader).reached
    cluster.heal()
    cluster.elect(1)
    for _ in range(5):  # the snapshot, chunk by chunk
        cluster.advance(1)
        leader.step(Tick())
    assert not log_use(leader).reached
    assert outcome(cluster, leader, put("k")) is None


def test_a_quota_below_what_snapshots_keep_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"log_quota_bytes is 100; it must be above keep_bytes"):
        ReplicaConfig(RaftConfig(1), log_quota_bytes=100)
