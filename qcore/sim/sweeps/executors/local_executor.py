"""Runs the jobs of a sweep in worker processes of this computer."""

from __future__ import annotations

import select
import shutil
import tempfile
import time
from collections import deque
from pathlib import Path
from typing import Final

from qcore.sim.sweeps.executors.run_jobs import Job, Report
from qcore.sim.sweeps.executors.worker_process import WorkerProcess

#: How many jobs a worker has: one at work, and one that waits, so that it never waits itself.
_JOBS_OF_A_WORKER: Final = 2
#: How often the executor looks for a run that hangs, seconds.
_LOOK_S: Final = 0.5


class LocalExecutor:
    """Worker processes, which start when there is work. A process that ends or hangs is replaced.

    Args:
        workers: how many there are.
        timeout_s: the longest that one run may take, in seconds.

    Raises:
        ConfigError: no process can be started.
    """

    def __init__(self, workers: int, timeout_s: float) -> None:
        self.workers = workers
        self.chunk_s = 0.2
        self.timeout_s = timeout_s
        self._directory = Path(tempfile.mkdtemp(prefix="qcore-sweep-")).resolve()
        self._processes: list[WorkerProcess] = []
        self._again: deque[Job] = deque()
        self._looked_s = time.monotonic()

    @property
    def wants_more(self) -> bool:
        """Whether a worker has nothing that waits, or is yet to be started."""
        if self._again:
            return False
        return len(self._processes) < self.workers or any(
            len(process.jobs) < _JOBS_OF_A_WORKER for process in self._processes
        )

    @property
    def process_ids(self) -> list[int]:
        """The ids of the processes that run now."""
        return [process.process_id for process in self._processes]

    def submit(self, job: Job) -> None:
        """See `Executor`."""
        least = min(self._processes, key=lambda process: len(process.jobs), default=None)
        if least is None or (least.jobs and len(self._processes) < self.workers):
            least = WorkerProcess(self._directory)
            self._processes.append(least)
        least.submit(job)

    def wait(self, timeout_s: float) -> list[Report]:
        """See `Executor`."""
        self._submit_again()
        ready, _, _ = select.select(self._processes, [], [], min(timeout_s, _LOOK_S))
        reports: list[Report] = []
        for process in ready:
            found = process.take()
            if found is None:
                self._replace(process, process.after_the_end(), reports)
            else:
                reports += found
        now = time.monotonic()
        if now - self._looked_s >= _LOOK_S:
            self._looked_s = now
            for process in list(self._processes):
                if process.hangs_since(now) > self.timeout_s:
                    left = process.kill_because_it_hangs(self.timeout_s)
                    self._replace(process, left, reports)
        self._submit_again()
        return reports

    def _replace(
        self, process: WorkerProcess, left: tuple[Report | None, list[Job]], reports: list[Report]
    ) -> None:
        report, again = left
        if report is not None:
            reports.append(report)
        self._again += again
        process.close()
        self._processes.remove(process)

    def _submit_again(self) -> None:
        while self._again:
            self.submit(self._again.popleft())

    def cancel(self) -> None:
        """See `Executor`."""
        self._again.clear()
        for process in list(self._processes):
            if process.jobs:
                process.close()
                self._processes.remove(process)

    def close(self) -> None:
        """See `Executor`."""
        for process in self._processes:
            process.close()
        self._processes.clear()
        shutil.rmtree(self._directory, ignore_errors=True)
