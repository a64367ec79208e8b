"""Real nodes join and leave under load. No acknowledged write is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.process.conftest import assert_no_traceback
from tests.process.support.load import Load
from tests.process.support.member_changes import (
    add_learner,
    change,
    configs_of,
    initialised_cluster,
    wait_configs,
    wait_removed,
)

pytestmark = pytest.mark.process


@pytest.mark.long  # the replacement of every node grows and shrinks a cluster too
def test_growing_and_shrinking_under_load_loses_nothing(tmp_path: Path) -> None:
    with initialised_cluster(tmp_path, size=5, start_all=True) as cluster:
        with Load(cluster.endpoints, clients=4) as load:
            for voters in ([1, 2, 3], [1, 2, 3, 4, 5]):
                for node_id in voters[-2:]:
                    add_learner(cluster, cluster.nodes[node_id])
                change(cluster, voters)
                load.wait_acknowledged(30)
            change(cluster, [3, 4, 5])  # the first leader is among the removed nodes
            load.wait_acknowledged(30)
            for node_id in (1, 2):
                wait_removed(cluster.nodes[node_id])
                assert cluster.nodes[node_id].stop() == 5
            change(cluster, [5])
            load.wait_acknowledged(30)
        load.read_all()
        load.check()
        assert configs_of(cluster.nodes[5]) == [[5]]
        assert cluster.nodes[5].status()["state"] == "Leader"
    assert_no_traceback(cluster)


def test_replacing_every_node_one_by_one_loses_nothing(tmp_path: Path) -> None:
    with initialised_cluster(tmp_path, size=6, voters=3, start_all=True) as cluster:
        voters = [1, 2, 3]
        with Load(cluster.endpoints, clients=3) as load:
            for old, new in ((1, 4), (2, 5), (3, 6)):
                add_learner(cluster, cluster.nodes[new])
                voters = [node for node in voters if node != old] + [new]
                change(cluster, voters)
                load.wait_acknowledged(20)
                cluster.nodes[old].kill()
                load.wait_acknowledged(20)
        load.read_all()
        load.check()
        wait_configs(cluster, [4, 5, 6])
        cluster.wait_converged()
    assert_no_traceback(cluster)
