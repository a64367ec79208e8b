"""SIGHUP: the files of log, audit log and trace are opened again, and log level and certificates are read again."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from qcore.processes import NodeProcess, free_ports, wait_for

pytestmark = pytest.mark.process


@pytest.fixture
def node(tmp_path: Path) -> Iterator[NodeProcess]:
    certificate(tmp_path)
    config = tmp_path / "node.toml"
    config.write_text(f"tls_cert = '{tmp_path}/cert.pem'\nrequest_timeout_ms = 5000\n")
    names = ("log-file", "audit-log", "trace")
    options = [f"--{name}={tmp_path / name}" for name in names]
    made = NodeProcess(
        1, free_ports(1)[0], tmp_path, ["--config", str(config), "--heartbeat-ms=100", *options]
    )
    made.spawn()
    log = tmp_path / "log-file"
    wait_for(lambda: log.exists() and "listening" in log.read_text(), 30, "the node to listen")
    yield made
    made.kill()


def certificate(directory: Path) -> None:
    issued = trustme.CA().issue_cert("127.0.0.1")
    issued.private_key_and_cert_chain_pem.write_to_path(str(directory / "cert.pem"))


def hang_up(node: NodeProcess, log: Path, expected: str) -> str:
    """Send SIGHUP, and return the log once it has this text."""
    node.signal(signal.SIGHUP)
    wait_for(lambda: log.exists() and expected in log.read_text(), 60, expected)
    return log.read_text()


def test_sighup_opens_files_again_and_takes_the_level(node: NodeProcess, tmp_path: Path) -> None:
    log, config = tmp_path / "log-file", tmp_path / "node.toml"
    for name in ("log-file", "audit-log", "trace"):
        (tmp_path / name).rename(tmp_path / f"{name}.1")
    # The option is stronger than `heartbeat_ms` in the file.
    changed = "request_timeout_ms = 6000\nheartbeat_ms = 90\nlog_level = 'debug'\n"
    config.write_text(f"tls_cert = '{tmp_path}/cert.pem'\n{changed}")
    text = hang_up(node, log, "settings=request_timeout_ms\n")
    assert "the log level has changed log_level=debug" in text
    before = (tmp_path / "log-file.1").read_text()
    assert before.endswith("opening and reading files again signal=SIGHUP\n")
    assert "listening" in before
    assert "listening" not in text

    # The new files take what happens now, and the trace begins with its header.
    trace = tmp_path / "trace"
    wait_for(lambda: trace.exists() and trace.read_text(), 60, "the new trace")
    assert json.loads(trace.read_text().splitlines()[0])["kind"] == "run"
    assert (tmp_path / "audit-log").stat().st_mode & 0o777 == 0o600

    # A file that cannot be used is an error, and what was in use stays in use.
    config.write_text("heartbeat_ms = 'fast'\n")
    text = hang_up(node, log, "the configuration file cannot be used")
    assert "heartbeat_ms" in text
    (tmp_path / "cert.pem").write_text("damaged")
    text = hang_up(node, log, "the files for TLS cannot be used")
    assert "cert.pem" in text
    log.rename(tmp_path / "log-file.2")
    log.mkdir()
    node.signal(signal.SIGHUP)
    second = tmp_path / "log-file.2"
    failure = "a file cannot be opened again"
    wait_for(lambda: failure in second.read_text(), 60, failure)
    assert node.stop() == 0
    assert second.read_text().endswith("stopped\n")
