"""The `qcore` command against real nodes: results on stdout, errors on stderr, and exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from qcore.processes import ProcessCluster, free_ports
from tests.checkout import CHECKOUT
from tests.process.conftest import ARGUMENTS, assert_no_traceback
from tests.process.support.commands import run_here, run_qcore

pytestmark = pytest.mark.process


def test_a_cluster_can_be_run_from_the_command_line(tmp_path: Path) -> None:
    with ProcessCluster(tmp_path, size=3, arguments=ARGUMENTS) as cluster:
        cluster.start()
        endpoints = ",".join(cluster.endpoints)
        nodes = ",".join(f"{node_id}={address}" for node_id, address in cluster.members)

        before = run_qcore("cluster", "status", "--endpoints", endpoints)
        assert before.returncode == 5

        begun = run_qcore(
            "cluster", "init", "--endpoints", endpoints, "--nodes", nodes, "-o", "json"
        )
        assert begun.returncode == 0, begun.stderr
        cluster_id = json.loads(begun.stdout)["cluster_id"]
        again = run_qcore("cluster", "init", "--endpoints", endpoints, "--nodes", nodes)
        assert again.returncode == 4
        assert cluster_id in again.stderr
        cluster.wait_leader()
        cluster.wait_converged()

        status = run_qcore(
            "cluster", "status", "-o", "json", environment={"QCORE_ENDPOINTS": endpoints}
        )
        assert status.returncode == 0, status.stderr
        body = json.loads(status.stdout)
        assert body["healthy"]
        assert [node["metrics"]["id"] for node in body["nodes"]] == [1, 2, 3]

        table = run_qcore("cluster", "status", "--endpoints", endpoints).stdout.splitlines()
        assert table[0].split()[:3] == ["ENDPOINT", "NODE", "STATE"]
        assert sorted(line.split()[2] for line in table[1:]) == ["Follower", "Follower", "Leader"]

        request = '{"GetSchema": {"entity_type": "Nothing"}}'
        unknown = run_qcore("perform", request, "--endpoints", endpoints)
        assert unknown.returncode == 4
        assert "Nothing" in unknown.stderr
        assert json.loads(unknown.stdout)["GetSchema"]["response"] is None
        malformed = run_qcore("perform", '{"GetSchema": {}}', "--endpoints", endpoints)
        assert malformed.returncode == 4
        assert "entity_type" in malformed.stderr

        cluster.nodes[3].kill()
        degraded = run_qcore("cluster", "status", "--endpoints", endpoints)
        assert degraded.returncode == 5
        assert cluster.nodes[3].address in degraded.stderr
    assert_no_traceback(cluster)


def test_a_user_defined_machine_runs_from_the_command_line(tmp_path: Path) -> None:
    machine = CHECKOUT / "examples" / "counter_machine.py"
    arguments = (*ARGUMENTS, "--machine", f"{machine}:CounterMachine")
    with ProcessCluster(tmp_path, size=3, arguments=arguments) as cluster:
        cluster.start()
        endpoints = ",".join(cluster.endpoints)
        nodes = ",".join(f"{node_id}={address}" for node_id, address in cluster.members)
        assert (
            run_qcore("cluster", "init", "--endpoints", endpoints, "--nodes", nodes).returncode == 0
        )
        add = '{"name": "visits", "by": 2}'
        for expected in ("2", "4"):
            done = run_qcore("execute", add, "--endpoints", endpoints)
            assert (done.returncode, done.stdout) == (0, f"{expected}\n"), done.stderr
        read = run_qcore("execute", "--read", "visits", "--endpoints", cluster.endpoints[2])
        assert read.stdout == "4\n"
        cluster.wait_converged()
        wrong = run_qcore(
            "perform", '{"GetSchema": {"entity_type": "A"}}', "--endpoints", endpoints
        )
        assert wrong.returncode == 4
        assert "GetSchema" in wrong.stderr
        for command in (
            "entity tree",
            "entity get Root",
            "watch Root Name",
            "schema list",
            "export",
        ):
            wrong_here = run_here(*command.split(), "--endpoints", cluster.endpoints[0])
            assert (wrong_here.code, wrong_here.stdout) == (4, "")
            assert "error: this cluster runs the state machine 'counter', and " in wrong_here.stderr
            assert "Perform" not in wrong_here.stderr
        status = run_here("cluster", "status", "-o", "json", "--endpoints", cluster.endpoints[0])
        (node,) = json.loads(status.stdout)["nodes"]
        assert node["metrics"]["snapshot"] is None, (
            "`export` was rejected before it cost a snapshot"
        )
    assert_no_traceback(cluster)


def test_no_reachable_node_is_exit_code_3() -> None:
    endpoint = f"127.0.0.1:{free_ports(1)[0]}"
    for command in (["cluster", "status"], ["cluster", "init"], ["perform", '{"GetSchema": {}}']):
        done = run_qcore(*command, "--endpoints", endpoint, "--timeout", "1")
        assert done.returncode == 3, done
        assert endpoint in done.stderr


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["cluster", "init", "--nodes", "one=127.0.0.1:1"], "one"),
        (["cluster", "init", "--nodes", "1=nowhere"], "nowhere"),
        (["cluster", "init", "--endpoints", "127.0.0.1:1,127.0.0.1:2"], "--nodes"),
        (["cluster", "status", "--endpoints", "nowhere"], "nowhere"),
        (["cluster", "status", "--endpoints", ""], "--endpoints"),
        (["perform", "{"], "JSON"),
        (["perform", "[]"], "one key"),
        (["node", "start", "--id", "0", "--data-dir", "x"], "--id"),
        (["node", "start", "--id", "1", "--data-dir", "x", "--ws-addr", "y"], "--ws-addr"),
        (
            ["node", "start", "--id", "1", "--data-dir", "x", "--heartbeat-ms", "900"],
            "--heartbeat-ms",
        ),
        (["node", "start", "--id", "1", "--data-dir", "x", "--machine", "y"], "--machine"),
        (["node", "start", "--id", "1", "--data-dir", "x", "--machine", "y.py:Z"], "y.py"),
        (["nothing"], "nothing"),
    ],
)
def test_wrong_usage_is_exit_code_2(arguments: list[str], named: str) -> None:
    done = run_qcore(*arguments)
    assert done.returncode == 2
    assert named in done.stderr
    assert done.stdout == ""


def test_version_imports_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['qcore', 'version', '-o', 'json']\n"
        "from qcore.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'simpy', 'websockets', 'networkx', 'matplotlib', 'asyncio', 'yaml'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    version, heavy = done.stdout.splitlines()
    assert json.loads(version)["qcore"]
    assert heavy == "[]"


def test_help_lists_every_group() -> None:
    done = run_qcore("--help")
    assert done.returncode == 0
    for group in ("demo", "node", "cluster", "sim", "version"):
        assert f"  {group}" in done.stdout
