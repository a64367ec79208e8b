"""A gateway with options of a test's choice."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from qcore.processes import free_ports, wait_for
from tests.gateway.etcd_client import PATIENCE_S


@dataclass
class Started:
    """A gateway process.

    Attributes:
        process: the process.
        address: host:port.
        log: the file of what it prints.
    """

    process: subprocess.Popen[bytes]
    address: str
    log: Path

    @property
    def text(self) -> str:
        """What it has printed."""
        return self.log.read_text(encoding="utf-8")

    def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_S)


@contextmanager
def started(
    directory: Path, endpoints: Sequence[str], *options: str, name: str = "gateway"
) -> Iterator[Started]:
    """A gateway that listens. At the end it must not have printed a traceback."""
    address = f"127.0.0.1:{free_ports(1)[0]}"
    log = directory / f"{name}.log"
    command = [sys.executable, "-m", "qcore", "gateway", "etcd", "--listen", address]
    command += ["--endpoints", ",".join(endpoints), *options]
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
    gateway = Started(process, address, log)

    def listens() -> bool | None:
        assert process.poll() is None, gateway.text
        return "qcore gateway etcd listens on " in gateway.text or None

    try:
        wait_for(listens, PATIENCE_S, "the gateway")
        yield gateway
    finally:
        process.kill()
        process.wait()
    assert "Traceback" not in gateway.text, gateway.text
