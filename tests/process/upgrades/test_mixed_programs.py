"""Commands, backups and learners while a cluster has nodes of 0.1.0 and of this program."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from qcore.core.version import LATEST_RULES
from qcore.processes import ProcessCluster, wait_for
from qcore.release import __version__
from tests.packaging.installation import Installation
from tests.process.conftest import ARGUMENTS, assert_no_traceback
from tests.process.support.commands import run_qcore, run_qcore_json
from tests.process.support.wire_client import WireClient
from tests.process.upgrades.release_0_1_0 import use_new, use_old

pytestmark = [pytest.mark.process, pytest.mark.long]

OPTIONS = [*ARGUMENTS, "--machine", "register", "--snapshot-entries", "20", "--keep-entries", "2"]
HOLD = ("--max-rules", "1")


def set_command(key: str) -> str:
    return f'{{"op":"set","key":"{key}","value":"{key}"}}'


def get_query(key: str) -> str:
    return f'{{"op":"get","key":"{key}"}}'


@pytest.fixture
def mixed(tmp_path: Path, old_release: Installation) -> Iterator[ProcessCluster]:
    """Nodes 1 and 2 run 0.1.0, node 3 runs this program; node 4, of this program, belongs to no cluster yet."""
    with ProcessCluster(tmp_path, size=4, arguments=OPTIONS) as cluster:
        for node_id in (1, 2, 3):
            use_old(cluster.nodes[node_id], old_release)
            cluster.nodes[node_id].start()
        members = [[node_id, address] for node_id, address in cluster.members[:3]]
        with WireClient(cluster.endpoints[0]) as client:
            assert client.ask("Init", nodes=members) == {"Ok": None}
        cluster.wait_leader()
        cluster.wait_converged()
        node = cluster.nodes[3]
        node.stop()
        use_new(node)
        node.start()
        cluster.wait_converged()
        yield cluster
        assert_no_traceback(cluster)


def test_commands_of_either_program_work_with_both(
    mixed: ProcessCluster, old_release: Installation
) -> None:
    endpoints = mixed.endpoints[:3]
    for endpoint in endpoints:
        key = endpoint[-3:]
        new = run_qcore("execute", set_command(f"new{key}"), endpoints=[endpoint])
        assert new.returncode == 0, new.stderr
        old_release.qcore("execute", set_command(f"old{key}"), "--endpoints", endpoint)
        for name in ("new", "old"):
            query = get_query(f"{name}{key}")
            done = run_qcore("execute", "--read", query, endpoints=[endpoint])
            assert f"{name}{key}" in done.stdout, done
            assert f"{name}{key}" in old_release.qcore(
                "execute", "--read", query, "--endpoints", endpoint
            )
    every = ",".join(endpoints)
    mixed.wait_converged()
    for words in (["cluster", "status"], ["member", "list"], ["cluster", "health"]):
        old_release.qcore(*words, "--endpoints", every)
        assert run_qcore(*words, endpoints=endpoints).returncode == 0
    nodes = run_qcore_json("cluster", "status", endpoints=endpoints)["nodes"]
    shown = [each["metrics"]["qcore"] for each in nodes]
    assert [each["version"] for each in shown] == ["0.1.0", "0.1.0", __version__]
    assert shown[2]["apply_rules"]["supported"] == [1, LATEST_RULES]
    assert shown[2]["machine"]["supported"] == [1, 1]
    of_old = {"rules": [1, 1], "machine": "", "machine_versions": [1, 1]}
    assert shown[2]["members_support"] == {"1": of_old, "2": of_old}
    assert run_qcore("cluster", "hash", endpoints=endpoints).returncode == 0
    old_release.qcore("cluster", "hash", "--endpoints", every)
    old_release.qcore("leader", "transfer", "--endpoints", every)
    moved = run_qcore("leader", "transfer", "--to", "3", endpoints=endpoints)
    assert moved.returncode == 0 or mixed.wait_leader().node_id == 3, moved
    held = run_qcore("cluster", "status", endpoints=endpoints).stderr
    assert (
        "the apply rules stay at 1: node 1 supports only up to 1; node 2 supports only up" in held
    )


def test_backups_go_both_ways(
    mixed: ProcessCluster, old_release: Installation, tmp_path: Path
) -> None:
    assert run_qcore("execute", set_command("a"), endpoints=mixed.endpoints[:3]).returncode == 0
    of_old, of_new = mixed.nodes[1].address, mixed.nodes[3].address
    by_new = tmp_path / "by_new.snapshot"
    for number, endpoint in enumerate((of_old, of_new)):
        path = tmp_path / f"{number}.snapshot"
        done = run_qcore("snapshot", "save", str(path), endpoints=[endpoint])
        assert done.returncode == 0, done.stderr
        old_release.qcore("snapshot", "status", str(path))
    old_release.qcore("snapshot", "save", str(by_new), "--endpoints", of_old)
    assert run_qcore_json("snapshot", "status", str(by_new))["checksum_ok"]


@pytest.mark.parametrize("old_leads", [True, False])
def test_a_large_snapshot_is_installed_by_the_other_program(
    mixed: ProcessCluster, old_release: Installation, old_leads: bool
) -> None:
    """It is sent in many chunks, and stored in many parts."""
    leader, other = mixed.nodes[1 if old_leads else 3], mixed.nodes[3 if old_leads else 1]

    def leads() -> bool:
        with WireClient(mixed.wait_leader().address) as client:
            client.ask("TransferLeader", to=leader.node_id)
        return mixed.leader() is leader

    wait_for(leads, 30, "the leader")
    other.stop()
    with WireClient(leader.address) as client:
        for number in range(60):
            value = f"{number} \N{SNOWMAN}" * 10_000
            command = json.dumps({"op": "set", "key": f"large{number}", "value": value})
            assert client.ask("Perform", request={"Write": command})["Write"]["error"] is None
    other.start()
    mixed.wait_converged()
    assert "snapshot installed" in other.log_text()
    other.kill()
    other.start()
    mixed.wait_converged()


def test_a_learner_of_this_program_joins_and_leaves(
    mixed: ProcessCluster, old_release: Installation
) -> None:
    """It gets a snapshot, becomes a voter, and then runs 0.1.0."""
    endpoints = mixed.endpoints[:3]
    for number in range(40):
        with WireClient(mixed.wait_leader().address) as client:
            client.ask("Perform", request={"Write": set_command(str(number))})
    new = mixed.nodes[4]
    new.start()
    added = run_qcore("member", "add", f"4={new.address}", "--voter", endpoints=endpoints)
    assert added.returncode == 0, added.stderr
    mixed.wait_converged()
    assert "snapshot installed" in new.log_text()
    new.stop()
    use_old(new, old_release)
    new.start()
    mixed.wait_converged()
    removed = run_qcore("member", "remove", "4", endpoints=endpoints)
    assert removed.returncode == 0, removed.stderr


def test_a_learner_of_0_1_0_joins_only_before_the_raise(
    mixed: ProcessCluster, old_release: Installation
) -> None:
    endpoints = mixed.endpoints[:3]
    for node_id in (1, 2):
        node = mixed.nodes[node_id]
        node.stop()
        use_new(node)
        node.arguments = [*OPTIONS, *HOLD]
        node.start()
    old = mixed.nodes[4]
    use_old(old, old_release)
    old.start()
    added = run_qcore("member", "add", f"4={old.address}", endpoints=endpoints)
    assert added.returncode == 0, added.stderr
    removed = run_qcore("member", "remove", "4", endpoints=endpoints)
    assert removed.returncode == 0, removed.stderr
    old.kill()
    for node_id in (1, 2):
        node = mixed.nodes[node_id]
        node.stop()
        node.arguments = OPTIONS
        node.start()
    for node_id in (1, 2, 3):
        status = mixed.nodes[node_id].status
        wait_for(lambda: status()["qcore"]["apply_rules"]["active"] == LATEST_RULES, 30, "rules")  # noqa: B023 - called here
    for path in old.data_dir.iterdir():
        path.unlink()
    old.start()
    refused = run_qcore(
        "member", "add", f"4={old.address}", "--timeout", "10", "-o", "json", endpoints=endpoints
    )
    assert refused.returncode == 4, (refused.stdout, refused.stderr)
    assert "has none: upgrade it first" in refused.stderr
