"""Real nodes compact their logs: restarts, and followers that need a snapshot."""

from __future__ import annotations

from pathlib import Path

import pytest

from qcore.processes import NodeProcess, ProcessCluster, wait_for
from tests.process.conftest import assert_no_traceback
from tests.process.support.load import Load
from tests.process.support.member_changes import add_learner, change, initialised_cluster
from tests.process.support.wire_client import WireClient, string_schema, write_field

pytestmark = pytest.mark.process

POLICY = ("--snapshot-entries", "60", "--keep-entries", "10")


def purged(node: NodeProcess) -> int:
    """The last index that is no longer in the node's log."""
    log_id = node.status().get("purged")
    return 0 if log_id is None else int(log_id["index"])


def write_much(cluster: ProcessCluster, kilobytes: int) -> None:
    """Write so much that a snapshot needs several chunks."""
    with WireClient(cluster.wait_leader().address) as client:
        client.perform("SetSchema", entity_schema=string_schema("Big", "Name", "Text"))
        for number in range(kilobytes // 50):
            made = client.perform("CreateEntity", entity_type="Big", parent_id=None, name="x")
            # Quotes make the text grow, because frames escape it twice.
            text = {"String": f'{number}"' * 10_000}
            write = write_field(made["response"], "Text", text)
            assert client.perform("UpdateEntity", request=[write])["error"] is None


def test_a_follower_behind_a_compacted_log_gets_a_snapshot(
    tmp_path: Path,
) -> None:
    with initialised_cluster(tmp_path, size=3, voters=3, arguments=POLICY) as cluster:
        write_much(cluster, 1500)
        leader = cluster.wait_leader()
        away = next(node for node in cluster.running() if node is not leader)
        had = away.status()["last_log_index"]
        away.kill()
        with Load([node.address for node in cluster.running()], clients=4) as load:
            wait_for(
                lambda: purged(leader) > had,
                30,
                "the leader to compact the entries that the node lacks",
            )
            away.start()
            load.wait_acknowledged(20)
        load.read_all()
        load.check()
        cluster.wait_converged()
        status = away.status()
        assert status["snapshot"]["index"] > had, "the log could not have brought it"
        assert status["qcore"]["first_log_index"] > had

        # Now all logs begin after a snapshot, from which the nodes resume.
        for node in cluster.nodes.values():
            node.kill()
        cluster.start()
        cluster.wait_leader()
        cluster.wait_converged()
    assert_no_traceback(cluster)


def test_a_new_node_joins_by_snapshot(tmp_path: Path) -> None:
    with initialised_cluster(tmp_path, size=2, voters=1, arguments=POLICY) as cluster:
        write_much(cluster, 1500)
        wait_for(lambda: purged(cluster.nodes[1]) > 0, 60, "the log to be compacted")
        new = cluster.nodes[2]
        add_learner(cluster, new)
        change(cluster, [1, 2])
        cluster.wait_converged()
        assert new.status()["snapshot"] is not None
        assert new.status()["state"] == "Follower"
    assert_no_traceback(cluster)
