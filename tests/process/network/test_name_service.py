"""If the name service hangs, no process waits for it beyond a deadline."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from qcore.processes import NodeProcess, free_ports, wait_for
from qcore.security.keys.node_key import NodeKey
from tests.process.support.wire_client import WireClient

pytestmark = pytest.mark.process

#: The look-up ends long after the test has failed.
HANGING = """
import socket, sys, time
known = socket.getaddrinfo
def hang(host, *args, **kwargs):
    if host is not None and "hanging" in str(host):
        print("asks the name service", file=sys.stderr, flush=True)
        time.sleep(100)
    return known(host, *args, **kwargs)
socket.getaddrinfo = hang
"""

ASKS = "asks the name service"

#: The longest time of a stop or a deadline on a busy machine, seconds.
SOON_S = 15.0


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The environment of a process in which the look-up of `hanging.example` hangs."""
    (tmp_path / "sitecustomize.py").write_text(HANGING)
    search = [str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"PYTHONPATH": os.pathsep.join(search)}


def test_a_hanging_peer_lookup_does_not_delay_a_stop(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    port = free_ports(1)[0]
    named = [
        *(
            "--advertise-addr",
            f"node1.example:{port}",
        ),  # on loopback only loopback members are accepted
        *("--shutdown-grace-ms", "300"),
    ]
    node = NodeProcess(1, port, tmp_path, named, environment=environment)
    try:
        node.start()
        with WireClient(node.address) as client:
            assert client.ask("Init", nodes=[]) == {"Ok": None}
            key = NodeKey(bytes(32)).public
            hanging = {
                "id": "1",
                "node_id": 2,
                "node_addr": "hanging.example:80",
                "public_key": key,
            }
            client.send({"AddLearner": hanging})
            wait_for(lambda: ASKS in node.log_text(), 60, "the look-up")
        began = time.monotonic()
        assert node.stop() == 0
        assert time.monotonic() - began < SOON_S
        assert "stopped" in node.log_text()
    finally:
        node.kill()


def test_a_hanging_lookup_at_startup_does_not_delay_a_stop(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    log = tmp_path / "log"
    with open(log, "wb") as out:
        started = subprocess.Popen(
            [
                *(sys.executable, "-m", "qcore", "node", "start", "--id", "1"),
                *("--ws-addr", "hanging.example:0", "--data-dir", str(tmp_path / "data")),
            ],
            stdout=out,
            stderr=out,
            env={**os.environ, **environment},
        )
    try:
        wait_for(lambda: ASKS in log.read_text(), 60, "the look-up")
        began = time.monotonic()
        started.send_signal(signal.SIGTERM)
        assert started.wait(60) == 0
        assert time.monotonic() - began < SOON_S
    finally:
        started.kill()
        started.wait()


def test_a_hanging_lookup_does_not_outlast_a_command_timeout(
    environment: dict[str, str],
) -> None:
    began = time.monotonic()
    done = subprocess.run(
        [
            *(sys.executable, "-m", "qcore", "leader", "transfer"),
            *("--endpoints", "hanging.example:8080", "--timeout", "1"),
        ],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
        env={**os.environ, **environment},
    )
    assert time.monotonic() - began < SOON_S
    assert done.returncode == 3
    assert "hanging.example:8080" in done.stderr
    assert "the name service has not answered yet" in done.stderr
