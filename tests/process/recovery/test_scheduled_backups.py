"""Scheduled backups of real nodes: one follower writes them, and a failure harms nothing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from qcore.client import SyncClient
from qcore.processes import NodeProcess, ProcessCluster, wait_for
from tests.process.conftest import ARGUMENTS, assert_no_traceback, initialise
from tests.process.support.commands import run_qcore, run_qcore_json

pytestmark = pytest.mark.process

OPTIONS = ("--machine", "register", "--backup-interval-s", "1", "--backup-keep", "2")


def put(cluster: ProcessCluster, value: int) -> None:
    with SyncClient(cluster.endpoints) as client:
        client.execute(json.dumps({"op": "set", "key": "k", "value": value}))


def files(directory: Path) -> list[Path]:
    return sorted(directory.glob("*.snapshot"))


@pytest.mark.long
def test_single_node_backs_up_and_survives_a_missing_directory(tmp_path: Path) -> None:
    backups = tmp_path / "backups"
    arguments = (*ARGUMENTS, *OPTIONS, "--backup-dir", str(backups))
    with ProcessCluster(tmp_path, size=1, arguments=arguments) as cluster:
        cluster.start()
        initialise(cluster)
        node = cluster.nodes[1]
        failed = wait_for(lambda: node.status()["qcore"]["backups"]["problem"], 60, "a failure")
        assert str(backups) in failed
        health = run_qcore_json("cluster", "health", endpoints=cluster.endpoints)
        assert any("its last backup failed" in text for text in health["warnings"])
        assert "qcore_backup_failures_total 1.0" in node.get("/metrics")[1]
        put(cluster, 1)
        assert node.stop() == 0
        backups.mkdir()
        cluster.start()
        wait_for(lambda: files(backups), 60, "a backup")
        wait_for(lambda: node.status()["qcore"]["backups"]["taken"], 60, "its figures")
        assert node.status()["qcore"]["backups"]["problem"] is None
        assert run_qcore("snapshot", "verify", str(files(backups)[0])).returncode == 0
    assert_no_traceback(cluster)


@pytest.mark.long
def test_lowest_follower_writes_them_and_another_follows(tmp_path: Path) -> None:
    with ProcessCluster(tmp_path, size=3) as cluster:
        for node in cluster.nodes.values():
            directory = tmp_path / f"backups{node.node_id}"
            directory.mkdir()
            node.arguments = [*ARGUMENTS, *OPTIONS, "--backup-dir", str(directory)]
        cluster.start()
        initialise(cluster)

        def of(node: NodeProcess) -> list[Path]:
            return files(tmp_path / f"backups{node.node_id}")

        put(cluster, 1)
        leader = cluster.wait_leader()
        first, second = (node for node in cluster.nodes.values() if node is not leader)
        seen: set[str] = set()

        def several(node: NodeProcess, number: int) -> bool:
            seen.update(path.name for path in of(node))
            put(cluster, len(seen))
            return len(seen) >= number

        wait_for(lambda: several(first, 4), 60, "four backups of the lowest follower")
        wait_for(lambda: len(of(first)) == 2, 60, "two backups that are kept")
        assert of(leader) == []
        assert of(second) == []  # it never saw itself as the lowest one
        first.kill()
        wait_for(lambda: of(second), 30, "a backup of the other follower")
        assert of(leader) == []
        newest = run_qcore_json("snapshot", "verify", str(of(second)[-1]))
        assert newest["cluster_id"] == leader.status()["qcore"]["cluster_id"]
        shutil.rmtree(tmp_path / f"backups{second.node_id}")
        wait_for(lambda: "the backup failed" in second.log_text(), 30, "a line in the log")
        put(cluster, 99)
    assert_no_traceback(cluster)
