"""Seeds a second of sweeps with one and two worker processes, and how well two processes are used.

Efficiency by the clock is T1 / (2 T2), where T1 and T2 are the times of the same sweep with one and two processes. It
needs two cores without other work. Efficiency by processor time also means something on a busy machine. T1 is then the
processor time of all processes of the sweep with one worker. T2 is what two free cores would need at least for the
sweep with two workers: half of the processor time of all its processes, or that of the busier worker if this is more.
"""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import dataclass
from pathlib import Path

from qcore.sim import sweep
from qcore.sim.sweeps.executors.local_executor import LocalExecutor

#: Scenario -> how many seeds, for one round.
SCENARIOS = {"unsynced_vote": 1500, "leader_isolated": 120, "chaos": 40}
_TIMEOUT_S = 600.0


@dataclass(frozen=True, slots=True)
class Measured:
    """One sweep: its time, the processor time of the sweep and of each worker."""

    seconds: float
    own_cpu_s: float
    worker_cpu_s: tuple[float, ...]

    @property
    def cpu_s(self) -> float:
        """The processor time of all processes."""
        return self.own_cpu_s + sum(self.worker_cpu_s)

    @property
    def least_s(self) -> float:
        """How long the sweep takes at least, if each worker has a core."""
        return max(self.cpu_s / len(self.worker_cpu_s), *self.worker_cpu_s)


def cpu_of(process: int) -> float:
    """The processor time that a process has taken, in seconds."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(executor: LocalExecutor, scenario: str, seeds: int) -> Measured:
    """One sweep with warm workers."""
    before = [cpu_of(process) for process in executor.process_ids]
    began, began_cpu = time.perf_counter(), time.process_time()
    result = sweep(scenario, range(1, seeds + 1), executor=executor, artifacts=None)
    seconds, own = time.perf_counter() - began, time.process_time() - began_cpu
    assert result.ok, result.table()
    after = [cpu_of(process) for process in executor.process_ids]
    spent = tuple(late - early for early, late in zip(before, after, strict=True))
    return Measured(seconds, own, spent)


def main() -> None:
    """Print a line for each scenario."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="of each sweep; the best one counts")
    parser.add_argument("--share", type=float, default=1.0, help="of the seeds")
    arguments = parser.parse_args()
    executors = [LocalExecutor(workers, _TIMEOUT_S) for workers in (1, 2)]
    try:
        for executor in executors:  # the workers start, and load what a run needs
            sweep("chaos", range(2 * executor.workers), executor=executor, artifacts=None)
        for name, all_seeds in SCENARIOS.items():
            seeds = max(10, round(all_seeds * arguments.share))
            rounds = [
                [measure(executor, name, seeds) for executor in executors]
                for _ in range(arguments.rounds)
            ]
            one, two = (min(row[place].seconds for row in rounds) for place in (0, 1))
            by_cpu = min(row[0].cpu_s for row in rounds) / (
                2 * min(row[1].least_s for row in rounds)
            )
            print(
                f"{name:16} {seeds / one:7.1f} seeds/s with 1 process, {seeds / two:7.1f} with 2: efficiency "
                f"{one / two / 2:.0%} by the clock, {by_cpu:.0%} by processor time",
                flush=True,
            )
    finally:
        for executor in executors:
            executor.close()


if __name__ == "__main__":
    main()
