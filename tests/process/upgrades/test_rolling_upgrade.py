"""A cluster of 0.1.0 is upgraded under load, node by node, and back again until its rules are raised."""

from __future__ import annotations

from pathlib import Path

import pytest

from qcore.core.version import LATEST_RULES
from qcore.processes import NodeProcess, ProcessCluster, wait_for
from tests.packaging.installation import Installation
from tests.process.conftest import ARGUMENTS, assert_no_traceback, initialise
from tests.process.support.load import Load
from tests.process.support.wire_client import WireClient
from tests.process.upgrades.release_0_1_0 import use_new, use_old

pytestmark = [pytest.mark.process, pytest.mark.long]

#: Snapshots are frequent, and a node that was down for long needs one.
SNAPSHOTS = ("--snapshot-entries", "150", "--keep-entries", "20")
OPTIONS = [*ARGUMENTS, *SNAPSHOTS, "--machine", "entity"]
HOLD = ("--max-rules", "1")


def restart(cluster: ProcessCluster, load: Load, node: NodeProcess) -> None:
    """Stop a node, let the others go on without it, start it, and wait until it serves and everything goes on."""
    assert node.stop() == 0
    load.wait_acknowledged(200)
    node.start()
    wait_for(lambda: node.get("/readyz")[0] == 200, 30, f"node {node.node_id} to be ready")
    load.wait_acknowledged(100)


def rules_of(node: NodeProcess) -> int | None:
    """The active apply rules; None of a node of 0.1.0."""
    rules = node.status()["qcore"].get("apply_rules")
    return None if rules is None else int(rules["active"])


def test_a_cluster_is_upgraded_and_taken_back(tmp_path: Path, old_release: Installation) -> None:
    with ProcessCluster(tmp_path, size=3, arguments=OPTIONS) as cluster:
        nodes = list(cluster.nodes.values())
        for node in nodes:
            use_old(node, old_release)
        cluster.start()
        initialise(cluster)
        with Load(cluster.endpoints) as load:
            load.wait_acknowledged(300)
            for node in nodes:
                use_new(node)
                node.arguments = [*OPTIONS, *HOLD]
                restart(cluster, load, node)
            assert {rules_of(node) for node in nodes} == {1}
            for node in nodes:
                use_old(node, old_release)
                node.arguments = OPTIONS
                restart(cluster, load, node)
            assert {rules_of(node) for node in nodes} == {None}
            for node in nodes:
                assert {rules_of(each) for each in nodes} <= {None, 1}
                use_new(node)
                restart(cluster, load, node)
            for node in nodes:
                wait_for(lambda: rules_of(node) == LATEST_RULES, 30, "the newest rules")
            load.wait_acknowledged(300)
            load.stop()
            load.read_all()
            load.check()
            print(load.outcomes, load.increments)
        cluster.wait_converged()
        assert_no_traceback(cluster)
