"""The program of a worker process (`python -m`), which runs the seeds that it is sent until its input ends.

`worker_process.py` is the other end of the pipes.
"""

from __future__ import annotations

import faulthandler
import gc
import os
import pickle
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from qcore.errors import ConfigError
from qcore.sim.artifacts.artifact import artifact_files, traced_run
from qcore.sim.artifacts.failure_cause import Cause, cause_of, cause_of_error
from qcore.sim.run import run_scenario
from qcore.sim.sweeps.executors.run_jobs import LoadedScenario, Outcome, Report
from qcore.sim.sweeps.executors.worker_messages import (
    LENGTH_BYTES,
    POSITION,
    JobMessage,
    SourceMessage,
)
from qcore.sim.verdict.result import RunResult

#: Outcomes are sent together, at most this long after the first of them, seconds.
_GATHER_S: Final = 0.1


def main() -> None:
    """Serve jobs from standard input until it ends."""
    requests, answers, position = _take_pipes()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    path = _receive(requests)
    assert isinstance(path, list), "the first message"
    sys.path[:] = path
    sources = _Sources()
    gc.collect()
    gc.freeze()  # what was imported is never garbage
    _send(answers, os.getpid())
    while True:
        try:
            message = _receive(requests)
        except EOFError:
            return
        if isinstance(message, SourceMessage):
            sources.add(message)
        else:
            assert isinstance(message, JobMessage), "nothing else is sent"
            os.pwrite(position, POSITION.pack(message.number, 0), 0)
            for report in _reports(message, sources.enter(message.source), position):
                _send(answers, report)


def _take_pipes() -> tuple[BinaryIO, BinaryIO, int]:
    """The pipes to the sweep, and the file of the position.

    User code finds an empty input, and its output disappears.
    """
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    os.close(nothing)
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1, all_threads=False)
    return requests, answers, int(sys.argv[1])


class _Sources:
    """The sources that this process knows."""

    def __init__(self) -> None:
        self._messages: dict[str, SourceMessage] = {}
        self._loaded: dict[str, LoadedScenario | Exception] = {}
        self._current = ""

    def add(self, message: SourceMessage) -> None:
        """Learn where a source is."""
        self._messages[message.key] = message

    def enter(self, key: str) -> LoadedScenario | Exception:
        """The source, whose files can import each other now; the error if it is unusable here."""
        message = self._messages[key]
        if key != self._current:
            if self._current:
                self._leave(self._messages[self._current].directory)
            sys.path.insert(0, message.directory)
            self._current = key
        if key not in self._loaded:
            try:
                self._loaded[key] = LoadedScenario.read(Path(message.directory), message.random)
            except ConfigError as error:
                self._loaded[key] = error
        return self._loaded[key]

    def _leave(self, directory: str) -> None:
        """Forget the modules of a source: those of another one may have the same names."""
        sys.path.remove(directory)
        for name, module in list(sys.modules.items()):
            if (getattr(module, "__file__", None) or "").startswith(directory + os.sep):
                del sys.modules[name]


def _reports(
    job: JobMessage, source: LoadedScenario | Exception, position: int
) -> Iterator[Report]:
    gathered: list[Outcome] = []
    sent = time.monotonic()
    for place, seed in enumerate(job.seeds):
        os.pwrite(position, POSITION.pack(job.number, place), 0)
        if job.saved_as:
            yield _traced(job, source, seed)
            continue
        gathered.append(_run(source, seed))
        if time.monotonic() - sent >= _GATHER_S:
            yield Report(job.number, gathered)
            gathered, sent = [], time.monotonic()
    if gathered:
        yield Report(job.number, gathered)


def _run(source: LoadedScenario | Exception, seed: int) -> Outcome:
    begin, begin_cpu = time.perf_counter(), time.process_time()
    digest = ""
    try:
        if isinstance(source, Exception):
            raise source
        result = run_scenario(source.scenario(seed), seed)
        cause, digest = cause_of(result), result.trace_sha256
        del result
    except Exception as error:  # noqa: BLE001 - user code may raise anything
        cause = cause_of_error(error)
    return Outcome(
        seed, cause, digest, time.perf_counter() - begin, time.process_time() - begin_cpu
    )


def _traced(job: JobMessage, source: LoadedScenario | Exception, seed: int) -> Report:
    """Repeat a failing run with its trace."""
    try:
        if isinstance(source, Exception):
            raise source
        scenario = source.scenario(seed)
        trace, found = traced_run(scenario, seed)
        verdict = found if isinstance(found, RunResult) else None
        cause: Cause | None = cause_of(found) if isinstance(found, RunResult) else found
        digest = "" if verdict is None else verdict.trace_sha256
        if cause is None:
            return Report(job.number, [Outcome(seed, None, digest)])
        files = artifact_files(
            scenario, seed, cause, result=verdict, trace=trace, directory=job.saved_as
        )
    except Exception as error:  # noqa: BLE001 - as above
        return Report(job.number, [Outcome(seed, cause_of_error(error))])
    return Report(job.number, [Outcome(seed, cause, digest)], files)


def _receive(requests: BinaryIO) -> object:
    """The next message.

    Raises:
        EOFError: the sweep has ended.
    """
    length = requests.read(LENGTH_BYTES)
    if len(length) < LENGTH_BYTES:
        raise EOFError
    return pickle.loads(requests.read(int.from_bytes(length)))


def _send(answers: BinaryIO, answer: object) -> None:
    data = pickle.dumps(answer, protocol=pickle.HIGHEST_PROTOCOL)
    answers.write(len(data).to_bytes(LENGTH_BYTES) + data)
    answers.flush()


if __name__ == "__main__":
    main()
