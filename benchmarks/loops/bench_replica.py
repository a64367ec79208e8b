"""The speed of whole replicas: three in one process, without disk, network or JSON messages.

    python -m benchmarks.loops.bench_replica [--requests 10000] [--json]

What is measured is what the simulator and a real node share for every message: the core, and around it admission,
deadlines, sessions, applying and the register machine. The figures are µs of processor time for one request, all steps
of all replicas together. `core` is what the cores alone need for the same writes, see `benchmarks.bench_core`.
"""

from __future__ import annotations

import argparse
import gc
import json
import time

from benchmarks import bench_core
from benchmarks.loops import core_cluster, replica_cluster
from benchmarks.loops.replica_cluster import ReplicaCluster
from benchmarks.support.results import save
from qcore.core.version import ClusterVersion
from qcore.machines.interface import ApplyContext, StateMachine, version_support
from qcore.machines.register import RegisterMachine
from qcore.replica.messages import RequestKind

WRITE = json.dumps({"op": "set", "key": "k", "value": "x" * 100}, separators=(",", ":"))
READ = json.dumps({"op": "get", "key": "k"}, separators=(",", ":"))
KINDS: tuple[tuple[RequestKind, str], ...] = (("write", WRITE), ("read", READ))


class NothingMachine(RegisterMachine):
    """A state machine without work, so that the rest is measured."""

    def apply(self, command: str, context: ApplyContext) -> str:
        """See `StateMachine`."""
        return ""

    def query(self, query: str) -> str:
        """See `StateMachine`."""
        return ""


def measure(
    kind: RequestKind, payload: str, *, group: bool, machine: type[StateMachine], requests: int
) -> float:
    """µs of processor time for one request, the least of several runs, because other work only adds time."""
    work = replica_cluster.pipelined if group else replica_cluster.one_at_a_time
    best = float("inf")
    for _ in range(5):
        machines = [machine() for _ in range(3)]
        support = version_support(machines[0])
        version = ClusterVersion(support.rules_max, support.machine, support.machine_max)
        cluster = ReplicaCluster(machines, version)
        gc.collect()
        done = 0
        began = time.process_time()
        while done < requests:
            done += work(cluster, kind, payload)
        best = min(best, (time.process_time() - began) / done)
        assert cluster.replies == done, "every request must succeed"
    return 1e6 * best


def run(requests: int) -> dict[str, float]:
    """All figures, µs."""
    figures = {
        "core, one write at a time": 1e6
        / bench_core.measure(core_cluster.one_at_a_time, requests)["operations_per_s"],
        "core, 64 writes at a time": 1e6
        / bench_core.measure(core_cluster.pipelined, requests)["operations_per_s"],
    }
    for name, machine in (("", RegisterMachine), (", a machine that does nothing", NothingMachine)):
        for kind, payload in KINDS:
            for group in (False, True):
                title = f"{'64' if group else 'one'} {kind}{'s' * group} at a time{name}"
                figures[title] = measure(
                    kind, payload, group=group, machine=machine, requests=requests
                )
    return {name: round(value, 2) for name, value in figures.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--requests", type=int, default=10_000, help="requests for each figure")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    figures = run(arguments.requests)
    save("replica", figures)
    if arguments.json:
        print(json.dumps({"replica": figures}))
        return
    for name, value in figures.items():
        print(f"{name:50} {value:8.2f} µs")


if __name__ == "__main__":
    main()
