"""The latency of commands and reads as a function of the depth and the width of the pipeline to a follower.

    python -m benchmarks.bench_pipeline_depth [--real SECONDS] [--json]

The first tables are in simulated time (see `benchmarks.support.pipeline_model`), so they are the same on every machine:

| table | question |
|---|---|
| depth | commit latency against appends in flight, when syncs are shared and when each append is synced alone |
| width | how long a read waits behind a window of big batches, and how the window affects throughput |

With `--real`, three real processes on loopback get the load for this many seconds at each depth, in several rounds.
Only the ratio within one run counts.
"""

from __future__ import annotations

import argparse
import json
import statistics
from contextlib import ExitStack
from dataclasses import replace

from benchmarks.cluster.systems import QcoreSystem, measure
from benchmarks.support.pipeline_model import (
    Hardware,
    Latencies,
    Load,
    PipelineModel,
    burst_and_reads,
    steady,
)
from qcore.core import RaftConfig
from qcore.percentiles import percentile

KIB = 1024
DEPTHS = (1, 2, 4, 8, 16, 64, 256)
WIDTHS = (256 * KIB, 512 * KIB, 1024 * KIB, 2048 * KIB, 4096 * KIB, 16384 * KIB)
REAL_DEPTHS = (1, 2, 16, 256)
REAL_CONCURRENCY = 256

#: No election and no other limit disturbs the measurement.
UNLIMITED = RaftConfig(
    1,
    election_timeout_min_ms=3000,
    election_timeout_max_ms=6000,
    max_inflight_messages=1 << 30,
    max_inflight_bytes=1 << 40,
)
SMALL = steady(5000, 100, 0.4)
BIG = steady(800, 64 * KIB, 0.4)
BURST = burst_and_reads(256, 64 * KIB, reads=20, every_us=5000)
HARDWARE = {
    "1 Gbit/s, 0.5 ms": Hardware(),
    "100 Mbit/s, 0.5 ms": Hardware(link_bytes_per_s=12_500_000),
    "1 Gbit/s, 20 ms": Hardware(link_us=10_000),
}


def at_depth(depth: int, load: Load, *, shared_syncs: bool) -> Latencies:
    """Run a load with at most `depth` appends in flight to a follower."""
    config = replace(UNLIMITED, max_inflight_messages=depth)
    return PipelineModel(config, Hardware(shared_syncs=shared_syncs)).run(load)


def at_width(width: int, hardware: Hardware) -> Latencies:
    """Run a burst of big commands and some reads, with at most `width` bytes in flight to a follower."""
    config = replace(UNLIMITED, max_inflight_messages=16, max_inflight_bytes=width)
    return PipelineModel(config, hardware).run(BURST)


def depth_rows() -> list[dict[str, float]]:
    """The commit latency in ms, by depth."""
    rows: list[dict[str, float]] = []
    for depth in DEPTHS:
        row: dict[str, float] = {"depth": depth}
        for name, load in (("small", SMALL), ("big", BIG)):
            for shared_syncs in (True, False):
                seen = at_depth(depth, load, shared_syncs=shared_syncs)
                syncs = "shared" if shared_syncs else "single"
                row[f"{name}_{syncs}_p99_ms"] = percentile(sorted(seen.commands), 99) / 1000
        rows.append(row)
    return rows


def width_rows() -> list[dict[str, float | str]]:
    """The longest wait of a read in ms, and the throughput in MB/s, by width and link."""
    rows: list[dict[str, float | str]] = []
    for name, hardware in HARDWARE.items():
        for width in WIDTHS:
            seen = at_width(width, hardware)
            sent = len(seen.commands) * 64 * KIB
            rows.append(
                {
                    "link": name,
                    "width_kib": width // KIB,
                    "read_max_ms": max(seen.reads) / 1000,
                    "mb_per_s": round(sent / seen.ended_us, 1),
                }
            )
    return rows


def real_rows(seconds: float, rounds: int = 3) -> list[dict[str, float]]:
    """The medians of a few rounds on real processes, by depth."""
    taken: dict[int, list[tuple[float, float, float]]] = {depth: [] for depth in REAL_DEPTHS}
    for _ in range(rounds):
        for depth in REAL_DEPTHS:
            taken[depth].append(real(depth, seconds))
    return [
        {
            "depth": depth,
            "writes_per_s": round(statistics.median(one[0] for one in runs)),
            "p50_ms": round(statistics.median(one[1] for one in runs), 2),
            "p99_ms": round(statistics.median(one[2] for one in runs), 2),
        }
        for depth, runs in taken.items()
    ]


def real(depth: int, seconds: float) -> tuple[float, float, float]:
    """Writes per second, and p50 and p99 in ms, of one run on three processes."""
    environment = {"QCORE_BENCH_DEPTH": str(depth)}
    with ExitStack() as stack:
        system = QcoreSystem(
            stack,
            environment=environment,
            program_of_nodes=("-m", "benchmarks.support.deep_pipeline_node"),
        )
        row = measure(system, "write", REAL_CONCURRENCY, seconds)
    return row.per_s, row.p50_ms, row.p99_ms


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--real",
        type=float,
        metavar="SECONDS",
        help="also measure real processes, for this time at each depth",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    depths, widths = depth_rows(), width_rows()
    reals = real_rows(arguments.real) if arguments.real else []
    if arguments.json:
        print(json.dumps({"depth": depths, "width": widths, "real": reals}))
        return
    print("commit latency p99, ms   100-byte commands      64 KiB commands")
    print("appends in flight      shared sync   alone   shared sync   alone")
    for row in depths:
        print(
            f"{row['depth']:>17}      {row['small_shared_p99_ms']:>11.1f} {row['small_single_p99_ms']:>7.1f}"
            f"   {row['big_shared_p99_ms']:>11.1f} {row['big_single_p99_ms']:>7.1f}"
        )
    print(f"\n{'link, round trip':20} {'window KiB':>10} {'longest read ms':>16} {'MB/s':>7}")
    for wide in widths:
        print(
            f"{wide['link']:20} {wide['width_kib']:>10} {wide['read_max_ms']:>16} {wide['mb_per_s']:>7}"
        )
    for row in reals:
        print(
            f"real, depth {row['depth']:>4}: {row['writes_per_s']:>7} writes/s  "
            f"p50 {row['p50_ms']} ms  p99 {row['p99_ms']} ms"
        )


if __name__ == "__main__":
    main()
