"""The speed of durable writes on a three-node cluster of real processes on the loopback interface.

Each write sets a 60-byte field over WebSocket at the leader, and is acknowledged when a majority has it on stable
storage. The client is a separate process. The same run measures the cost of one synced append to a file, on which all
other figures depend.

    python -m benchmarks.bench_cluster [--seconds 5] [--profile DIR] [--etcd PROGRAM] [--no-etcd]

If etcd is installed or named, it gets the same load in the same run. QCORE_BENCH_DIR is the directory for the data; it
determines the file system.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.support.etcd_cluster import etcd_cluster, find_etcd, leader_of, run_etcd_load
from qcore.client.client import Client
from qcore.client.request_sender import Json
from qcore.processes import ProcessCluster
from qcore.transport.address import Address
from qcore.transport.connection.client_connection import ClientConnection

CONCURRENCY = (1, 64, 256)
#: Durable writes per second of etcd 3.4.23 on the same kind of machine, by concurrency.
ETCD_REFERENCE = {1: 479, 64: 3512, 256: 5215}
VALUE = "v" * 60
CONNECTIONS = 8


@dataclass(slots=True, frozen=True)
class Row:
    """One measurement.

    Attributes:
        what: the system, and the node that got the requests.
        concurrency: requests in flight.
        per_s: acknowledged writes per second.
        p50_ms, p99_ms: latency as seen by the client.
        errors: requests that did not succeed.
    """

    what: str
    concurrency: int
    per_s: float
    p50_ms: float
    p99_ms: float
    errors: int


def summarise(
    what: str, concurrency: int, seconds: float, latencies: list[float], errors: int
) -> Row:
    """A row from the latencies of the requests that succeeded, in seconds."""
    ordered = sorted(latencies)
    return Row(
        what,
        concurrency,
        len(ordered) / seconds,
        1000 * statistics.median(ordered),
        1000 * ordered[int(len(ordered) * 0.99)],
        errors,
    )


# --- the client process ---------------------------------------------------------------------------


async def run_load(
    endpoint: str, entity: dict[str, object], concurrency: int, seconds: float
) -> Row:
    """Keep `concurrency` writes in flight for this time."""
    number = min(CONNECTIONS, concurrency)
    connections = [await ClientConnection.connect(Address.parse(endpoint)) for _ in range(number)]
    latencies: list[float] = []
    errors = 0
    begin = time.perf_counter() + 1.0  # the first second is a warm-up and does not count
    end = begin + seconds

    async def worker(position: int) -> None:
        nonlocal errors
        connection = connections[position % number]
        write = {
            "entity_id": entity,
            "field_type": "Text",
            "value": {"String": VALUE},
            "push_condition": "Always",
            "adjust_behavior": "Set",
            "write_time": None,
            "writer_id": None,
        }
        fields: Json = {"request": {"UpdateEntity": {"request": [{"Write": write}]}}}
        while True:
            sent = time.perf_counter()
            if sent >= end:
                return
            reply: Json = await connection.request("Perform", fields)
            done = time.perf_counter()
            if done < begin or done > end:
                continue
            if reply["response"]["UpdateEntity"]["error"] is None:
                latencies.append(done - sent)
            else:
                errors += 1

    await asyncio.gather(*(worker(position) for position in range(concurrency)))
    for connection in connections:
        await connection.close()
    return summarise("qcore", concurrency, seconds, latencies, errors)


def client_main(arguments: Sequence[str]) -> None:
    """The entry point of the client process. Prints one row as JSON."""
    endpoint, entity_text, concurrency_text, seconds_text = arguments
    concurrency, seconds = int(concurrency_text), float(seconds_text)
    entity = json.loads(entity_text)
    if entity is None:
        latencies, errors = asyncio.run(run_etcd_load(endpoint, VALUE, concurrency, seconds))
        row = summarise("etcd", concurrency, seconds, latencies, errors)
    else:
        row = asyncio.run(run_load(endpoint, entity, concurrency, seconds))
    print(json.dumps(asdict(row)))


# --- the benchmark --------------------------------------------------------------------------------


async def prepare(cluster: ProcessCluster) -> dict[str, object]:
    """Initialise the cluster and create the entity that the writes set."""
    schema = {
        "entity_type": "Item",
        "inherit": None,
        "fields": {
            "Text": {
                "String": {
                    "field_type": "Text",
                    "default_value": "",
                    "rank": 0,
                    "read_permission": None,
                    "write_permission": None,
                }
            }
        },
    }
    async with Client(cluster.endpoints) as client:
        await client.init(cluster.members)
        await client.set_schema(schema)
        return (await client.create_entity("Item", "item")).entity_id._asdict()


def bench_qcore(seconds: float, profile: Path | None) -> list[Row]:
    """Measure all concurrencies at the leader, then one at a follower."""
    environment = {} if profile is None else {"QCORE_PROFILE": str(profile)}
    with (
        tempfile.TemporaryDirectory(dir=os.environ.get("QCORE_BENCH_DIR")) as directory,
        ProcessCluster(Path(directory), 3, ["--log-level", "warning"], environment) as cluster,
    ):
        cluster.start()
        entity = asyncio.run(prepare(cluster))
        rows: list[Row] = []
        for concurrency in CONCURRENCY:
            leader = cluster.wait_leader()
            rows.append(run_client(leader.address, entity, concurrency, seconds))
            report(rows[-1])
        leader = cluster.wait_leader()
        follower = next(node for node in cluster.nodes.values() if node is not leader)
        row = run_client(follower.address, entity, 64, seconds)
        rows.append(Row("qcore, at a follower", *list(asdict(row).values())[1:]))
        report(rows[-1])
        for node in cluster.nodes.values():
            node.stop()
        return rows


def bench_etcd(program: str, seconds: float) -> list[Row]:
    """Measure all concurrencies at the leader of etcd."""
    with etcd_cluster(program) as endpoints:
        leader = leader_of(endpoints)
        rows: list[Row] = []
        for concurrency in CONCURRENCY:
            rows.append(run_client(leader, None, concurrency, seconds))
            report(rows[-1])
        return rows


def run_client(
    endpoint: str, entity: dict[str, object] | None, concurrency: int, seconds: float
) -> Row:
    """Generate the load in a separate process. Without an entity it goes to etcd."""
    command = [sys.executable, "-m", "benchmarks.bench_cluster", "--client"]
    arguments = [endpoint, json.dumps(entity), str(concurrency), str(seconds)]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=True)
    return Row(**json.loads(done.stdout))


def raw_fsync_us(directory: Path, number: int = 500) -> float:
    """The median time of a 200-byte append with fdatasync, in µs."""
    path = directory / "fsync.probe"
    times: list[float] = []
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    try:
        for _ in range(number):
            begin = time.perf_counter()
            os.write(descriptor, b"x" * 200)
            os.fdatasync(descriptor)
            times.append(time.perf_counter() - begin)
    finally:
        os.close(descriptor)
        path.unlink()
    return 1e6 * statistics.median(times)


def report(row: Row) -> None:
    """Print one row and the reference figure."""
    reference = ETCD_REFERENCE.get(row.concurrency) if row.what == "qcore" else None
    beside = f"   etcd's figure: {reference:,}/s" if reference else ""
    print(
        f"{row.what:22} {row.concurrency:4} in flight  {row.per_s:8,.0f} writes/s  "
        f"p50 {row.p50_ms:6.1f} ms  p99 {row.p99_ms:6.1f} ms  errors {row.errors}{beside}",
        flush=True,
    )


def main() -> None:
    """Run and print everything."""
    if sys.argv[1:2] == ["--client"]:
        client_main(sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="duration of each measurement")
    parser.add_argument("--profile", type=Path, help="directory for cProfile output of each node")
    parser.add_argument("--etcd", help="the etcd program; by default the one on the PATH, if any")
    parser.add_argument("--no-etcd", action="store_true", help="leave etcd out")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=os.environ.get("QCORE_BENCH_DIR")) as directory:
        fsync = raw_fsync_us(Path(directory))
    print(f"one synced 200-byte append: {fsync:.0f} µs")
    bench_qcore(options.seconds, options.profile)
    etcd = None if options.no_etcd else find_etcd(options.etcd)
    if etcd is not None:
        bench_etcd(etcd, options.seconds)


if __name__ == "__main__":
    main()
