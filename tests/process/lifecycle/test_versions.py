"""Cluster versions with real nodes: another state machine, and a rolling upgrade of the state machine."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import cache_from_source
from pathlib import Path

import pytest

from qcore.core.version import LATEST_RULES
from qcore.processes import NodeProcess, ProcessCluster, wait_for
from tests.process.conftest import ARGUMENTS, assert_no_traceback, initialise
from tests.process.support.commands import run_qcore
from tests.process.support.wire_client import WireClient, string_schema

pytestmark = pytest.mark.process

MACHINE = """
from qcore.machines.register import RegisterMachine


class Machine(RegisterMachine):
    name = "mine"
    versions = (1, {newest})

    def apply(self, command, context):
        result = super().apply(command, context)
        return result if context.version == 1 else result.replace("true", "2")
"""


def content_of(node: NodeProcess) -> dict[str, str]:
    """The digest of each file of the data directory, except for the lock, which holds the process id."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(node.data_dir.iterdir())
        if path.name != "qcore.lock"
    }


def refused_start(node: NodeProcess, *arguments: str) -> str:
    """Start the node with these options. It must end with code 5. Return its stderr."""
    place = ("--ws-addr", node.address, "--data-dir", str(node.data_dir))
    done = run_qcore("node", "start", "--id", str(node.node_id), *place, *arguments)
    assert done.returncode == 5, done
    return done.stderr


def execute(cluster: ProcessCluster, key: str) -> str:
    return write(cluster, f'{{"op": "set", "key": "{key}", "value": 1}}')


def write(cluster: ProcessCluster, command: str, in_session: bool = False) -> str:
    with WireClient(cluster.wait_leader().address) as client:
        use: dict[str, object] = {}
        if in_session:
            session = client.ask("OpenSession", lifetime_ms=60_000)["Ok"]
            use = {"session": {"id": session, "sequence": 1}}
        answer = client.ask("Perform", request={"Write": command}, **use)["Write"]
        assert answer["error"] is None
        text: str = answer["response"]
    return text


def upgrade(cluster: ProcessCluster, *options: str) -> subprocess.CompletedProcess[str]:
    return run_qcore("cluster", "upgrade", *options, endpoints=cluster.endpoints)


@pytest.mark.parametrize("how", [pytest.param("stop", marks=pytest.mark.long), "kill"])
def test_a_restart_with_another_machine_is_rejected(tmp_path: Path, how: str) -> None:
    with ProcessCluster(
        tmp_path, size=3, arguments=[*ARGUMENTS, "--machine", "register"]
    ) as cluster:
        cluster.start()
        initialise(cluster)
        execute(cluster, "a")
        cluster.wait_converged()
        node = next(one for one in cluster.running() if one is not cluster.wait_leader())
        if how == "stop":
            node.stop()
        else:
            node.kill()
        before = content_of(node)
        error = refused_start(node)
        assert "the cluster's state machine is 'register', this program runs 'entity'" in error
        assert content_of(node) == before
        error = refused_start(node, "--machine", "register", "--max-rules", "1")
        assert f"apply rules are version {LATEST_RULES}, this program supports version 1" in error
        assert content_of(node) == before
        node.start()
        execute(cluster, "b")
        cluster.wait_converged()
        assert_no_traceback(cluster)


@pytest.mark.parametrize("how", [pytest.param("stop", marks=pytest.mark.long), "kill"])
@pytest.mark.parametrize("what", ["command", "session", "snapshot"])
def test_another_machine_rejects_data_of_rules_1(tmp_path: Path, what: str, how: str) -> None:
    """Such data do not name their machine. The format of the snapshot reveals it, or else the commands."""
    kept = ["--snapshot-entries", "5", "--keep-entries", "0"]
    arguments = [*ARGUMENTS, "--machine", "register", *(kept if what == "snapshot" else [])]
    with alone_on_rules_1(tmp_path, arguments) as cluster:
        for number in range(6):
            set_text = f'{{"op": "set", "key": "k{number}", "value": 1}}'
            write(cluster, set_text, in_session=what == "session")
        node = cluster.nodes[1]
        if what == "snapshot":
            wait_for(lambda: node.status()["snapshot"] is not None, 60, "a snapshot")
            execute(cluster, "b")  # on disk after the snapshot
        if how == "stop":
            node.stop()
        else:
            node.kill()
        before = content_of(node)
        error = refused_start(node)
        assert "this program runs 'entity'; start this node with the --machine" in error
        found = (
            "the snapshot through entry"
            if what == "snapshot"
            else "understands none of the commands in entries"
        )
        assert found in error
        assert content_of(node) == before
        node.arguments = arguments
        node.start()
        assert "true" in execute(cluster, "later")
        wait_for(lambda: node.status()["qcore"]["machine"]["recorded"], 60, "rules 2")
        assert_no_traceback(cluster)


def test_the_key_value_machine_rejects_entity_data_of_rules_1(tmp_path: Path) -> None:
    with alone_on_rules_1(tmp_path, [*ARGUMENTS]) as cluster:
        with WireClient(cluster.wait_leader().address) as client:
            client.ask("Perform", request={"SetSchema": {"entity_schema": string_schema("Room")}})
        node = cluster.nodes[1]
        node.stop()
        before = content_of(node)
        assert "understands none of the commands in entries" in refused_start(
            node, "--machine", "register"
        )
        assert content_of(node) == before
        node.start()
        cluster.wait_leader()


def test_data_of_rules_1_with_one_known_command_is_accepted(tmp_path: Path) -> None:
    """A malformed command proves nothing if there is a valid one, or a snapshot that the machine can read."""
    arguments = [*ARGUMENTS, "--machine", "register"]
    with alone_on_rules_1(tmp_path, arguments) as cluster:
        node = cluster.nodes[1]
        node.stop()
        node.start()
        assert "false" in write(cluster, "nonsense")
        execute(cluster, "a")
        node.stop()
        kept = ["--snapshot-entries", "1", "--keep-entries", "0"]
        node.arguments = [*node.arguments, *kept]
        node.start()
        execute(cluster, "b")
        wait_for(lambda: node.status()["snapshot"] is not None, 60, "a snapshot")
        node.stop()
        node.arguments = [*arguments, "--max-rules", "1"]
        node.start()
        for _ in range(3):
            assert "false" in write(cluster, "nonsense")
        node.stop()
        node.arguments = arguments
        node.start()
        assert "true" in execute(cluster, "c")
        assert_no_traceback(cluster)


@contextmanager
def alone_on_rules_1(directory: Path, arguments: list[str]) -> Iterator[ProcessCluster]:
    """A cluster of one node whose data do not name their machine."""
    arguments = [*arguments, "--max-rules", "1"]
    with ProcessCluster(directory, size=1, arguments=arguments) as cluster:
        cluster.start()
        initialise(cluster)
        yield cluster


def test_a_new_node_with_another_machine_is_rejected(tmp_path: Path) -> None:
    with ProcessCluster(
        tmp_path, size=3, arguments=[*ARGUMENTS, "--machine", "register"]
    ) as cluster:
        odd = cluster.nodes[3]
        odd.arguments = [*ARGUMENTS]
        cluster.start()
        nodes = [[node_id, address] for node_id, address in cluster.members]
        with WireClient(cluster.endpoints[0]) as client:
            # The first node refuses to talk to this one, so it cannot ask for its key.
            keys = [[odd.node_id, odd.public_key()]]
            assert client.ask("Init", nodes=nodes, public_keys=keys) == {"Ok": None}
        execute(cluster, "a")
        leader = cluster.wait_leader()
        wait_for(
            lambda: "it runs the state machine 'register'" in odd.log_text(),
            20,
            "the node with another machine",
        )
        wait_for(lambda: "state machine" in leader.log_text(), 60, "the leader")
        assert odd.status()["last_log_index"] is None, "nothing was written to its log"
        odd.stop()
        odd.arguments = [*ARGUMENTS, "--machine", "register"]
        odd.start()
        cluster.wait_converged()
        assert_no_traceback(cluster)


def test_a_machine_is_upgraded_across_a_rolling_restart(tmp_path: Path) -> None:
    """The procedure of docs/operate/upgrades.md."""
    code = tmp_path / "mine.py"
    code.write_text(MACHINE.format(newest=1))
    arguments = [*ARGUMENTS, "--machine", f"{code}:Machine"]
    with ProcessCluster(tmp_path, size=3, arguments=arguments) as cluster:
        cluster.start()
        initialise(cluster)
        assert "true" in execute(cluster, "a")
        code.write_text(MACHINE.format(newest=2))
        nodes = list(cluster.nodes.values())
        for node in nodes[:2]:
            node.stop()
            Path(cache_from_source(code)).unlink(missing_ok=True)
            node.start()
            cluster.wait_converged()
        early = upgrade(
            cluster, "--to", "2"
        )  # if node 3 leads, the newest version that it supports is 1
        assert early.returncode == 4
        assert "node 3 cannot follow" in early.stderr or "supports version 1" in early.stderr
        assert "true" in execute(cluster, "b"), "version 1 is still active"
        nodes[2].stop()
        nodes[2].start()
        cluster.wait_converged()
        done = upgrade(cluster)
        assert done.returncode == 0, done.stderr
        assert "version 2 of state machine mine is active" in done.stdout
        assert '"ok":2' in execute(cluster, "c")
        cluster.wait_converged()
        for node in nodes:
            assert node.status()["qcore"]["machine"]["active"] == 2
        code.write_text(MACHINE.format(newest=1))
        nodes[0].stop()
        assert "supports version 1 of state machine 'mine', and not version 2" in refused_start(
            nodes[0], "--machine", f"{code}:Machine"
        )
        assert_no_traceback(cluster)
