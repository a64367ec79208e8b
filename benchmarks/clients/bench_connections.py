"""What connections cost one node: memory for thousands of idle ones, latency for hundreds of busy ones.

The node and the clients are separate processes. First the idle connections are opened, a thousand at a time, and the
node's memory is read. Then in turns, with and without the idle connections, busy clients each keep one request in
flight: half of them write a register, the others read it linearizably.

    python -m benchmarks.clients.bench_connections [--idle 5000] [--busy 100 300] [--seconds 5] [--rounds 2]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import IO

from benchmarks.cluster.library_load import Row, row_of
from qcore.client.client import Client
from qcore.client.request_sender import Json
from qcore.processes import NodeProcess, ProcessCluster
from qcore.transport.address import Address
from qcore.transport.connection.client_connection import ClientConnection

#: One process opens this many idle connections.
STEP = 1000
BUSY_PROCESSES = 2


# --- the client processes -------------------------------------------------------------------------


async def idle(endpoint: str, count: int) -> None:
    """Open connections, report it, and hold them until standard input ends."""
    address = Address.parse(endpoint)
    connections = [await ClientConnection.connect(address, timeout_s=30) for _ in range(count)]
    print("open", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    assert all(connection.is_open for connection in connections), "the node closed some of them"


async def busy(endpoint: str, count: int, seconds: float) -> list[float]:
    """Let each client keep one request in flight for this time; returns the latencies, seconds."""
    address = Address.parse(endpoint)
    latencies: list[float] = []
    connections = [await ClientConnection.connect(address, timeout_s=30) for _ in range(count)]
    begin = time.perf_counter() + 1.0  # the first second is a warm-up and does not count
    end = begin + seconds

    async def client(number: int, connection: ClientConnection) -> None:
        command = json.dumps({"op": "set", "key": f"k{number}", "value": "x" * 32})
        query = json.dumps({"op": "get", "key": f"k{number}"})
        request: Json = {"request": {"Read": query} if number % 2 else {"Write": command}}
        while (sent := time.perf_counter()) < end:
            reply: Json = await connection.request("Perform", request)
            ((_, body),) = reply["response"].items()
            assert body["error"] is None, body
            done = time.perf_counter()
            if begin <= done <= end:
                latencies.append(done - sent)

    await asyncio.gather(*(client(*each) for each in enumerate(connections)))
    for connection in connections:
        await connection.close()
    return latencies


def client_main(arguments: Sequence[str]) -> None:
    """The entry point of the client processes."""
    kind, endpoint, count, *rest = arguments
    if kind == "--idle-clients":
        asyncio.run(idle(endpoint, int(count)))
    else:
        json.dump(asyncio.run(busy(endpoint, int(count), float(rest[0]))), sys.stdout)


# --- the measuring process ------------------------------------------------------------------------


class IdleConnections:
    """Client processes that hold idle connections, as a context manager."""

    def __init__(self, node: NodeProcess, count: int) -> None:
        self._node = node
        self._count = count
        self._processes: list[subprocess.Popen[str]] = []

    def __enter__(self) -> list[tuple[int, float]]:
        """Open them; returns (connections, memory of the node in MiB) after each step."""
        seen = [(0, resident_mib(self._node))]
        while (held := STEP * len(self._processes)) < self._count:
            count = min(STEP, self._count - held)
            process = start_client("--idle-clients", self._node.address, str(count))
            self._processes.append(process)
            assert opened(process.stdout) == "open\n", "a client could not connect"
            seen.append((held + count, resident_mib(self._node)))
        return seen

    def __exit__(self, *error: object) -> None:
        for process in self._processes:
            process.communicate("")


def opened(output: IO[str] | None) -> str:
    """The next line of a client process."""
    assert output is not None
    return output.readline()


def start_client(*arguments: str) -> subprocess.Popen[str]:
    """Start a client process with pipes to its standard streams."""
    return subprocess.Popen(
        [sys.executable, "-m", "benchmarks.clients.bench_connections", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def measure(node: NodeProcess, count: int, seconds: float) -> Row:
    """The latencies of so many busy clients, in `BUSY_PROCESSES` processes."""
    share = count // BUSY_PROCESSES
    processes = [
        start_client("--busy-clients", node.address, str(share), str(seconds))
        for _ in range(BUSY_PROCESSES)
    ]
    latencies: list[float] = []
    for process in processes:
        latencies += json.loads(process.communicate()[0])
    return row_of("", count, seconds, latencies, 0)


def resident_mib(node: NodeProcess) -> float:
    """The resident memory of the node, MiB."""
    status = Path(f"/proc/{node.pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) / 1024


def processor_s(node: NodeProcess) -> float:
    """The processor time that the node has used, seconds."""
    fields = Path(f"/proc/{node.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def bench(idle_count: int, busy_counts: Sequence[int], seconds: float, rounds: int) -> None:
    """Measure and print."""
    limit = str(idle_count + max(busy_counts) + 100)
    options = ["--machine", "register", "--log-level", "warning", "--max-clients", limit]
    with (
        tempfile.TemporaryDirectory(dir=os.environ.get("QCORE_BENCH_DIR")) as folder,
        ProcessCluster(Path(folder), 1, options) as cluster,
    ):
        cluster.start()
        asyncio.run(initialise(cluster))
        node = cluster.nodes[1]
        for turn in range(rounds):
            for count in busy_counts:
                print_row("no idle connections", measure(node, count, seconds))
            with IdleConnections(node, idle_count) as seen:
                if turn == 0:
                    for held, mib in seen:
                        print(f"{held:6} idle connections: {mib:7.1f} MiB")
                    print(f"{per_connection_kib(seen):6.1f} KiB for each")
                    print(f"{idle_load(node, seconds):6.1f} % of a core while nothing happens")
                for count in busy_counts:
                    print_row(f"{idle_count} idle", measure(node, count, seconds))


async def initialise(cluster: ProcessCluster) -> None:
    """Begin the cluster of one node."""
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(Client(cluster.endpoints))
        await client.init(cluster.members)


def per_connection_kib(seen: Sequence[tuple[int, float]]) -> float:
    """The memory of one idle connection, KiB."""
    (first, before), (last, after) = seen[0], seen[-1]
    return (after - before) * 1024 / (last - first)


def idle_load(node: NodeProcess, seconds: float) -> float:
    """The share of a core that the node uses in this time, percent."""
    before = processor_s(node)
    time.sleep(seconds)
    return (processor_s(node) - before) / seconds * 100


def print_row(name: str, row: Row) -> None:
    """Print one line of the result."""
    print(
        f"{name:20} {row.concurrency:4} busy: {row.per_s:8.0f} requests/s, "
        f"p50 {row.p50_ms:6.1f} ms, p99 {row.p99_ms:6.1f} ms",
        flush=True,
    )


def main() -> None:
    if sys.argv[1:2] and sys.argv[1].endswith("-clients"):
        client_main(sys.argv[1:])
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--idle", type=int, default=5000)
    parser.add_argument("--busy", type=int, nargs="+", default=[100, 300])
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=2)
    given = parser.parse_args()
    bench(given.idle, given.busy, given.seconds, given.rounds)


if __name__ == "__main__":
    main()
