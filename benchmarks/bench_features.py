"""The cost of each feature: the same load with it and without it, alternately, in the same run.

    python -m benchmarks.bench_features [--seconds 2] [--rounds 3] [--json]

First the pure core (CPU time), then real clusters of three processes (durable writes and reads, 64 in flight).
A ratio is the rate with the feature divided by the rate without it: the median of all rounds.
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
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import bench_core
from benchmarks.cluster.library_load import CONNECTIONS, VALUE, Row, prepare, row_of
from benchmarks.loops import core_cluster
from benchmarks.loops.core_cluster import CoreCluster
from qcore.client.client import Client
from qcore.client.request_sender import Json
from qcore.core import Membership
from qcore.processes import NodeProcess, ProcessCluster, free_ports
from qcore.transport.address import Address
from qcore.transport.connection.client_connection import ClientConnection

IN_FLIGHT = 64
THREE = Membership(voters=(1, 2, 3))
FIVE = Membership(voters=(1, 2, 3, 4, 5))


@dataclass(slots=True, frozen=True)
class Cost:
    """The rates without and with one feature.

    Attributes:
        feature: the feature, and what it is compared to.
        without, with_it: operations per second, medians of the rounds.
        ratio: the median of the ratios of the rounds. Below 1 the feature costs, above 1 it saves.
    """

    feature: str
    without: float
    with_it: float
    ratio: float


def cost(feature: str, without: Sequence[float], with_it: Sequence[float]) -> Cost:
    """Compare rates that were measured alternately: the n-th rates of both belong together."""
    ratios = [after / before for before, after in zip(without, with_it, strict=True)]
    return Cost(
        feature, statistics.median(without), statistics.median(with_it), statistics.median(ratios)
    )


# --- the core alone -------------------------------------------------------------------------------


def core_costs(rounds: int, commands: int) -> list[Cost]:
    """Measure features of the core, with the same commands or reads on three or five cores."""
    one, reads = core_cluster.one_at_a_time, core_cluster.reads

    def rate(work: Callable[[CoreCluster], int], **settings: object) -> Callable[[], float]:
        def once() -> float:
            figures = bench_core.measure(
                work,
                commands,
                1,
                lambda: CoreCluster(**settings),  # type: ignore[arg-type] # settings by name
            )
            return figures["operations_per_s"]

        return once

    joint = Membership(voters=(1, 2, 3, 4, 5), voters_outgoing=(1, 2, 3), auto_leave=False)
    learners = Membership(voters=(1, 2, 3), learners=(4, 5))
    pairs = [
        (
            "PreVote and CheckQuorum, writes",
            rate(one, pre_vote=False, check_quorum=False),
            rate(one),
        ),
        (
            "a joint phase, five servers, writes",
            rate(one, membership=FIVE),
            rate(one, membership=joint),
        ),
        ("two learners beside three voters, writes", rate(one), rate(one, membership=learners)),
        ("leases kept, writes", rate(one), rate(one, lease_reads=True)),
        (
            "lease reads, against ReadIndex",
            rate(reads),
            rate(core_cluster.lease_reads, lease_reads=True),
        ),
    ]
    costs: list[Cost] = []
    for feature, without, with_it in pairs:
        before: list[float] = []
        after: list[float] = []
        for _ in range(rounds):
            before.append(without())
            after.append(with_it())
        costs.append(cost(feature, before, after))
    return costs


# --- the client process ---------------------------------------------------------------------------


async def run_load(endpoint: str, load: Json, seconds: float) -> Row:
    """Keep 64 requests in flight for this time. `Running.load` describes them in `load`."""
    connections = [
        await ClientConnection.connect(Address.parse(endpoint)) for _ in range(CONNECTIONS)
    ]
    request = {
        "entity_id": load["entity"],
        "field_type": "Text",
        "write_time": None,
        "writer_id": None,
    }
    if load["kind"] == "read":
        item = {"Read": {**request, "value": None}}
    else:
        text = {"String": VALUE}
        how = {"push_condition": "Always", "adjust_behavior": "Set"}
        item = {"Write": {**request, "value": text, **how}}
    fields: dict[str, Json] = {"request": {"UpdateEntity": {"request": [item]}}}
    if load.get("consistency") is not None:
        fields["consistency"] = load["consistency"]
    latencies: list[float] = []
    errors = 0
    begin = time.perf_counter() + 0.5  # the first half second is a warm-up and does not count
    end = begin + seconds

    async def worker(position: int) -> None:
        nonlocal errors
        connection = connections[position % CONNECTIONS]
        mine = dict(fields)
        session = sequence = 0
        if load["kind"] == "session":
            opened: Json = await connection.request("OpenSession", {"lifetime_ms": 60_000})
            session = opened["response"]["Ok"]
        while (sent := time.perf_counter()) < end:
            if session:
                sequence += 1
                mine["session"] = {
                    "id": session,
                    "sequence": sequence,
                    "acknowledged": sequence - 1,
                }
            reply: Json = await connection.request("Perform", mine)
            done = time.perf_counter()
            if begin <= done <= end:
                if reply["response"]["UpdateEntity"]["error"] is None:
                    latencies.append(done - sent)
                else:
                    errors += 1
        if session:
            await connection.request("CloseSession", {"session": session})

    await asyncio.gather(*(worker(position) for position in range(IN_FLIGHT)))
    for connection in connections:
        await connection.close()
    return row_of(load["kind"], IN_FLIGHT, seconds, latencies, errors)


def run_client(endpoint: str, load: dict[str, Json], seconds: float) -> float:
    """Generate the load in a separate process. Returns the successful requests per second."""
    command = [sys.executable, "-m", "benchmarks.bench_features", "--client"]
    arguments = [endpoint, json.dumps(load), str(seconds)]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=True)
    row = Row(**json.loads(done.stdout))
    if row.errors:
        raise SystemExit(f"{row.errors} requests of {load} failed, so the figure is meaningless")
    return row.per_s


# --- real clusters --------------------------------------------------------------------------------


class Running:
    """A running cluster of three processes with one entity."""

    def __init__(self, stack: ExitStack, *arguments: str) -> None:
        directory = stack.enter_context(
            tempfile.TemporaryDirectory(dir=os.environ.get("QCORE_BENCH_DIR"))
        )
        self.directory = Path(directory)
        self.cluster = ProcessCluster(self.directory, 3, ["--log-level", "warning", *arguments])
        stack.enter_context(self.cluster)
        self.cluster.start()
        self.entity: Json = asyncio.run(prepare(self.cluster))

    def load(
        self, kind: str, seconds: float, consistency: Json = None, *, follower: bool = False
    ) -> float:
        """Requests per second at the leader or at a follower."""
        leader = self.cluster.wait_leader()
        others = [node for node in self.cluster.nodes.values() if node is not leader]
        node = others[0] if follower else leader
        load = {"kind": kind, "entity": self.entity, "consistency": consistency}
        return run_client(node.address, load, seconds)

    def with_learner(self, seconds: float) -> float:
        """Writes per second while a fourth process is a learner."""
        with ExitStack() as stack:
            learner = NodeProcess(4, free_ports(1)[0], self.directory, ["--log-level", "warning"])
            stack.callback(learner.kill)
            learner.start()
            asyncio.run(self._member(learner, learner=True))
            rate = self.load("write", seconds)
            asyncio.run(self._member(learner, learner=False))
        self.cluster.wait_leader()
        return rate

    async def _member(self, node: NodeProcess, *, learner: bool) -> None:
        async with Client(self.cluster.endpoints) as client:
            if learner:
                await client.add_learner(node.node_id, node.address, node.public_key())
            else:
                await client.change_membership(list(self.cluster.nodes), learners=[])


def cluster_costs(rounds: int, seconds: float) -> list[Cost]:
    """Measure features of real clusters: a plain one, one with leases, one with a snapshot every 5,000 entries."""
    measured: dict[str, list[float]] = {}

    def note(name: str, rate: float) -> None:
        measured.setdefault(name, []).append(rate)

    with ExitStack() as plain_stack:
        plain = Running(plain_stack, "--snapshot-entries", "0", "--snapshot-bytes", "0")
        for _ in range(rounds):
            note("write", plain.load("write", seconds))
            note("session", plain.load("session", seconds))
            note("read", plain.load("read", seconds))
            note("read at a follower", plain.load("read", seconds, follower=True))
            note("follower read", plain.load("read", seconds, "follower", follower=True))
            note("stale read", plain.load("read", seconds, {"stale": 5000}, follower=True))
            note("learner", plain.with_learner(seconds))
        for kind, extra in (
            ("write", ("--snapshot-entries", "5000")),
            ("read", ("--lease-reads",)),
        ):
            with ExitStack() as stack:
                # Both clusters run all the time. Each is idle while the other is measured.
                other = Running(stack, *extra)
                consistency = "lease" if kind == "read" else None
                for _ in range(rounds):
                    note(f"{extra[0]} off", plain.load(kind, seconds))
                    note(f"{extra[0]} on", other.load(kind, seconds, consistency))
    rows = [
        ("a session, writes", "write", "session"),
        ("a learner, a fourth process on two cores, writes", "write", "learner"),
        (
            "a snapshot every 5,000 entries, writes",
            "--snapshot-entries off",
            "--snapshot-entries on",
        ),
        ("lease reads, against ReadIndex", "--lease-reads off", "--lease-reads on"),
        ("linearizable reads, forwarded by a follower", "read", "read at a follower"),
        ("follower reads, against forwarded ones", "read at a follower", "follower read"),
        ("stale reads at a follower, against forwarded ones", "read at a follower", "stale read"),
    ]
    return [cost(feature, measured[before], measured[after]) for feature, before, after in rows]


def show(title: str, costs: Sequence[Cost]) -> None:
    """Print a table."""
    print(f"{title:52} {'without':>10} {'with':>10} {'ratio':>7}")
    for row in costs:
        print(
            f"{row.feature:52} {row.without:>10,.0f} {row.with_it:>10,.0f} {row.ratio:>7.2f}",
            flush=True,
        )


def main() -> None:
    """Run and print everything."""
    if sys.argv[1:2] == ["--client"]:
        endpoint, load, seconds = sys.argv[2:]
        print(json.dumps(asdict(asyncio.run(run_load(endpoint, json.loads(load), float(seconds))))))
        return
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=2.0, help="duration of each measurement")
    parser.add_argument("--rounds", type=int, default=3, help="how often each pair is measured")
    parser.add_argument(
        "--commands", type=int, default=10_000, help="operations of the core in each turn"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    core = core_costs(options.rounds, options.commands)
    if not options.json:
        show("the core, operations/s", core)
    real = cluster_costs(options.rounds, options.seconds)
    if options.json:
        print(
            json.dumps(
                {"core": [asdict(row) for row in core], "cluster": [asdict(row) for row in real]}
            )
        )
    else:
        show("three processes, 64 in flight, requests/s", real)


if __name__ == "__main__":
    main()
