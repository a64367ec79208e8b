"""Runs one scenario with one seed, from start to verdict."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

from qcore.errors import ConfigError
from qcore.files import open_nonblocking
from qcore.machines.interface import StateMachine
from qcore.machines.loader import checked_factory
from qcore.recording.run_recordings import RecordingDirectory
from qcore.sim.oracles.user_oracles import Oracles
from qcore.sim.scenario.load import as_scenario
from qcore.sim.scenario.model import Scenario
from qcore.sim.scenario.values import check_seed
from qcore.sim.simulation import World
from qcore.sim.verdict.determinism import forbid_runs_in_second_process
from qcore.sim.verdict.result import RunResult
from qcore.sim.workload.custom_machine import CustomMachine, checked_requests
from qcore.sim.workload.operations import RequestSource
from qcore.trace import TraceWriter, is_json_path, pause_collection

if TYPE_CHECKING:
    from qcore.client.programs.program_context import ClientProgram


def run_scenario(
    scenario: Scenario | Path | str,
    seed: int = 1,
    *,
    trace: TraceWriter | Path | str | IO[str] | IO[bytes] | None = None,
    machine: Callable[[], StateMachine] | None = None,
    requests: RequestSource | None = None,
    program: ClientProgram | None = None,
    oracles: Oracles | None = None,
    record: Path | str | None = None,
) -> RunResult:
    """Simulate a scenario and judge the run.

    Args:
        scenario: a scenario, the path of its file, or the name of a shipped one.
        seed: the number that decides every random choice; the same seed gives the same run.
        trace: where to write the trace: a file to create, a stream, or a `TraceWriter` (`TraceWriter(keep=True)` keeps
            the records in memory). A file with the suffix `.jsonl`, `.ndjson` or `.json` and a text stream get JSON
            lines; any other file and a binary stream get the compact format.
        machine: makes a new custom state machine, for each node and each of its lives; for a scenario that names
            none.
        requests: with `machine`, draws the next request of a client: `("write", command)` or `("read", query)`. It
            must use no randomness except the generator that it is given.
        program: a client program, `async def client(ctx)`, which every client runs in place of the workload.
        oracles: judges of the run: an invariant, properties, a check of the history, a sequential model of the
            machine. Without a model, the answers of a custom machine are not judged; every other check applies.
        record: a directory for the recordings of the nodes, which `qcore.sim.Replay` steps through.

    Raises:
        ConfigError: the scenario or the trace file is unusable, the seed is not an integer, `machine` is given without
            `requests` and without `program`, or `requests` without `machine`, the scenario also names a machine or a
            program, or needs registers, `machine` makes no state machine, `requests` raises an error or returns
            something else, `program` is no asynchronous function of one argument, or an oracle is unusable.
    """
    forbid_runs_in_second_process()
    check_seed(seed)
    if requests is not None and (machine is None or program is not None):
        raise ConfigError("`requests` goes with a custom `machine`, and with no `program`")
    if machine is not None and requests is None and program is None:
        raise ConfigError("give a custom machine its requests, or give a client program")
    custom_machine = None
    if machine is not None:
        name = getattr(machine, "__qualname__", f"{machine!r:.100}")
        source = None if requests is None else checked_requests(requests)
        custom_machine = CustomMachine(checked_factory(machine, name), source)
    scenario = as_scenario(scenario)
    if isinstance(trace, Path | str):
        _check_not_scenario(trace, scenario)
    with _writer(trace) as writer:
        world = World(scenario, seed, writer, custom_machine, oracles, program)
        recordings = None if record is None else RecordingDirectory(record, world.nodes)
        if recordings is not None:
            world.record(recordings.sink_of)
        try:
            # A run does not need the cycle collector, whose pauses cost a tenth of the speed.
            with pause_collection():
                world.run()
                return world.result()
        finally:
            world.close()
            if recordings is not None:
                recordings.close()


@contextmanager
def _writer(
    trace: TraceWriter | Path | str | IO[str] | IO[bytes] | None,
) -> Iterator[TraceWriter]:
    """A writer for any of the forms that `run_scenario` accepts. A file is closed at the end."""
    if isinstance(trace, TraceWriter):
        yield trace
    elif isinstance(trace, Path | str):
        try:
            with _open_trace(trace) as stream, _finishing(_stream_writer(stream)) as writer:
                yield writer
        except OSError as error:
            raise ConfigError(f"cannot write the trace {trace}: {error.strerror}") from None
    elif trace is None:
        yield TraceWriter()
    elif not hasattr(trace, "write"):
        raise ConfigError(
            f"a trace is written to a path, a stream or a TraceWriter, not to {trace!r:.100}"
        )
    else:
        with _finishing(_stream_writer(trace)) as writer:
            yield writer


def _check_not_scenario(trace: Path | str, scenario: Scenario) -> None:
    """Refuse to write the trace over the scenario's own file.

    Raises:
        ConfigError: both are the same file.
    """
    try:
        same = Path(trace).samefile(scenario.source)
    except (OSError, ValueError):  # one of them does not exist, or is no name of a file
        return
    if same:
        raise ConfigError(f"the trace would overwrite the scenario {trace}; give another file")


def _open_trace(path: Path | str) -> IO[str] | IO[bytes]:
    """A new file: for JSON lines if its suffix says so, else for the compact format."""
    if is_json_path(path):
        return open(path, "w", encoding="utf-8", newline="\n", opener=open_nonblocking)
    return open(path, "wb", opener=open_nonblocking)


def _stream_writer(stream: IO[str] | IO[bytes]) -> TraceWriter:
    if isinstance(stream, io.RawIOBase | io.BufferedIOBase):
        return TraceWriter(compact=stream)
    return TraceWriter(cast(IO[str], stream))


@contextmanager
def _finishing(writer: TraceWriter) -> Iterator[TraceWriter]:
    """Write what is pending at the end of the run. If the run fails, readers see that records are missing."""
    try:
        yield writer
    except BaseException:
        writer.finish(complete=False)
        raise
    writer.finish()
