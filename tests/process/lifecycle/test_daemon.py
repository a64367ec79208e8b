"""A node as a daemon: SIGHUP lets it read files again, a closed terminal stops it, and it warns of other readers."""

from __future__ import annotations

import os
import pty
import signal
import sys
from pathlib import Path

import pytest

from qcore.processes import NodeProcess, free_ports, wait_for

pytestmark = pytest.mark.process


def warnings_of_readers(node: NodeProcess) -> list[str]:
    return [line for line in node.log_text().splitlines() if "can read the node's data" in line]


def test_sighup_does_not_stop_a_node(tmp_path: Path) -> None:
    plain, nohup = (
        NodeProcess(node_id, port, tmp_path) for node_id, port in enumerate(free_ports(2), start=1)
    )
    plain.spawn()
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        nohup.spawn()  # the node inherits this
    finally:
        signal.signal(signal.SIGHUP, before)
    try:
        for node in (plain, nohup):
            node.wait_live()
            node.signal(signal.SIGHUP)
        wait_for(lambda: "signal=SIGHUP" in plain.log_text(), 10, "the line about the signal")
        assert plain.stop() == 0
        wait_for(lambda: nohup.get("/livez")[0] == 200, 10, "the other node, which keeps running")
        assert nohup.stop() == 0
        assert "SIGHUP" not in nohup.log_text()
        assert warnings_of_readers(nohup) == []

        # The modes that 0.1.0 used: the node keeps them and warns.
        nohup.data_dir.chmod(0o755)
        (nohup.data_dir / "log.db").chmod(0o644)
        nohup.start()
        assert nohup.stop() == 0
        (line,) = warnings_of_readers(nohup)
        assert "files=log.db" in line
        assert "chmod 700" in line
    finally:
        plain.kill()
        nohup.kill()


def test_a_terminal_that_closes_stops_a_node(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    log = tmp_path / "log"
    child, terminal = pty.fork()
    if child == 0:
        arguments = ["--id", "1", "--ws-addr", f"127.0.0.1:{port}", "--log-file", str(log)]
        program = [sys.executable, "-m", "qcore", "node", "start"]
        os.execv(sys.executable, [*program, "--data-dir", str(tmp_path / "data"), *arguments])
    try:
        wait_for(lambda: log.exists() and "listening" in log.read_text(), 30, "the node to listen")
        os.kill(child, signal.SIGHUP)  # the terminal is open
        wait_for(lambda: "files again" in log.read_text(), 10, "the line about the signal")
        assert "shutting down" not in log.read_text()
        os.close(terminal)
        _, status = os.waitpid(child, 0)
        child = 0
        assert os.waitstatus_to_exitcode(status) == 0
        assert "shutting down signal=SIGHUP" in log.read_text()
    finally:
        if child:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
