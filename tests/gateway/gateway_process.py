"""Starts gateways as processes, in front of a cluster of real nodes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from qcore.processes import free_ports, wait_for
from qcore.testing import LocalCluster

#: Seconds that a process may take to start or to end, on a busy machine.
PATIENCE_S = 60


class GatewayProcess:
    """One gateway. It is killed at the end, if it still runs.

    Args:
        endpoints: of the nodes.
        log: the file that gets what it prints.
        advertise: the addresses of the other gateways.
    """

    def __init__(
        self, endpoints: list[str], log: Path, advertise: list[str] | None = None, port: int = 0
    ) -> None:
        self.address = f"127.0.0.1:{port or free_ports(1)[0]}"
        self.log = log
        self._command = [sys.executable, "-m", "qcore", "gateway", "etcd"]
        self._command += ["--listen", self.address, "--endpoints", ",".join(endpoints)]
        for address in [self.address, *(advertise or [])]:
            self._command += ["--advertise", address]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it says that it is ready."""
        printed = self.text().count("\n")
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=subprocess.STDOUT)
        process = self._process

        def ready() -> bool | None:
            assert process.poll() is None, f"the gateway ended:\n{self.text()}"
            return True if self.text().count("\n") > printed else None

        wait_for(ready, PATIENCE_S, "the gateway's line")

    def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def text(self) -> str:
        """What it printed."""
        return self.log.read_text(encoding="utf-8") if self.log.exists() else ""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.kill()
        if error is None:
            assert "Traceback" not in self.text(), self.text()[-4000:]


@contextmanager
def gateway_and_cluster(directory: Path, nodes: int = 1) -> Iterator[GatewayProcess]:
    """A gateway in front of a new cluster."""
    with (
        LocalCluster(nodes, machine="kv") as cluster,
        GatewayProcess(list(cluster.endpoints), directory / "gateway.log") as gateway,
    ):
        yield gateway
