"""A follower keeps the chunks of a snapshot only as long as it may need them."""

from __future__ import annotations

from qcore.core import RaftConfig
from tests.driver.cores import CoreCluster


def test_chunks_are_dropped_once_the_log_passes_the_snapshot() -> None:
    cluster = CoreCluster.of(3, RaftConfig(node_id=1, max_snapshot_chunk=5))
    cluster.elect(1)
    cluster.isolate(3)
    cluster.propose(1, "a", "b")
    cluster.settle()
    cluster.take_snapshot(1)
    cluster.heal()
    cluster.timeout(1)
    while cluster.core(3).status().incoming_snapshot is None:
        cluster.persist(3)
        cluster.deliver()

    cluster.isolate(1)
    cluster.network.clear()
    cluster.elect(2)  # it has compacted nothing, so it sends entries
    cluster.timeout(2)
    cluster.settle()

    assert cluster.core(3).commit_index >= 4
    assert cluster.core(3).status().incoming_snapshot is None
