"""The processes that the tests fork are like others: see `tests/forked_processes.py`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.process.support.commands import run_qcore

QCORE = [sys.executable, "-m", "qcore"]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux adopts orphans")


def command_line(process: subprocess.Popen[str]) -> str:
    return Path(f"/proc/{process.pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()


@contextmanager
def running_node(tmp_path: Path, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """A node, which runs until a signal."""
    place = ("--id", "1", "--ws-addr", "127.0.0.1:0", "--data-dir", "data")
    with subprocess.Popen(
        [*QCORE, "node", "start", *place],
        cwd=tmp_path,
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert "listens on" in process.stdout.readline()
            yield process
        finally:
            process.kill()


def test_a_forked_process_is_a_child_with_its_own_place(tmp_path: Path) -> None:
    with running_node(tmp_path) as node:
        assert "forked_qcore" in command_line(node)
        assert os.getsid(node.pid) == node.pid
        assert (tmp_path / "data").is_dir()
        node.send_signal(signal.SIGSTOP)
        assert os.waitid(os.P_PID, node.pid, os.WSTOPPED | os.WNOWAIT) is not None
        node.send_signal(signal.SIGCONT)
        node.terminate()
        assert node.wait() == 0


def test_a_killed_forked_process_ends_with_its_signal(tmp_path: Path) -> None:
    with running_node(tmp_path, QCORE_LOG_FORMAT="json") as node:
        assert "forked_qcore" in command_line(node)
        node.kill()
        assert node.stderr is not None
        assert node.stderr.read().startswith("{")
    assert node.returncode == -signal.SIGKILL


def test_a_variable_that_python_reads_starts_an_interpreter(tmp_path: Path) -> None:
    with running_node(tmp_path, PYTHONHASHSEED="5") as node:
        assert command_line(node).split()[1:3] == ["-m", "qcore"]


def test_a_forked_command_has_its_streams_and_its_exit_code() -> None:
    assert run_qcore("version").stdout.startswith("qcore ")
    wrong = run_qcore("nothing")
    assert wrong.returncode == 2
    assert "No such command" in wrong.stderr
