"""A node accepts only peers of its cluster."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from qcore.core.version import LATEST_RULES
from qcore.processes import NodeProcess, ProcessCluster, wait_for
from tests.process.conftest import ARGUMENTS, assert_no_traceback
from tests.process.support.wire_client import WireClient, string_schema

pytestmark = pytest.mark.process

VOTE = {"term": 10**9, "candidate_id": 2, "last_log_index": 10**9, "last_log_term": 10**9}


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[ProcessCluster]:
    """Two started nodes without data."""
    with ProcessCluster(tmp_path, size=2, arguments=ARGUMENTS) as nodes:
        nodes.start()
        yield nodes
    assert_no_traceback(nodes)


def begin_alone(node: NodeProcess) -> str:
    """Initialise the node as a cluster of one node, and return the cluster id."""
    with WireClient(node.address) as client:
        assert client.ask("Init", nodes=[]) == {"Ok": None}
        cluster_id: str = client.ask("GetMetrics")["qcore"]["cluster_id"]
    return cluster_id


def hello(node_id: int, cluster_id: str, protocol: int = 1) -> dict[str, Any]:
    return {
        "Hello": {
            "id": "h",
            "protocol": protocol,
            "cluster_id": cluster_id,
            "node_id": node_id,
            "role": "peer",
            "rules": [1, LATEST_RULES],
            "machine": "entity",
            "machine_versions": [1, 1],
        }
    }


def expect_refusal(client: WireClient, frame: dict[str, Any], *named: str) -> None:
    """Expect an `Err` that contains these texts, and a connection that is closed with 1008."""
    name, value = client.exchange(frame)
    assert name == "HelloResponse"
    for word in named:
        assert word in value["response"]["Err"]
    with pytest.raises(ConnectionClosed) as closed:
        client.receive()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1008


def test_a_peer_of_another_cluster_is_rejected_with_both_ids(pair: ProcessCluster) -> None:
    node = pair.nodes[1]
    cluster_id = begin_alone(node)
    with WireClient(node.address) as client:
        expect_refusal(client, hello(2, "another-cluster"), "another-cluster", cluster_id)
    assert node.status()["current_term"] == 2


def test_wrong_version_same_id_and_no_cluster_are_rejected(pair: ProcessCluster) -> None:
    node = pair.nodes[1]
    cluster_id = begin_alone(node)
    with WireClient(node.address) as client:
        expect_refusal(client, hello(2, cluster_id, protocol=2), "2", "1")
    with WireClient(node.address) as client:
        expect_refusal(client, hello(1, cluster_id), "node 1")
    with WireClient(node.address) as client:
        expect_refusal(client, hello(2, ""), "no cluster")


def test_the_leader_informs_a_non_member_of_its_removal(pair: ProcessCluster) -> None:
    node = pair.nodes[1]
    cluster_id = begin_alone(node)
    with WireClient(node.address) as client:
        expect_refusal(client, hello(2, cluster_id), "node 2", "removed", cluster_id)


def test_a_node_without_a_cluster_rejects_raft_messages(pair: ProcessCluster) -> None:
    node = pair.nodes[1]
    with WireClient(node.address) as client:
        client.send({"RaftVote": {"id": "v", "request": VOTE}})
        with pytest.raises(ConnectionClosed):
            client.receive()
    assert node.status()["current_term"] == 0


def test_a_node_of_another_cluster_cannot_be_taken_over(pair: ProcessCluster) -> None:
    """Node 1 is to begin a cluster with node 2, which has one already: neither harms the other."""
    first, second = pair.nodes[1], pair.nodes[2]
    cluster_id = begin_alone(second)
    with WireClient(first.address) as client:
        answer = client.ask("Init", nodes=[[1, first.address], [2, second.address]])
    assert "Err" in answer
    wait_for(
        lambda: cluster_id in first.log_text(), 20, "node 1 to name the cluster that rejected it"
    )
    refused = "Hello of node 1 refused"
    wait_for(lambda: refused in second.log_text(), 60, "node 2 to name the node that it rejected")
    status = second.status()
    assert status["qcore"]["cluster_id"] == cluster_id
    assert status["state"] == "Leader"
    assert status["membership_config"]["membership"]["configs"] == [[2]]
    with WireClient(second.address) as client:
        made = client.perform("SetSchema", entity_schema=string_schema("Item", "Name"))
        assert made["error"] is None


def test_an_invalid_init_is_rejected_and_changes_nothing(pair: ProcessCluster) -> None:
    node = pair.nodes[1]
    invalid: list[tuple[list[object], str]] = [
        ([[2, "127.0.0.1:1"]], "node 1"),
        ([[1, "127.0.0.1:1"], [1, "127.0.0.1:2"]], "twice"),
        ([[1, "127.0.0.1:1"], [2, "127.0.0.1:1"]], "two nodes"),
        ([[1, "nowhere"]], "nodes[0]"),
        ([[1, "http://127.0.0.1:1"]], "nodes[0]"),
    ]
    for nodes, named in invalid:
        with WireClient(node.address) as client:
            name, value = client.exchange({"Init": {"id": "i", "nodes": nodes}})
        assert name == "InitResponse", nodes
        assert named in value["response"]["Err"]
        assert value["detail"]["code"] == "ConfigError"
        assert node.status()["qcore"]["cluster_id"] is None
    begin_alone(node)
