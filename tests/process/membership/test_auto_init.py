"""Real node processes that begin a cluster by themselves, while a founder is killed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qcore.processes import ProcessCluster
from qcore.processes.node_process import NodeProcess, wait_for

pytestmark = pytest.mark.process


def test_a_founder_killed_in_the_middle_leaves_one_cluster(tmp_path: Path) -> None:
    """Node 1 proposes first, and is killed once the others know it. Later all are killed in the middle."""
    with ProcessCluster(tmp_path) as cluster:
        places = ",".join(cluster.endpoints)
        for node in cluster.nodes.values():
            node.arguments = ["--auto-init", "--expect", "3", "--discover", places]
        first = cluster.nodes[1]
        for node in cluster.nodes.values():
            node.spawn()
        others = [cluster.nodes[2], cluster.nodes[3]]
        wait_for(lambda: all(map(_found_all, others)) or None, 60, "nodes 2 and 3 to find all")
        first.kill()
        wait_for(lambda: _accepted(cluster) or None, 60, "a founding that node 2 or 3 has accepted")
        for node in cluster.running():
            node.kill()
        cluster.start(60)
        cluster.wait_leader(60)
        cluster.wait_converged(60)
        clusters = {node.status()["qcore"]["cluster_id"] for node in cluster.nodes.values()}
        assert len(clusters) == 1
        voters = first.status()["membership_config"]["membership"]["configs"]
        assert voters == [[1, 2, 3]]


def _found_all(node: NodeProcess) -> bool:
    return "all founders are there" in node.log_path.read_text()


def _accepted(cluster: ProcessCluster) -> bool:
    """Whether a founder that runs has accepted a founding."""
    for node in cluster.running():
        try:
            found = json.loads((node.data_dir / "founding.json").read_text())
        except FileNotFoundError:
            continue
        if found["promises"]["accepted"] is not None:
            return True
    return False
