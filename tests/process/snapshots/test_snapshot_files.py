"""`qcore snapshot save|status` with real nodes: under load, from leader and follower, with every state machine."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qcore.cli.main import main
from qcore.core.entry import DurableState, Membership
from qcore.machines.entity.entity_store import EntityStore
from qcore.machines.interface import ApplyContext, StateMachine
from qcore.machines.loader import load_machine
from qcore.machines.register import RegisterMachine
from qcore.processes import NodeProcess, free_ports
from qcore.replica.access.access_table import AccessTable
from qcore.replica.sessions.session_table import SessionTable
from qcore.replica.snapshot_builder import restore_snapshot
from qcore.storage.files.snapshot_file import SnapshotFileWriter, SnapshotHeader, verify
from qcore.storage.sqlite.sqlite_storage import SqliteStorage
from tests.process.conftest import assert_no_traceback
from tests.process.support.commands import run_qcore, run_qcore_json
from tests.process.support.load import Load
from tests.process.support.member_changes import initialised_cluster
from tests.process.support.wire_client import WireClient, read_field, string_schema, write_field

pytestmark = pytest.mark.process


def snapshot_json(*arguments: str, **environment: str) -> Any:
    return run_qcore_json("snapshot", *arguments, environment=environment)


def state_in(path: Path, machine: StateMachine) -> SessionTable:
    """Restore the machine from the file, and return the sessions."""
    text = path.read_bytes().partition(b"\n")[2].decode()
    sessions = SessionTable()
    for _ in restore_snapshot(text, machine, sessions, AccessTable()):
        pass
    return sessions


def catch_up(
    machine: StateMachine, sessions: SessionTable, log: DurableState, first: int, last: int
) -> None:
    """Apply the log's entries from `first` to `last`, as a replica would."""
    assert log.entries[0].index <= first, "the log was compacted beyond the snapshot"
    for entry in log.entries[first - log.entries[0].index : last - log.entries[0].index + 1]:
        if entry.kind == "command":
            machine.apply(entry.data, ApplyContext(entry.index, entry.time_us))
        elif entry.kind == "session":
            sessions.apply(entry, machine, ApplyContext(entry.index, entry.time_us))


def test_snapshots_under_load_hold_the_state_at_their_index(tmp_path: Path) -> None:
    """The leader and a follower save concurrently while clients write.

    Each snapshot, followed by the rest of the log, ends in the state of the nodes. It holds every write that was
    acknowledged before the save began.
    """
    with initialised_cluster(tmp_path, size=3, voters=3) as cluster:
        leader = cluster.wait_leader()
        follower = next(node for node in cluster.running() if node is not leader)
        with WireClient(leader.address) as client:
            client.perform("SetSchema", entity_schema=string_schema("Mark", "Name", "Text"))
            made = client.perform("CreateEntity", entity_type="Mark", parent_id=None, name="m")
            mark = made["response"]
            big = write_field(mark, "Text", {"String": 'x"' * 200_000})
            assert client.perform("UpdateEntity", request=[big])["error"] is None
        with Load([node.address for node in cluster.running()], clients=4) as load:
            load.wait_acknowledged(20)
            with WireClient(leader.address) as client:
                write = write_field(mark, "Name", {"String": "before"})
                assert client.perform("UpdateEntity", request=[write])["error"] is None
            files = [tmp_path / "leader.snapshot", tmp_path / "follower.snapshot"]
            with ThreadPoolExecutor() as pool:
                saved = list(
                    pool.map(
                        lambda file, node: snapshot_json(
                            "save", str(file), "--endpoints", node.address
                        ),
                        files,
                        [leader, follower],
                    )
                )
            load.wait_acknowledged(20)
        load.read_all()
        load.check()
        cluster.wait_converged()
        status = leader.status()
        for file, shown in zip(files, saved, strict=True):
            checked = snapshot_json("verify", str(file))
            assert checked == {**checked, **shown, "checksum_ok": True}
            assert [member["address"] for member in shown["members"]] == cluster.endpoints

        final, final_hash = status["last_applied"]["index"], status["qcore"]["state_hash"]
        for node in cluster.nodes.values():
            node.stop()
        storage = SqliteStorage.open(leader.data_dir, leader.node_id)
        log = storage.load()
        storage.close()
        for file in files:
            machine = EntityStore()
            sessions = state_in(file, machine)
            query = {"UpdateEntity": {"request": [read_field(mark, "Name")]}}
            found = json.loads(machine.query(json.dumps(query)))
            assert found["UpdateEntity"]["response"][0]["Read"]["value"] == {"String": "before"}
            catch_up(machine, sessions, log, verify(file).last_included_index + 1, final)
            assert machine.state_hash() == final_hash
    assert_no_traceback(cluster)


def fill(node: NodeProcess, commands: list[str]) -> None:
    with WireClient(node.address) as client:
        for command in commands:
            reply = client.ask("Perform", request={"Write": command})
            assert reply["Write"]["error"] is None


COUNTER = "examples/counter_machine.py:CounterMachine"


@pytest.mark.parametrize(
    ("machine", "commands"),
    [
        (
            "register",
            [json.dumps({"op": "set", "key": f"k{i}", "value": "v" * 9000}) for i in range(40)],
        ),
        (COUNTER, [json.dumps({"name": f"n{i}", "by": i}) for i in range(20)]),
    ],
    ids=["register", "own"],
)
def test_any_machine_can_be_saved_and_force_replaces_a_file(
    tmp_path: Path, machine: str, commands: list[str]
) -> None:
    with initialised_cluster(tmp_path, size=1, arguments=("--machine", machine)) as cluster:
        node = cluster.nodes[1]
        fill(node, commands)
        file = tmp_path / "state.snapshot"
        shown = snapshot_json("save", str(file), "--endpoints", node.address)
        status = node.status()
        assert shown["index"] == status["last_applied"]["index"] == status["snapshot"]["index"]
        fresh = RegisterMachine() if machine == "register" else load_machine(machine, Path())()
        state_in(file, fresh)
        assert fresh.state_hash() == status["qcore"]["state_hash"]

        fill(node, commands[:1])
        assert run_qcore("snapshot", "save", str(file), "--endpoints", node.address).returncode == 2
        assert verify(file).last_included_index == shown["index"]
        newer = snapshot_json("save", str(file), "--endpoints", node.address, QCORE_FORCE="1")
        assert newer["index"] > shown["index"]
        table = run_qcore("snapshot", "status", str(file)).stdout
        assert f"INDEX     {newer['index']}\n" in table
        assert "CHECKSUM  ok\n" in table
        assert f"1 at {node.address}" in table
    assert_no_traceback(cluster)


def test_without_a_quorum_only_a_stale_snapshot_is_saved(tmp_path: Path) -> None:
    with initialised_cluster(tmp_path, size=2, voters=2) as cluster:
        left = cluster.nodes[1]
        index = cluster.wait_leader().status()["last_applied"]["index"]
        cluster.wait_converged()
        cluster.nodes[2].kill()
        file = str(tmp_path / "state.snapshot")
        refused = run_qcore("snapshot", "save", file, "--endpoints", left.address, "--timeout", "1")
        assert refused.returncode == 4, refused.stderr
        assert "--stale copies what a node has" in refused.stderr
        assert len(refused.stderr.splitlines()) == 1
        assert not Path(file).exists()
        shown = snapshot_json("save", file, "--endpoints", left.address, QCORE_STALE="1")
        assert shown["index"] >= index
    assert_no_traceback(cluster)


# -- in this process, without a node -------------------------------------------------------------


@pytest.fixture
def valid_file(tmp_path: Path) -> Path:
    """A valid snapshot file."""
    text = '[]\n{"key": "value"}\n'
    data = text.encode()
    membership = Membership(voters=(1,), addresses=((1, "a:1"),), cluster_id="north")
    digest = hashlib.sha256(data).hexdigest()
    header = SnapshotHeader("north", 7, 2, 1_700_000_000_000_000, membership, len(data), digest)
    with SnapshotFileWriter(tmp_path / "valid.snapshot", header) as writer:
        writer.write(text)
        writer.finish()
    return tmp_path / "valid.snapshot"


SnapshotCommand = Callable[..., tuple[int, str, str]]


@pytest.fixture
def snapshot_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> SnapshotCommand:
    """Runs `qcore snapshot ...`: exit code, stdout, stderr."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["qcore", "snapshot", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        assert isinstance(ended.value.code, int)
        return (ended.value.code, *capsys.readouterr())

    return run


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lambda data: data[:-1], "was cut short"),
        (lambda data: data[:-2] + bytes([data[-2] ^ 4]) + data[-1:], "the state was changed"),
        (lambda data: data.replace(b'"last_included_index":', b'"last_included_index":1'), "header"),
        (lambda data: b"", "is empty"),
    ],
)  # fmt: skip
def test_a_damaged_file_is_one_line_and_exit_code_1(
    valid_file: Path,
    snapshot_command: SnapshotCommand,
    damage: Callable[[bytes], bytes],
    named: str,
) -> None:
    assert snapshot_command("status", str(valid_file))[0] == 0
    valid_file.write_bytes(damage(valid_file.read_bytes()))
    code, out, error = snapshot_command("status", str(valid_file))
    assert code == 1
    assert named in error
    assert str(valid_file) in error
    assert len(error.splitlines()) == 1
    assert out == ""


@pytest.mark.parametrize("time_us", [9 * 10**18, -(10**18), 10**30])
def test_a_time_outside_the_calendar_is_shown_in_microseconds(
    valid_file: Path, snapshot_command: SnapshotCommand, time_us: int
) -> None:
    header = replace(verify(valid_file), last_included_time_us=time_us)
    with SnapshotFileWriter(valid_file, header, force=True) as writer:
        writer.write('[]\n{"key": "value"}\n')
        writer.finish()
    code, out, error = snapshot_command("status", str(valid_file))
    assert (code, error) == (0, "")
    assert f"{time_us} us since 1970" in out


def test_a_command_that_cannot_work_says_why(
    valid_file: Path, snapshot_command: SnapshotCommand, tmp_path: Path
) -> None:
    before = valid_file.read_bytes()
    (port,) = free_ports(1)
    dead = f"127.0.0.1:{port}"
    new = str(tmp_path / "new.snapshot")
    for arguments, expected, named in (
        (("status", str(tmp_path / "none")), 1, "No such file"),
        (("status", str(tmp_path)), 1, "directory"),
        (("save", str(valid_file), "--endpoints", dead), 2, "--force"),
        (("save", str(tmp_path / "no" / "f"), "--endpoints", dead), 1, "is not a directory"),
        (("save", new, "--endpoints", "nonsense"), 2, "host:port"),
        (("save", new, "--endpoints", dead, "--timeout", "0.5"), 3, dead),
    ):
        code, out, error = snapshot_command(*arguments)
        assert code == expected, (arguments, error)
        assert named in error
        assert len(error.splitlines()) == 1
        assert out == ""
    assert valid_file.read_bytes() == before
    assert not Path(new).exists()
