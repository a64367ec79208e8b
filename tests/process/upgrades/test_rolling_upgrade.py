"""A cluster of 0.1.0 is upgraded under load, node by node, and back again until its rules are raised."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from qcore.core.version import LATEST_RULES
from qcore.processes import NodeProcess, ProcessCluster, wait_for
from tests.packaging.installation import Installation
from tests.process.conftest import ARGUMENTS, assert_no_traceback, initialise
from tests.process.lifecycle.test_versions import content_of
from tests.process.support.load import Load
from tests.process.support.member_changes import configuration_on_disk
from tests.process.support.wire_client import WireClient
from tests.process.upgrades.old_client import OldClient
from tests.process.upgrades.release_0_1_0 import use_new, use_old

pytestmark = [pytest.mark.process, pytest.mark.long]

#: Snapshots are so frequent that a node which missed a moment gets one.
SNAPSHOTS = ("--snapshot-entries", "100", "--keep-entries", "10")
OPTIONS = [*ARGUMENTS, *SNAPSHOTS, "--machine", "entity"]
#: Holds the rules at those of 0.1.0.
HOLD = ("--max-rules", "1")


def restart(cluster: ProcessCluster, load: Load, node: NodeProcess) -> None:
    """Restart a node under load: the others go on without it, and it gets what it missed from a snapshot.

    Then every node leads for a while, so that each of the programs that now run serves the others.
    """
    installed = node.log_text().count("snapshot installed")
    assert node.stop() == 0
    load.wait_acknowledged(300)
    node.start()
    wait_for(lambda: node.get("/readyz")[0] == 200, 30, f"node {node.node_id} to be ready")
    wait_for(lambda: node.log_text().count("snapshot installed") > installed, 30, "a snapshot")
    for each in cluster.nodes.values():
        lead(cluster, each)
        load.wait_acknowledged(50)


def lead(cluster: ProcessCluster, node: NodeProcess) -> None:
    """Transfer the leadership to a node, whatever the node that has it runs."""

    def leads() -> bool:
        leader = cluster.wait_leader()
        if leader is not node:
            with WireClient(leader.address) as client:
                client.ask("TransferLeader", to=node.node_id)
        return cluster.leader() is node

    wait_for(leads, 30, f"node {node.node_id} to lead")


def rules_of(node: NodeProcess) -> int | None:
    """The active apply rules; None of a node of 0.1.0."""
    rules = node.status()["qcore"].get("apply_rules")
    return None if rules is None else int(rules["active"])


def old_cluster(directory: Path, old: Installation, size: int = 3) -> ProcessCluster:
    """A cluster object whose nodes run 0.1.0."""
    cluster = ProcessCluster(directory, size=size, arguments=OPTIONS)
    for node in cluster.nodes.values():
        use_old(node, old)
    return cluster


def test_a_cluster_is_upgraded_and_taken_back(tmp_path: Path, old_release: Installation) -> None:
    with old_cluster(tmp_path, old_release) as cluster:
        nodes = list(cluster.nodes.values())
        cluster.start()
        initialise(cluster)
        with (
            Load(cluster.endpoints) as load,
            OldClient(old_release.python, cluster.endpoints, tmp_path) as old_client,
        ):
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
            for node in nodes:
                assert {rules_of(each) for each in nodes} <= {None, 1}
                use_new(node)
                restart(cluster, load, node)
            for node in nodes:
                wait_for(lambda: rules_of(node) == LATEST_RULES, 30, "the newest rules")  # noqa: B023 - called here
            goal = len(old_client.counted()) + 20
            wait_for(lambda: len(old_client.counted()) >= goal, 30, "increments of the old client")
            load.wait_acknowledged(300)
            load.stop()
            load.read_all()
            load.check()
        counted = old_client.counted()
        assert counted == list(range(1, len(counted) + 1)), "each increment took effect once"
        cluster.wait_converged()
        for node in nodes:
            node.stop()
        keys = {node.node_id: node.public_key() for node in nodes}
        for node in nodes:
            assert dict(configuration_on_disk(node).keys) == keys
            before = content_of(node)
            use_old(node, old_release)
            node.spawn()
            assert node.wait() == 5
            assert "start the node with the newer qcore that wrote it" in node.log_text()
            assert content_of(node) == before
            use_new(node)
        cluster.start()
        cluster.wait_converged()
        assert_no_traceback(cluster)


@pytest.mark.parametrize("seed", [1, 2])
def test_any_order_of_kills_and_programs_loses_nothing(
    tmp_path: Path, old_release: Installation, seed: int
) -> None:
    """Each node starts again and again with either program, often after a kill -9 under load."""
    rng = random.Random(seed)
    with old_cluster(tmp_path, old_release) as cluster:
        nodes = list(cluster.nodes.values())
        cluster.start()
        initialise(cluster)
        with Load(cluster.endpoints) as load:
            for _ in range(14):
                node = rng.choice(nodes)
                if rng.random() < 0.3:
                    node.stop()
                else:
                    node.kill()
                if rng.random() < 0.5:
                    load.wait_acknowledged(120)
                if rng.random() < 0.5:
                    use_old(node, old_release)
                    node.arguments = OPTIONS
                else:
                    use_new(node)
                    node.arguments = [*OPTIONS, *HOLD]
                node.start()
                load.wait_acknowledged(60)
            load.stop()
        for node in nodes:
            node.kill()
            use_new(node)
            node.arguments = OPTIONS
        cluster.start()
        cluster.wait_converged()
        load.read_all()
        load.check()
        assert_no_traceback(cluster)


def test_two_of_three_are_taken_back_without_an_option(
    tmp_path: Path, old_release: Installation
) -> None:
    """While one member runs 0.1.0, the others write nothing that it cannot read."""
    with old_cluster(tmp_path, old_release) as cluster:
        nodes = list(cluster.nodes.values())
        cluster.start()
        initialise(cluster)
        with Load(cluster.endpoints) as load:
            load.wait_acknowledged(300)
            for node in nodes[:2]:
                use_new(node)
                restart(cluster, load, node)
            for node in nodes[:2]:
                use_old(node, old_release)
                restart(cluster, load, node)
            load.stop()
        assert_no_traceback(cluster)
        for node in nodes:
            node.stop()
            use_new(node)
        cluster.start()
        cluster.wait_converged()
        load.read_all()
        load.check()


def test_a_member_of_0_1_0_is_rejected_after_the_raise(
    tmp_path: Path, old_release: Installation
) -> None:
    """It stopped before it got the entry that raised the rules, so it can read its data."""
    with old_cluster(tmp_path, old_release) as cluster:
        nodes = list(cluster.nodes.values())
        cluster.start()
        initialise(cluster)
        for node in nodes:
            node.stop()
        missed = nodes[2]
        kept = tmp_path / "kept"
        shutil.copytree(missed.data_dir, kept)
        for node in nodes:
            use_new(node)
        cluster.start()
        for node in nodes:
            wait_for(lambda: rules_of(node) == LATEST_RULES, 30, "the newest rules")  # noqa: B023 - called here
        for node in nodes:  # also the leader, which knows that this member had more entries
            node.stop()
        for path in missed.data_dir.iterdir():
            if path.name != "node.key":
                path.unlink()
        shutil.copytree(kept, missed.data_dir, dirs_exist_ok=True)
        use_old(missed, old_release)
        cluster.start()
        cluster.wait_leader()
        reason = (
            f"the cluster's apply rules are version {LATEST_RULES}, this program supports version 1"
        )
        for node in nodes:  # the members, and the old one that they refuse
            wait_for(lambda: reason in node.log_text(), 30, "the reason")  # noqa: B023 - called here
        missed.stop()
        use_new(missed)
        missed.start()
        cluster.wait_converged()
        assert_no_traceback(cluster)
