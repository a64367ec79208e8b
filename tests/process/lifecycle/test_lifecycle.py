"""Start, stop and restart of a node: the data that it keeps, the starts that it refuses, and its exit codes."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from qcore.node.observability.logs import NodeLog
from qcore.node.process.early_hangup import EarlyHangup
from qcore.node.process.signals import stop_on_signals
from qcore.processes import NodeProcess, ProcessCluster, free_ports, wait_for
from tests.process.conftest import ARGUMENTS, assert_no_traceback, initialise
from tests.process.support.wire_client import WireClient, read_field, string_schema, write_field

pytestmark = pytest.mark.process

TOPOLOGY = """
schemas:
  - entity_type: Room
    inherit: null
    fields:
      Name: {default_value: {String: ""}, rank: 0}
      Floor: {default_value: 3, rank: 1}
tree:
  - {entity_type: Room, name: Attic}
  - {entity_type: Room, name: Cellar, attributes: {Floor: -1}}
"""


@pytest.fixture
def node(tmp_path: Path) -> Iterator[NodeProcess]:
    """One stopped node."""
    with ProcessCluster(tmp_path, size=1, arguments=ARGUMENTS) as cluster:
        yield cluster.nodes[1]
    assert_no_traceback(cluster)


def begin_alone(node: NodeProcess) -> None:
    with WireClient(node.address) as client:
        assert client.ask("Init", nodes=[]) == {"Ok": None}


@pytest.mark.parametrize("option", ["", "--uvloop", "--no-uvloop"])
def test_first_line_names_the_event_loop(node: NodeProcess, option: str) -> None:
    """By default it is uvloop, where that is installed."""
    installed = importlib.util.find_spec("uvloop") is not None
    if option == "--uvloop" and not installed:
        pytest.skip("uvloop is not installed")
    node.arguments += [option] if option else []
    node.start()
    loop = "uvloop" if installed and option != "--no-uvloop" else "asyncio"
    wait_for(lambda: "listening" in node.log_text(), 30, "the line of a node that listens")
    assert f" loop={loop}" in node.log_text()
    begin_alone(node)
    assert node.stop() == 0


def test_a_restart_resumes_from_disk(node: NodeProcess) -> None:
    node.start()
    begin_alone(node)
    with WireClient(node.address) as client:
        client.perform("SetSchema", entity_schema=string_schema("Item", "Name", "Text"))
        made = client.perform("CreateEntity", entity_type="Item", parent_id=None, name="x")
        entity = made["response"]
        client.perform("UpdateEntity", request=[write_field(entity, "Text", {"String": "kept"})])
        before = client.ask("GetMetrics")
    assert node.stop() == 0
    node.start()
    with WireClient(node.address) as client:
        wait_for(lambda: node.status().get("state") == "Leader", 60, "the node to lead again")
        read = client.perform("UpdateEntity", request=[read_field(entity, "Text")])
        after = client.ask("GetMetrics")
    assert read["response"][0]["Read"]["value"] == {"String": "kept"}
    assert after["qcore"]["cluster_id"] == before["qcore"]["cluster_id"]
    assert after["qcore"]["state_hash"] == before["qcore"]["state_hash"]
    assert after["current_term"] > before["current_term"]
    assert after["last_log_index"] > before["last_log_index"]


def test_sigterm_exits_with_0_and_answers_pending_requests(cluster: ProcessCluster) -> None:
    initialise(cluster)
    leader = cluster.wait_leader()
    with WireClient(leader.address) as client:
        client.perform("SetSchema", entity_schema=string_schema("Item", "Name", "Text"))
        made = client.perform("CreateEntity", entity_type="Item", parent_id=None, name="x")
        write = write_field(made["response"], "Text", {"String": "last"})
        request = {"UpdateEntity": {"request": [write]}}
        client.send([{"Perform": {"id": str(n), "request": request}} for n in range(50)])
        leader.signal(signal.SIGTERM)
        replies = client.receive_all(50)
    assert leader.wait() == 0
    ids = {reply["PerformResponse"]["id"] for reply in replies}
    assert ids == {str(n) for n in range(50)}
    for reply in replies:
        body = reply["PerformResponse"]["response"]["UpdateEntity"]
        assert body["error"] is None or body["detail"]["code"] in ("NotLeader", "OutcomeUnknown")
    cluster.wait_leader()


def test_a_second_signal_stops_a_node_immediately(cluster: ProcessCluster) -> None:
    """Without its followers, the leader cannot complete a write, and the first signal waits for the write."""
    initialise(cluster)
    leader = cluster.wait_leader()
    with WireClient(leader.address) as client:
        client.perform("SetSchema", entity_schema=string_schema("Item", "Name"))
        for node in cluster.nodes.values():
            if node is not leader:
                node.pause()
        create = {"CreateEntity": {"entity_type": "Item", "parent_id": None, "name": "x"}}
        client.send({"Perform": {"id": "stuck", "request": create}})
        waiting = '"requests": 1'
        wait_for(lambda: waiting in leader.get("/status")[1], 60, "the write to arrive")
        leader.signal(signal.SIGTERM)
        wait_for(
            lambda: "shutting down" in leader.log_text(), 20, "the node to receive the first signal"
        )
        assert leader.running
        time.sleep(0.3)  # an immediate second signal would count as a duplicate of the first
        leader.signal(signal.SIGTERM)
        assert leader.wait(3) == 130


@pytest.mark.parametrize(
    ("second", "after_s", "ends"),
    [
        (signal.SIGTERM, 0.1, False),
        (signal.SIGTERM, 0.3, True),
        (signal.SIGINT, 0.1, True),
        (signal.SIGHUP, 0.3, False),
    ],
)
def test_a_signal_delivered_twice_counts_once(
    second: signal.Signals, after_s: float, ends: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`timeout` sends a signal to the process and to its group."""
    exits: list[int] = []
    handlers: dict[int, Callable[[], object]] = {}
    now = 100.0

    async def signalled() -> None:
        nonlocal now
        loop = asyncio.get_running_loop()
        with monkeypatch.context() as patch:
            patch.setattr(
                loop,
                "add_signal_handler",
                lambda n, f, *args: handlers.update({n: partial(f, *args)}),
            )
            patch.setattr(loop, "time", lambda: now)
            patch.setattr("os._exit", exits.append)
            stop = stop_on_signals(NodeLog(1), lambda: None, EarlyHangup())
            handlers[signal.SIGTERM]()
            assert stop.is_set()
            now += after_s
            handlers[second]()

    asyncio.run(signalled())
    assert exits == ([130] if ends else [])


def test_a_second_process_on_the_same_directory_is_rejected(node: NodeProcess) -> None:
    node.start()
    (port,) = free_ports(1)
    second = start_directly(1, port, node.data_dir)
    assert second.returncode == 5
    assert str(node.pid) in second.stderr
    assert "Traceback" not in second.stderr
    assert node.get("/livez")[0] == 200


def test_a_directory_of_another_node_is_rejected(node: NodeProcess) -> None:
    node.start()
    assert node.stop() == 0
    (port,) = free_ports(1)
    other = start_directly(2, port, node.data_dir)
    assert other.returncode == 5
    assert "node 1" in other.stderr
    assert "Traceback" not in other.stderr


def test_an_address_in_use_is_rejected(node: NodeProcess, tmp_path: Path) -> None:
    node.start()
    other = start_directly(2, node.port, tmp_path / "other")
    assert other.returncode == 3
    assert node.address in other.stderr
    assert "Traceback" not in other.stderr


def test_a_failed_start_ends_the_disk_thread_before_the_storage(tmp_path: Path) -> None:
    """Otherwise the thread may use SQLite while its connection is closed: a segmentation fault."""
    command = [sys.executable, "-m", "tests.process.programs.held_disk_node", str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines() == ["close", "the start failed"]


def test_a_damaged_log_is_rejected_at_startup(node: NodeProcess) -> None:
    node.start()
    begin_alone(node)
    with WireClient(node.address) as client:
        client.perform("SetSchema", entity_schema=string_schema("Needle", "Name"))
    assert node.stop() == 0
    damaged = 0
    for path in sorted(node.data_dir.iterdir()):
        content = path.read_bytes()
        if b"Needle" in content:
            path.write_bytes(content.replace(b"Needle", b"Noodle"))
            damaged += 1
    assert damaged
    refused = start_directly(1, node.port, node.data_dir)
    assert refused.returncode == 5
    assert "Traceback" not in refused.stderr
    assert str(node.data_dir) in refused.stderr


def test_http_pages_show_whether_a_node_has_a_cluster(node: NodeProcess) -> None:
    node.start()
    assert node.get("/livez") == (200, "ok\n")
    code, reason = node.get("/readyz")
    assert code == 503
    assert "no cluster" in reason
    assert node.status()["state"] == "Learner"
    begin_alone(node)
    wait_for(lambda: node.get("/readyz")[0] == 200, 60, "the node to be ready")
    code, page = node.get("/metrics")
    assert code == 200
    assert 'qcore_raft_role{role="leader"} 1' in page
    assert "qcore_raft_term 2" in page
    for line in page.splitlines():
        assert line.startswith("#") or len(line.rsplit(" ", 1)) == 2, line
    assert node.get("/nothing")[0] == 404


def test_a_port_can_be_chosen_by_the_system(tmp_path: Path) -> None:
    command = node_command(1, 0, tmp_path / "data")
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        address = line.split()[-1]
        assert address.startswith("127.0.0.1:")
        assert not address.endswith(":0")
        with WireClient(address) as client:
            assert client.ask("Init", nodes=[]) == {"Ok": None}
            nodes = client.ask("GetMetrics")["membership_config"]["membership"]["nodes"]
        assert nodes == {"1": {"addr": address}}
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def test_the_topology_is_loaded_once_and_equally_everywhere(tmp_path: Path) -> None:
    topology = tmp_path / "topology.yaml"
    topology.write_text(TOPOLOGY)
    arguments = (*ARGUMENTS, "--config-file", str(topology))
    with ProcessCluster(tmp_path, size=3, arguments=arguments) as cluster:
        cluster.start()
        initialise(cluster)
        first = cluster.wait_converged()
        with WireClient(cluster.endpoints[2]) as client:
            assert find_rooms(client) == {"Attic": 3, "Cellar": -1}
            index = client.ask("GetMetrics")["last_log_index"]
            assert index <= 5, "the configuration, a no-op, and at most one topology for each node"
        for node in cluster.nodes.values():
            node.kill()
        cluster.start()
        cluster.wait_leader()
        assert cluster.wait_converged() == first
    assert_no_traceback(cluster)


def big_topology(entities: int) -> str:
    """A tree whose command has about 400 bytes for each entity."""
    lines = [TOPOLOGY.rstrip()]
    lines += [
        f"  - {{entity_type: Room, name: {'r' * 320}-{number}, attributes: {{Floor: {number}}}}}"
        for number in range(entities)
    ]
    return "\n".join(lines) + "\n"


def test_a_topology_may_be_larger_than_a_clients_command(tmp_path: Path) -> None:
    topology = tmp_path / "big.yaml"
    topology.write_text(big_topology(5000))
    arguments = (*ARGUMENTS, "--config-file", str(topology))
    with ProcessCluster(tmp_path, size=3, arguments=arguments) as cluster:
        cluster.start()
        initialise(cluster)
        with WireClient(cluster.endpoints[1]) as client:
            asked = [read_field({"typ": "Room", "id": 3 + 5001}, "Floor")]
            answer = client.perform("UpdateEntity", request=asked)
        assert answer["error"] is None
        cluster.wait_converged()
    assert_no_traceback(cluster)


def test_a_topology_that_no_frame_can_carry_stops_the_start(tmp_path: Path) -> None:
    topology = tmp_path / "huge.yaml"
    topology.write_text(big_topology(20_000))
    (port,) = free_ports(1)
    refused = start_directly(1, port, tmp_path / "data", "--config-file", str(topology))
    assert refused.returncode == 2
    assert "huge.yaml: the topology is a command of " in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_topology_not_in_utf_8_stops_the_start_with_its_line(tmp_path: Path) -> None:
    topology = tmp_path / "latin.yaml"
    topology.write_bytes(TOPOLOGY.replace("Attic", "Gr\u00fcn").encode("latin-1"))
    (port,) = free_ports(1)
    refused = start_directly(1, port, tmp_path / "data", "--config-file", str(topology))
    assert refused.returncode == 2
    assert "latin.yaml:9:" in refused.stderr
    assert "not UTF-8" in refused.stderr


def test_a_follower_proposes_a_topology_the_leader_lacks(tmp_path: Path) -> None:
    """The initialised node leads and has no file. A follower that has one proposes it."""
    topology = tmp_path / "topology.yaml"
    topology.write_text(TOPOLOGY)
    with ProcessCluster(tmp_path, size=3, arguments=ARGUMENTS) as cluster:
        cluster.nodes[3].arguments += ["--config-file", str(topology)]
        cluster.start()
        initialise(cluster)

        def loaded() -> bool:
            with WireClient(cluster.endpoints[0]) as client:
                answer = client.perform("GetSchema", entity_type="Room")
            return answer["error"] is None

        wait_for(loaded, 60, "the topology")
        cluster.wait_converged()
    assert_no_traceback(cluster)


def find_rooms(client: WireClient) -> dict[str, int]:
    """The floors of the rooms, by name. Ids begin at the topology's log index, which is small."""
    found: dict[str, int] = {}
    for candidate in range(1, 20):
        entity = {"typ": "Room", "id": candidate}
        fields = [read_field(entity, "Name"), read_field(entity, "Floor")]
        answer = client.perform("UpdateEntity", request=fields)
        if answer["error"] is None:
            name, floor = (item["Read"]["value"] for item in answer["response"])
            found[name["String"]] = floor["Int"]
    return found


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        (TOPOLOGY.replace("Room, name: Attic", "Rom, name: Attic"), 9, "Rom"),
        (TOPOLOGY.replace("inherit: null", "inherit: Nothing"), 4, "Nothing"),
        (TOPOLOGY.replace("Floor: -1", "Floor: {String: low}"), 10, "Floor"),
        ("schemas: x: y", 1, "YAML"),
    ],
)
def test_a_bad_topology_stops_the_start(tmp_path: Path, text: str, line: int, reason: str) -> None:
    topology = tmp_path / "bad.yaml"
    topology.write_text(text)
    (port,) = free_ports(1)
    refused = start_directly(1, port, tmp_path / "data", "--config-file", str(topology))
    assert refused.returncode == 2
    assert f"bad.yaml:{line}:" in refused.stderr
    assert reason in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_missing_topology_stops_the_start(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    missing = str(tmp_path / "none.yaml")
    refused = start_directly(1, port, tmp_path / "data", "--config-file", missing)
    assert refused.returncode == 2
    assert missing in refused.stderr


def test_json_logs_name_node_term_and_role(tmp_path: Path) -> None:
    with ProcessCluster(tmp_path, size=1, arguments=["--log-format", "json"]) as cluster:
        cluster.start()
        begin_alone(cluster.nodes[1])
        cluster.wait_leader()
        assert cluster.nodes[1].stop() == 0
        lines = cluster.nodes[1].log_text().splitlines()
    records = [json.loads(line) for line in lines if line.startswith("{")]
    assert len(records) >= len(lines) - 1  # all lines but the one on stdout
    assert all(
        {"ts", "level", "node", "term", "role", "event"} <= set(record) for record in records
    )
    assert any(record["role"] == "leader" and record["term"] == 2 for record in records)


def test_the_trace_shows_the_election_and_client_requests(
    tmp_path: Path,
) -> None:
    from qcore.analysis.figure import save_run_figure
    from qcore.analysis.records import merge
    from qcore.analysis.tables import read_tables
    from qcore.trace import read_trace

    with ProcessCluster(tmp_path, size=3, arguments=ARGUMENTS) as cluster:
        for node in cluster.nodes.values():
            node.arguments += ["--trace", str(tmp_path / f"trace{node.node_id}.jsonl")]
        cluster.start()
        initialise(cluster)
        leader = cluster.wait_leader()
        follower = next(node for node in cluster.nodes.values() if node is not leader)
        for node in (leader, follower):
            with WireClient(node.address) as client:
                client.perform("SetSchema", entity_schema=string_schema("Item", "Name"))
        for node in cluster.nodes.values():
            assert node.stop() == 0
    paths = [tmp_path / f"trace{node_id}.jsonl" for node_id in cluster.nodes]
    whole = merge(*paths)
    operations = read_tables(whole).operations
    asked = {row.client for row in operations if (row.op, row.outcome) == ("write", "ok")}
    assert asked == {leader.node_id, follower.node_id}
    save_run_figure(whole, tmp_path / "run.png")
    records = read_trace(tmp_path / f"trace{leader.node_id}.jsonl")
    kinds = {record.kind for record in records}
    assert {
        "run",
        "up",
        "role",
        "vote",
        "config",
        "commit",
        "apply",
        "send",
        "recv",
        "down",
    } <= kinds
    assert any(r.kind == "role" and r.fields["role"] == "leader" for r in records)
    other = next(node_id for node_id in cluster.nodes if node_id != leader.node_id)
    received = {
        (record.fields["id"], record.fields["message"])
        for record in read_trace(tmp_path / f"trace{other}.jsonl")
        if record.kind == "recv" and record.fields["from"] == leader.node_id
    }
    sent = {
        (record.fields["id"], record.fields["message"])
        for record in records
        if record.kind == "send" and record.fields["to"] == other
    }
    assert received
    assert received <= sent


def node_command(node_id: int, port: int, data_dir: Path, *options: str) -> list[str]:
    """The command that starts a node."""
    return [
        *(sys.executable, "-m", "qcore", "node", "start", "--id", str(node_id)),
        *("--ws-addr", f"127.0.0.1:{port}", "--data-dir", str(data_dir), *options),
    ]


def start_directly(
    node_id: int, port: int, data_dir: Path, *options: str
) -> subprocess.CompletedProcess[str]:
    """Run a node that must end by itself."""
    return subprocess.run(
        node_command(node_id, port, data_dir, *options),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
