"""`qcore member`, `qcore leader`, `qcore cluster health|hash` against real nodes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from subprocess import CompletedProcess
from typing import Any

import pytest

from qcore.processes import NodeProcess, ProcessCluster
from qcore.security.keys.join_token import read_join_token
from tests.process.conftest import assert_no_traceback
from tests.process.support.commands import run_here, run_qcore, run_qcore_json
from tests.process.support.member_changes import initialised_cluster, wait_configs, wait_removed

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessCluster]:
    """Three voters, and node 4, which runs and is not a member. Every test leaves it so."""
    with initialised_cluster(tmp_path_factory.mktemp("admin"), size=4, voters=3) as nodes:
        nodes.nodes[4].start()
        yield nodes
    assert_no_traceback(nodes)


def running(cluster: ProcessCluster) -> list[str]:
    return [node.address for node in cluster.running()]


def qcore(cluster: ProcessCluster, *arguments: str) -> CompletedProcess[str]:
    return run_qcore(*arguments, endpoints=running(cluster))


def qcore_json(cluster: ProcessCluster, *arguments: str) -> Any:
    return run_qcore_json(*arguments, endpoints=running(cluster))


def key_of(node: NodeProcess) -> tuple[str, str]:
    """The option for the node's public key, as `qcore node key` prints it."""
    found = run_here("node", "key", "--data-dir", str(node.data_dir)).stdout.strip()
    assert found == node.public_key()
    return "--public-key", found


def roles(listing: Any) -> dict[int, str]:
    return {member["id"]: member["role"] for member in listing["members"]}


def test_join_tokens_are_made_listed_and_withdrawn(cluster: ProcessCluster) -> None:
    text = qcore(cluster, "member", "token").stdout
    token = read_join_token(text.strip())
    made = qcore_json(cluster, "member", "token", "--ttl", "60")
    assert read_join_token(made["token"]).token_id == made["token_id"]
    listed = {each["token_id"]: each["expires_s"] for each in tokens_of(cluster)}
    assert listed.keys() == {token.token_id, made["token_id"]}
    assert 0 < listed[made["token_id"]] <= 60 < listed[token.token_id] <= 3600
    for token_id in listed:
        assert token_id in qcore(cluster, "member", "withdraw-token", token_id).stdout
    assert tokens_of(cluster) == []
    assert qcore(cluster, "member", "withdraw-token", token.token_id).returncode == 4
    assert qcore(cluster, "member", "token", "--ttl", "99999999").returncode == 4


def test_the_keys_of_members_can_be_compared(cluster: ProcessCluster) -> None:
    endpoints = ("--endpoints", ",".join(running(cluster)))
    table = run_here("member", "list", *endpoints).stdout.splitlines()
    body = json.loads(run_here("member", "list", *endpoints, "-o", "json").stdout)
    keys = {member["id"]: member["public_key"] for member in body["members"]}
    assert [*keys] == [1, 2, 3]
    for node_id, key in keys.items():
        node = cluster.nodes[node_id]
        assert key == key_of(node)[1]
        shown = table[node_id].split()[-1]
        assert key.startswith(shown)
        assert len(shown) == len("ed25519:") + 16
        status = node.status()["qcore"]["public_keys"]
        assert status == {str(each): of_member for each, of_member in keys.items()}
        (line,) = [text for text in node.log_text().splitlines() if "must prove their" in text]
        assert f"{node_id}={shown}" in line


def tokens_of(cluster: ProcessCluster) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = qcore_json(cluster, "member", "tokens")["tokens"]
    return found


def test_a_member_is_added_promoted_demoted_and_removed(cluster: ProcessCluster) -> None:
    new = f"4={cluster.nodes[4].address}"
    voters = dict.fromkeys((1, 2, 3), "voter")
    assert roles(qcore_json(cluster, "member", "add", new, *key_of(cluster.nodes[4]))) == {
        **voters,
        4: "learner",
    }
    assert roles(qcore_json(cluster, "member", "promote", "4")) == {**voters, 4: "voter"}
    assert roles(qcore_json(cluster, "member", "demote", "4")) == {**voters, 4: "learner"}
    listing = qcore_json(cluster, "member", "remove", "4")
    assert roles(listing) == voters
    assert not listing["joint"]
    wait_configs(cluster, [1, 2, 3])
    assert qcore_json(cluster, "member", "list")["membership_index"] == listing["membership_index"]


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        (("member", "promote", "9"), 4, "node 9 is not a member"),
        (("member", "remove", "1", "2", "3"), 4, "at least one voter"),
        (("member", "add", "5"), 2, "ID=host:port"),
        (("member", "replace", "1", "1=127.0.0.1:1"), 2, "needs another id"),
        (("leader", "transfer", "--to", "9"), 4, "node 9 is not a voter"),
    ],
)
def test_an_invalid_change_is_one_line_and_an_exit_code(
    cluster: ProcessCluster, arguments: tuple[str, ...], code: int, named: str
) -> None:
    done = qcore(cluster, *arguments, "-o", "json")
    assert done.returncode == code, (done.stdout, done.stderr)
    assert named in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_leadership_is_transferred_to_the_named_node(cluster: ProcessCluster) -> None:
    old = cluster.wait_leader().node_id
    to = next(node_id for node_id in (1, 2, 3) if node_id != old)
    moved = qcore_json(cluster, "leader", "transfer", "--to", str(to))
    new = cluster.wait_leader()
    assert new.node_id == to
    assert moved == {"from": old, "to": to, "term": new.status()["current_term"]}


def test_health_and_hash_query_all_members_from_any_endpoint(cluster: ProcessCluster) -> None:
    one = cluster.nodes[1].address
    cluster.wait_leader()
    body = qcore_json(cluster, "cluster", "hash")
    assert body["equal"]
    assert sorted(body["hashes"]) == sorted(cluster.nodes[node].address for node in (1, 2, 3))
    down = next(node for node in cluster.running()[1:3] if node is not cluster.wait_leader())
    down.kill()
    try:
        for command in ("health", "hash"):
            done = run_qcore("cluster", command, "--timeout", "1", endpoints=[one])
            assert done.returncode == 5, (command, done.stdout, done.stderr)
            assert down.address in done.stdout
    finally:
        down.start()


def test_health_warns_of_a_removed_node_at_the_endpoints(cluster: ProcessCluster) -> None:
    """The user named this node and may not know that it was removed."""
    removed = cluster.nodes[4]
    qcore_json(cluster, "member", "add", f"4={removed.address}", *key_of(removed))
    qcore_json(cluster, "member", "remove", "4")
    wait_removed(removed)
    cluster.wait_leader()
    health = qcore_json(cluster, "cluster", "health")
    assert (health["healthy"], health["problems"]) == (True, [])
    (warning,) = health["warnings"]
    assert warning.startswith(f"{removed.address} was removed: ")


def test_sigterm_on_the_leader_transfers_leadership_first(cluster: ProcessCluster) -> None:
    old = cluster.wait_leader()
    term = old.status()["current_term"]
    assert old.stop() == 0
    assert "leadership transferred" in old.log_tail(40)
    new = cluster.wait_leader()
    assert new is not old
    assert new.status()["current_term"] == term + 1
    old.start()
