"""The demo and the examples, which a newcomer runs first."""

from __future__ import annotations

import json
import os
import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin

from qcore.processes import ProcessCluster, free_ports, wait_for
from tests.checkout import CHECKOUT, EXAMPLES
from tests.process.support.wire_client import WireClient, string_schema

pytestmark = pytest.mark.process

PAGE = "http://127.0.0.1:8000"


def example_output(name: str, *arguments: str) -> str:
    """What an example prints. It must succeed."""
    done = subprocess.run(
        [sys.executable, f"examples/{name}", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=CHECKOUT,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_demo_passes(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "qcore", "demo", "--out", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
        cwd=CHECKOUT,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.rstrip().endswith("Everything held.")
    assert (tmp_path / "leader_isolated.png").stat().st_size > 10_000
    assert len(done.stdout.splitlines()) < 50


def test_the_example_client_moves_money(ready_cluster: ProcessCluster) -> None:
    shown = example_output("client.py", *ready_cluster.endpoints)
    assert "ada has 70" in shown
    assert "grace has 30" in shown
    assert "grace had 0 and now has 30" in shown


def test_the_example_client_shows_errors_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "argv", ["client.py", "ws://h:1"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(CHECKOUT / "examples" / "client.py"), run_name="__main__")
    assert str(ended.value.code).startswith("error: ")
    assert "ws://h:1" in str(ended.value.code)


@dataclass(frozen=True, slots=True)
class RawSession:
    """What the raw client printed at a new node, and the address of the node."""

    shown: str
    address: str


@pytest.fixture(scope="module")
def raw_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RawSession]:
    """The raw client has begun the cluster of this node, which has the topology of the plant."""
    topology = str(EXAMPLES / "plant/plant.yaml")
    arguments = ("--allow-origin", PAGE, "--topology", topology)
    with ProcessCluster(tmp_path_factory.mktemp("raw"), 1, arguments) as cluster:
        cluster.start()
        (address,) = cluster.endpoints
        yield RawSession(example_output("raw_client.py", f"ws://{address}"), address)
    assert "Traceback" not in cluster.nodes[1].log_text()


def test_a_node_lets_in_pages_of_its_origins_only(raw_session: RawSession) -> None:
    for origin, refused in ((PAGE, ""), (PAGE + "1", "HTTP 403")):
        assert refused in connection_of_a_page(f"ws://{raw_session.address}", origin)


def test_the_plant_reports_alarms_with_machine_and_operator(raw_session: RawSession) -> None:
    shown = example_output("plant/plant.py", raw_session.address, "--seconds", "2.5")
    alarms = re.findall(
        r"^ALARM  (.+), (.+): (.+) is (.+) (.+), (above|below) (.+): call (\w+)$",
        shown,
        re.MULTILINE,
    )
    assert len(alarms) >= 3
    for area, machine, sensor, value, unit, side, limit, operator in alarms:
        assert (float(value) > float(limit)) is (side == "above")
        if machine == "Conveyor":
            assert (area, sensor, unit, operator) == ("Packing", "Speed", "m/s", "Linus")
    assert {machine for _, machine, *_ in alarms} >= {"Boiler 1", "Conveyor"}
    assert "ok     Boiler house, Boiler 1: " in shown
    assert shown.endswith("the time is over\n")
    # It also records them: a watch from the beginning of the log shows the writes.
    config = {
        "entity_type": "Sensor",
        "field_type": "Alarm",
        "trigger_on_change": True,
        "context": [],
    }
    with WireClient(raw_session.address) as client:
        client.ask("StoreRegisterNotification", config={"EntityType": config}, after=[0, -1])
        recorded = [each["StoreNotification"]["notification"] for each in client.receive_all(3)]
    assert all(each["current_value"] != each["previous_value"] for each in recorded)


def test_the_raw_client_is_short_and_shows_every_message(raw_session: RawSession) -> None:
    text = (EXAMPLES / "raw_client.py").read_text()
    assert len(text.splitlines()) <= 40
    assert "import qcore" not in text
    assert "from qcore" not in text
    shown = raw_session.shown
    for kind in ("Init", "GetMetrics", "StoreSetEntitySchema", "StoreCreateEntity"):
        assert f"{kind}Response {{'" in shown
    assert "Notification {'notification': {'entity_id': {'typ': 'Tank'" in shown
    assert "Write': {" in shown
    assert "Read': {" in shown
    assert shown.count("'value': {'String': 'T2'}") == 2
    assert "Error" not in shown


def connection_of_a_page(url: str, origin: str) -> str:
    """The error of a WebSocket connection that names this origin; empty if a request is answered."""
    try:
        with connect(url, origin=Origin(origin), proxy=None) as socket:
            socket.send('{"GetMetrics": {"id": "1"}}')
            assert "GetMetricsResponse" in json.loads(socket.recv(timeout=20))
    except InvalidStatus as error:
        return str(error)
    return ""


def test_a_node_runs_on_a_user_defined_storage(tmp_path: Path) -> None:
    """After kill -9 and a restart, no data is lost."""
    (port,) = free_ports(1)
    command = [
        sys.executable,
        "-m",
        "tests.process.programs.node_on_json",
        str(port),
        str(tmp_path),
    ]
    address = f"127.0.0.1:{port}"
    for start in (1, 2):
        process = subprocess.Popen(command, cwd=CHECKOUT, stderr=subprocess.DEVNULL)
        try:
            client = wait_for(lambda: connected(address), 30, "the node to listen")
            with client:
                if start == 1:
                    assert client.ask("Init", nodes=[]) == {"Ok": None}
                    client.perform("SetSchema", entity_schema=string_schema("Kept", "Name"))
                else:
                    wait_for(lambda: client.ask("GetMetrics")["state"] == "Leader", 60, "a leader")  # noqa: B023 - called within this turn of the loop
                    found = client.perform("GetSchema", entity_type="Kept")
                    assert found["response"]["entity_type"] == "Kept"
        finally:
            process.kill()
            process.wait()
    assert (tmp_path / "log.json").exists()


def connected(address: str) -> WireClient | None:
    try:
        return WireClient(address)
    except OSError:
        return None
