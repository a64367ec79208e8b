"""`run_drill`: worker processes and real nodes under faults. See `python -m tests.recipes.drill --help`."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from qcore.client import SyncClient
from qcore.errors import ConfigError
from qcore.processes import ProcessCluster, ProcessError, ProcessGuard, wait_for
from tests.recipes.drill.drill_faults import (
    NODE_FAULTS,
    PATIENCE_S,
    WORKER_FAULTS,
    DrillFailed,
    DrillFault,
    Fault,
    Scene,
)
from tests.recipes.drill.drill_records import (
    HEALED,
    NO_CLIENT,
    DrillRecord,
    load_function,
    ttl_of,
)
from tests.recipes.drill.worker_process import WorkerProcess

KINDS: Final = (*WORKER_FAULTS, *NODE_FAULTS)
_NODE_OPTIONS: Final = (
    *("--machine", "kv", "--heartbeat-ms", "60"),
    *("--election-timeout-min-ms", "300", "--election-timeout-max-ms", "600"),
)
#: How often each kind is in a deck, if it is not once.
_WEIGHTS: Final = {"kill_worker": 2, "pause_worker": 3, "kill_leader": 2, "pause_leader": 2}
#: The pause between two faults of nodes, and of workers, at least and at most: seconds, and times to live.
_NODE_GAP_S: Final = (0.1, 1.0)
_WORKER_GAP_TTLS: Final = (0.1, 0.8)
#: How long SIGTERM may take: a program may wait for the cluster while it releases what it holds, seconds.
_END_S: Final = 40.0
_POLL_S: Final = 0.05


@dataclass(frozen=True)
class DrillResult:
    """What happened in a drill.

    Attributes:
        records: what the programs recorded, in the order of time, with `healed` when the faults were over.
        faults: the faults, in the order of time.
        failures: what is wrong whatever a checker says: a process that ended by itself, hung or printed an error; or
            nodes whose states differ. Empty if nothing is.
        node_logs: the end of each node's log.
        began_s, healed_s, ended_s: when the workers ran for the first time, when the faults were over, and when the
            workers were stopped; seconds of `time.monotonic`.
    """

    records: tuple[DrillRecord, ...]
    faults: tuple[DrillFault, ...]
    failures: tuple[str, ...]
    node_logs: dict[int, str]
    began_s: float
    healed_s: float
    ended_s: float

    def fault_counts(self) -> Counter[str]:
        """How many faults of each kind there were."""
        return Counter(fault.kind for fault in self.faults)

    def timeline(self) -> list[str]:
        """A line for each record, and for the begin and the end of each fault, in the order of time."""
        lines: list[tuple[float, str]] = []
        for fault in self.faults:
            lines.append((fault.began_s, f"-- {fault.kind} {fault.target}"))
            lines.append((fault.ended_s, f"-- {fault.kind} {fault.target} is over"))
        for record in self.records:
            who = f"{record.client}/{record.incarnation}"
            lines.append((record.time_s, f"{who} {record.what} {dict(record.details)}"))
        return [f"{at_s - self.began_s:9.3f} {text}" for at_s, text in sorted(lines)]


def run_drill(
    program: str,
    directory: Path,
    *,
    workers: int = 4,
    nodes: int = 3,
    faults: int = 100,
    seed: int = 1,
    settle_s: float = 5.0,
    aimed: float = 0.5,
    kinds: Sequence[str] = KINDS,
) -> DrillResult:
    """Run a client program in worker processes against real nodes, and make faults.

    At any time at most a minority of the nodes has a fault, and at most half of the workers. A worker whose program
    returns is started again. The seed fixes which faults are drawn and how long they act, but not their course: the
    processes are real.

    Args:
        program: the client program, as `MODULE:FUNCTION`. The constant `TTL_S` of its module is the time to live of
            its leases, seconds: it decides how long a worker is paused.
        directory: an empty directory for the data and logs of the nodes and for the records.
        workers, nodes: how many processes.
        faults: how many faults.
        seed: seeds the faults and the programs.
        settle_s: how long all processes run without a fault at the end, seconds.
        aimed: the share of faults of workers that strike the one with the newest record, which is often a holder.
        kinds: only these faults; see `KINDS`.

    Raises:
        ConfigError: no fault has this name, there are too few processes, or the module has no `TTL_S`.
        ProcessError: the nodes did not start.
    """
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown or not kinds:
        raise ConfigError(f"kinds: {unknown} are not among the faults: {', '.join(KINDS)}")
    if workers < 2 or nodes < 3:
        raise ConfigError(f"{workers} workers and {nodes} nodes: give at least 2 and 3")
    load_function(program)
    ttl_s = ttl_of(program)
    directory.mkdir(parents=True, exist_ok=True)
    guard = ProcessGuard()
    crew: list[WorkerProcess] = []
    try:
        with ProcessCluster(directory, nodes, _NODE_OPTIONS) as cluster:
            for node in cluster.nodes.values():
                node.guard = guard
            cluster.start(PATIENCE_S)
            with SyncClient(cluster.endpoints) as client:
                client.init(cluster.members)
            cluster.wait_leader(PATIENCE_S)
            crew += [
                WorkerProcess(program, cluster.endpoints, number, workers, seed, directory, guard)
                for number in range(1, workers + 1)
            ]
            course = _Course(Scene(cluster, crew, ttl_s, aimed), seed, faults, settle_s, kinds)
            course.run()
            return course.result()
    finally:
        for worker in crew:
            worker.kill()
        guard.close()


@dataclass
class _Course:
    """One drill, from the start of the workers to their end."""

    scene: Scene
    seed: int
    faults: int
    settle_s: float
    kinds: Sequence[str]
    failures: list[str] = field(default_factory=list)
    began_s: float = 0.0
    healed_s: float = 0.0
    ended_s: float = 0.0
    _begun: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self) -> None:
        """Start the workers, make the faults, stop the workers. What goes wrong is in `failures`."""
        try:
            self._start()
            self._make_faults()
            self._settle()
            self._stop()
        except (DrillFailed, ProcessError) as error:
            self.failures.append(str(error))
        for worker in self.scene.workers:
            worker.kill()
            if printed := worker.output():
                self.failures.append(f"worker {worker.number} printed:\n{printed}")
            self.failures += [
                f"the program of worker {worker.number} failed:\n{record.details['traceback']}"
                for record in worker.records()
                if record.failed
            ]

    def result(self) -> DrillResult:
        """What happened."""
        records = [record for worker in self.scene.workers for record in worker.records()]
        if self.healed_s:
            records.append(DrillRecord(NO_CLIENT, self.healed_s, HEALED, {"at": self.healed_s}))
        return DrillResult(
            tuple(sorted(records, key=lambda record: record.time_s)),
            tuple(sorted(self.scene.made, key=lambda fault: fault.began_s)),
            tuple(self.failures),
            {node.node_id: node.log_tail(50) for node in self.scene.cluster.nodes.values()},
            self.began_s,
            self.healed_s,
            self.ended_s,
        )

    def _start(self) -> None:
        for worker in self.scene.workers:
            worker.spawn()
        self._wait_started()
        self.began_s = time.monotonic()
        self._watch_for(self.scene.ttl_s)

    def _make_faults(self) -> None:
        """Make faults of nodes and of workers in separate threads, until there were enough."""
        scene = self.scene
        gap_ttls = [scene.ttl_s * ttls for ttls in _WORKER_GAP_TTLS]
        lanes = [(NODE_FAULTS, _NODE_GAP_S)]
        lanes += [(WORKER_FAULTS, (gap_ttls[0], gap_ttls[1]))] * (len(scene.workers) // 2)
        with ThreadPoolExecutor(len(lanes)) as pool:
            running: list[Future[None]] = []
            for number, (known, gap_s) in enumerate(lanes):
                chosen = [known[kind] for kind in self.kinds if kind in known]
                rng = random.Random(f"{self.seed}/{number}")
                if chosen:
                    running.append(pool.submit(self._lane, chosen, gap_s, rng))
            try:
                while not all(each.done() for each in running):
                    self._watch_for(_POLL_S)
                    if any(each.done() and each.exception() for each in running):
                        break
            finally:
                scene.stop.set()
        for each in running:
            each.result()

    def _lane(self, faults: list[Fault], gap_s: tuple[float, float], rng: random.Random) -> None:
        """Make one fault after the other."""
        for fault in _decks(faults, rng):
            self.scene.wait(rng.uniform(*gap_s))
            with self._lock:
                if self.scene.stop.is_set() or self._begun >= self.faults:
                    return
                self._begun += 1
            fault(self.scene, rng)

    def _settle(self) -> None:
        """Let all processes run."""
        self._wait_started()
        self.scene.cluster.wait_leader(PATIENCE_S)
        self.healed_s = time.monotonic()
        self._watch_for(self.settle_s)

    def _stop(self) -> None:
        """End all programs, and look whether the nodes agree."""
        self.ended_s = time.monotonic()
        running = [worker for worker in self.scene.workers if worker.exit_code is None]
        for worker in running:
            worker.terminate()
        for worker in running:
            if wrong := worker.wait(_END_S):
                self.failures.append(wrong)
        self.scene.cluster.wait_converged(PATIENCE_S)

    def _wait_started(self) -> None:
        def started() -> bool:
            self.scene.restart_finished()
            return all(worker.has_started for worker in self.scene.workers)

        wait_for(started, PATIENCE_S, "the start of all workers")

    def _watch_for(self, seconds: float) -> None:
        """Restart the workers whose program returns, for a while."""
        until = time.monotonic() + seconds
        while True:
            self.scene.restart_finished()
            left_s = until - time.monotonic()
            if left_s <= 0:
                return
            time.sleep(min(_POLL_S, left_s))


def _decks(faults: list[Fault], rng: random.Random) -> Iterator[Fault]:
    """Every fault as often as its weight, in a random order, again and again."""
    while True:
        deck = [fault for fault in faults for _ in range(_WEIGHTS.get(fault.__name__, 1))]
        rng.shuffle(deck)
        yield from deck
