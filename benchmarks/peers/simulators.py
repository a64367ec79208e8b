"""qcore's simulator beside the Raft demos of other simulators for Python, by processor time, in turns.

The demos differ from qcore's scenarios in more than the simulator: simloop's has no snapshots, sessions or PreVote, and
its client proposes every 0.3 to 1 s; simloom's has elections only. So qcore runs twice: with the cluster, timing,
faults and load of simloop's demo, and as in `bench_sim` (5 nodes, 50 writes/s).
"""

from __future__ import annotations

import json
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks import bench_sim
from qcore.sim import Scenario, parse_scenario, run_scenario

SEEDS = 5
DEMOS = Path(__file__).with_name("simulator_demos.py")

#: simloop's `examples/raft`: five nodes, three partitions of a minority, 2 % of all messages lost and 2 % twice.
LIKE_SIMLOOP = """
name: like_simloop
cluster: {nodes: 5, election_timeout_ms: [450, 900], heartbeat_ms: 150}
network: {latency_ms: {uniform: [10, 50]}, loss: 0.02, duplicate: 0.02}
workload: {clients: 1, rate_per_s: 1.5, read_fraction: 0, cas_fraction: 0, timeout_ms: 2000}
timeline:
  - {at_ms: 3000, partition: [[{random: 2}], [rest]]}
  - {at_ms: 4700, heal: all}
  - {at_ms: 6000, partition: [[{random: 2}], [rest]]}
  - {at_ms: 7700, heal: all}
  - {at_ms: 9000, partition: [[{random: 2}], [rest]]}
  - {at_ms: 10700, heal: all}
until_ms: 13000
"""


@dataclass(frozen=True, slots=True)
class Demo:
    """The Raft demo of a simulator.

    Attributes:
        name: the package on PyPI.
        repository: where the demo is, which the package does not have.
        file: a file of the demo within the repository.
    """

    name: str
    repository: str
    file: str

    def missing(self, python: Path, checkout: Path) -> str | None:
        """Why it cannot run, and what to do; None if it can."""
        if not python.exists():
            return f"`make bench-peers` installs {self.name}; it needs Python 3.13 on the PATH"
        if not (checkout / self.file).exists():
            return (
                f"the package {self.name} has no Raft demo; "
                f"`git clone https://github.com/{self.repository} {checkout}` brings it"
            )
        return None

    def simulated_s_per_s(self, python: Path, checkout: Path, seeds: int) -> float:
        """Simulated seconds for a second of processor time."""
        done = subprocess.run(
            [str(python), str(DEMOS), self.name, str(checkout), str(seeds)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise SystemExit(f"the demo of {self.name} failed:\n{done.stderr[-2000:]}")
        figures = json.loads(done.stdout)
        return float(figures["simulated_s"]) / float(figures["cpu_s"])


DEMO_OF = {
    "simloop": Demo("simloop", "dhruvl/simloop", "examples/raft/tests/test_chaos_campaign.py"),
    "simloom": Demo("simloom", "mandipadk/simloom", "examples/toy_raft.py"),
}


def like_simloop(seeds: int) -> float:
    """Simulated seconds for a second of processor time, in the scenario that is like simloop's demo."""
    return _speed(parse_scenario(LIKE_SIMLOOP), seeds)


def steady_writes(seeds: int) -> float:
    """The same for 5 nodes with 50 writes/s, as in `bench_sim`."""
    return bench_sim.measure(5, 50, 4 * seeds, 1)["simulated_s_per_s"]


def _speed(scenario: Scenario, seeds: int) -> float:
    run_scenario(scenario, 0)
    began = time.process_time()
    for seed in range(1, seeds + 1):
        result = run_scenario(scenario, seed)
        assert result.ok, result.failed()
    return seeds * scenario.until_ms / 1000 / (time.process_time() - began)
