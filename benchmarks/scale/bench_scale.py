"""How the cost of a simulation grows: with nodes, rate and length; memory by the hour; and seeds/s beside others.

Every figure comes from a separate process, so that none inherits the heap of another. Speeds are by the second of
processor time, because a run uses one processor and waits for nothing.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time

from qcore.sim import Scenario, parse_scenario, run_scenario

#: Other simulators, as published: what they simulate, and how fast.
OTHERS = (
    "TigerBeetle's VOPR: 39 simulated minutes in 3.3 s, 709 times real time",
    "FoundationDB: about 10 times real time",
    "simloop's Raft chaos: 54 seeds/s with 8 jobs, about 11 alone",
    "simloop's Raft demo with 5 nodes: 3.3 seeds/s, 43 times real time",
)
NODES = (3, 5, 9, 25, 101)
RATES = (10, 50, 200, 1000)
LENGTHS_S = (10, 60, 600, 3600)


def steady(nodes: int, writes_per_s: int, seconds: float, *, compacted: bool) -> Scenario:
    """A cluster that gets writes and has no faults. With many nodes the timeouts are further apart."""
    timeouts = [150, 300] if nodes < 20 else [500, 5000]
    snapshots = "snapshot_entries: 1000, keep_entries: 100" if compacted else "snapshot_entries: 0"
    return parse_scenario(
        f"""
        name: scale
        cluster: {{nodes: {nodes}, election_timeout_ms: {timeouts}, {snapshots}}}
        network: {{latency_ms: {{uniform: [1, 5]}}}}
        workload:
          {{clients: 5, rate_per_s: {writes_per_s}, read_fraction: 0, cas_fraction: 0, wait_for_leader: true}}
        until_ms: {seconds * 1000:.0f}
        """
    )


def measure(nodes: int, writes_per_s: int, seconds: float, *, compacted: bool) -> dict[str, float]:
    """One run in this process: time of the processor, messages, and the peak of the memory."""
    scenario = steady(nodes, writes_per_s, seconds, compacted=compacted)
    began = time.process_time()
    result = run_scenario(scenario, 1)
    took = time.process_time() - began
    assert result.ok, result.failed()
    counts = result.metrics["messages"]
    assert isinstance(counts, dict)
    delivered = counts["delivered"]
    assert isinstance(delivered, int)
    return {
        "nodes": nodes,
        "writes_per_s": writes_per_s,
        "seconds": seconds,
        "took_s": took,
        "messages": delivered,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def in_other_process(
    nodes: int, writes_per_s: int, seconds: float, *, compacted: bool = False
) -> None:
    """Measure in a new process, and print the row."""
    words = [f"--one={nodes},{writes_per_s},{seconds},{int(compacted)}"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.scale.bench_scale", *words],
        check=True,
        stdout=subprocess.PIPE,
    )
    row = json.loads(done.stdout)
    print(
        f"{nodes:6} {writes_per_s:9} {seconds:9.0f} {row['took_s']:8.1f} "
        f"{seconds / row['took_s']:10.1f} {row['messages'] / row['took_s']:11.0f} {row['peak_mb']:9.0f}"
        f"{'   snapshots' if compacted else ''}",
        flush=True,
    )


def seeds_per_s(name: str, seconds: float) -> tuple[float, float]:
    """Runs of a shipped scenario in one process: seeds a second, and simulated seconds a second."""
    run_scenario(name, 0)  # imports, and a first run
    began, seeds, simulated = time.process_time(), 0, 0.0
    while (took := time.process_time() - began) < seconds:
        seeds += 1
        metrics = run_scenario(name, seeds).metrics
        assert isinstance(metrics["simulated_ms"], float)
        simulated += metrics["simulated_ms"] / 1000
    return seeds / took, simulated / took


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--longest", type=float, default=3600, help="simulated seconds at most")
    parser.add_argument("--seeds-for", type=float, default=20, help="seconds for each scenario")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        nodes, writes, seconds, compacted = arguments.one.split(",")
        row = measure(int(nodes), int(writes), float(seconds), compacted=compacted == "1")
        print(json.dumps(row))
        return
    print(" nodes  writes/s  simulated    CPU s  sim. s/s  messages/s  peak MB")
    for count in NODES:
        in_other_process(count, 50 if count < 20 else 10, 10)
    for rate in RATES:
        in_other_process(5, rate, 10)
    for length in LENGTHS_S:
        if length <= arguments.longest:
            in_other_process(5, 50, length, compacted=True)
    in_other_process(5, 50, min(600, arguments.longest))  # the logs grow
    print("one process, all checks on:")
    for name in ("steady_state", "chaos", "leader_isolated", "many_nodes"):
        rate_of_seeds, speed = seeds_per_s(name, arguments.seeds_for)
        print(f"   {name:16} {rate_of_seeds:6.2f} seeds/s, {speed:6.1f} simulated s/s")
    for line in OTHERS:
        print(f"   {line}")


if __name__ == "__main__":
    main()
