"""The cost of snapshots of a large store for a running cluster: stalls, heartbeats, latency.

Three real processes run the entity store with 100,000 entities under a steady load of paced writes. Each row is one
phase, measured by the nodes themselves (`/metrics`):

- the longest stall of any event loop, and the longest *own* stall: without the time that the loop waited for a
  processor, which the Linux kernel reports (a machine may have fewer processors than processes);
- the longest silence of the leader that a follower saw, and changes of role;
- the latency of the writes, as seen by the client.

The copy is `qcore snapshot save` at the leader. The install is by a follower that was down: the leader's snapshot
replaces its state.

    python -m benchmarks.bench_snapshot_stall [--entities 100000] [--seconds 40] [--rate 700]

QCORE_BENCH_DIR is the directory for the data; it determines the file system.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import random
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from qcore.client.client import Client
from qcore.client.request_sender import Json
from qcore.errors import QcoreError
from qcore.percentiles import percentile
from qcore.processes import NodeProcess, ProcessCluster, ProcessError, wait_for
from qcore.transport.address import Address
from qcore.transport.connection.client_connection import ClientConnection

#: A snapshot is due after this many entries. Fewer are kept, so that a follower that was down needs a snapshot.
SNAPSHOT_ENTRIES = 10_000
KEEP_ENTRIES = 2_000
#: The longest acceptable stall, and the time between two heartbeats, in seconds.
LIMIT_S = 0.05
HEARTBEAT_S = 0.1

LOADING_IN_FLIGHT = 64
_SAMPLE = re.compile(r"^(\w+(?:\{[^}]*\})?) (\S+)$", re.MULTILINE)


# --- metrics of the nodes ---------------------------------------------------------------------------

Samples = dict[str, float]


def scrape(node: NodeProcess) -> Samples:
    """The samples of `/metrics`, by name and labels."""
    status, body = node.get("/metrics", timeout_s=10)
    if status != 200:
        raise ProcessError(f"node {node.node_id} does not serve its metrics: {body}")
    return {name: float(value) for name, value in _SAMPLE.findall(body)}


def longest(before: Samples, after: Samples, name: str) -> float:
    """The largest observation of a histogram between two scrapes, in seconds.

    It is exact if it is the largest since the start of the node. Otherwise it is the bound of its bucket.
    """
    if after[f"{name}_max"] > before.get(f"{name}_max", 0.0):
        return after[f"{name}_max"]
    bounds = {key: float(key.split('le="')[1][:-2]) for key in after if f"{name}_bucket" in key}
    total = after[f"{name}_count"] - before.get(f"{name}_count", 0.0)
    for key, bound in sorted(bounds.items(), key=lambda item: item[1]):
        if after[key] - before.get(key, 0.0) >= total:
            return bound
    return float("inf")


def beyond(before: Samples, after: Samples, name: str, limit_s: float) -> int:
    """How many observations between two scrapes were above a bound of the histogram."""
    key = f'{name}_bucket{{le="{limit_s:g}"}}'
    total = after[f"{name}_count"] - before.get(f"{name}_count", 0.0)
    return round(total - (after[key] - before.get(key, 0.0)))


# --- the load ---------------------------------------------------------------------------------------


@dataclass(slots=True)
class Load:
    """The writes of a phase, sent at a steady pace whether or not earlier ones have been answered."""

    latencies: list[float] = field(default_factory=list)
    errors: int = 0


async def write_paced(
    leader: str, entities: list[Json], rate: int, done: asyncio.Event, load: Load
) -> None:
    """Write to random entities at the leader until `done`."""
    connection = await ClientConnection.connect(Address.parse(leader))
    rng = random.Random(1)
    running: set[asyncio.Task[None]] = set()

    async def write(number: int, due: float) -> None:
        request = update(rng.choice(entities), number)
        try:
            reply: Json = await connection.request("Perform", {"request": request})
        except QcoreError:
            load.errors += 1
            return
        if reply["response"]["UpdateEntity"]["error"] is None:
            load.latencies.append(time.perf_counter() - due)
        else:
            load.errors += 1

    due = time.perf_counter()
    for number in itertools.count():
        if done.is_set():
            break
        task = asyncio.create_task(write(number, max(due, time.perf_counter() - 0.005)))
        running.add(task)
        task.add_done_callback(running.discard)
        due += 1 / rate
        if (wait_s := due - time.perf_counter()) > 0:
            await asyncio.sleep(wait_s)
    await asyncio.gather(*running, return_exceptions=True)
    await connection.close()


def update(entity: Json, number: int) -> Json:
    """A request that writes one field."""
    write = {
        "entity_id": entity,
        "field_type": "Reading",
        "value": {"Float": number / 8},
        "push_condition": "Always",
        "adjust_behavior": "Set",
        "write_time": None,
        "writer_id": None,
    }
    return {"UpdateEntity": {"request": [{"Write": write}]}}


def schema() -> Json:
    """Seven fields of several kinds. An entity takes about 600 characters in a snapshot."""

    def a_field(rank: int, name: str, kind: str, default: object) -> Json:
        rest = {"rank": rank, "read_permission": None, "write_permission": None}
        return {kind: {"field_type": name, "default_value": default, **rest}}

    kinds: list[tuple[str, str, object]] = [
        ("Name", "String", ""),
        ("Description", "String", "a pump in the second hall, left of the door"),
        ("Reading", "Float", 0.0),
        ("Count", "Int", 0),
        ("Enabled", "Bool", True),
        ("Serial", "String", "SN-0000-0000-0000"),
        ("Remarks", "String", "none"),
    ]
    fields = {
        name: a_field(rank, name, kind, default) for rank, (name, kind, default) in enumerate(kinds)
    }
    return {"entity_type": "Pump", "inherit": None, "fields": fields}


async def fill(cluster: ProcessCluster, count: int) -> list[Json]:
    """Initialise the cluster and create the entities. Returns their ids."""
    async with Client(cluster.endpoints, timeout_s=60) as client:
        await client.init(cluster.members)
        await client.set_schema(schema())
        numbers = iter(range(count))
        entities: list[Json] = []

        async def create() -> None:
            for number in numbers:
                created = await client.create_entity("Pump", f"pump {number}")
                entities.append(created.entity_id._asdict())

        await asyncio.gather(*(create() for _ in range(LOADING_IN_FLIGHT)))
        return entities


# --- phases -----------------------------------------------------------------------------------------


@dataclass(slots=True)
class Phase:
    """The figures of one phase.

    Attributes:
        snapshots: snapshots taken or installed, on all nodes.
        stall_s, stall_own_s: the longest stall of any event loop, and the longest own stall.
        stalls, stalls_own: how many were longer than `LIMIT_S`.
        silence_s: the longest time without a message from the leader at a follower.
        collector_s: the longest run of Python's garbage collector on any node.
        role_changes: changes of role, term or leader on any node.
    """

    name: str
    snapshots: int = 0
    stall_s: float = 0.0
    stall_own_s: float = 0.0
    stalls: int = 0
    stalls_own: int = 0
    silence_s: float = 0.0
    collector_s: float = 0.0
    role_changes: int = 0
    load: Load = field(default_factory=Load)


@contextmanager
def phase(name: str, cluster: ProcessCluster) -> Iterator[Phase]:
    """Measure a phase on the nodes that run, and print its row at the end."""
    result = Phase(name)
    before = {node.node_id: scrape(node) for node in cluster.running()}
    lines = {node.node_id: len(snapshot_lines(node)) for node in cluster.nodes.values()}
    yield result
    stall, own = "qcore_event_loop_stall_seconds", "qcore_event_loop_stall_own_seconds"
    collector = "qcore_gc_pause_seconds"
    gap, changes = "qcore_raft_leader_gap_seconds", "qcore_raft_role_changes_total"
    for node in cluster.running():
        # A node that started during the phase counts from its start.
        earlier, later = before.get(node.node_id, {}), scrape(node)
        result.stall_s = max(result.stall_s, longest(earlier, later, stall))
        result.stall_own_s = max(result.stall_own_s, longest(earlier, later, own))
        result.stalls += beyond(earlier, later, stall, LIMIT_S)
        result.stalls_own += beyond(earlier, later, own, LIMIT_S)
        result.silence_s = max(result.silence_s, longest(earlier, later, gap))
        result.collector_s = max(result.collector_s, longest(earlier, later, collector))
        if node.node_id in before:
            result.role_changes += round(later[changes] - earlier[changes])
        result.snapshots += len(snapshot_lines(node)) - lines[node.node_id]
    report(result)


def snapshot_lines(node: NodeProcess) -> list[str]:
    """The log lines about snapshots."""
    return [
        line
        for line in node.log_text().splitlines()
        if "snapshot taken" in line or "snapshot installed" in line
    ]


def report(result: Phase) -> None:
    """Print one row."""
    load = result.load
    ordered = sorted(load.latencies) or [0.0]
    writes = (
        f"{len(load.latencies):6,} writes  p50 {1000 * percentile(ordered, 50):5.1f}  "
        f"p99 {1000 * percentile(ordered, 99):6.1f}  max {1000 * ordered[-1]:6.1f} ms  errors {load.errors}"
        if load.latencies or load.errors
        else ""
    )
    print(
        f"{result.name:24} snapshots {result.snapshots:2}  longest stall {1000 * result.stall_s:6.1f} ms, "
        f"own {1000 * result.stall_own_s:6.1f} ms; over 50 ms {result.stalls}, own {result.stalls_own}  "
        f"collector {1000 * result.collector_s:4.0f} ms  leader silent {1000 * result.silence_s:4.0f} ms  "
        f"role changes {result.role_changes}  {writes}",
        flush=True,
    )


async def under_load(
    result: Phase, cluster: ProcessCluster, entities: list[Json], rate: int, seconds: float
) -> None:
    """Write for this time."""
    done = asyncio.Event()
    leader = cluster.wait_leader().address
    writer = asyncio.create_task(write_paced(leader, entities, rate, done, result.load))
    await asyncio.sleep(seconds)
    done.set()
    await writer


async def catch_up(
    result: Phase, cluster: ProcessCluster, entities: list[Json], rate: int, follower: NodeProcess
) -> float:
    """Start the node under load, and wait until it has caught up from the leader's snapshot. Returns seconds."""
    done = asyncio.Event()
    leader = cluster.wait_leader()
    writer = asyncio.create_task(write_paced(leader.address, entities, rate, done, result.load))
    began = time.perf_counter()
    await asyncio.to_thread(follower.start, 120.0)
    goal = leader.status()["last_log_index"]

    def caught_up() -> bool:
        status = follower.status()
        return bool(status) and status["qcore"]["applied_index"] >= goal

    await asyncio.to_thread(wait_for, caught_up, 300.0, "the follower to catch up")
    took = time.perf_counter() - began
    done.set()
    await writer
    return took


async def save(
    result: Phase, cluster: ProcessCluster, entities: list[Json], rate: int, file: Path
) -> float:
    """Run `qcore snapshot save` under load. Returns seconds."""
    done = asyncio.Event()
    leader = cluster.wait_leader().address
    writer = asyncio.create_task(write_paced(leader, entities, rate, done, result.load))
    began = time.perf_counter()
    command = (sys.executable, "-m", "qcore", "snapshot", "save", str(file), "--endpoints", leader)
    saving = await asyncio.create_subprocess_exec(
        *command, "--timeout", "120", stdout=asyncio.subprocess.DEVNULL
    )
    if await saving.wait() != 0:
        raise ProcessError(f"qcore snapshot save ended with exit code {saving.returncode}")
    took = time.perf_counter() - began
    done.set()
    await writer
    return took


def bench(entities_count: int, seconds: float, rate: int) -> None:
    """Run all phases."""
    policy = ["--snapshot-entries", str(SNAPSHOT_ENTRIES), "--keep-entries", str(KEEP_ENTRIES)]
    with (
        tempfile.TemporaryDirectory(dir=os.environ.get("QCORE_BENCH_DIR")) as directory,
        ProcessCluster(Path(directory), 3, policy) as cluster,
    ):
        cluster.start()
        with phase("loading", cluster):
            entities = asyncio.run(fill(cluster, entities_count))
        cluster.wait_converged()
        with phase("snapshots by policy", cluster) as result:
            asyncio.run(under_load(result, cluster, entities, rate, seconds))
        leader = cluster.wait_leader()
        follower = next(node for node in cluster.running() if node is not leader)
        follower.kill()
        with phase("one follower down", cluster) as result:
            enough = 1.3 * (SNAPSHOT_ENTRIES + KEEP_ENTRIES) / rate
            asyncio.run(under_load(result, cluster, entities, rate, enough))
        with phase("it installs a snapshot", cluster) as result:
            took = asyncio.run(catch_up(result, cluster, entities, rate, follower))
        print(f"   the follower was back after {took:.1f} s", flush=True)
        for node in cluster.running():
            node.stop()
            node.arguments = ["--snapshot-entries", "0", "--snapshot-bytes", "0"]
        cluster.start()
        cluster.wait_leader()
        cluster.wait_converged()
        with phase("without snapshots", cluster) as result:
            asyncio.run(under_load(result, cluster, entities, rate, seconds / 2))
        with phase("a copy on request", cluster) as result:
            took = asyncio.run(save(result, cluster, entities, rate, Path(directory) / "copy"))
        print(f"   the copy was saved after {took:.1f} s", flush=True)
        print_logs(cluster)


def print_logs(cluster: ProcessCluster) -> None:
    """Print the size of the largest snapshot, and the log lines of the longest own stalls."""
    lines = [
        line
        for node in cluster.nodes.values()
        for line in node.log_text().splitlines()
        if "event loop stalled" in line
    ]
    sizes = [
        int(line.rpartition("characters=")[2])
        for node in cluster.nodes.values()
        for line in snapshot_lines(node)
    ]
    print(f"   the largest snapshot had {max(sizes, default=0) / 1e6:.1f} million characters")
    for line in sorted(lines, key=lambda text: text.partition("own_seconds=")[2], reverse=True)[
        :12
    ]:
        print(f"   {line}")


def main() -> None:
    """Run and print everything."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--entities", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=40.0, help="duration of each phase")
    parser.add_argument("--rate", type=int, default=700, help="writes a second")
    options = parser.parse_args()
    bench(options.entities, options.seconds, options.rate)


if __name__ == "__main__":
    main()
