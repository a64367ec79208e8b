"""The demo and the examples, which a newcomer runs first."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from qcore.processes import ProcessCluster, free_ports, wait_for
from tests.checkout import CHECKOUT
from tests.process.support.wire_client import WireClient, string_schema

pytestmark = pytest.mark.process


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
    done = subprocess.run(
        [sys.executable, "examples/client.py", *ready_cluster.endpoints],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=CHECKOUT,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
    )
    assert done.returncode == 0, done.stderr
    assert "ada has 70" in done.stdout
    assert "grace has 30" in done.stdout


def test_the_example_client_shows_errors_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "argv", ["client.py", "ws://h:1"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(CHECKOUT / "examples" / "client.py"), run_name="__main__")
    assert str(ended.value.code).startswith("error: ")
    assert "ws://h:1" in str(ended.value.code)


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
                    wait_for(lambda: client.ask("GetMetrics")["state"] == "Leader", 20, "a leader")  # noqa: B023 - called within this turn of the loop
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
