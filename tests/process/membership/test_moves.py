"""Members of a real cluster get other addresses: one while the cluster serves, and all together while none runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from qcore.processes import NodeProcess, ProcessCluster, free_ports, wait_for
from tests.process.conftest import assert_no_traceback
from tests.process.support.commands import Ended, run_here
from tests.process.support.member_changes import initialised_cluster, start_together
from tests.process.support.wire_client import WireClient

pytestmark = pytest.mark.process


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[ProcessCluster]:
    """Three voters."""
    with initialised_cluster(tmp_path, 3, voters=3, arguments=["--machine", "register"]) as made:
        yield made
    assert_no_traceback(made)


def on_members(cluster: ProcessCluster, *words: str, timeout_s: int = 60) -> Ended:
    """Run a command about members, at the nodes that run."""
    endpoints = ",".join(node.address for node in cluster.running())
    return run_here("member", *words, "--endpoints", endpoints, "--timeout", str(timeout_s))


def addresses(cluster: ProcessCluster) -> dict[int, str]:
    """What `member list` shows."""
    done = on_members(cluster, "list", "-o", "json")
    assert done.code == 0, done.stderr
    return {each["id"]: each["address"] for each in json.loads(done.stdout)["members"]}


def where(cluster: ProcessCluster) -> dict[int, str]:
    """Where the nodes run."""
    return dict(cluster.members)


def write(node: NodeProcess, key: str) -> None:
    with WireClient(node.address) as client:
        put = json.dumps({"op": "add", "key": key, "amount": 1})
        done = client.ask("Perform", request={"Write": put})["Write"]
        assert done["error"] is None, done


def test_members_move_and_the_cluster_stays(cluster: ProcessCluster) -> None:
    first, second, third = cluster.nodes.values()
    write(first, "before")
    assert third.stop() == 0
    third.port = free_ports(1)[0]
    third.start()
    done = on_members(cluster, "move", "3", "--address", second.address)
    assert (done.code, "is the address of node 2" in done.stderr) == (4, True), done
    done = on_members(cluster, "move", "3", "--address", third.address)
    assert done.code == 0, done.stderr
    assert addresses(cluster) == where(cluster)

    for node in cluster.nodes.values():
        node.kill()
    for node, port in zip(cluster.nodes.values(), free_ports(3), strict=True):
        node.port = port
    peers = ",".join(f"{node_id}={address}" for node_id, address in cluster.members)
    for node in cluster.nodes.values():
        node.arguments += ["--advertise-addr", node.address, "--peer", peers]
    start_together([*cluster.nodes.values()])
    wait_for(lambda: addresses(cluster) == where(cluster), 60, "the leader to move all members")
    write(second, "after")

    second.kill()
    third.kill()

    def alone() -> Ended | None:  # a leader notices only after a while that no node answers it
        done = on_members(cluster, "list", timeout_s=3)
        assert done.code == 0
        return done if "no leader answers" in done.stderr else None

    done = wait_for(alone, 60, "the survivor to have no leader")
    assert "it may be old" in done.stderr
    for node_id, address in cluster.members:
        assert f"{node_id}   {address}  voter  -" in done.stdout
