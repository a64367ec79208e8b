"""The speed of the pure core: three servers in one process, without disk, network or JSON.

    python -m benchmarks.bench_core [--commands 20000] [--json]

Every step of every server counts. A write is durable immediately, but the core still gets a separate `WriteDurable`
event, as from a real driver.

| figure | what is replicated |
|---|---|
| `one_at_a_time` | one command, then the next once it is committed |
| `pipelined` | 64 proposals of one command each before anything is delivered |
| `batched` | one proposal of 64 commands, then the next once it is committed |
| `reads` | 64 linearizable reads at a time |
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import time
from collections import deque
from collections.abc import Callable

from benchmarks.support.results import save
from qcore.core import DurableState, Entry, HardState, Membership, RaftConfig, RaftCore
from qcore.core.effects import Effect, Send
from qcore.core.events import Campaign, Event, MessageReceived, Propose, ReadRequested, WriteDurable

GROUP = 64
COMMAND = "x" * 100
MEMBERSHIP = Membership(voters=(1, 2, 3))


class Cluster:
    """Cores that share one queue of events. Server 1 leads.

    Args:
        membership: the configuration; by default three voters.
        pre_vote, check_quorum, lease_reads: as in `RaftConfig`.
    """

    def __init__(
        self,
        membership: Membership = MEMBERSHIP,
        *,
        pre_vote: bool = True,
        check_quorum: bool = True,
        lease_reads: bool = False,
    ) -> None:
        entry = Entry(1, 1, "membership", membership.to_json(), 0)
        self.now = 0
        self.steps = 0
        self.queue: deque[tuple[int, Event]] = deque()
        self.cores = {
            node_id: RaftCore(
                RaftConfig(
                    node_id=node_id,
                    pre_vote=pre_vote,
                    check_quorum=check_quorum,
                    lease_reads=lease_reads,
                ),
                DurableState(HardState(1, None, 0), None, [entry]),
                rng=random.Random(node_id),
                now=0,
            )
            for node_id in membership.members()
        }
        for core in self.cores.values():
            core.initial_effects()
        self.now = max(core.next_deadline() for core in self.cores.values())
        self.step(1, Campaign())
        self.settle()
        assert self.cores[1].role == "leader"

    def step(self, node_id: int, event: Event) -> None:
        """Make one step and queue its effects: the completion of the write first, then the messages."""
        self.steps += 1
        effects = self.cores[node_id].step(event, self.now)
        write_id = last_write(effects)
        if write_id:
            self.queue.append((node_id, WriteDurable(write_id)))
        for effect in effects:
            if isinstance(effect, Send):
                self.queue.append((effect.to, MessageReceived(node_id, effect.message)))

    def settle(self) -> None:
        queue = self.queue
        while queue:
            node_id, event = queue.popleft()
            self.step(node_id, event)

    @property
    def committed(self) -> int:
        return self.cores[1].commit_index


def last_write(effects: list[Effect]) -> int:
    for effect in reversed(effects):
        write_id = getattr(effect, "write_id", 0)
        if write_id:
            return int(write_id)
    return 0


def one_at_a_time(cluster: Cluster) -> int:
    cluster.step(1, Propose([COMMAND], cluster.now))
    cluster.settle()
    return 1


def pipelined(cluster: Cluster) -> int:
    for _ in range(GROUP):
        cluster.step(1, Propose([COMMAND], cluster.now))
    cluster.settle()
    return GROUP


def batched(cluster: Cluster) -> int:
    cluster.step(1, Propose([COMMAND] * GROUP, cluster.now))
    cluster.settle()
    return GROUP


def reads(cluster: Cluster) -> int:
    for number in range(GROUP):
        cluster.step(1, ReadRequested(number))
    cluster.settle()
    return GROUP


def lease_reads(cluster: Cluster) -> int:
    for number in range(GROUP):
        cluster.step(1, ReadRequested(number, lease=True))
    cluster.settle()
    return GROUP


def measure(
    work: Callable[[Cluster], int],
    operations: int,
    repeats: int = 5,
    make: Callable[[], Cluster] = Cluster,
) -> dict[str, float]:
    """The best of several runs, in CPU time, because other work on the machine only adds time."""
    best: dict[str, float] = {}
    for _ in range(repeats):
        cluster = make()
        cluster.steps = 0
        gc.collect()
        done = 0
        start = time.process_time()
        while done < operations:
            done += work(cluster)
        seconds = time.process_time() - start
        if work not in (reads, lease_reads):
            assert cluster.committed == done + 2, "every command must be committed"
        figures = {
            "operations_per_s": round(done / seconds),
            "steps_per_s": round(cluster.steps / seconds),
            "steps_per_operation": round(cluster.steps / done, 2),
        }
        if figures["operations_per_s"] > best.get("operations_per_s", 0):
            best = figures
    return best


def run(commands: int = 20_000) -> dict[str, dict[str, float]]:
    """All figures, by name."""
    return {
        work.__name__: measure(work, commands)
        for work in (one_at_a_time, pipelined, batched, reads)
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--commands", type=int, default=20_000, help="operations for each figure")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    figures = run(arguments.commands)
    save("core", figures)
    if arguments.json:
        print(json.dumps({"core": figures}))
        return
    print(f"{'':14} {'operations/s':>12} {'steps/s':>9} {'steps/operation':>16}")
    for name, row in figures.items():
        print(
            f"{name:14} {row['operations_per_s']:>12,} {row['steps_per_s']:>9,} "
            f"{row['steps_per_operation']:>16}"
        )


if __name__ == "__main__":
    main()
