"""Nodes that come back and should not: removed ones are told so, wiped ones wait until they are added again."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from qcore.cli.demo.processes import LocalCluster, NodeProcess, wait_for
from qcore.cli.main import app
from tests.process.conftest import assert_no_traceback
from tests.process.support.member_changes import (
    add_learner,
    change,
    configs_of,
    initialised_cluster,
)
from tests.process.support.wire_client import WireClient, string_schema

pytestmark = pytest.mark.process


def said(node: NodeProcess, text: str, since: int = 0) -> bool:
    return text in node.log_text()[since:]


def says_that_it_was_removed(node: NodeProcess, since: int) -> None:
    """In its log (once), its pages, and to whoever asks it for the health of its cluster."""
    wait_for(lambda: said(node, "this node was removed", since), 30, "a line in the log")
    assert node.log_text()[since:].count("this node was removed") == 1
    assert f"node {node.node_id}" in node.status()["qcore"]["removed"]
    assert "\nqcore_raft_removed 1\n" in node.get("/metrics")[1]
    asked = CliRunner().invoke(app, ["cluster", "health", "--endpoints", node.address])
    assert asked.exit_code == 5
    assert f"{node.address} was removed" in asked.output
    shown = CliRunner().invoke(app, ["cluster", "status", "--endpoints", node.address])
    assert shown.exit_code == 5
    assert " removed " in shown.output


def write_something(cluster: LocalCluster, name: str) -> None:
    with WireClient(cluster.wait_leader().address) as client:
        made = client.perform("SetSchema", entity_schema=string_schema(name, "Name"))
        assert made["error"] is None


def test_removed_and_wiped_nodes_return_only_when_added_again(tmp_path: Path) -> None:
    with initialised_cluster(tmp_path, size=3, voters=3) as cluster:
        write_something(cluster, "First")
        cluster.wait_converged()
        leader = cluster.wait_leader()
        outcast = next(node for node in cluster.running() if node is not leader)
        others = [node for node in cluster.running() if node is not outcast]
        rest = [node.node_id for node in others]

        # Removed while it is down, so it has not heard of it: when it comes back it is told.
        outcast.kill()
        change(cluster, rest)
        write_something(cluster, "Second")
        term = leader.status()["current_term"]
        since = len(outcast.log_text())
        outcast.start()
        wait_for(lambda: said(outcast, "was removed from cluster", since), 30, "the verdict")
        assert leader.status()["current_term"] == term, "it disturbed the others"
        code, reason = outcast.get("/readyz")
        assert code == 503
        assert "was removed from cluster" in reason
        says_that_it_was_removed(outcast, since)
        assert outcast.stop() == 5, "a removed node is not done"

        # As the verdict says: wiped and added again it is welcome.
        shutil.rmtree(outcast.data_dir)
        add_learner(cluster, outcast)
        change(cluster, [1, 2, 3])
        cluster.wait_converged()

        # Wiped while it is a voter: nobody speaks to it, over restarts of the others too.
        outcast.kill()
        shutil.rmtree(outcast.data_dir)
        since = len(leader.log_text())
        outcast.start()
        wait_for(lambda: said(leader, f"node {outcast.node_id} was wiped", since), 30, "a refusal")
        leader.kill()
        since = len(leader.log_text())
        leader.start()
        wait_for(lambda: said(leader, f"node {outcast.node_id} was wiped", since), 30, "a refusal")
        write_something(cluster, "Third")
        status = outcast.status()
        assert (status["current_term"], status["qcore"]["cluster_id"]) == (0, None)

        # Removed and added again.
        change(cluster, rest)
        add_learner(cluster, outcast)
        change(cluster, [1, 2, 3])
        cluster.wait_converged()
        assert configs_of(outcast) == [[1, 2, 3]]

        # Removed while it runs: it knows, and says so.
        wait_for(lambda: outcast.get("/readyz")[0] == 200, 30, "it to be ready")
        change(cluster, rest)
        since = len(outcast.log_text())
        wait_for(lambda: "is no member" in outcast.get("/readyz")[1], 30, "it to know")
        says_that_it_was_removed(outcast, since)

        # It goes on running, and can be added again as it is.
        add_learner(cluster, outcast)
        wait_for(lambda: said(outcast, "this node is a member again", since), 30, "its return")
        assert outcast.status()["qcore"]["removed"] is None
        assert outcast.stop() == 0
    assert_no_traceback(cluster)
