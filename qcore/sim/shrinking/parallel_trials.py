"""Runs the trials of a shrink in other processes."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Final

from qcore.errors import ConfigError
from qcore.sim.shrinking.trial_run import Conditions, Outcome, Trial, run_trial

#: After so many runs a process is replaced. That a number is given also lets Python start processes by `spawn`.
_RUNS_PER_PROCESS: Final = 5000


def _ignore_interrupts() -> None:
    """Ctrl-C reaches every process of a terminal; the one that searches decides what to do."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def parallel_trials(
    jobs: int,
) -> Iterator[Callable[[Sequence[Trial], Conditions], Sequence[Outcome]]]:
    """A function that runs trials in `jobs` processes, and waits for all of them.

    Raises:
        ConfigError: a process ended, because a run ended it or memory was short.
    """
    with ProcessPoolExecutor(
        jobs, max_tasks_per_child=_RUNS_PER_PROCESS, initializer=_ignore_interrupts
    ) as pool:

        def run_all(trials: Sequence[Trial], conditions: Conditions) -> list[Outcome]:
            try:
                futures = [pool.submit(run_trial, trial, conditions) for trial in trials]
                return [future.result() for future in futures]
            except BrokenProcessPool:
                raise ConfigError(
                    "a process of the shrink ended in the middle of a run; use --jobs 1 to see why"
                ) from None

        yield run_all
