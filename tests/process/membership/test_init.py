"""Concurrent `Init` at three real nodes, with and without a token, with kill -9 in between."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from qcore.cli.main import app
from qcore.processes import ProcessCluster, wait_for
from tests.checkout import CHECKOUT
from tests.documents import spans
from tests.process.conftest import ARGUMENTS, assert_no_traceback
from tests.process.support.member_changes import on_disk
from tests.process.support.wire_client import WireClient

pytestmark = pytest.mark.process


def init_concurrently(cluster: ProcessCluster, **fields: object) -> list[dict[str, Any]]:
    """Send the same `Init` to all nodes before any of them answers, and return the answers."""
    clients = [WireClient(node.address) for node in cluster.nodes.values()]
    for client in clients:
        client.send({"Init": {"id": "i", "nodes": cluster.members, **fields}})
    answers = [client.receive()["InitResponse"]["response"] for client in clients]
    for client in clients:
        client.close()
    return answers


def init_as_documented(cluster: ProcessCluster, token: str) -> int:
    """The exit code of the command in docs/operate/operations.md, with these nodes and this token."""
    operations = CHECKOUT / "docs" / "operate" / "operations.md"
    (line,) = [span for span in spans(operations) if "--init-token blue-1" in span]
    for node in cluster.nodes.values():
        line = line.replace(f"127.0.0.1:808{node.node_id}", node.address)
    return CliRunner().invoke(app, shlex.split(line.replace("blue-1", token))[1:]).exit_code


def cluster_ids(cluster: ProcessCluster) -> list[str | None]:
    return [node.status()["qcore"]["cluster_id"] for node in cluster.nodes.values()]


def test_inits_with_a_token_form_one_cluster_despite_a_kill(
    tmp_path: Path,
) -> None:
    with ProcessCluster(tmp_path, size=3, arguments=ARGUMENTS) as cluster:
        cluster.start()
        first, last = cluster.nodes[1], cluster.nodes[3]
        clients = [WireClient(node.address) for node in cluster.nodes.values()]
        for client in clients:
            client.send({"Init": {"id": "i", "nodes": cluster.members, "token": "red"}})
        first.kill()
        first.start()
        for client in clients:
            client.close()
        # Until the Init that the kill interrupted has ended, a node may answer `initialising`.
        everywhere = 3 * [{"Ok": None}]
        wait_for(lambda: init_concurrently(cluster, token="red") == everywhere, 60, "one cluster")
        assert init_concurrently(cluster, token="red") == everywhere
        assert init_as_documented(cluster, "red") == 0, "and again"
        assert len(set(cluster_ids(cluster))) == 1
        for answer in init_concurrently(cluster, token="blue"):
            assert "is already a member of cluster" in answer["Err"]
        cluster.wait_converged()
        for node in cluster.nodes.values():
            node.kill()
        begun = [on_disk(node).entries[:2] for node in cluster.nodes.values()]
        assert begun[0] == begun[1] == begun[2]
        assert [entry.kind for entry in begun[0]] == ["membership", "version"]
        assert [(entry.term, entry.time_us, entry.clock_us) for entry in begun[0]] == 2 * [
            (1, 0, 0)
        ]
        shutil.rmtree(last.data_dir)
        cluster.start()
        with WireClient(last.address) as client:
            answer = client.ask("Init", nodes=cluster.members, token="red")
        assert "A node that was wiped since has another key" in answer["Err"]
        assert last.status()["last_log_index"] is None
        assert last.status()["current_term"] == 0, "it gave no vote and sought none"
        assert_no_traceback(cluster)


def test_inits_without_a_token_form_at_most_one_cluster(tmp_path: Path) -> None:
    with ProcessCluster(tmp_path, size=3, arguments=ARGUMENTS) as cluster:
        cluster.start()
        answers = init_concurrently(cluster)
        assert len({found for found in cluster_ids(cluster) if found}) <= 1
        for answer in answers:
            assert "Ok" in answer or "--init-token" in answer["Err"] or "already" in answer["Err"]

        def begun() -> bool:
            """Repeat the request at one node, as the error advises."""
            with WireClient(cluster.endpoints[0]) as client:
                answer = client.ask("Init", nodes=cluster.members)
            return "Ok" in answer or "already a member" in answer["Err"]

        wait_for(begun, 60, "a cluster")
        wait_for(lambda: None not in cluster_ids(cluster), 60, "all nodes to join")
        assert len(set(cluster_ids(cluster))) == 1
        cluster.wait_leader()
        cluster.wait_converged()
        assert_no_traceback(cluster)
