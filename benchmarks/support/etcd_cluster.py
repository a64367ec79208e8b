"""Runs etcd, if it is installed, under the load of `bench_cluster`: three members on the loopback interface.

Writes are synced. Requests go to the leader as JSON over HTTP, with one connection for each request in flight, as in
the reference figures of `bench_cluster`.
"""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from qcore.processes import free_ports, wait_for


def find_etcd(given: str | None) -> str | None:
    """The path of the etcd program: as given, or from the PATH; None if there is none."""
    return given or shutil.which("etcd")


@contextmanager
def etcd_cluster(program: str) -> Iterator[list[str]]:
    """Run three members. Yields the `host:port` where each one serves clients."""
    clients, peers = free_ports(3), free_ports(3)
    initial = ",".join(f"m{n}=http://127.0.0.1:{port}" for n, port in enumerate(peers))
    processes: list[subprocess.Popen[bytes]] = []
    with tempfile.TemporaryDirectory() as directory:
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
            yield [f"127.0.0.1:{port}" for port in clients]
        finally:
            for process in processes:
                process.kill()
                process.wait()


def leader_of(endpoints: list[str]) -> str:
    """The endpoint of the leader, once there is one."""

    def look() -> str | None:
        for endpoint in endpoints:
            status = asyncio.run(_ask_once(endpoint, "/v3/maintenance/status", {}))
            if status and status["header"]["member_id"] == status.get("leader"):
                return endpoint
        return None

    return wait_for(look, 30, "etcd's leader")


async def run_etcd_load(
    endpoint: str, value: str, concurrency: int, seconds: float
) -> tuple[list[float], int]:
    """Keep `concurrency` puts in flight. Returns the latencies of successful puts in seconds, and the errors."""
    body = {"key": _base64("key"), "value": _base64(value)}
    request = _request(endpoint, "/v3/kv/put", body)
    host, _, port = endpoint.rpartition(":")
    latencies: list[float] = []
    errors = 0
    begin = time.perf_counter() + 1.0
    end = begin + seconds

    async def worker() -> None:
        nonlocal errors
        reader, writer = await asyncio.open_connection(host, int(port))
        try:
            while (sent := time.perf_counter()) < end:
                writer.write(request)
                status, _ = await _response(reader)
                done = time.perf_counter()
                if begin <= done <= end:
                    if status == 200:
                        latencies.append(done - sent)
                    else:
                        errors += 1
        finally:
            writer.close()

    await asyncio.gather(*(worker() for _ in range(concurrency)))
    return latencies, errors


async def _ask_once(endpoint: str, path: str, body: dict[str, str]) -> dict[str, Any] | None:
    host, _, port = endpoint.rpartition(":")
    try:
        reader, writer = await asyncio.open_connection(host, int(port))
    except OSError:
        return None
    try:
        writer.write(_request(endpoint, path, body))
        status, content = await _response(reader)
    except (OSError, asyncio.IncompleteReadError, ValueError):
        return None
    finally:
        writer.close()
    if status != 200:
        return None
    decoded: dict[str, Any] = json.loads(content)
    return decoded


async def _response(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    length = next(
        int(line.split(":")[1])
        for line in head.splitlines()
        if line.lower().startswith("content-length:")
    )
    return int(head.split()[1]), await reader.readexactly(length)


def _request(endpoint: str, path: str, body: dict[str, str]) -> bytes:
    content = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: {endpoint}\r\nContent-Length: {len(content)}\r\n\r\n"
    return head.encode() + content


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
