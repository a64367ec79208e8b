"""The loop of a sweep: keeps the executor busy, takes the outcomes in the order of the seeds, and saves artifacts."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Final

from qcore.sim.sweeps.executors.run_jobs import (
    Executor,
    Job,
    LoadedScenario,
    Outcome,
    Report,
    RunSource,
)
from qcore.sim.sweeps.failure_groups import ArtifactStore, FailureGroup
from qcore.sim.sweeps.outcome_cache import OutcomeCache
from qcore.sim.sweeps.progress_report import ProgressCallback, SweepProgress
from qcore.sim.sweeps.sweep_result import SweepResult, SweepRow

#: The most seeds in a job.
_MAX_SEEDS: Final = 64
#: How long the loop waits for reports before it looks at the time again, seconds.
_WAIT_S: Final = 0.25
#: How many outcomes of the cache are taken before the loop looks at the executor again.
_CACHED_TOGETHER: Final = 1000
#: How many jobs each worker has until the end, at least: so that all of them end at about the same time.
_JOBS_PER_WORKER: Final = 3


@dataclass(slots=True)
class Cell:
    """One variation of a scenario in a sweep.

    Attributes:
        source: its runs.
        scenario: its scenario, here.
        row: where its outcomes are counted.
        seeds: what is run.
        command: runs it again, without a seed; empty if no command can.
    """

    source: RunSource
    scenario: LoadedScenario
    row: SweepRow
    seeds: Iterator[int]
    command: str


@dataclass(slots=True, frozen=True)
class _Place:
    """A seed in the order of the sweep."""

    number: int
    cell: int
    seed: int


@dataclass(slots=True)
class _Wanted:
    """An artifact that is being made."""

    group: FailureGroup
    cell: Cell
    outcome: Outcome


@dataclass(slots=True, frozen=True)
class Limits:
    """When a sweep ends, and what it keeps.

    Attributes:
        total: how many runs there will be; None if that is not known.
        seconds: the time after which no further run begins.
        until_failure: whether it ends with the first failure.
        kept: the most artifacts of one group.
    """

    total: int | None
    seconds: float = math.inf
    until_failure: bool = False
    kept: int = 3


class SweepLoop:
    """One sweep.

    Args:
        cells: the variations, in order.
        executor: where the runs happen. The loop closes it.
        limits: when the sweep ends.
        store: where artifacts are saved; None for no artifacts.
        cache: outcomes that are known; None for none.
        progress: is called with the progress.
    """

    def __init__(
        self,
        cells: Sequence[Cell],
        executor: Executor,
        limits: Limits,
        store: ArtifactStore | None,
        cache: OutcomeCache | None,
        progress: ProgressCallback | None,
    ) -> None:
        self._cells = cells
        self._executor = executor
        self._limits = limits
        self._store = store
        self._cache = cache
        self._progress = progress
        self._groups: dict[tuple[int, str], FailureGroup] = {}
        self._places = self._all_places()
        self._next: _Place | None = next(self._places, None)
        #: Outcomes that arrived before those of earlier seeds, and whether they came from the cache.
        self._early: dict[int, tuple[_Place, Outcome, bool]] = {}
        self._judged = 0
        self._running: dict[int, deque[_Place]] = {}
        self._saving: dict[int, _Wanted] = {}
        self._to_save: deque[_Wanted] = deque()
        self._jobs = 0
        self._done = self._failed = self._ran = 0
        self._mean_s = 0.0
        self._stopped = self._interrupted = False
        self._begin_s = self._reported_s = time.monotonic()

    def run(self) -> SweepResult:
        """Run everything.

        Ctrl-C and SIGTERM end the sweep, which returns what was found until then.

        Raises:
            ConfigError: no worker can be started, or the cache cannot be written.
        """
        try:
            with self._interruptible():
                self._run()
        except KeyboardInterrupt:
            self._interrupted = True
        finally:
            self._executor.close()
            if self._cache is not None:
                self._cache.close()
        if self._interrupted:
            for place, outcome, cached in sorted(
                self._early.values(), key=lambda each: each[0].number
            ):
                self._judge(place, outcome, cached)
        self._report_progress(is_over=True)
        return SweepResult(
            [cell.row for cell in self._cells],
            list(self._groups.values()),
            time.monotonic() - self._begin_s,
            self._executor.workers,
            self._interrupted,
        )

    def _run(self) -> None:
        while not self._interrupted:
            self._submit()
            if not self._running and not self._saving and not self._to_save:
                if self._next is None or self._stopped:
                    return
                self._report_progress()
                continue  # everything came from the cache
            for report in self._executor.wait(_WAIT_S):
                self._take(report)
            if time.monotonic() - self._begin_s >= self._limits.seconds:
                self._stopped = True
            self._report_progress()

    def _all_places(self) -> Iterator[_Place]:
        number = 0
        for index, cell in enumerate(self._cells):
            for seed in cell.seeds:
                yield _Place(number, index, seed)
                number += 1

    def _submit(self) -> None:
        """Give the executor work, artifacts first."""
        while self._to_save and self._executor.wants_more:
            wanted = self._to_save.popleft()
            self._save(wanted)
        cached = 0
        while not self._stopped and self._next is not None and self._executor.wants_more:
            cell, places = self._cells[self._next.cell], deque[_Place]()
            most = self._seeds_per_job()
            while self._next is not None and self._cells[self._next.cell] is cell:
                place = self._next
                known = None if self._cache is None else self._cache.get(cell.source, place.seed)
                if known is not None:
                    cached += 1
                    self._arrived(place, known, from_cache=True)
                else:
                    places.append(place)
                self._next = next(self._places, None)
                if len(places) == most or cached >= _CACHED_TOGETHER or self._stopped:
                    break
            if places:
                self._jobs += 1
                self._running[self._jobs] = places
                seeds = tuple(place.seed for place in places)
                self._executor.submit(Job(self._jobs, cell.source, seeds))
            if cached >= _CACHED_TOGETHER:
                return

    def _seeds_per_job(self) -> int:
        """As many as take the time that suits the executor, and fewer near the end."""
        if not self._mean_s:
            return 1
        fitting = min(_MAX_SEEDS, int(self._executor.chunk_s / self._mean_s))
        if self._limits.total is not None:
            left = self._limits.total - self._done
            fitting = min(fitting, left // (self._executor.workers * _JOBS_PER_WORKER))
        return max(1, fitting)

    def _take(self, report: Report) -> None:
        wanted = self._saving.pop(report.job, None)
        if wanted is not None:
            (again,) = report.outcomes
            self._saved(wanted, report, again)
            return
        places = self._running[report.job]
        by_seed = {place.seed: place for place in places}
        for outcome in report.outcomes:
            place = by_seed[outcome.seed]
            places.remove(place)
            self._ran += 1
            share = 1 / min(self._ran, 50)
            self._mean_s += (outcome.seconds - self._mean_s) * share
            cell = self._cells[place.cell]
            if self._cache is not None:
                self._cache.put(cell.source, outcome)
            self._arrived(place, outcome, from_cache=False)
        if not places:
            del self._running[report.job]

    def _arrived(self, place: _Place, outcome: Outcome, *, from_cache: bool) -> None:
        """Judge what has arrived in the order of the seeds: the result is the same for any number of workers."""
        self._done += 1
        self._failed += outcome.cause is not None
        self._early[place.number] = place, outcome, from_cache
        while (next_one := self._early.pop(self._judged, None)) is not None:
            self._judged += 1
            if not (self._stopped and self._limits.until_failure):
                self._judge(*next_one)

    def _judge(self, place: _Place, outcome: Outcome, from_cache: bool) -> None:
        cell = self._cells[place.cell]
        cell.row.add(outcome, from_cache=from_cache, workers=self._executor.workers)
        if outcome.cause is None:
            return
        key = place.cell, outcome.cause.key
        group = self._groups.get(key)
        if group is None:
            command = f"{cell.command} {place.seed}" if cell.command else ""
            if "sweep" in command:
                command += f"..{place.seed}"
            group = FailureGroup(cell.row.scenario, cell.row.values, outcome.cause, command)
            self._groups[key] = group
        group.add(outcome)
        if self._limits.until_failure:
            self._stopped = True
        if group.count <= self._limits.kept and self._store is not None and not self._interrupted:
            self._to_save.append(_Wanted(group, cell, outcome))

    def _save(self, wanted: _Wanted) -> None:
        assert self._store is not None, "else nothing is to be saved"
        cell, outcome = wanted.cell, wanted.outcome
        path = self._store.path(cell.source, outcome.seed)
        if self._store.existing(path, outcome):
            self._store.add(wanted.group, path)
        elif outcome.repeatable:
            self._jobs += 1
            self._saving[self._jobs] = wanted
            self._executor.submit(Job(self._jobs, cell.source, (outcome.seed,), str(path)))
        else:
            self._store.save(
                wanted.group, path, outcome, None, cell.scenario.scenario(outcome.seed)
            )

    def _saved(self, wanted: _Wanted, report: Report, again: Outcome) -> None:
        assert self._store is not None, "as above"
        cell, outcome = wanted.cell, wanted.outcome
        path = self._store.path(cell.source, outcome.seed)
        scenario = cell.scenario.scenario(outcome.seed)
        self._store.save(wanted.group, path, outcome, report.files, scenario, again)

    def _report_progress(self, *, is_over: bool = False) -> None:
        now = time.monotonic()
        if self._progress is None or not (is_over or now - self._reported_s >= _WAIT_S):
            return
        self._reported_s = now
        elapsed, total = now - self._begin_s, self._limits.total
        rate = self._ran / elapsed if elapsed > 0 else 0.0
        left: float | None = None
        if self._limits.seconds < math.inf:
            left = max(0.0, self._limits.seconds - elapsed)
        elif total is not None and rate:
            left = (total - self._done) / rate
        self._progress(SweepProgress(self._done, total, self._failed, rate, left, is_over))

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        """Ctrl-C and SIGTERM end the loop at its next turn; a second one ends it now."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        numbers = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.getsignal(number) for number in numbers}

        def on_signal(number: int, frame: FrameType | None) -> None:
            if self._interrupted:
                raise KeyboardInterrupt
            self._interrupted = True

        for number in numbers:
            signal.signal(number, on_signal)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
