"""The size of the log that a node keeps on disk under full load, and the time that a restart then takes.

Real processes run the key-value machine with the default snapshot policy (a snapshot after 64 MiB of log). Clients keep
many writes in flight. Each write sets one of a number of keys to a new value, so that the state has about 60 MB
(`--state`), or less if that would need too many keys. Meanwhile the size of the files is read ten times a second. Then
one node, a follower if there is one, is killed, the entries in its log are counted, and it starts again.

    python -m benchmarks.bench_log_growth [--seconds 60] [--nodes 1,3] [--sizes 100,10000,300000]

A run stops early once the `log.db` of one node exceeds `--ceiling` bytes (6 GB): that is a result, too. Versions
without the necessary metrics (0.1.0) are measured by their files. QCORE_BENCH_DIR is the directory for the data; it
determines the file system.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from qcore.client.client import Client
from qcore.client.request_sender import Json
from qcore.errors import QcoreError
from qcore.processes import NodeProcess, ProcessCluster
from qcore.transport.address import Address
from qcore.transport.connection.client_connection import ClientConnection

#: The default size of the state, and the largest number of keys.
STATE_BYTES = 60_000_000
MOST_KEYS = 50_000
CONNECTIONS = 8
#: The most bytes of values in flight, and the most requests.
IN_FLIGHT_BYTES = 16_000_000
IN_FLIGHT = 256
_SAMPLE = re.compile(r"^(\w+) (\S+)$", re.MULTILINE)


# --- the client process ---------------------------------------------------------------------------


async def run_load(endpoint: str, size: int, seconds: float, state: int) -> tuple[int, int]:
    """Write at full speed for this time. Returns how many writes succeeded and how many failed."""
    connections = [
        await ClientConnection.connect(Address.parse(endpoint)) for _ in range(CONNECTIONS)
    ]
    keys = max(1, min(MOST_KEYS, state // size))
    in_flight = max(8, min(IN_FLIGHT, IN_FLIGHT_BYTES // size))
    text = "".join(random.Random(size).choices("abcdefghijklmnop", k=size))
    end = time.perf_counter() + seconds
    done = failed = number = 0

    async def worker(position: int) -> None:
        nonlocal done, failed, number
        connection = connections[position % CONNECTIONS]
        while time.perf_counter() < end:
            number += 1
            value = f"{number} {text}"[:size]
            command = json.dumps({"op": "set", "key": f"k{number % keys}", "value": value})
            try:
                reply: Json = await connection.request("Perform", {"request": {"Write": command}})
            except QcoreError:
                failed += 1
                await asyncio.sleep(0.05)
                continue
            if reply["response"]["Write"]["error"] is None:
                done += 1
            else:
                failed += 1

    await asyncio.gather(*(worker(position) for position in range(in_flight)))
    for connection in connections:
        await connection.close()
    return done, failed


def client_main(arguments: Sequence[str]) -> None:
    """The entry point of the client process."""
    endpoint, size, seconds, state = arguments
    print(json.dumps(asyncio.run(run_load(endpoint, int(size), float(seconds), int(state)))))


# --- the benchmark --------------------------------------------------------------------------------


@dataclass(slots=True)
class Row:
    """One run.

    Attributes:
        nodes: size of the cluster.
        size: bytes of a value.
        writes, failed: the client's writes.
        seconds: how long the client wrote.
        data_bytes, wal_bytes: the largest `log.db` and write-ahead file on any node.
        log_bytes: the most bytes of entries on disk that any node reported; 0 without that metric.
        entries, entry_bytes: the entries in the log when a node was killed, and the bytes of their data.
        restart_s: from the start of the process until it listens.
        captured, stored: snapshots on all nodes, by the log lines (0.1.0 has none for stored ones).
        behind: how many entries the snapshot on the killed node's disk was behind its log.
        changes: changes of role, term or leader on any node, during the writes.
        stall_s: the longest stall of an event loop, without the time that it waited for a processor.
    """

    nodes: int
    size: int
    writes: int = 0
    failed: int = 0
    seconds: float = 0.0
    data_bytes: int = 0
    wal_bytes: int = 0
    log_bytes: int = 0
    entries: int = 0
    entry_bytes: int = 0
    restart_s: float = 0.0
    captured: int = 0
    stored: int = 0
    behind: int = 0
    changes: int = 0
    stall_s: float = 0.0

    def watch(self, nodes: Sequence[NodeProcess]) -> None:
        """Read the sizes of the files and the metrics of the nodes."""
        for node in nodes:
            self.data_bytes = max(self.data_bytes, size_of(node.data_dir / "log.db"))
            self.wal_bytes = max(self.wal_bytes, size_of(node.data_dir / "log.db-wal"))
            self.log_bytes = max(self.log_bytes, round(scrape(node).get("qcore_log_bytes", 0)))


def size_of(path: Path) -> int:
    """The size of a file; 0 if there is none."""
    return path.stat().st_size if path.exists() else 0


def scrape(node: NodeProcess) -> dict[str, float]:
    """The samples without labels of a node's `/metrics`; empty while it does not respond."""
    status, body = node.get("/metrics")
    return {name: float(value) for name, value in _SAMPLE.findall(body)} if status == 200 else {}


def count_log(node: NodeProcess) -> tuple[int, int, int]:
    """For a stopped node: the entries in its log, the bytes of their data, and the entries after its snapshot."""
    uri = f"{(node.data_dir / 'log.db').as_uri()}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True)) as connection:
        found = connection.execute(
            "SELECT count(*), sum(length(data)), max(idx) FROM log"
        ).fetchone()
        stored = connection.execute("SELECT last_index FROM snapshot").fetchone()
    (node.data_dir / "log.db-shm").unlink(missing_ok=True)
    return found[0], found[1] or 0, (found[2] or 0) - (stored[0] if stored else 0)


def run(nodes: int, size: int, seconds: float, state: int, ceiling: int, policy: int | None) -> Row:
    """Measure one cluster with one size of values."""
    row = Row(nodes, size)
    arguments = ["--machine", "register"]
    if policy is not None:
        kept = max(1, policy // size)
        arguments += ["--snapshot-bytes", str(policy), "--keep-entries", str(kept)]
    with (
        tempfile.TemporaryDirectory(dir=os.environ.get("QCORE_BENCH_DIR")) as directory,
        ProcessCluster(Path(directory), nodes, arguments) as cluster,
    ):
        cluster.start()
        asyncio.run(initialise(cluster))
        leader = cluster.wait_leader()
        before = {node.node_id: scrape(node) for node in cluster.running()}
        command = [sys.executable, "-m", "benchmarks.bench_log_growth", "--client"]
        began = time.perf_counter()
        client = subprocess.Popen(
            [*command, leader.address, str(size), str(seconds), str(state)],
            stdout=subprocess.PIPE,
            text=True,
        )
        while client.poll() is None:
            time.sleep(0.1)
            row.watch(cluster.running())
            if row.data_bytes > ceiling:
                client.kill()
        row.seconds = min(seconds, time.perf_counter() - began)
        output = client.communicate()[0]
        if output:
            row.writes, row.failed = json.loads(output)
        for node in cluster.running():
            later = scrape(node)
            changes = "qcore_raft_role_changes_total"
            row.changes += round(later[changes] - before[node.node_id][changes])
            row.stall_s = max(row.stall_s, later["qcore_event_loop_stall_own_seconds_max"])
            if not output:
                row.writes = max(row.writes, round(later["qcore_raft_applied_index"]))
            text = node.log_text()
            row.captured += text.count("snapshot taken") + text.count("snapshot installed")
            row.stored += text.count("snapshot stored")
        victim = next((n for n in cluster.running() if n is not cluster.leader()), leader)
        victim.kill()
        row.entries, row.entry_bytes, row.behind = count_log(victim)
        began = time.perf_counter()
        victim.start(timeout_s=300)
        row.restart_s = time.perf_counter() - began
    return row


async def initialise(cluster: ProcessCluster) -> None:
    """Initialise the cluster."""
    async with Client(cluster.endpoints) as client:
        await client.init(cluster.members)


def report(row: Row) -> None:
    """Print one row."""
    per_s = row.writes / row.seconds if row.seconds else 0.0
    print(
        f"{row.nodes} node(s), {row.size:7,} B: {per_s:8,.0f} writes/s {per_s * row.size / 1e6:6.1f} MB/s "
        f"for {row.seconds:3.0f} s, failed {row.failed}  log.db {row.data_bytes / 1e6:7,.0f} MB, "
        f"-wal {row.wal_bytes / 1e6:4,.0f} MB, log {row.log_bytes / 1e6:5,.0f} MB  "
        f"restart: {row.entries:,} entries of {row.entry_bytes / 1e6:,.0f} MB in {row.restart_s:.1f} s  "
        f"snapshots captured {row.captured}, stored {row.stored}, the last {row.behind:,} entries back  "
        f"role changes {row.changes}  "
        f"longest own stall {1000 * row.stall_s:.0f} ms",
        flush=True,
    )


def main() -> None:
    """Run and print everything."""
    if sys.argv[1:2] == ["--client"]:
        client_main(sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="duration of each run")
    parser.add_argument("--nodes", default="1,3", help="sizes of clusters")
    parser.add_argument("--sizes", default="100,10000,300000", help="bytes of a value")
    parser.add_argument("--state", type=int, default=STATE_BYTES, help="bytes of the state")
    parser.add_argument(
        "--policy",
        type=int,
        help="bytes of log before a snapshot and behind one; default: the node's",
    )
    parser.add_argument("--ceiling", type=int, default=6_000_000_000, help="bytes of log.db")
    options = parser.parse_args()
    for nodes in map(int, options.nodes.split(",")):
        for size in map(int, options.sizes.split(",")):
            report(
                run(nodes, size, options.seconds, options.state, options.ceiling, options.policy)
            )


if __name__ == "__main__":
    main()
