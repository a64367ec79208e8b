"""The faults of a drill. Each acts for a while, and ends by itself: then the worker or the node runs again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from random import Random
from typing import Final, TypeAlias

from qcore.client import SyncClient
from qcore.errors import QcoreError
from qcore.processes import NodeProcess, ProcessCluster, wait_for
from tests.recipes.drill.worker_process import WorkerProcess

#: How long a worker or a node may take to start, to end or to find a leader, on a busy machine, seconds.
PATIENCE_S: Final = 60.0
#: How long a leadership transfer may take, seconds.
_TRANSFER_S: Final = 3.0


class DrillFailed(Exception):
    """A process did what no fault explains: it ended, did not end, or printed an error."""


@dataclass(frozen=True)
class DrillFault:
    """A fault that happened.

    Attributes:
        kind: the name of its function.
        target: the worker or the node.
        began_s, ended_s: seconds of `time.monotonic`. At the end the target runs again, or begins to start.
    """

    kind: str
    target: str
    began_s: float
    ended_s: float


@dataclass
class Scene:
    """What the faults act on.

    Attributes:
        ttl_s: the time to live of the program's leases.
        aimed: the share of faults of workers that strike the one with the newest record, which is often a holder.
        made: the faults that are over.
        stop: no more faults, because something went wrong.
    """

    cluster: ProcessCluster
    workers: list[WorkerProcess]
    ttl_s: float
    aimed: float
    made: list[DrillFault] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _under_fault: set[int] = field(default_factory=set)

    def wait(self, seconds: float) -> None:
        """Let a fault act, unless the drill stops."""
        self.stop.wait(seconds)

    @contextmanager
    def a_worker(self, rng: Random) -> Iterator[WorkerProcess]:
        """A worker that runs and has no other fault."""
        is_aimed, place = rng.random() < self.aimed, rng.random()
        worker = wait_for(lambda: self._take(is_aimed, place), PATIENCE_S, "a worker that runs")
        try:
            yield worker
        finally:
            with self._lock:
                self._under_fault.remove(worker.number)

    def _take(self, is_aimed: bool, place: float) -> WorkerProcess | None:
        """A worker without a fault; None if the one that was drawn is only starting."""
        with self._lock:
            free = [each for each in self.workers if each.number not in self._under_fault]
            worker = free[int(place * len(free))]
            if is_aimed:
                worker = max(free, key=WorkerProcess.last_record_ns)
            if not worker.has_started or worker.exit_code is not None:
                return None
            self._under_fault.add(worker.number)
            return worker

    def restart_finished(self) -> None:
        """Start the workers again whose program has returned.

        Raises:
            DrillFailed: a program failed, or its process ended otherwise.
        """
        with self._lock:
            for worker in self.workers:
                if worker.number in self._under_fault or worker.exit_code is None:
                    continue
                if worker.exit_code:
                    raise DrillFailed(
                        f"worker {worker.number} ended with exit code {worker.exit_code}"
                    )
                worker.spawn()

    @contextmanager
    def noted(self, kind: str, target: str) -> Iterator[None]:
        """Note when a fault acts."""
        began_s = time.monotonic()
        yield
        self.made.append(DrillFault(kind, target, began_s, time.monotonic()))


#: A fault acts on the scene, and returns when it is over.
Fault: TypeAlias = Callable[[Scene, Random], None]


def kill_worker(scene: Scene, rng: Random) -> None:
    """SIGKILL; the next process starts before or after the lease has ended."""
    with scene.a_worker(rng) as worker:
        with scene.noted("kill_worker", f"worker {worker.number}"):
            worker.kill()
            scene.wait(rng.uniform(0, 1.5) * scene.ttl_s)
        worker.spawn()


def stop_worker(scene: Scene, rng: Random) -> None:
    """SIGTERM: the program is cancelled, and may release what it holds."""
    with scene.a_worker(rng) as worker:
        with scene.noted("stop_worker", f"worker {worker.number}"):
            worker.terminate()
            wrong = worker.wait(PATIENCE_S)
        if wrong:
            raise DrillFailed(wrong)
        worker.spawn()


def pause_worker(scene: Scene, rng: Random) -> None:
    """Pause a worker for longer than its lease."""
    _pause_worker(scene, rng, "pause_worker", rng.uniform(1.3, 2.5))


def pause_worker_briefly(scene: Scene, rng: Random) -> None:
    """Pause a worker for about the time between two keep-alives, or a little less than its lease."""
    _pause_worker(scene, rng, "pause_worker_briefly", rng.uniform(0.2, 0.95))


def _pause_worker(scene: Scene, rng: Random, kind: str, ttls: float) -> None:
    with scene.a_worker(rng) as worker, scene.noted(kind, f"worker {worker.number}"):
        worker.pause()
        scene.wait(ttls * scene.ttl_s)
        worker.resume()


def kill_leader(scene: Scene, rng: Random) -> None:
    """SIGKILL of the leader. The others elect another one, most of the time before it runs again."""
    _kill_node(scene, "kill_leader", scene.cluster.wait_leader(PATIENCE_S), rng.uniform(0.2, 1.5))


def kill_follower(scene: Scene, rng: Random) -> None:
    """SIGKILL of a follower."""
    leader = scene.cluster.wait_leader(PATIENCE_S)
    node = rng.choice([node for node in scene.cluster.active() if node is not leader])
    _kill_node(scene, "kill_follower", node, rng.uniform(0.2, 1.5))


def _kill_node(scene: Scene, kind: str, node: NodeProcess, seconds: float) -> None:
    with scene.noted(kind, f"node {node.node_id}"):
        node.kill()
        scene.wait(seconds)
        node.start(PATIENCE_S)


def pause_leader(scene: Scene, rng: Random) -> None:
    """Pause the leader. The others elect another one; when it goes on, it must learn that."""
    leader = scene.cluster.wait_leader(PATIENCE_S)
    with scene.noted("pause_leader", f"node {leader.node_id}"):
        leader.pause()
        scene.wait(rng.uniform(1, 3))
        leader.resume()


def transfer_leader(scene: Scene, rng: Random) -> None:
    """Transfer the leadership to a follower. It may fail, because workers keep the cluster busy."""
    leader = scene.cluster.wait_leader(PATIENCE_S)
    to = rng.choice([node for node in scene.cluster.active() if node is not leader])
    with (
        scene.noted("transfer_leader", f"node {leader.node_id} to {to.node_id}"),
        SyncClient(scene.cluster.endpoints, timeout_s=_TRANSFER_S) as client,
        suppress(QcoreError),
    ):
        client.transfer_leader(to.node_id)


WORKER_FAULTS: Final[dict[str, Fault]] = {
    fault.__name__: fault
    for fault in (kill_worker, stop_worker, pause_worker, pause_worker_briefly)
}
NODE_FAULTS: Final[dict[str, Fault]] = {
    fault.__name__: fault for fault in (kill_leader, kill_follower, pause_leader, transfer_leader)
}
