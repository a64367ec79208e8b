"""Runs one scenario with one seed, from start to verdict."""

from __future__ import annotations

import gc
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

from qcore.errors import ConfigError
from qcore.files import open_nonblocking
from qcore.machines.interface import StateMachine
from qcore.machines.loader import checked_factory
from qcore.sim.linearizability import LinearizabilityVerdict, check_history
from qcore.sim.scenario.catalogue import is_shipped
from qcore.sim.scenario.load import as_scenario
from qcore.sim.scenario.model import Scenario
from qcore.sim.verdict.expectations import judge
from qcore.sim.verdict.log_queries import lost_writes
from qcore.sim.verdict.result import RunResult
from qcore.sim.verdict.run_metrics import measure
from qcore.sim.verdict.stale_reads import check_stale_reads
from qcore.sim.workload.custom_machine import CustomMachine, checked_requests
from qcore.sim.workload.operations import RequestSource
from qcore.sim.workload.user_code import LoadedProgram, checked_program
from qcore.sim.world.world import World
from qcore.trace import TraceWriter

if TYPE_CHECKING:
    from qcore.client.programs.program_context import ClientProgram


def run_scenario(
    scenario: Scenario | Path | str,
    seed: int = 1,
    *,
    trace: TraceWriter | Path | str | IO[str] | None = None,
    machine: Callable[[], StateMachine] | None = None,
    requests: RequestSource | None = None,
    program: ClientProgram | None = None,
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
            must use no randomness except the generator that it is given. The results are not checked for
            linearizability, because the checker knows only registers; every other check applies.
        program: a client program, `async def client(ctx)`, which every client runs in place of the workload.

    Raises:
        ConfigError: the scenario or the trace file is unusable, the seed is not an integer, `machine` is given without
            `requests` and without `program`, or `requests` without `machine`, the scenario also names a machine or a
            program, or needs registers, `machine` makes no state machine, `requests` raises an error or returns
            something else, or `program` is no asynchronous function of one argument.
    """
    given: object = seed
    if not isinstance(given, int) or isinstance(given, bool):
        raise ConfigError(f"a seed is an integer, not {given!r:.100}")
    if requests is not None and (machine is None or program is not None):
        raise ConfigError("`requests` goes with a custom `machine`, and with no `program`")
    if machine is not None and requests is None and program is None:
        raise ConfigError("give a custom machine its requests, or give a client program")
    custom_machine = None
    if machine is not None:
        name = getattr(machine, "__qualname__", f"{machine!r:.100}")
        source = None if requests is None else checked_requests(requests)
        custom_machine = CustomMachine(checked_factory(machine, name), source)
    loaded = None
    if program is not None:
        checked = checked_program(program)
        loaded = LoadedProgram(checked, getattr(program, "__name__", "client"))
    scenario = as_scenario(scenario)
    with _writer(trace) as writer:
        # A run does not need the cycle collector, whose pauses cost a tenth of the speed.
        collecting = gc.isenabled()
        gc.disable()
        try:
            return _run(scenario, seed, writer, custom_machine, loaded)
        finally:
            if collecting:
                gc.enable()


def _run(
    scenario: Scenario,
    seed: int,
    trace: TraceWriter,
    custom_machine: CustomMachine | None,
    program: LoadedProgram | None,
) -> RunResult:
    world = World(scenario, seed, trace, custom_machine, program)
    world.run()
    lost = lost_writes(world.logs, world.services.monitor.committed_membership, world.history)
    if lost:
        world.services.report("acknowledged_write_lost", 0, lost[0])
    check_stale_reads(world)
    verdict = _check_linearizability(world)
    expectations = tuple(judge(world, verdict, lost))
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


def _check_linearizability(world: World) -> LinearizabilityVerdict:
    operations = [op.as_operation() for op in world.register_history]
    verdict = check_history([operation for operation in operations if operation is not None])
    if verdict.result == "violation":
        world.services.report("linearizability", 0, verdict.explanation)
    return verdict


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
