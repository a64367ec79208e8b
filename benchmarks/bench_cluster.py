"""Durable writes and linearizable reads on three real processes, beside etcd in the same run.

    python -m benchmarks.bench_cluster [--seconds 2] [--rounds 5] [--python PROGRAM] [--also-python PROGRAM]
        [--library] [--grpc] [--lean] [--connections N] [--etcd PROGRAM] [--no-etcd] [--profile DIR] [--json]

Each write sets a value of 60 bytes, and is acknowledged when a majority has it on stable storage. Both clusters run all
the time, on the loopback interface with their data on one file system, and get the same load in turns: qcore, etcd,
qcore, etcd. A ratio is the median of the ratios of the rounds.

The load comes from a separate process, with all requests encoded before (`benchmarks.cluster`). What differs: qcore
gets its requests over 8 WebSocket connections, as a client library would send them, and etcd gets JSON over HTTP/1.1,
with one connection for each request in flight, because HTTP/1.1 carries no more. `--connections 0` gives qcore one
connection for each request, too. `--grpc` measures etcd with gRPC on 8 connections as well. `--library` loads qcore
with its own client library, which costs more. `--lean` measures the writes of `benchmarks.cluster.lean_node`, too:
processes that only replicate and sync, as a floor, without and with the log of a qcore node.

QCORE_BENCH_DIR is the directory for the data; it determines the file system.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.cluster.etcd_cluster import find_etcd
from benchmarks.cluster.lean_cluster import LeanSystem
from benchmarks.cluster.library_load import CONNECTIONS, VALUE
from benchmarks.cluster.processor_time import processor_seconds
from benchmarks.cluster.systems import (
    LIBRARY,
    LIGHT,
    EtcdRunning,
    EtcdSystem,
    QcoreSystem,
    System,
    measure,
)
from benchmarks.cluster.wire import Measured
from benchmarks.support.python_build import busy, python_build
from benchmarks.support.results import save


@dataclass(frozen=True, slots=True)
class Case:
    """One kind of load: what is asked, where, and how many requests are in flight."""

    operation: str
    in_flight: int
    follower: bool = False

    def __str__(self) -> str:
        where = " at a follower" if self.follower else ""
        return f"{self.operation}s{where}, {self.in_flight} in flight"


CASES = (
    Case("write", 1),
    Case("write", 64),
    Case("write", 256),
    Case("write", 64, follower=True),
    Case("read", 64),
)


@dataclass(slots=True)
class Figures:
    """The measurements of one system under one kind of load, by round."""

    case: Case
    system: str
    rounds: list[Measured] = field(default_factory=list)

    def median(self, name: str) -> float:
        """The median of a field of `Measured`."""
        return statistics.median(float(getattr(one, name)) for one in self.rounds)

    def node_us(self) -> tuple[float, float]:
        """Medians of the processor time for each request: of the leader, and of a follower."""
        leader = statistics.median(one.processes_us[0] for one in self.rounds)
        followers = statistics.median(
            statistics.mean(one.processes_us[1:] or (0.0,)) for one in self.rounds
        )
        return leader, followers

    def to_json(self) -> dict[str, object]:
        """The medians."""
        leader, follower = self.node_us()
        return {
            "case": str(self.case),
            "system": self.system,
            "errors": sum(one.errors for one in self.rounds),
            **{
                name: round(self.median(name), 3)
                for name in ("per_s", "p50_ms", "p99_ms", "client_us")
            },
            "leader_us": round(leader, 1),
            "follower_us": round(follower, 1),
        }


def ratio(ours: Figures, theirs: Figures, name: str = "per_s") -> float:
    """The median of the ratios of the rounds, in which both were measured one after the other."""
    pairs = zip(ours.rounds, theirs.rounds, strict=True)
    return statistics.median(
        float(getattr(one, name)) / float(getattr(other, name)) for one, other in pairs
    )


def run_in_turns(
    systems: Sequence[System], case: Case, seconds: float, rounds: int
) -> list[Figures]:
    """Measure all systems once in each round."""
    found = [Figures(case, system.name) for system in systems]
    for _ in range(rounds):
        for system, figures in zip(systems, found, strict=True):
            figures.rounds.append(
                measure(system, case.operation, case.in_flight, seconds, follower=case.follower)
            )
    return found


def rows_of(found: Sequence[Figures]) -> list[dict[str, object]]:
    """The medians of each system, and for all but the first one how many times as fast the first one is."""
    rows = [figures.to_json() for figures in found]
    for figures, row in zip(found[1:], rows[1:], strict=True):
        row["qcore_ratio"] = round(ratio(found[0], figures), 3)
    return rows


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


def idle_ms_per_s(system: System, seconds: float = 1.0) -> float:
    """The processor time of all processes of a cluster without load: it is a part of what the others get less."""
    processes = system.load("read", 1, 0.0, follower=False, value=VALUE).processes
    before = sum(processor_seconds(processes))
    time.sleep(seconds)
    return 1000 * (sum(processor_seconds(processes)) - before) / seconds


def report(found: Sequence[Figures]) -> None:
    """Print the figures of one kind of load, and the ratios of the first system to each other one."""
    print(f"\n{found[0].case}")
    for figures in found:
        leader, follower = figures.node_us()
        errors = sum(one.errors for one in figures.rounds)
        beside = ""
        if figures is not found[0]:
            beside = (
                f"   {found[0].system} ÷ {figures.system}: {ratio(found[0], figures):.2f} times, "
                f"p99 {ratio(found[0], figures, 'p99_ms'):.2f} times"
            )
        print(
            f"  {figures.system:14} {figures.median('per_s'):8,.0f}/s  "
            f"p50 {figures.median('p50_ms'):6.2f} ms  p99 {figures.median('p99_ms'):6.2f} ms  "
            f"errors {errors}  CPU µs each: load {figures.median('client_us'):5.1f}, "
            f"leader {leader:6.1f}, follower {follower:6.1f}{beside}",
            flush=True,
        )
    case = found[0].case
    if case == CASES[0]:
        leader, follower = found[0].node_us()
        total = leader + 2 * follower + found[0].median("client_us")
        print(
            f"  {found[0].system}: leader + 2 followers + load take {total:.0f} µs of processor time; "
            f"60 + 0.7 times that is {60 + 0.7 * total:.0f} µs, and p50 was "
            f"{1000 * found[0].median('p50_ms'):.0f} µs"
        )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    parser.add_argument("--seconds", type=float, default=2.0, help="duration of each measurement")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each, in turns")
    parser.add_argument(
        "--python", default=sys.executable, metavar="PROGRAM", help="the Python that runs qcore"
    )
    parser.add_argument(
        "--also-python", metavar="PROGRAM", help="measure qcore in turns with this Python, too"
    )
    parser.add_argument(
        "--library", action="store_true", help="load qcore with its own client library"
    )
    parser.add_argument(
        "--connections",
        type=int,
        default=CONNECTIONS,
        metavar="N",
        help="connections of the load to qcore (8); 0 for one for each request in flight",
    )
    parser.add_argument("--etcd", help="the etcd program; by default the one on the PATH, if any")
    parser.add_argument("--no-etcd", action="store_true", help="leave etcd out")
    parser.add_argument("--grpc", action="store_true", help="load etcd over gRPC as well")
    parser.add_argument("--lean", action="store_true", help="measure the floors of writes as well")
    parser.add_argument("--profile", type=Path, help="directory for cProfile output of each node")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")


def main() -> None:
    """Run and print everything."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_arguments(parser)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=os.environ.get("QCORE_BENCH_DIR")) as directory:
        fsync = raw_fsync_us(Path(directory))
    build = python_build(options.python)
    print(f"{build}; one synced 200-byte append: {fsync:.0f} µs")
    if warning := busy():
        print(warning)
    etcd = None if options.no_etcd else find_etcd(options.etcd)
    if etcd is None and not options.no_etcd:
        print("etcd is not installed (Debian: apt-get install etcd-server), so it is left out")
    profile = {} if options.profile is None else {"QCORE_PROFILE": str(options.profile)}
    rows: list[dict[str, object]] = []
    with ExitStack() as stack:
        qcore = QcoreSystem(
            stack,
            program=options.python,
            module=LIBRARY if options.library else LIGHT,
            connections=options.connections or None,
            environment=profile,
        )
        systems: list[System] = [qcore]
        if options.also_python is not None:
            other = python_build(options.also_python)
            systems.append(
                QcoreSystem(
                    stack,
                    f"qcore on {other.version}",
                    program=options.also_python,
                    module=qcore.module,
                    connections=qcore.connections,
                )
            )
            print(f"qcore on {other.version}: {other}")
        if etcd is not None:
            running = EtcdRunning(stack, etcd)
            systems.append(EtcdSystem(running))
            if options.grpc:
                systems.append(EtcdSystem(running, grpc=True))
        lean = [
            LeanSystem(stack, CONNECTIONS, program=options.python, qcore_log=qcore_log)
            for qcore_log in ((False, True) if options.lean else ())
        ]
        idle = ", ".join(f"{one.name} {idle_ms_per_s(one):.0f}" for one in systems)
        print(f"processor time of each cluster without load, ms per s: {idle}")
        for case in CASES:
            takes_part = case.operation == "write" and not case.follower
            there = [*systems, *lean] if takes_part else systems
            found = run_in_turns(there, case, options.seconds, options.rounds)
            report(found)
            rows += rows_of(found)
        if options.profile is not None:
            for node in qcore.cluster.nodes.values():
                node.stop()
    save("cluster", rows)
    if options.json:
        print(json.dumps({"python": str(build), "sync_us": round(fsync, 1), "cluster": rows}))


if __name__ == "__main__":
    main()
