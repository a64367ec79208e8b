"""New clusters from a backup, and from the nodes that are left: they serve, and nothing old gets another meaning."""

from __future__ import annotations

import json
import random
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from qcore.client import SyncClient
from qcore.errors import WatchCompacted
from qcore.processes import NodeProcess, ProcessCluster, wait_for
from qcore.recovery.checks.data_dir_check import check_data_dir
from tests.process.conftest import ARGUMENTS, assert_no_traceback, initialise
from tests.process.support.commands import run_qcore, run_qcore_json
from tests.process.support.wire_client import WireClient
from tests.recovery.directories import unchanged

pytestmark = pytest.mark.process


@dataclass
class OldClient:
    """What a client of the old cluster holds.

    Attributes:
        session: an open session.
        position: the position of a change that it has seen.
        token: a fencing token: the term of a leader.
    """

    session: int
    position: tuple[int, int]
    token: int


@pytest.fixture
def kv_cluster(tmp_path: Path) -> Iterator[ProcessCluster]:
    """Three members that run the machine `register`."""
    compacting = ("--snapshot-entries", "60", "--keep-entries", "20")
    arguments = (*ARGUMENTS, "--machine", "register", *compacting)
    with ProcessCluster(tmp_path, size=3, arguments=arguments) as nodes:
        nodes.start()
        initialise(nodes)
        yield nodes
    assert_no_traceback(nodes)


def put(client: SyncClient, key: str, value: int) -> None:
    client.execute(json.dumps({"op": "set", "key": key, "value": value}))


def get(client: SyncClient, key: str) -> Any:
    found = client.execute(json.dumps({"op": "get", "key": key}), read=True)
    return json.loads(found)["value"]


def use(cluster: ProcessCluster) -> OldClient:
    """Write, open a session, and see a change."""
    leader = cluster.wait_leader()
    with WireClient(leader.address) as wire:
        session = wire.ask("OpenSession", lifetime_ms=600_000)["Ok"]
    with SyncClient(cluster.endpoints) as client, client.watch(topic="a") as watch:
        put(client, "a", 1)
        change = next(iter(watch))
        position = (change.position.index, change.position.sequence)
    return OldClient(session, position, leader.status()["current_term"])


def assert_nothing_old_works(cluster: ProcessCluster, old: OldClient) -> None:
    """Its session has ended, its watch does not resume, and its token is behind."""
    leader = cluster.wait_leader()
    status = leader.status()
    assert status["current_term"] > old.token + 10**5
    assert status["qcore"]["applied_index"] > old.position[0] + 10**9
    with WireClient(leader.address) as wire:
        again = wire.ask(
            "Perform",
            request={"Write": '{"op":"set","key":"a","value":99}'},
            session={"id": old.session, "sequence": 1},
        )
        assert again["Write"]["detail"]["code"] == "SessionExpired"
        new = wire.ask("OpenSession", lifetime_ms=60_000)["Ok"]
        assert new > old.session + 10**9
    with SyncClient([leader.address]) as client, pytest.raises(WatchCompacted):
        resume(client, old.position)


def resume(client: SyncClient, position: tuple[int, int]) -> None:
    """Resume a watch, and wait for its first change."""
    with client.watch(topic="a", after=position) as watch:
        next(iter(watch))


def assert_cannot_join(old: NodeProcess, cluster: ProcessCluster, other: int) -> None:
    """A member of the old cluster that returns at its old address is refused, and changes nothing."""
    term = cluster.wait_leader().status()["current_term"]
    old.start()
    wait_for(
        lambda: (
            "belongs to cluster" in old.log_text() or "belongs to cluster" in old.get("/readyz")[1]
        ),
        30,
        "the refusal",
    )
    assert cluster.wait_leader().status()["current_term"] == term
    assert old.get("/readyz")[0] == 503
    old.kill()


@pytest.mark.long
def test_backup_becomes_a_new_cluster_of_three(kv_cluster: ProcessCluster, tmp_path: Path) -> None:
    old = use(kv_cluster)
    backup = tmp_path / "backup.snapshot"
    saved = run_qcore("snapshot", "save", str(backup), endpoints=kv_cluster.endpoints)
    assert saved.returncode == 0
    with SyncClient(kv_cluster.endpoints) as client:
        put(client, "later", 1)  # seen, and not in the backup
    for node in kv_cluster.nodes.values():
        node.kill()
    (tmp_path / "new").mkdir()
    arguments = (*ARGUMENTS, "--machine", "register")
    with ProcessCluster(tmp_path / "new", size=3, arguments=arguments) as cluster:
        members = ",".join(f"{node}={address}" for node, address in cluster.members)
        keys = {
            node.node_id: run_qcore(
                "node", "key", "--create", "--data-dir", str(node.data_dir)
            ).stdout.strip()
            for node in cluster.nodes.values()
        }
        options = [word for node, key in keys.items() for word in ("--public-key", f"{node}={key}")]
        found = [
            run_qcore_json(
                *("snapshot", "restore", str(backup), "--data-dir", str(node.data_dir)),
                *("--id", str(node.node_id), "--members", members, "--token", "drill 1", *options),
            )
            for node in cluster.nodes.values()
        ]
        assert len({each["cluster_id"] for each in found}) == 1
        cluster.start()
        cluster.wait_leader()
        assert all("peers.json" not in node.log_text() for node in cluster.nodes.values())
        with SyncClient(cluster.endpoints) as client:
            assert (get(client, "a"), get(client, "later")) == (1, None)
        assert_nothing_old_works(cluster, old)
        cluster.wait_converged()
        # A node with the old data, at the address of a new member.
        new = cluster.nodes[2]
        new.kill()
        impostor = NodeProcess(2, new.port, tmp_path, arguments)
        assert_cannot_join(impostor, cluster, 1)
        new.start()
        cluster.wait_converged()
        for node in cluster.nodes.values():
            assert node.stop() == 0
            assert run_qcore("check", str(node.data_dir)).returncode == 0
    assert_no_traceback(cluster)


@pytest.mark.long
def test_two_of_five_become_a_new_cluster(tmp_path: Path) -> None:
    arguments = (*ARGUMENTS, "--machine", "register")
    with ProcessCluster(tmp_path, size=5, arguments=arguments) as cluster:
        cluster.start()
        initialise(cluster)
        old = use(cluster)
        with SyncClient(cluster.endpoints) as client:
            put(client, "b", 7)
        cluster.wait_converged()
        for node in cluster.nodes.values():
            node.kill()
        left = [cluster.nodes[1], cluster.nodes[2]]
        words = [
            *("node", "recover", "--machine", "register"),
            *(word for node in left for word in ("--data-dir", str(node.data_dir))),
        ]
        with unchanged(left[0].data_dir), unchanged(left[1].data_dir):
            planned = run_qcore_json(*words)
        assert (planned["done"], planned["loses_nothing"]) == (False, False)
        assert planned["unseen_voters"] == [3, 4, 5]
        done = run_qcore_json(*words, "--yes")
        assert done["done"]
        assert [node["node_id"] for node in done["nodes"]] == [1, 2]
        # The others were not lost after all. They are as they were, and cannot join.
        for node in left:
            node.start()
        cluster.wait_leader()
        with SyncClient([node.address for node in left]) as client:
            assert (get(client, "a"), get(client, "b")) == (1, 7)
        assert_nothing_old_works(cluster, old)
        assert_cannot_join(cluster.nodes[3], cluster, 1)
        # The old cluster still has a majority of its voters, which know nothing of the new one.
        for node in list(cluster.nodes.values())[2:]:
            shutil.rmtree(node.data_dir)
            node.start()
            added = run_qcore(
                *("member", "add", f"{node.node_id}={node.address}", "--voter"),
                *("--public-key", str(node.public_key()), "--timeout", "30"),
                endpoints=[each.address for each in left],
            )
            assert added.returncode == 0, added.stderr
        cluster.wait_converged()
        for node in cluster.nodes.values():
            node.kill()
        assert all(
            run_qcore("check", str(node.data_dir)).returncode == 0
            for node in cluster.nodes.values()
        )
    assert_no_traceback(cluster)


@pytest.mark.long
def test_running_nodes_and_majorities_are_not_recovered(kv_cluster: ProcessCluster) -> None:
    nodes = [*kv_cluster.nodes.values()]
    words = [
        "node",
        "recover",
        "--machine",
        "register",
        "--yes",
        "--data-dir",
        str(nodes[0].data_dir),
    ]
    running = run_qcore(*words)
    assert (running.returncode, running.stdout) == (1, "")
    assert "a node runs on" in running.stderr
    for node in nodes:
        node.kill()
    both = run_qcore(*words, "--data-dir", str(nodes[1].data_dir))
    assert both.returncode == 1
    assert "are a majority" in both.stderr
    kv_cluster.start()
    kv_cluster.wait_leader()


@pytest.mark.long
def test_users_stay_and_their_tokens_end(tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("correct horse\n")
    login = ("--user", "ada", "--password-file", str(password))
    backup = tmp_path / "backup.snapshot"
    arguments = (*ARGUMENTS, "--machine", "register")
    with ProcessCluster(tmp_path, size=1, arguments=arguments) as cluster:
        cluster.start()
        initialise(cluster)
        there = cluster.endpoints
        first = ("user", "add", "ada", "--role", "admin", "--new-password-file", str(password))
        assert run_qcore(*first, endpoints=there).returncode == 0
        token = run_qcore("token", "create", *login, endpoints=there).stdout.strip()
        write = ("execute", '{"op":"set","key":"a","value":1}')
        by_token = {"QCORE_TOKEN": token}
        assert run_qcore(*write, endpoints=there, environment=by_token).returncode == 0
        assert run_qcore("snapshot", "save", str(backup), *login, endpoints=there).returncode == 0
    (tmp_path / "new").mkdir()
    with ProcessCluster(tmp_path / "new", size=1, arguments=arguments) as cluster:
        node = cluster.nodes[1]
        words = ("snapshot", "restore", str(backup), "--id", "1", "--data-dir", str(node.data_dir))
        assert run_qcore(*words, "--members", f"1={node.address}").returncode == 0
        cluster.start()
        there = cluster.endpoints
        refused = run_qcore(*write, endpoints=there, environment=by_token)
        assert refused.returncode == 4, refused
        assert run_qcore(*write, endpoints=there).returncode == 4
        assert run_qcore(*write, *login, endpoints=there).returncode == 0
    assert_no_traceback(cluster)


@pytest.mark.long
def test_check_beside_a_busy_node_finds_nothing(kv_cluster: ProcessCluster) -> None:
    ended = threading.Event()

    def load() -> None:
        with SyncClient(kv_cluster.endpoints) as client:
            while not ended.is_set():
                put(client, f"k{random.randrange(50)}", 1)

    worker = threading.Thread(target=load)
    worker.start()
    try:
        for number in range(40):
            node = kv_cluster.nodes[1 + number % 3]
            report = check_data_dir(node.data_dir)
            assert report.process == str(node.pid)
            assert report.findings == []
    finally:
        ended.set()
        worker.join()
