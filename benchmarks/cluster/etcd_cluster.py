"""Runs etcd, if it is installed: members on the loopback interface, as they are by default. Writes are synced."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qcore.processes import free_ports, wait_for


def find_etcd(given: str | None) -> str | None:
    """The path of the etcd program: as given, or from the PATH; None if there is none."""
    return given or shutil.which("etcd")


@dataclass(frozen=True, slots=True)
class EtcdCluster:
    """The running members.

    Attributes:
        endpoints: the `host:port` where each one serves clients.
        processes: their process ids, in the same order.
    """

    endpoints: list[str]
    processes: list[int]


@contextmanager
def etcd_cluster(program: str, size: int = 3) -> Iterator[EtcdCluster]:
    """Run members with their data on the same file system as that of the nodes of qcore."""
    clients, peers = free_ports(size), free_ports(size)
    initial = ",".join(f"m{n}=http://127.0.0.1:{port}" for n, port in enumerate(peers))
    processes: list[subprocess.Popen[bytes]] = []
    with tempfile.TemporaryDirectory(dir=os.environ.get("QCORE_BENCH_DIR")) as directory:
        try:
            for number, (client, peer) in enumerate(zip(clients, peers, strict=True)):
                command = [
                    *(program, "--name", f"m{number}"),
                    *("--data-dir", str(Path(directory) / f"m{number}")),
                    *("--listen-client-urls", f"http://127.0.0.1:{client}"),
                    *("--advertise-client-urls", f"http://127.0.0.1:{client}"),
                    *("--listen-peer-urls", f"http://127.0.0.1:{peer}"),
                    *("--initial-advertise-peer-urls", f"http://127.0.0.1:{peer}"),
                    *("--initial-cluster", initial),
                ]
                quiet = subprocess.DEVNULL
                processes.append(subprocess.Popen(command, stdout=quiet, stderr=quiet))
            yield EtcdCluster(
                [f"127.0.0.1:{port}" for port in clients], [process.pid for process in processes]
            )
        finally:
            for process in processes:
                process.kill()
                process.wait()


def leader_of(endpoints: list[str]) -> str:
    """The endpoint of the leader, once there is one."""

    def look() -> str | None:
        for endpoint in endpoints:
            status = _status(endpoint)
            if status and status["header"]["member_id"] == status.get("leader"):
                return endpoint
        return None

    return wait_for(look, 30, "etcd's leader")


def _status(endpoint: str) -> dict[str, Any] | None:
    host, _, port = endpoint.rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=2)
    try:
        connection.request("POST", "/v3/maintenance/status", b"{}")
        response = connection.getresponse()
        content = response.read()
        if response.status != 200:
            return None
        decoded: dict[str, Any] = json.loads(content)
        return decoded
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()
