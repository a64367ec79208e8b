"""Runs the benchmarks whose figures are in benchmarks/README.md.

    python -m benchmarks [--quick] [--keep] [NAME ...]      all, or those named
    make bench                                              core, sim, cluster and peers

Each benchmark runs in a separate process, so that none inherits the heap and caches of another. etcd is measured in the
same run if it is installed, and so are other peers. The main figures end as a table and a picture in out/bench, and
with `--keep` in the history.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import time
from dataclasses import dataclass

from benchmarks.record.results import RESULTS, report
from benchmarks.support.python_build import CHECKOUT, python_build
from benchmarks.support.results import VARIABLE


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One module of this package.

    Attributes:
        title: what it measures.
        normal: its arguments in a full run.
        quick: its arguments in a quick run, which measures the same with rougher figures.
        module: its module, if that is not `benchmarks.bench_NAME`.
    """

    title: str
    normal: tuple[str, ...] = ()
    quick: tuple[str, ...] = ()
    module: str | None = None


BENCHMARKS = {
    "core": Benchmark(
        "the pure core: three servers, no disk, no network", quick=("--commands", "4000")
    ),
    "sim": Benchmark(
        "the simulator, all checks on",
        normal=("--rounds", "3"),
        quick=("--seconds", "10", "--rounds", "1"),
    ),
    "trace": Benchmark(
        "compact traces against JSON lines: size, writing, reading",
        quick=("--seconds", "10", "--rounds", "1"),
        module="benchmarks.traces.bench_trace",
    ),
    "view": Benchmark(
        "the page of a run with a million events: its size, and the time to make and to open it",
        quick=("--events", "50000"),
        module="benchmarks.view.bench_view",
    ),
    "explore": Benchmark(
        "the exploration of small clusters: states per second, and the search for faults",
        quick=("--states", "20000", "--seeds", "1", "--runs", "200"),
        module="benchmarks.exploration.bench_explore",
    ),
    "potency": Benchmark(
        "how soon each way of generating runs finds each planted fault (about an hour)",
        normal=("--enough", "5"),
        quick=("--only", "one_vote_per_term", "read_confirmation", "(none)", "--most", "20"),
        module="benchmarks.potency",
    ),
    "sweep": Benchmark(
        "sweeps over seeds with one and two processes",
        quick=("--rounds", "1", "--share", "0.2"),
        module="benchmarks.sweeps.bench_sweep",
    ),
    "published": Benchmark(
        "elections, partial partitions and replaced servers, beside published figures",
        quick=("--trials", "3000", "--seeds", "2"),
        module="benchmarks.published.bench_published",
    ),
    "scale": Benchmark(
        "how the cost of a simulation grows with nodes, rate and length",
        quick=("--longest", "60", "--seeds-for", "2"),
        module="benchmarks.scale.bench_scale",
    ),
    "start": Benchmark("how long programs take to start", quick=("--rounds", "3")),
    "checker": Benchmark("linearizability and invariants"),
    "transport": Benchmark(
        "WebSocket round trips, both ends in one process", quick=("--seconds", "0.3")
    ),
    "storage": Benchmark("the SQLite log against a raw synced append", quick=("--scale", "0.2")),
    "cluster": Benchmark(
        "durable writes, three processes on loopback",
        normal=("--grpc",),
        quick=("--seconds", "0.5", "--rounds", "1"),
    ),
    "peers": Benchmark(
        "other programs that do the same, where they are installed",
        quick=("--seconds", "0.5", "--rounds", "1"),
        module="benchmarks.peers",
    ),
    "features": Benchmark(
        "what each feature costs",
        quick=("--seconds", "0.5", "--rounds", "1", "--commands", "2000"),
    ),
    "watch": Benchmark(
        "writes with and without 10,000 watches",
        normal=("--seconds", "5", "--rounds", "3"),
        quick=("--seconds", "1", "--rounds", "1"),
        module="benchmarks.clients.bench_watch",
    ),
    "connections": Benchmark(
        "memory for thousands of idle connections, latency for hundreds of busy ones",
        quick=("--idle", "1000", "--busy", "100", "--seconds", "1", "--rounds", "1"),
        module="benchmarks.clients.bench_connections",
    ),
    "pipeline_depth": Benchmark("latency against the depth and width of the pipeline, simulated"),
    "growth": Benchmark(
        "what each operation costs with 1,000 to 1,000,000 entities or registers",
        quick=("--sizes", "1000", "10000"),
    ),
    "curves": Benchmark(
        "how the figures change as the log, connections, nodes and values grow",
        quick=("--quick", "--seconds", "0.5"),
        module="benchmarks.growth",
    ),
    "snapshot_stall": Benchmark(
        "stalls and latency while snapshots of a large store are taken and installed",
        quick=("--entities", "10000", "--seconds", "8"),
    ),
    "log_growth": Benchmark(
        "the log on disk, and a restart, after writes of small and large values at full speed",
        normal=("--seconds", "20"),
        quick=("--seconds", "4", "--sizes", "10000"),
    ),
}


def run(name: str, benchmark: Benchmark, *, quick: bool) -> bool:
    """Run one benchmark and print how long it took. False if it failed."""
    print(f"\n== {name}: {benchmark.title}", flush=True)
    arguments = benchmark.quick if quick else benchmark.normal
    began = time.perf_counter()
    command = [sys.executable, "-m", benchmark.module or f"benchmarks.bench_{name}", *arguments]
    environment = {**os.environ, VARIABLE: str(RESULTS)}
    done = subprocess.run(command, cwd=CHECKOUT, env=environment, check=False)
    print(f"   ({time.perf_counter() - began:.0f} s)", flush=True)
    if done.returncode != 0:
        print(f"   {name} FAILED with exit code {done.returncode}", flush=True)
    return done.returncode == 0


def main() -> None:
    """Run the named benchmarks, or all. The exit code is 1 if any failed."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("--quick", action="store_true", help="rough figures")
    parser.add_argument(
        "--keep", action="store_true", help="add the figures to benchmarks/record/history.jsonl"
    )
    arguments = parser.parse_args()
    unknown = [name for name in arguments.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"no benchmark {unknown[0]!r}; there are {', '.join(BENCHMARKS)}")
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(
        f"{python_build()}, {platform.machine()}, {os.cpu_count()} cores, "
        f"load average {load} before the first run",
        flush=True,
    )
    names = arguments.names or list(BENCHMARKS)
    passed = [run(name, BENCHMARKS[name], quick=arguments.quick) for name in names]
    if {"core", "sim", "cluster", "peers"} & set(names):
        report(keep=arguments.keep)
    sys.exit(0 if all(passed) else 1)


if __name__ == "__main__":
    main()
