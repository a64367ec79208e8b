"""`qcore member`, `qcore leader`, `qcore cluster health|hash` against real nodes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from qcore.cli.demo.processes import LocalCluster
from tests.process.conftest import assert_no_traceback
from tests.process.support.member_changes import initialised_cluster, wait_configs

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """Three voters and a started node that belongs to nobody."""
    with initialised_cluster(tmp_path_factory.mktemp("admin"), size=4, voters=3) as nodes:
        nodes.nodes[4].start()
        yield nodes
    assert_no_traceback(nodes)


def qcore(cluster: LocalCluster, *arguments: str) -> subprocess.CompletedProcess[str]:
    endpoints = ",".join(node.address for node in cluster.running())
    return subprocess.run(
        [sys.executable, "-m", "qcore", *arguments, "--endpoints", endpoints, "-o", "json"],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


def answer(cluster: LocalCluster, *arguments: str) -> Any:
    """The JSON that the command prints; it must succeed."""
    done = qcore(cluster, *arguments)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def roles(listing: Any) -> dict[int, str]:
    return {member["id"]: member["role"] for member in listing["members"]}


def test_a_member_is_added_promoted_demoted_and_removed(cluster: LocalCluster) -> None:
    new = f"4={cluster.nodes[4].address}"
    voters = dict.fromkeys((1, 2, 3), "voter")
    assert roles(answer(cluster, "member", "add", new)) == {**voters, 4: "learner"}
    assert roles(answer(cluster, "member", "promote", "4")) == {**voters, 4: "voter"}
    assert roles(answer(cluster, "member", "demote", "4")) == {**voters, 4: "learner"}
    listing = answer(cluster, "member", "remove", "4")
    assert roles(listing) == voters
    assert not listing["joint"]
    wait_configs(cluster, [1, 2, 3])
    assert answer(cluster, "member", "list")["membership_index"] == listing["membership_index"]


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        (("member", "promote", "9"), 4, "node 9 is not a member"),
        (("member", "remove", "1", "2", "3"), 4, "at least one voter"),
        (("member", "add", "5"), 2, "ID=host:port"),
        (("member", "replace", "1", "1=127.0.0.1:1"), 2, "id of its own"),
        (("leader", "transfer", "--to", "9"), 4, "node 9 is not a voter"),
    ],
)
def test_an_invalid_change_is_one_line_and_an_exit_code(
    cluster: LocalCluster, arguments: tuple[str, ...], code: int, named: str
) -> None:
    done = qcore(cluster, *arguments)
    assert done.returncode == code, (done.stdout, done.stderr)
    assert named in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_leadership_is_transferred_to_the_named_node(cluster: LocalCluster) -> None:
    old = cluster.wait_leader().node_id
    to = next(node_id for node_id in (1, 2, 3) if node_id != old)
    moved = answer(cluster, "leader", "transfer", "--to", str(to))
    new = cluster.wait_leader()
    assert new.node_id == to
    assert moved == {"from": old, "to": to, "term": new.status()["current_term"]}


def test_health_and_hash_query_all_members_from_any_endpoint(cluster: LocalCluster) -> None:
    one = cluster.nodes[1].address
    cluster.wait_leader()
    done = qcore(cluster, "cluster", "hash")
    assert done.returncode == 0, done.stderr
    body = json.loads(done.stdout)
    assert body["equal"]
    assert sorted(body["hashes"]) == sorted(cluster.nodes[node].address for node in (1, 2, 3))
    said = answer(cluster, "cluster", "health")
    assert (said["healthy"], said["problems"]) == (True, [])
    (warning,) = said["warnings"]  # it was named, so it may be missed
    assert warning.startswith(f"{cluster.nodes[4].address} was removed: node 4 is no member")
    down = next(node for node in cluster.running()[1:3] if node is not cluster.wait_leader())
    down.kill()
    try:
        for command in ("health", "hash"):
            done = subprocess.run(
                [
                    *(sys.executable, "-m", "qcore", "cluster", command),
                    *("--endpoints", one, "--timeout", "1"),
                ],
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert done.returncode == 5, (command, done.stdout, done.stderr)
            assert down.address in done.stdout
    finally:
        down.start()


def test_sigterm_on_the_leader_transfers_leadership_first(cluster: LocalCluster) -> None:
    old = cluster.wait_leader()
    term = old.status()["current_term"]
    assert old.stop() == 0
    assert "leadership transferred" in old.log_tail(40)
    new = cluster.wait_leader()
    assert new is not old
    assert new.status()["current_term"] == term + 1
    old.start()
