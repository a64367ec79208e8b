"""Removed and wiped nodes that restart: a removed node learns that it was removed, a wiped one waits to be added."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from qcore.cli.main import app
from qcore.processes import NodeProcess, ProcessCluster, wait_for
from tests.process.conftest import assert_no_traceback
from tests.process.support.member_changes import (
    add_learner,
    change,
    configs_of,
    initialised_cluster,
)
from tests.process.support.wire_client import WireClient, string_schema

pytestmark = pytest.mark.process


def logged(node: NodeProcess, text: str, since: int = 0) -> bool:
    return text in node.log_text()[since:]


def assert_reports_removal(node: NodeProcess, since: int) -> None:
    """Check its log lines (once), its pages, and the output of `qcore cluster health` for it."""
    wait_for(lambda: logged(node, "this node was removed", since), 30, "a line in the log")
    assert node.log_text()[since:].count("this node was removed") == 1
    assert f"node {node.node_id}" in node.status()["qcore"]["removed"]
    assert "\nqcore_raft_removed 1.0\n" in node.get("/metrics")[1]
    health = CliRunner().invoke(app, ["cluster", "health", "--endpoints", node.address])
    assert health.exit_code == 5
    assert f"{node.address} was removed" in health.output
    status = CliRunner().invoke(app, ["cluster", "status", "--endpoints", node.address])
    assert status.exit_code == 5
    assert " removed " in status.output


def write_something(cluster: ProcessCluster, name: str) -> None:
    with WireClient(cluster.wait_leader().address) as client:
        made = client.perform("SetSchema", entity_schema=string_schema(name, "Name"))
        assert made["error"] is None


@pytest.mark.long
def test_removed_and_wiped_nodes_return_only_when_added_again(tmp_path: Path) -> None:
    with initialised_cluster(tmp_path, size=3, voters=3) as cluster:
        write_something(cluster, "First")
        cluster.wait_converged()
        leader = cluster.wait_leader()
        outcast = next(node for node in cluster.running() if node is not leader)
        others = [node for node in cluster.running() if node is not outcast]
        rest = [node.node_id for node in others]

        # The node is removed while it is down. When it returns, the leader informs it.
        outcast.kill()
        change(cluster, rest)
        write_something(cluster, "Second")
        term = leader.status()["current_term"]
        since = len(outcast.log_text())
        outcast.start()
        wait_for(lambda: logged(outcast, "was removed from cluster", since), 30, "the verdict")
        assert leader.status()["current_term"] == term, "the removed node caused an election"
        code, reason = outcast.get("/readyz")
        assert code == 503
        assert "was removed from cluster" in reason
        assert_reports_removal(outcast, since)
        assert outcast.stop() == 5, "a removed node does not end with 0"

        # As the log line advises: wiped and added again, the node is accepted.
        shutil.rmtree(outcast.data_dir)
        add_learner(cluster, outcast)
        change(cluster, [1, 2, 3])
        cluster.wait_converged()

        # Wiped while it is a voter: all others reject it, even after they restart.
        outcast.kill()
        shutil.rmtree(outcast.data_dir)
        since = len(leader.log_text())
        outcast.start()
        wait_for(
            lambda: logged(leader, f"node {outcast.node_id} was wiped", since), 30, "a refusal"
        )
        leader.kill()
        since = len(leader.log_text())
        leader.start()
        wait_for(
            lambda: logged(leader, f"node {outcast.node_id} was wiped", since), 30, "a refusal"
        )
        write_something(cluster, "Third")
        status = outcast.status()
        assert (status["current_term"], status["qcore"]["cluster_id"]) == (0, None)

        # Removed and added again.
        change(cluster, rest)
        add_learner(cluster, outcast)
        change(cluster, [1, 2, 3])
        cluster.wait_converged()
        assert configs_of(outcast) == [[1, 2, 3]]

        # Removed while it runs: it learns this and reports it.
        wait_for(lambda: outcast.get("/readyz")[0] == 200, 30, "the node to be ready")
        change(cluster, rest)
        since = len(outcast.log_text())
        wait_for(lambda: "is no member" in outcast.get("/readyz")[1], 30, "the node to learn of it")
        assert_reports_removal(outcast, since)

        # The node keeps running, and can be added again as it is.
        add_learner(cluster, outcast)
        wait_for(lambda: logged(outcast, "this node is a member again", since), 30, "its return")
        assert outcast.status()["qcore"]["removed"] is None
        assert outcast.stop() == 0
    assert_no_traceback(cluster)
