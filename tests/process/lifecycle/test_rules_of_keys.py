"""From apply rules 5 on, members prove who they are: a running cluster gets there by itself, and does not go back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from qcore.core.version import KEYS_SINCE_RULES
from qcore.processes import NodeProcess, ProcessCluster, wait_for
from tests.process.conftest import ARGUMENTS, assert_no_traceback, initialise
from tests.process.support.member_changes import configuration_on_disk
from tests.process.support.raw_peer import hello_of, say_hello
from tests.process.support.wire_client import WireClient

pytestmark = pytest.mark.process

OLD_RULES = ("--max-rules", str(KEYS_SINCE_RULES - 1))


def rules_of(node: NodeProcess) -> int:
    rules: int = node.status()["qcore"]["apply_rules"]["active"]
    return rules


def claim(client: WireClient, node_id: int, cluster_id: str) -> dict[str, Any]:
    """Claim to be a member whose program is older than keys."""
    hello = hello_of(node_id, cluster_id)
    for name in ("nonce", "public_key", "vouchers"):
        del hello[name]
    return say_hello(client, hello)


@pytest.mark.long
def test_a_cluster_on_rules_4_gets_keys_once_all_members_can(tmp_path: Path) -> None:
    with ProcessCluster(tmp_path, size=3, arguments=[*ARGUMENTS, *OLD_RULES]) as cluster:
        cluster.start()
        initialise(cluster)
        cluster_id = cluster.nodes[1].status()["qcore"]["cluster_id"]
        for node_id in (1, 2):
            node = cluster.nodes[node_id]
            node.stop()
            node.arguments = [*ARGUMENTS]
            node.start()
        cluster.wait_leader()
        cluster.wait_converged()
        assert {rules_of(node) for node in cluster.running()} == {KEYS_SINCE_RULES - 1}
        with WireClient(cluster.nodes[1].address) as stranger:
            # As with 0.1.0: without keys nothing shows that this is not the member.
            assert "Ok" in claim(stranger, 2, cluster_id)
            last = cluster.nodes[3]
            last.stop()
            last.arguments = [*ARGUMENTS]
            last.start()
            for node in cluster.running():
                wait_for(lambda: rules_of(node) == KEYS_SINCE_RULES, 60, "rules 5")  # noqa: B023 - called here
            with pytest.raises(ConnectionClosed) as closed:
                stranger.receive()
            assert closed.value.rcvd is not None
            assert "public key" in closed.value.rcvd.reason
        for node in cluster.running():
            claimed = next(each for each in cluster.nodes if each != node.node_id)
            with WireClient(node.address) as client:
                response = claim(client, claimed, cluster_id)
                assert f"has not proved that it is node {claimed}" in response["Err"]
        keys = {node.node_id: node.public_key() for node in cluster.nodes.values()}
        for node in cluster.nodes.values():
            node.kill()
        for node in cluster.nodes.values():
            assert dict(configuration_on_disk(node).keys) == keys
        cluster.start()
        cluster.wait_leader()
        cluster.wait_converged()
        assert_no_traceback(cluster)


def test_a_member_without_its_key_file_does_not_start(tmp_path: Path) -> None:
    with ProcessCluster(tmp_path, size=1, arguments=ARGUMENTS) as cluster:
        cluster.start()
        initialise(cluster)
        node = cluster.nodes[1]
        node.stop()
        (node.data_dir / "node.key").unlink()
        node.spawn()
        wait_for(lambda: not node.running, 60, "the end of the node")
        assert "node.key is missing" in node.log_text()
        assert not (node.data_dir / "node.key").exists()
