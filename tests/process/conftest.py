"""Fixtures that start real nodes and always end them. No node may ever log a traceback."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from qcore.processes import ProcessCluster
from tests.process.support.wire_client import WireClient

#: Short enough for quick elections, long enough for two busy cores.
TIMING = ("--heartbeat-ms", "60", "--election-timeout-min-ms", "300")
TIMING_MAX = ("--election-timeout-max-ms", "600")
ARGUMENTS = (*TIMING, *TIMING_MAX)


def assert_no_traceback(cluster: ProcessCluster) -> None:
    """Fail if any node of the cluster ever logged a traceback."""
    for node in cluster.nodes.values():
        text = node.log_text()
        assert "Traceback" not in text, f"node {node.node_id} logged a traceback:\n{text[-4000:]}"


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[ProcessCluster]:
    """Three started nodes without data."""
    with ProcessCluster(tmp_path, size=3, arguments=ARGUMENTS) as nodes:
        nodes.start()
        yield nodes
    assert_no_traceback(nodes)


@pytest.fixture
def ready_cluster(cluster: ProcessCluster) -> ProcessCluster:
    """Three started nodes that form a cluster with a leader."""
    initialise(cluster)
    return cluster


@pytest.fixture(scope="module")
def shared_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessCluster]:
    """Three nodes with a leader, shared by the tests of a module. Every test must leave them intact."""
    directory = tmp_path_factory.mktemp("cluster")
    with ProcessCluster(directory, size=3, arguments=ARGUMENTS) as nodes:
        nodes.start()
        initialise(nodes)
        yield nodes
    assert_no_traceback(nodes)


def initialise(cluster: ProcessCluster) -> None:
    """Send `Init` with all nodes to the first node, and wait until all have applied it."""
    nodes = [[node_id, address] for node_id, address in cluster.members]
    with WireClient(cluster.endpoints[0]) as client:
        assert client.ask("Init", nodes=nodes) == {"Ok": None}
    cluster.wait_leader()
    cluster.wait_converged()
