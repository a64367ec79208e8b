"""The size of a snapshot counts bytes, on every node: the policy compares it with bytes of the log."""

from __future__ import annotations

import json

from qcore.core.text_size import utf8_length
from qcore.replica.events import TriggerSnapshot
from tests.driver.replicas import ReplicaCluster


def write(cluster: ReplicaCluster, key: str, value: str) -> None:
    leader = cluster.leader()
    number = len(leader.replies) + 1
    leader.request(
        number, json.dumps({"op": "set", "key": key, "value": value}, ensure_ascii=False)
    )
    cluster.settle()
    assert leader.replies[-1].error is None


def test_snapshot_size_counts_bytes_not_characters() -> None:
    cluster = ReplicaCluster(snapshot_bytes=1, raft=None)
    cluster.elect(1)
    cluster.network.isolated = {3}
    for number in range(20):
        write(cluster, f"k{number}", "語" * 1000)
    leader = cluster.leader()
    leader.step(TriggerSnapshot(keep_entries=0))
    snapshot = leader.disk.snapshots[-1].snapshot
    size = utf8_length(str(snapshot.data))
    assert size > 2 * len(snapshot.data)

    # Taken, restored at a restart, and installed from the leader.
    cluster.heal()
    cluster.pass_time(500)
    installed = cluster.drivers[3]
    while installed.replica.has_apply_backlog:
        installed.step()
    restarted = cluster.restart(2)
    for driver in (leader, installed, restarted):
        stored = driver.disk.durable.snapshot
        assert stored is not None
        assert (
            driver.replica._snapshot_builder.size
            == utf8_length(str(stored.data))
            > 2 * len(stored.data)
        )

    # The next one is due once the log has grown by half its size in bytes.
    begun = len(leader.disk.snapshots)
    written = 0
    while written < 0.4 * size:
        write(cluster, "small", "x" * 1000)
        written += 1000
    cluster.pass_time(100)
    assert len(leader.disk.snapshots) == begun
    while written < 0.6 * size:
        write(cluster, "small", "x" * 1000)
        written += 1000
    cluster.pass_time(100)
    assert len(leader.disk.snapshots) == begun + 1
