"""Runs one scenario with one seed, from start to verdict."""

from __future__ import annotations

import gc
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from qcore.errors import ConfigError
from qcore.files import open_nonblocking
from qcore.machines.interface import StateMachine
from qcore.machines.loader import checked_factory
from qcore.sim.oracles.user_oracles import Oracles
from qcore.sim.scenario.catalogue import is_shipped
from qcore.sim.scenario.load import as_scenario
from qcore.sim.scenario.model import Scenario
from qcore.sim.verdict.expectations.judge_run import judge
from qcore.sim.verdict.history_verdict import judge_by_oracles
from qcore.sim.verdict.log_queries import lost_writes
from qcore.sim.verdict.result import RunResult
from qcore.sim.verdict.run_metrics import measure
from qcore.sim.verdict.stale_reads import check_stale_reads
from qcore.sim.workload.custom_machine import CustomMachine, checked_requests
from qcore.sim.workload.operations import RequestSource
from qcore.sim.world.world import World
from qcore.trace import TraceWriter


def run_scenario(
    scenario: Scenario | Path | str,
    seed: int = 1,
    *,
    trace: TraceWriter | Path | str | IO[str] | None = None,
    machine: Callable[[], StateMachine] | None = None,
    requests: RequestSource | None = None,
    oracles: Oracles | None = None,
) -> RunResult:
    """Simulate a scenario and judge the run.

    Args:
        scenario: a scenario, the path of its file, or the name of a shipped one.
        seed: the number that decides every random choice; the same seed gives the same run.
        trace: where to write the trace: a file to create, a text stream, or a `TraceWriter`
            (`TraceWriter(keep=True)` keeps the lines in memory).
        machine: makes a new custom state machine, for each node and each of its lives; for a scenario that names
            none.
        requests: with `machine`, draws the next request of a client: `("write", command)` or `("read", query)`. It
            must use no randomness except the generator that it is given.
        oracles: judges of the run: an invariant, properties, a check of the history, a sequential model of the
            machine. Without a model, the answers of a custom machine are not judged; every other check applies.

    Raises:
        ConfigError: the scenario or the trace file is unusable, the seed is not an integer, only one of `machine` and
            `requests` is given, the scenario also names a machine or needs registers, `machine` makes no state
            machine, `requests` raises an error or returns something else, or an oracle is unusable.
    """
    given: object = seed
    if not isinstance(given, int) or isinstance(given, bool):
        raise ConfigError(f"a seed is an integer, not {given!r:.100}")
    if (machine is None) != (requests is None):
        raise ConfigError("give both a custom machine and its requests, or neither")
    custom_machine = None
    if machine is not None and requests is not None:
        name = getattr(machine, "__qualname__", f"{machine!r:.100}")
        custom_machine = CustomMachine(checked_factory(machine, name), checked_requests(requests))
    scenario = as_scenario(scenario)
    with _writer(trace) as writer:
        # A run does not need the cycle collector, whose pauses cost a tenth of the speed.
        collecting = gc.isenabled()
        gc.disable()
        try:
            return _run(scenario, seed, writer, custom_machine, oracles)
        finally:
            if collecting:
                gc.enable()


def _run(
    scenario: Scenario,
    seed: int,
    trace: TraceWriter,
    custom_machine: CustomMachine | None,
    oracles: Oracles | None,
) -> RunResult:
    world = World(scenario, seed, trace, custom_machine, oracles)
    world.run()
    lost = lost_writes(world.logs, world.services.monitor.committed_membership, world.history)
    if lost:
        world.services.report("acknowledged_write_lost", 0, lost[0])
    check_stale_reads(world)
    findings = judge_by_oracles(world)
    verdict = findings.verdict
    expectations = tuple(judge(world, findings, lost))
    return RunResult(
        scenario.name,
        seed,
        all(expectation.ok for expectation in expectations),
        tuple(world.services.violations),
        expectations,
        measure(world, verdict),
        trace.sha256(),
        replay_command(scenario, seed),
    )


def replay_command(scenario: Scenario, seed: int) -> str:
    """The command that repeats a run. It names a shipped scenario by its name, which is the same on every machine."""
    file = Path(scenario.source or scenario.name)
    name = file.stem if is_shipped(file) else str(file)
    return f"qcore sim run {shlex.quote(name)} --seed {seed}"


@contextmanager
def _writer(trace: TraceWriter | Path | str | IO[str] | None) -> Iterator[TraceWriter]:
    """A writer for any of the forms that `run_scenario` accepts. A file is closed at the end."""
    if isinstance(trace, TraceWriter):
        yield trace
    elif isinstance(trace, Path | str):
        try:
            with open(
                trace, "w", encoding="utf-8", newline="\n", opener=open_nonblocking
            ) as stream:
                yield TraceWriter(stream)
        except OSError as error:
            raise ConfigError(f"cannot write the trace {trace}: {error.strerror}") from None
    else:
        yield TraceWriter(trace)
