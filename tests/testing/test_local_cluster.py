"""`qcore.testing.LocalCluster`, with real nodes."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from qcore.analysis import read_course
from qcore.errors import ConfigError, QcoreError, Unauthenticated
from qcore.processes import ProcessError, wait_for
from qcore.sim import Replay
from qcore.testing import LocalCluster
from tests.checkout import EXAMPLES

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """Three nodes. Every test must leave them running."""
    with LocalCluster() as started:
        yield started


def exists(pid: int) -> bool:
    """Whether a process runs. One that has ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_killed_leader_is_replaced_and_catches_up(cluster: LocalCluster) -> None:
    leader = cluster.wait_leader()
    assert cluster.leader() == leader
    with cluster.sync_client() as client:
        cluster.kill(leader)
        client.set_schema({"entity_type": "User", "inherit": None, "fields": {}})
        assert cluster.wait_leader() != leader
        for wrong in (cluster.kill, cluster.stop, cluster.pause, cluster.resume):
            with pytest.raises(ProcessError, match=rf"does not run: restart\({leader}\)"):
                wrong(leader)
        cluster.restart(leader)
        with pytest.raises(ProcessError, match=rf"runs: call kill\({leader}\) or stop"):
            cluster.restart(leader)
        cluster.wait_converged()
    states = [status(endpoint) for endpoint in cluster.endpoints]
    assert [node_id for node_id, _ in states] == cluster.ids
    assert len({digest for _, digest in states}) == 1


def status(endpoint: str) -> tuple[int, str]:
    """The id and the state hash of one node."""
    connection = http.client.HTTPConnection(endpoint, timeout=10)
    try:
        connection.request("GET", "/status")
        metrics = json.loads(connection.getresponse().read())
    finally:
        connection.close()
    return metrics["id"], metrics["qcore"]["state_hash"]


def test_a_paused_leader_is_replaced_and_resumes(cluster: LocalCluster) -> None:
    leader = cluster.wait_leader()
    cluster.pause(leader)
    assert cluster.wait_leader() != leader
    with pytest.raises(ProcessError, match="already paused"):
        cluster.pause(leader)
    with pytest.raises(ProcessError, match=r"paused and cannot stop: call resume"):
        cluster.stop(leader)
    cluster.wait_converged()  # of the other two
    cluster.resume(leader)
    with pytest.raises(ProcessError, match="not paused"):
        cluster.resume(leader)
    cluster.wait_converged()


def test_without_a_majority_no_node_can_lead(cluster: LocalCluster) -> None:
    cluster.kill(1)
    cluster.pause(2)
    with pytest.raises(ProcessError) as caught:
        cluster.wait_leader()
    assert "node 1 does not run, node 2 is paused, node 3 runs" in str(caught.value)
    assert "call `restart` or `resume` first" in str(caught.value)
    cluster.restart(1)
    cluster.resume(2)
    assert cluster.wait_leader() in cluster.ids


def test_a_stopped_node_ends_cleanly_and_starts_again(cluster: LocalCluster) -> None:
    cluster.stop(3)
    assert "stopped" in cluster.log(3).splitlines()[-1]
    cluster.restart(3)
    cluster.wait_converged()


@pytest.mark.parametrize("wrong", [0, 4, None])
def test_a_wrong_id_names_the_right_ones(cluster: LocalCluster, wrong: int) -> None:
    for method in (cluster.kill, cluster.restart, cluster.pause, cluster.log):
        with pytest.raises(ConfigError, match=r"the ids are 1 to 3; leader\(\) is None"):
            method(wrong)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"heartbeat": 5}, "no setting is called 'heartbeat': did you mean heartbeat_ms"),
        ({"ws_addr": "127.0.0.1:1"}, "LocalCluster chooses ws_addr itself"),
        ({"node_id": 7}, "LocalCluster chooses node_id itself"),
        ({"machine": "register"}, "give the argument `machine`"),
        ({"trace": "run.jsonl"}, "give the argument `trace`"),
    ],
)
def test_a_wrong_setting_is_named(settings: dict[str, object], expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        LocalCluster(settings=settings)


def test_wrong_arguments_and_a_cluster_out_of_use(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="size is 0"):
        LocalCluster(0)
    with pytest.raises(ConfigError, match="timeout_s is 0"):
        LocalCluster(timeout_s=0)
    with pytest.raises(ConfigError, match="has not been started: use `with LocalCluster"):
        LocalCluster().leader()
    with pytest.raises(ConfigError, match="create the cluster with trace=True"):
        _ = LocalCluster(record=True).traces
    with pytest.raises(ConfigError, match="has not been started"):
        _ = LocalCluster(record=True).recordings
    (tmp_path / "node1").mkdir()
    with pytest.raises(ConfigError, match="is not empty"):
        LocalCluster(directory=tmp_path).start()


def test_a_custom_machine_runs_in_a_directory_that_remains(tmp_path: Path) -> None:
    """Also: its trace and recording, settings, variables of the nodes, a second start, and the log after the end."""
    directory = tmp_path / "new" / "cluster"
    machine = f"{EXAMPLES / 'counter_machine.py'}:CounterMachine"
    origins = ["http://127.0.0.1:8000", "null"]
    settings = {"log_format": "json", "uvloop": False, "allow_origins": origins}
    cluster = LocalCluster(
        1, machine=machine, settings=settings, directory=directory, trace=True, record=True
    )
    with cluster, cluster as same, cluster.sync_client() as client:
        assert same.is_started
        client.execute("add 1")
        (node,) = directory.glob("node1.log")
        assert node.read_text() == cluster.log(1)
        cluster.stop(1)  # a killed node loses the end of its trace and recording
    assert not cluster.is_started
    assert any(line.startswith("{") for line in cluster.log(1).splitlines())
    assert (directory / "node1").is_dir()
    assert cluster.traces == [directory / "node1.jsonl"]
    assert read_course(*cluster.traces).nodes == (1,)
    (recording,) = cluster.recordings
    replay = Replay(recording)
    assert replay.run() is None
    assert replay.step_number > 1
    with pytest.raises(ConfigError, match="has ended: create another"):
        cluster.wait_leader()
    with pytest.raises(ConfigError, match="started before"):
        cluster.start()


def test_a_failed_start_shows_the_log_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    cluster = LocalCluster(1, settings={"heartbeat_ms": "often"})
    with pytest.raises(ProcessError, match=r"(?s)node 1 ended.*--heartbeat-ms.*often|integer"):
        cluster.start()
    assert list(tmp_path.iterdir()) == []


#: Starts a cluster of one node, pauses it and names it, and waits.
PROGRAM = """
import time
from qcore.testing import LocalCluster
with LocalCluster(1) as cluster:
    node = cluster._nodes.nodes[1]
    cluster.pause(1)
    print(node.pid, node.log_path, flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize(
    "number", [pytest.param(signal.SIGINT, marks=pytest.mark.long), signal.SIGKILL]
)
def test_an_interrupted_program_leaves_nothing_behind(number: signal.Signals) -> None:
    """Not even a paused node, or its data. SIGKILL runs no code of the program."""
    program = subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True)
    assert program.stdout is not None
    with program.stdout:
        pid, log = program.stdout.readline().split()
    assert exists(int(pid))
    program.send_signal(number)
    assert program.wait(30) in (-number, 1)
    try:
        wait_for(lambda: not exists(int(pid)), 60, "the end of the node")
        wait_for(lambda: not Path(log).parent.exists(), 60, "the end of its data")
    finally:
        if exists(int(pid)):
            os.kill(int(pid), signal.SIGKILL)


def test_the_asynchronous_client_connects(cluster: LocalCluster) -> None:
    async def ask() -> int:
        async with cluster.client(timeout_s=10) as client:
            metrics = await client.get_metrics()
            return int(metrics["id"])

    assert asyncio.run(ask()) in cluster.ids


def test_errors_are_those_of_qcore() -> None:
    assert issubclass(ProcessError, QcoreError)


@pytest.mark.long
def test_a_cluster_with_users_needs_a_user(tmp_path: Path) -> None:
    with LocalCluster(1, directory=tmp_path / "cluster") as cluster:
        with cluster.sync_client() as client:
            client.set_user("root", password="correct horse", roles=["admin"])
        with pytest.raises(ProcessError, match="only to a user who may observe: this cluster has"):
            cluster.wait_leader()
        with pytest.raises(Unauthenticated):
            cluster.sign_in("root", "wrong horse")
        cluster.sign_in("root", "correct horse")
        assert cluster.wait_leader() == 1
        cluster.wait_converged()
        cluster.kill(1)
        cluster.restart(1)
        assert cluster.wait_leader() == 1
        with cluster.sync_client() as client:
            assert client.who_am_i().user == "root"
            client.set_user("ann", password="another horse", roles=[])
        with cluster.sync_client(user="ann", password="another horse") as client:
            assert client.who_am_i().user == "ann"
