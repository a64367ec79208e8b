"""Real nodes at their limits: output without a reader, few open files, too many clients."""

from __future__ import annotations

import fcntl
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from typer.testing import CliRunner
from websockets.exceptions import InvalidStatus

from qcore.cli.node.start import app as node_app
from qcore.processes import NodeProcess, free_ports, wait_for
from tests.process.conftest import ARGUMENTS
from tests.process.support.commands import run_qcore
from tests.process.support.wire_client import WireClient, string_schema

#: Linux: sets the capacity of a pipe.
F_SETPIPE_SZ = 1031
PAGE = 4096


@contextmanager
def node(
    directory: Path, *arguments: str, environment: dict[str, str] | None = None, files: int = 0
) -> Iterator[NodeProcess]:
    """A node for a cluster of one node, which may open `files` files."""
    (port,) = free_ports(1)
    started = NodeProcess(1, port, directory, [*ARGUMENTS, *arguments], environment)
    if files:
        started.program = ("-c", LIMITED % (files, files))
    try:
        started.spawn()
        yield started
    finally:
        started.kill()


#: The program of a node that may open only this many files.
LIMITED = (
    "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (%d, %d));"
    "from qcore.cli.main import main; main()"
)


def begin(started: NodeProcess) -> None:
    """Wait until the node listens, and initialise a cluster."""
    started.wait_live()
    with WireClient(started.address) as client:
        assert client.ask("Init", nodes=[]) == {"Ok": None}
    wait_for(lambda: started.status().get("state") == "Leader", 60, "a leader")


def metric(started: NodeProcess, name: str) -> float:
    """The value of a metric without labels."""
    match = re.search(rf"^{name} (\S+)$", started.get("/metrics")[1], re.MULTILINE)
    assert match is not None, name
    return float(match[1])


def full_pipe(stack: ExitStack) -> tuple[int, int]:
    """A pipe that accepts nothing until a process reads from it."""
    ends = os.pipe()
    for end in ends:
        stack.callback(os.close, end)
    fcntl.fcntl(ends[1], F_SETPIPE_SZ, PAGE)
    os.write(ends[1], b"\n" * PAGE)
    return ends


def test_a_node_serves_and_stops_while_its_output_is_not_read(tmp_path: Path) -> None:
    fifo = tmp_path / "trace"
    os.mkfifo(fifo)
    (port,) = free_ports(1)
    with ExitStack() as stack:
        source, output = full_pipe(stack)
        trace = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
        stack.callback(os.close, trace)
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "qcore", "node", "start", "--id", "1", *ARGUMENTS),
                *("--ws-addr", f"127.0.0.1:{port}", "--data-dir", str(tmp_path / "node1")),
                *("--log-level", "debug", "--trace", str(fifo)),
            ],
            stdout=output,
            stderr=output,
        )
        stack.callback(process.wait)
        stack.callback(process.kill)
        seen = NodeProcess(1, port, tmp_path)
        wait_for(lambda: seen.get("/livez")[0] == 200, 30, "the node to listen")
        with WireClient(seen.address) as client:
            assert client.ask("Init", nodes=[]) == {"Ok": None}
            # A debug line for each: more than the queue holds.
            for _ in range(30):
                client.send([{"GetMetrics": {"id": 1}}] * 256)
                client.receive_all(256)
            wait_for(lambda: metric(seen, "qcore_log_lines_dropped_total"), 60, "dropped lines")
            assert client.perform("SetSchema", entity_schema=string_schema("T"))["error"] is None
        assert metric(seen, "qcore_trace_lines_dropped_total") == 0
        process.terminate()
        assert process.wait(15) == 0
        os.set_blocking(source, False)
        with suppress(BlockingIOError):
            assert os.read(source, 1 << 20).strip() == b""  # it was never forwarded


def test_a_full_node_with_few_files_serves_admin_requests(
    tmp_path: Path,
) -> None:
    variables = {"QCORE_MAX_CLIENTS": "2"}
    options = ("--reserved-for-admin", "1")
    with node(tmp_path, *options, environment=variables, files=64) as started:
        begin(started)
        term = started.status()["current_term"]
        with ExitStack() as stack:
            for _ in range(200):
                caller = stack.enter_context(socket.socket())
                caller.setblocking(False)
                caller.connect_ex(("127.0.0.1", started.port))
            wait_for(lambda: started.get("/livez")[0] == 200, 60, "an answer")
            with WireClient(started.address) as client, WireClient(started.address):
                with pytest.raises(InvalidStatus, match="503"):
                    WireClient(started.address)
                health = run_qcore("cluster", "health", "--endpoints", started.address)
                assert (health.returncode, health.stdout) == (0, "healthy\n")
                for page in ("/livez", "/readyz", "/status", "/metrics"):
                    assert started.get(page)[0] == 200
                done = client.perform("SetSchema", entity_schema=string_schema("T"))
                assert done["error"] is None
        assert started.status()["current_term"] == term
        assert started.stop() == 0
    text = started.log_text()
    assert "allowed=64" in text
    assert "max_handshakes=" in text
    assert f"listens on {started.address}" in text
    assert text.splitlines()[-1].endswith("stopped")
    assert text.count("\n") < 30, text


def test_too_few_open_files_are_a_configuration_error(tmp_path: Path) -> None:
    with node(tmp_path, files=30) as started:
        assert started.wait() == 2
        assert "error: this process may open 30 files" in started.log_text()
        assert not started.data_dir.exists()


# --- the options ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--max-clients", "0"], "--max-clients"),
        (["--ping-interval-s", "20"], "--dead-after-s (15.0) must be above --ping-interval-s"),
        (["--backoff-min-s", "0"], "--backoff-min-s is 0.0; it must be positive and finite"),
        (["--idle-timeout-s", "inf"], "it must be positive and finite, or 0 for never"),
        (["--backoff-min-s", "5"], "--backoff-max-s (1.0) is below --backoff-min-s (5.0)"),
        (["--heartbeat-ms", "600"], "--heartbeat-ms (600) must be below --election-timeout-min-ms"),
        (
            ["--election-timeout-max-ms", "400"],
            "--election-timeout-max-ms (400) is below --election-timeout-min-ms (500)",
        ),
        (["--max-inflight-bytes", "1.5"], "--max-inflight-bytes"),
    ],
)
def test_an_invalid_limit_is_rejected_by_its_option_name(
    arguments: list[str], named: str, tmp_path: Path
) -> None:
    """Runs in this process, because no node starts."""
    result = CliRunner().invoke(
        node_app, ["start", "--id", "1", "--data-dir", str(tmp_path / "data"), *arguments]
    )
    text = f"{result.output} {result.exception}"
    assert result.exit_code != 0
    assert named in text
    assert not (tmp_path / "data").exists()
