"""A node as a daemon: SIGHUP lets it read files again, a closed terminal stops it, and it warns of other readers."""

from __future__ import annotations

import os
import pty
import signal
import sys
from pathlib import Path

import pytest

from qcore.node.process.early_hangup import EarlyHangup
from qcore.processes import NodeProcess, free_ports, wait_for

pytestmark = pytest.mark.process


def warnings_of_readers(node: NodeProcess) -> list[str]:
    return [line for line in node.log_text().splitlines() if "can read the node's data" in line]


#: A state machine whose program sends SIGHUP to its process, long before the node listens.
HANGS_UP = """\
import os
import signal

from qcore.machines import RegisterMachine as Machine

os.kill(os.getpid(), signal.SIGHUP)
"""


def test_sighup_does_not_stop_a_node(tmp_path: Path) -> None:
    machine = tmp_path / "hangs_up.py"
    machine.write_text(HANGS_UP)
    first, second = free_ports(2)
    plain = NodeProcess(1, first, tmp_path, ["--machine", f"{machine}:Machine"])
    nohup = NodeProcess(2, second, tmp_path)
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
        wait_for(lambda: plain.log_text().count("=SIGHUP") == 2, 60, "the lines about the signals")
        wait_for(lambda: "listening" in plain.log_text(), 60, "the line of a node that listens")
        assert plain.log_text().index("=SIGHUP") < plain.log_text().index("listening")
        assert plain.stop() == 0
        wait_for(lambda: nohup.get("/livez")[0] == 200, 60, "the other node, which keeps running")
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


def test_a_terminal_that_closes_early_ends_the_process() -> None:
    child, terminal = pty.fork()
    if child == 0:
        early = EarlyHangup.begin()
        os.kill(os.getpid(), signal.SIGHUP)  # the terminal is open
        os.write(1, b"1" if early.has_arrived and EarlyHangup.begin() is early else b"0")
        while True:
            signal.pause()
    assert os.read(terminal, 1) == b"1"
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGHUP


def test_an_early_hangup_leaves_other_handlers_alone() -> None:
    before = signal.getsignal(signal.SIGHUP)
    try:
        for handler in (signal.SIG_IGN, signal.SIG_DFL):
            signal.signal(signal.SIGHUP, handler)
            EarlyHangup.begin().end()
            assert signal.getsignal(signal.SIGHUP) is handler
    finally:
        signal.signal(signal.SIGHUP, before)


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
        wait_for(lambda: "files again" in log.read_text(), 60, "the line about the signal")
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
