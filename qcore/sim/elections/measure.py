"""`measure_elections`: runs many elections, in several processes, and returns the figures."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Final

from qcore.errors import ConfigError
from qcore.sim.elections.election_figures import ElectionFigures, Tally, figures_of
from qcore.sim.elections.election_setup import FIRST_TERM, ElectionSetup, default_limit_ms
from qcore.sim.elections.election_trials import ElectionTrials
from qcore.sim.elections.latency_text import parse_distribution
from qcore.sim.scenario.distributions import Distribution
from qcore.sim.scenario.values import check_seed
from qcore.sim.sweeps.progress_report import ProgressLine
from qcore.sim.world.random_streams import Streams

#: Trials that share one random stream. The figures do not depend on the number of processes.
_BLOCK: Final = 500
#: With at least so many trials it pays to start more processes.
_WORTH_PROCESSES: Final = 10_000
#: The most trials of one series: the time of each is kept.
MAX_TRIALS: Final = 100_000_000
MAX_JOBS: Final = 1024


@dataclass(frozen=True, slots=True)
class _Block:
    """The trials that share one random stream."""

    setup: ElectionSetup
    seed: int
    number: int
    trials: int


def measure_elections(
    *,
    nodes: int = 5,
    failed: int = 0,
    latency: str | float | Distribution = 1.0,
    timeout_ms: tuple[int, int] = (150, 300),
    trials: int = 1000,
    seed: int = 1,
    fresh_timers: bool = False,
    crash_leader: bool = False,
    heartbeat_ms: float | None = None,
    ineligible: int = 0,
    pre_vote: bool | None = None,
    check_quorum: bool | None = None,
    disk: str | float | Distribution | None = None,
    limit_ms: float | None = None,
    jobs: int | None = None,
    progress: bool = False,
) -> ElectionFigures:
    """Measure how long a cluster is without a leader.

    Each trial drives one real `RaftCore` for each server until one of them leads. The same arguments give the same
    figures, with any number of jobs.

    Args:
        nodes: voters of the cluster.
        failed: how many of them are down during the election. With `crash_leader` the leader is one of them, so 0
            means 1.
        latency: of each message, in one direction: a distribution, a text such as `uniform:30:40`, or milliseconds.
        timeout_ms: the shortest and the longest election timeout.
        trials: how many elections.
        seed: decides every random choice.
        fresh_timers: all election timers start at time 0 and no server knows a leader, as in AvailSim (Ongaro's
            dissertation, chapter 9). Servers ask for no pre-votes unless `pre_vote` is set.
        crash_leader: the servers follow a leader that crashes at a random moment between two heartbeats. The time
            without a leader begins with the crash. Without it, all timers start at time 0.
        heartbeat_ms: with `crash_leader`, the interval of the heartbeats. Default: half the shortest timeout.
        ineligible: how many available servers lack a committed entry and therefore cannot win.
        pre_vote: see `RaftConfig`. Default: the opposite of `fresh_timers`.
        check_quorum: see `RaftConfig`. Default: as `pre_vote`.
        disk: how long a write takes to become durable, in the forms of `latency`. Default: no time.
        limit_ms: a trial without a leader by then is censored. Default: 100 longest election timeouts.
        jobs: how many processes. Default: one, or one for each processor if there are many trials.
        progress: whether to show the progress, on stderr or as an output of the cell of a notebook.

    Raises:
        ConfigError: a value is out of range, or no leader could be elected.
    """
    setup = election_setup(
        nodes=nodes,
        failed=failed,
        latency=latency,
        timeout_ms=timeout_ms,
        fresh_timers=fresh_timers,
        crash_leader=crash_leader,
        heartbeat_ms=heartbeat_ms,
        ineligible=ineligible,
        pre_vote=pre_vote,
        check_quorum=check_quorum,
        disk=disk,
        limit_ms=limit_ms,
    )
    return measure_setup(setup, trials=trials, seed=seed, jobs=jobs, progress=progress)


def election_setup(
    *,
    nodes: int,
    failed: int,
    latency: str | float | Distribution,
    timeout_ms: tuple[int, int],
    fresh_timers: bool,
    crash_leader: bool,
    heartbeat_ms: float | None,
    ineligible: int,
    pre_vote: bool | None,
    check_quorum: bool | None,
    disk: str | float | Distribution | None,
    limit_ms: float | None,
) -> ElectionSetup:
    """The checked setup, with the defaults of `measure_elections`.

    Raises:
        ConfigError: a value is out of range, or no leader could be elected.
    """
    if crash_leader and fresh_timers:
        raise ConfigError(
            "--crash-leader and --fresh-timers are two different starts: the last heartbeat sets the timers of the "
            "followers; give one of them"
        )
    if heartbeat_ms is not None and not crash_leader:
        raise ConfigError(
            "--heartbeat is the interval of the leader that crashes: give it with --crash-leader"
        )
    shortest, longest = timeout_ms
    asks_first = not fresh_timers if pre_vote is None else pre_vote
    return ElectionSetup(
        nodes=nodes,
        failed=max(1, failed) if crash_leader and failed >= 0 else failed,
        latency=_distribution(latency, "--latency"),
        timeout_min_ms=shortest,
        timeout_max_ms=longest,
        crash_leader=crash_leader,
        heartbeat_ms=shortest / 2 if heartbeat_ms is None else heartbeat_ms,
        ineligible=ineligible,
        pre_vote=asks_first,
        check_quorum=asks_first if check_quorum is None else check_quorum,
        disk=None if disk is None else _distribution(disk, "--disk"),
        limit_ms=default_limit_ms(longest) if limit_ms is None else limit_ms,
    )


def measure_setup(
    setup: ElectionSetup,
    *,
    trials: int,
    seed: int,
    jobs: int | None = None,
    progress: bool = False,
) -> ElectionFigures:
    """Run the trials of a setup.

    Raises:
        ConfigError: the number of trials or processes, or the seed, is unusable.
    """
    check_seed(seed)
    if not 1 <= trials <= MAX_TRIALS:
        raise ConfigError(f"--trials {trials}: give a number from 1 to {MAX_TRIALS}")
    if jobs is not None and not 1 <= jobs <= MAX_JOBS:
        raise ConfigError(f"--jobs {jobs}: give a number of processes from 1 to {MAX_JOBS}")
    tally = Tally()
    line = ProgressLine() if progress else None
    blocks = list(_blocks(setup, seed, trials))
    done = 0
    for block, part in zip(blocks, _run(blocks, jobs), strict=True):
        tally.merge(part)
        done += block.trials
        if line is not None:
            line.show(f"{done:,} of {trials:,} elections", is_over=done == trials)
    return figures_of(tally, setup.limit_ms)


def _distribution(given: str | float | Distribution, option: str) -> Distribution:
    return given if isinstance(given, Distribution) else parse_distribution(str(given), option)


def _blocks(setup: ElectionSetup, seed: int, trials: int) -> Iterator[_Block]:
    for number, begin in enumerate(range(0, trials, _BLOCK)):
        yield _Block(setup, seed, number, min(_BLOCK, trials - begin))


def _run(blocks: list[_Block], jobs: int | None) -> Iterable[Tally]:
    if jobs is None:
        many = sum(block.trials for block in blocks) >= _WORTH_PROCESSES
        jobs = (os.cpu_count() or 1) if many else 1
    if jobs == 1 or len(blocks) == 1:
        yield from map(run_block, blocks)
        return
    with ProcessPoolExecutor(min(jobs, len(blocks))) as pool:
        yield from pool.map(run_block, blocks)


def run_block(block: _Block) -> Tally:
    """Run the trials of one block."""
    rng = Streams(block.seed).get(f"elections/{block.number}")
    trials = ElectionTrials(block.setup, rng)
    tally = Tally()
    for _ in range(block.trials):
        tally.add(trials.run(), trials.no_leader_from, FIRST_TERM)
    return tally
