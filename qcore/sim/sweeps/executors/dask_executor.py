"""Runs the jobs of a sweep on a Dask cluster.

Each task runs its seeds in a worker process of its computer, as a local sweep does: a run that ends its process or does
not end harms no Dask worker. The user's files travel with the task.
"""

from __future__ import annotations

import atexit
import queue
import threading
import time
from collections import deque
from importlib import import_module
from typing import Final, Protocol, cast

from qcore.errors import ConfigError
from qcore.sim.artifacts.failure_cause import cause_named
from qcore.sim.sweeps.executors.local_executor import LocalExecutor
from qcore.sim.sweeps.executors.run_jobs import DIED, Job, Outcome, Report
from qcore.sim.sweeps.outcome_cache import source_digest

#: How many seconds of work a task has.
_CHUNK_S: Final = 1.0
#: How many tasks each thread of the cluster has: one at work, and one that waits.
_TASKS_OF_A_THREAD: Final = 2
#: How long to wait for the scheduler, and for a first worker, seconds.
_CONNECT_S: Final = 10.0
#: How long a cluster may have no worker during a sweep, seconds.
_WITHOUT_WORKER_S: Final = 60.0


class _TaskFuture(Protocol):
    """What the sweep uses of `distributed.Future`."""

    def exception(self) -> BaseException | None: ...

    def result(self) -> list[Report]: ...

    def add_done_callback(self, function: object) -> None: ...

    def cancel(self) -> None: ...


class _Client(Protocol):
    """What the sweep uses of `distributed.Client`."""

    def submit(self, function: object, *arguments: object, **options: object) -> _TaskFuture: ...

    def nthreads(self) -> dict[str, int]: ...

    def wait_for_workers(self, n_workers: int, timeout: float) -> None: ...

    def close(self) -> None: ...


class DaskExecutor:
    """A Dask cluster.

    Args:
        scheduler: the address of its scheduler.
        timeout_s: the longest that one run may take, in seconds.

    Raises:
        ConfigError: Dask is not installed, the scheduler does not answer, or it has no worker.
    """

    chunk_s = _CHUNK_S

    def __init__(self, scheduler: str, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._client = _connect(scheduler)
        self._scheduler = scheduler
        self._tasks: dict[_TaskFuture, Job] = {}
        self._ended: queue.SimpleQueue[_TaskFuture] = queue.SimpleQueue()
        self._again: deque[Job] = deque()
        self.workers = max(1, sum(self._client.nthreads().values()))
        self._answered_s = time.monotonic()

    @property
    def wants_more(self) -> bool:
        """Whether some thread of the cluster has no task that waits."""
        return len(self._tasks) + len(self._again) < self.workers * _TASKS_OF_A_THREAD

    def submit(self, job: Job) -> None:
        """See `Executor`."""
        future = self._client.submit(
            run_remotely, job, self._timeout_s, source_digest(), pure=False, retries=0
        )
        self._tasks[future] = job
        future.add_done_callback(self._ended.put)

    def wait(self, timeout_s: float) -> list[Report]:
        """See `Executor`."""
        while self._again:
            self.submit(self._again.popleft())
        reports: list[Report] = []
        try:
            future = self._ended.get(timeout=timeout_s)
            while True:
                reports += self._reports(future)
                future = self._ended.get_nowait()
        except queue.Empty:
            pass
        if reports:
            self._answered_s = time.monotonic()
        elif time.monotonic() - self._answered_s > _WITHOUT_WORKER_S:
            if not self._client.nthreads():
                raise ConfigError(
                    f"the scheduler {self._scheduler} has lost all workers: start one with "
                    f"`dask worker {self._scheduler}`"
                )
            self._answered_s = time.monotonic()
        return reports

    def _reports(self, future: _TaskFuture) -> list[Report]:
        job = self._tasks.pop(future)
        error = future.exception()
        if error is None:
            return future.result()
        if isinstance(error, ConfigError):
            raise error
        if len(job.seeds) > 1:  # one of them may be the reason
            self._again += [
                Job(job.number, job.source, (seed,), job.saved_as) for seed in job.seeds
            ]
            return []
        cause = cause_named(DIED, f"the task failed with {type(error).__name__}: {error}")
        return [Report(job.number, [Outcome(job.seeds[0], cause)])]

    def close(self) -> None:
        """See `Executor`."""
        for future in self._tasks:
            future.cancel()
        self._tasks.clear()
        self._client.close()


def _connect(scheduler: str) -> _Client:
    try:
        distributed = import_module("distributed")
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"the executor dask needs the extra dask, and there is no module {error.name}: "
            "pip install 'qcore-raft[dask]'"
        ) from None
    try:
        client = cast(_Client, distributed.Client(scheduler, timeout=_CONNECT_S))
    except (OSError, ValueError, TimeoutError) as error:
        raise ConfigError(
            f"the Dask scheduler {scheduler} does not answer ({error}): `dask scheduler` starts one and prints its "
            "address"
        ) from None
    try:
        client.wait_for_workers(1, _CONNECT_S)
    except TimeoutError:
        client.close()
        raise ConfigError(
            f"the Dask scheduler {scheduler} has no worker: start one with `dask worker {scheduler}`"
        ) from None
    return client


# -- on the computers of the cluster --------------------------------------------------------------


class _Kept:
    """The executors that wait for the next task of this Dask worker: each has a warm process."""

    def __init__(self) -> None:
        self._idle: list[LocalExecutor] = []
        self._lock = threading.Lock()

    def take(self, timeout_s: float) -> LocalExecutor:
        with self._lock:
            for executor in self._idle:
                if executor.timeout_s == timeout_s:
                    self._idle.remove(executor)
                    return executor
        return LocalExecutor(1, timeout_s)

    def give_back(self, executor: LocalExecutor) -> None:
        with self._lock:
            self._idle.append(executor)

    def close(self) -> None:
        with self._lock:
            while self._idle:
                self._idle.pop().close()


_KEPT: Final = _Kept()
atexit.register(_KEPT.close)


def run_remotely(job: Job, timeout_s: float, digest: str) -> list[Report]:
    """Run a job on this computer.

    Args:
        job: the job.
        timeout_s: the longest that one run may take, in seconds.
        digest: `source_digest` of the sweep.

    Raises:
        ConfigError: another qcore is installed here, or no process can be started.
    """
    if digest != source_digest():
        raise ConfigError(
            "a Dask worker has another qcore or another Python than this computer, and its runs would differ: "
            "install the same"
        )
    executor = _KEPT.take(timeout_s)
    reports: list[Report] = []
    executor.submit(job)
    while sum(len(report.outcomes) for report in reports) < len(job.seeds):
        reports += executor.wait(timeout_s)
    _KEPT.give_back(executor)
    return reports
