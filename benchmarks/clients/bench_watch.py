"""What watches cost the writes of one node: 10,000 registrations on 1,000 connections.

The node, the writing client and the watching clients are separate processes. Writes go to the entities in turn. In
turns there are no watches, watches on a field without writes, and watches on the written field, of which each write
notifies 10.

    python -m benchmarks.clients.bench_watch [--seconds 5] [--rounds 2] [--profile DIR]

QCORE_BENCH_DIR is the directory for the data; it determines the file system.
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
from pathlib import Path

from benchmarks.cluster.library_load import Row, row_of
from qcore.client.client import Client
from qcore.client.request_sender import Json
from qcore.processes import NodeProcess, ProcessCluster
from qcore.transport.address import Address
from qcore.transport.connection.client_connection import ClientConnection

ENTITIES = 1000
WATCHING_PROCESSES = 2
CONNECTIONS = 1000
REGISTRATIONS = 10_000
CONCURRENCY = 64
WRITING_CONNECTIONS = 8
#: The turns: the field that the watches name.
TURNS = {"no watches": None, "watches, none notified": "Other", "watches, 10 notified": "Text"}


# --- the client processes -------------------------------------------------------------------------


async def write(endpoint: str, entities: list[Json], seconds: float) -> Row:
    """Keep `CONCURRENCY` writes in flight for this time."""
    connections = [
        await ClientConnection.connect(Address.parse(endpoint)) for _ in range(WRITING_CONNECTIONS)
    ]
    latencies: list[float] = []
    errors = 0
    begin = time.perf_counter() + 1.0  # the first second is a warm-up and does not count
    end = begin + seconds

    async def worker(position: int) -> None:
        nonlocal errors
        connection = connections[position % WRITING_CONNECTIONS]
        number = position
        while (sent := time.perf_counter()) < end:
            one: Json = {
                "entity_id": entities[number % ENTITIES],
                "field_type": "Text",
                "value": {"String": f"value {number}"},
                "push_condition": "Always",
                "adjust_behavior": "Set",
                "write_time": None,
                "writer_id": None,
            }
            number += CONCURRENCY
            fields: Json = {"request": {"UpdateEntity": {"request": [{"Write": one}]}}}
            reply: Json = await connection.request("Perform", fields)
            done = time.perf_counter()
            if reply["response"]["UpdateEntity"]["error"] is not None:
                errors += 1
            elif begin <= done <= end:
                latencies.append(done - sent)

    await asyncio.gather(*(worker(position) for position in range(CONCURRENCY)))
    for connection in connections:
        await connection.close()
    return row_of("", CONCURRENCY, seconds, latencies, errors)


async def watch(endpoint: str, entities: list[Json], field_type: str, part: int) -> int:
    """Register this process's part, report it, and count notifications until standard input ends."""
    received = 0

    def on_push(name: str, _: object) -> None:
        nonlocal received
        received += name == "StoreNotification"

    connections: list[ClientConnection] = []
    for number in range(part, CONNECTIONS, WATCHING_PROCESSES):
        connection = await ClientConnection.connect(Address.parse(endpoint))
        connection.on_push = on_push
        connections.append(connection)
        for place in range(number, REGISTRATIONS, CONNECTIONS):
            config: Json = {
                # The watches of one entity are on different connections.
                "entity_id": entities[place * ENTITIES // REGISTRATIONS],
                "field_type": field_type,
                "trigger_on_change": False,
                "context": [],
            }
            fields: Json = {"config": {"EntityId": config}}
            reply = await connection.request("StoreRegisterNotification", fields)
            result = reply["response"]
            if not (isinstance(result, dict) and "Ok" in result):
                raise SystemExit(f"the registration failed: {reply}")
    print("registered", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    return received


def client_main(arguments: Sequence[str]) -> None:
    """The entry point of the client processes."""
    kind, endpoint, path, *rest = arguments
    entities = json.loads(Path(path).read_text())
    if kind == "--write":
        row = asyncio.run(write(endpoint, entities, float(rest[0])))
        print(json.dumps([row.per_s, row.p50_ms, row.p99_ms, row.errors]))
    else:
        print(asyncio.run(watch(endpoint, entities, rest[0], int(rest[1]))))


# --- the benchmark --------------------------------------------------------------------------------


async def prepare(cluster: ProcessCluster) -> list[Json]:
    """Initialise the cluster and create the entities. Returns their ids."""
    fields = {
        name: {
            "String": {
                "field_type": name,
                "default_value": "",
                "rank": 0,
                "read_permission": None,
                "write_permission": None,
            }
        }
        for name in ("Text", "Other")
    }
    async with Client(cluster.endpoints) as client:
        await client.init(cluster.members)
        await client.set_schema({"entity_type": "Item", "inherit": None, "fields": fields})
        names = [f"item {number}" for number in range(ENTITIES)]
        return [(await client.create_entity("Item", name)).entity_id._asdict() for name in names]


def resident_mb(node: NodeProcess) -> float:
    """The resident memory of the node."""
    pages = int(Path(f"/proc/{node.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def start(*arguments: str) -> subprocess.Popen[str]:
    """Start a client process."""
    command = [sys.executable, "-m", "benchmarks.clients.bench_watch", *arguments]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )


def turn(what: str, field_type: str | None, node: NodeProcess, path: Path, seconds: float) -> None:
    """Measure one turn and print its row."""
    watching = [
        start("--watch", node.address, str(path), field_type, str(part))
        for part in range(WATCHING_PROCESSES if field_type else 0)
        if field_type is not None
    ]
    for each in watching:
        assert each.stdout is not None, "it is a pipe"
        if each.stdout.readline() != "registered\n":
            raise SystemExit("a watching client failed")
    text, _ = start("--write", node.address, str(path), str(seconds)).communicate()
    per_s, p50_ms, p99_ms, errors = json.loads(text)
    resident = resident_mb(node)
    received = sum(int(each.communicate()[0]) for each in watching)
    print(
        f"| {what} | {per_s:,.0f} | {p50_ms:.1f} | {p99_ms:.1f} | {received / (seconds + 1):,.0f} | {resident:.0f} "
        f"| {errors} |",
        flush=True,
    )


def main() -> None:
    """Run everything and print one table."""
    if sys.argv[1:2] in (["--write"], ["--watch"]):
        client_main(sys.argv[1:])
        return
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5.0, help="duration of each measurement")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--profile", type=Path, help="directory for cProfile output of the node")
    options = parser.parse_args()
    environment = {} if options.profile is None else {"QCORE_PROFILE": str(options.profile)}
    arguments = ["--log-level", "warning", "--max-clients", "2000"]
    with (
        tempfile.TemporaryDirectory(dir=os.environ.get("QCORE_BENCH_DIR")) as directory,
        ProcessCluster(Path(directory), 1, arguments, environment) as cluster,
    ):
        cluster.start()
        path = Path(directory) / "entities.json"
        path.write_text(json.dumps(asyncio.run(prepare(cluster))))
        node = cluster.wait_leader()
        print("| | writes/s | p50 ms | p99 ms | notifications/s | node MB | errors |")
        print("|---|---|---|---|---|---|---|")
        for _ in range(options.rounds):
            for what, field_type in TURNS.items():
                turn(what, field_type, node, path, options.seconds)
        node.stop()


if __name__ == "__main__":
    main()
