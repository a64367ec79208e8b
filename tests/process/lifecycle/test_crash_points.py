"""A node dies at a chosen point, before or after it stores, sends or applies. No acknowledged write is lost."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from qcore.processes import NodeProcess, ProcessCluster
from tests.process.conftest import ARGUMENTS, assert_no_traceback, initialise
from tests.process.programs import crash_point_node
from tests.process.programs.crash_point_node import POINTS
from tests.process.support.load import Load

pytestmark = pytest.mark.process

#: Snapshots are frequent, so that a node soon stores one.
SNAPSHOTS = ("--snapshot-entries", "150", "--keep-entries", "20")
QUICK_POINTS = ("append.written", "append.synced", "apply.before")


@pytest.fixture
def crashing_cluster(tmp_path: Path) -> Iterator[ProcessCluster]:
    """A cluster of nodes that can kill themselves (`crash_point_node`)."""
    pure = {"QCORE_PURE": "1"}  # the program replaces methods
    with ProcessCluster(tmp_path, 3, (*ARGUMENTS, *SNAPSHOTS), pure) as cluster:
        for node in cluster.nodes.values():
            node.program = (str(crash_point_node.__file__),)
        cluster.start()
        initialise(cluster)
        yield cluster
    assert_no_traceback(cluster)


def die_at(node: NodeProcess, point: str, cluster: ProcessCluster) -> None:
    """Let the node die at the point. The leader dies first where a new term must be stored."""
    order = node.data_dir.with_name(node.data_dir.name + ".crash")
    order.write_text(point)
    if point.startswith("save"):
        leader = cluster.wait_leader()
        leader.kill()
    assert node.wait() == -signal.SIGKILL, point
    order.unlink()


def crash_at(cluster: ProcessCluster, points: tuple[str, ...]) -> None:
    with Load(cluster.endpoints) as load:
        for number, point in enumerate(points):
            load.wait_acknowledged(20)
            leader = cluster.wait_leader()
            followers = [node for node in cluster.nodes.values() if node is not leader]
            dies_as_leader = number % 2 == 0 and not point.startswith("save")
            die_at(leader if dies_as_leader else followers[0], point, cluster)
            if not point.startswith("save"):
                load.wait_acknowledged(5)
            cluster.start()
        load.wait_acknowledged(20)
    load.read_all()
    load.check()
    cluster.wait_converged()
    assert_one_leader_per_term(cluster)


def assert_one_leader_per_term(cluster: ProcessCluster) -> None:
    """A vote that is given twice in a term can give the term two leaders."""
    leaders: dict[int, set[int]] = {}
    for node in cluster.nodes.values():
        for term in re.findall(r"term=(\d+) role=leader role changed", node.log_text()):
            leaders.setdefault(int(term), set()).add(node.node_id)
    assert leaders
    assert {term: nodes for term, nodes in leaders.items() if len(nodes) > 1} == {}


def test_a_node_that_dies_at_a_point_loses_nothing(crashing_cluster: ProcessCluster) -> None:
    crash_at(crashing_cluster, QUICK_POINTS)


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_nodes_that_die_at_every_point_lose_nothing(crashing_cluster: ProcessCluster) -> None:
    """Each point is reached by a leader and by a follower."""
    assert len(POINTS) % 2 == 1, "so that the second round exchanges leader and follower"
    crash_at(crashing_cluster, POINTS + POINTS)
