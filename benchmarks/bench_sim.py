"""The speed of the simulator: simulated seconds and messages per second of processor time, and where the time goes."""

from __future__ import annotations

import argparse
import cProfile
import json
import pstats
import time

from benchmarks.support.results import save
from qcore.sim import Scenario, parse_scenario, run_scenario
from qcore.sim.world.clock.engine import NEVER_US, Engine

#: The Raft demo of another simulator, with 5 nodes and a client: simulated seconds per second of real time.
REFERENCE_SIMULATED_S_PER_S = 43

_PARTS = {
    "/qcore/core/": "Raft core",
    "/qcore/replica/": "replica",
    "/qcore/machines/": "state machine",
    "/qcore/sim/invariants/": "invariants",
    "/qcore/sim/linearizability/": "linearizability",
    "/qcore/sim/": "simulator",
    "/qcore/trace": "trace",
    "/json/": "trace",
    "/simpy/": "SimPy",
}


def scenario(nodes: int, writes_per_s: int, seconds: int) -> Scenario:
    """A cluster that gets writes. With 0 writes a second it sends only heartbeats, which is then no reason to fail."""
    clients = 3 if writes_per_s else 0
    idle = "false" if writes_per_s else "true"
    return parse_scenario(
        f"""
        name: bench
        cluster: {{nodes: {nodes}}}
        network: {{latency_ms: {{uniform: [1, 5]}}}}
        workload:
          {{clients: {clients}, rate_per_s: {writes_per_s}, read_fraction: 0, cas_fraction: 0}}
        expect: {{may_do_nothing: {idle}}}
        until_ms: {seconds * 1000}
        """
    )


def measure(nodes: int, writes_per_s: int, seconds: int, rounds: int) -> dict[str, float]:
    """The best of several rounds, because other work on the machine only slows them down."""
    spec = scenario(nodes, writes_per_s, seconds)
    best = float("inf")
    messages = 0
    for seed in range(1, rounds + 1):
        start = time.process_time()
        result = run_scenario(spec, seed)
        took = time.process_time() - start
        assert result.ok, result.failed()
        if took < best:
            best = took
            counts = result.metrics["messages"]
            assert isinstance(counts, dict)
            delivered = counts["delivered"]
            assert isinstance(delivered, int)
            messages = delivered
    return {
        "nodes": nodes,
        "writes_per_s": writes_per_s,
        "simulated_s_per_s": seconds / best,
        "messages_per_s": messages / best,
        "messages_per_simulated_s": messages / seconds,
    }


def engine_events_per_s(events: int = 300_000, waiting: int = 200) -> float:
    """The upper limit: the event queue alone, with about as many waiting events as in a run of 5 nodes."""
    engine = Engine()
    left = events

    def again() -> None:
        nonlocal left
        left -= 1
        if left > 0:
            engine.after(left * 7919 % 5000 + 1, again)

    for number in range(waiting):
        engine.after(number, again)
    start = time.process_time()
    engine.run(NEVER_US)
    return events / (time.process_time() - start)


def shares(nodes: int, writes_per_s: int, seconds: int) -> dict[str, float]:
    """Percent of the time, by part. It is rough, because a profiler overrates small functions."""
    profiler = cProfile.Profile()
    spec = scenario(nodes, writes_per_s, seconds)
    profiler.enable()
    run_scenario(spec, 1)
    profiler.disable()
    times: dict[str, float] = {}
    # `pstats.Stats.stats` is not in its type stub: (file, line, function) -> (.., .., own time, ..).
    for (file, _line, _name), row in pstats.Stats(profiler).stats.items():  # type: ignore[attr-defined]
        part = next((name for path, name in _PARTS.items() if path in file), "built-ins, other")
        times[part] = times.get(part, 0.0) + row[2]
    total = sum(times.values())
    return {name: 100 * times[name] / total for name in sorted(times, key=lambda n: -times[n])}


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="simulated seconds of each run")
    parser.add_argument(
        "--rounds", type=int, default=5, help="runs of each kind, of which the best counts"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments, _ = parser.parse_known_args()
    rows = [
        measure(nodes, writes, arguments.seconds, arguments.rounds)
        for nodes, writes in ((3, 50), (5, 0), (5, 50), (5, 200))
    ]
    parts = shares(5, 50, arguments.seconds)
    events = engine_events_per_s()
    save("sim", rows)
    if arguments.json:
        print(json.dumps({"runs": rows, "percent": parts, "engine_events_per_s": events}))
        return
    print("simulator, trace and all checks on")
    print(f"{'nodes':>6} {'writes/s':>9} {'simulated s/s':>14} {'messages/s':>11}")
    for row in rows:
        print(
            f"{row['nodes']:>6.0f} {row['writes_per_s']:>9.0f} "
            f"{row['simulated_s_per_s']:>14.0f} {row['messages_per_s']:>11.0f}"
        )
    print(f"another simulator's demo with 5 nodes: {REFERENCE_SIMULATED_S_PER_S} simulated s/s")
    print(f"the event queue alone: {events:.0f} events/s")
    print("where the time goes, 5 nodes and 50 writes/s (profiled, percent):")
    for name, percent in parts.items():
        print(f"  {name:18} {percent:5.1f}")


if __name__ == "__main__":
    main()
