"""A worker process as its executor sees it: it is sent jobs, and reports what became of each seed."""

from __future__ import annotations

import os
import pickle
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import IO, Final, cast

from qcore.display import printable
from qcore.errors import ConfigError
from qcore.machines.loader import ADDED_FOLDERS
from qcore.sim.artifacts.failure_cause import Cause, cause_named
from qcore.sim.running_code import CodePlace, users_place
from qcore.sim.sweeps.executors.run_jobs import DIED, HUNG, Job, Outcome, Report
from qcore.sim.sweeps.executors.worker_messages import (
    LENGTH_BYTES,
    POSITION,
    JobMessage,
    SourceMessage,
)

_ROOT: Final = str(Path(__file__).resolve().parents[4])
#: The last bytes of what a worker wrote to stderr that are read after its end.
_STDERR_BYTES: Final = 20_000
#: How long a worker that hangs has for its stack, seconds.
_STACK_S: Final = 0.3
#: A frame of a stack that `faulthandler` writes, the deepest one first.
_FRAME: Final = re.compile(r'File "([^"]+)", line (\d+) in (\S+)')
#: The job of a worker that has begun none.
_NO_JOB: Final = -1


class WorkerProcess:
    """One worker process.

    Args:
        directory: holds the directories of the sources, named by their keys.

    Attributes:
        jobs: what it was sent and has not reported completely: the job, and how many of its seeds are reported.

    Raises:
        ConfigError: no process can be started.
    """

    def __init__(self, directory: Path) -> None:
        self.jobs: deque[tuple[Job, int]] = deque()
        self._directory = directory
        self._known: set[str] = set()
        self._received = bytearray()
        self._is_ready = False
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - `close` closes it
        self._position = tempfile.TemporaryFile()  # noqa: SIM115 - as above
        self._position.write(POSITION.pack(_NO_JOB, 0))
        self._position.flush()
        self._begun = _NO_JOB, 0
        self._begun_s = time.monotonic()
        environment = {**os.environ, "PYTHONPATH": _ROOT, "PYTHONDONTWRITEBYTECODE": "1"}
        number = self._position.fileno()
        try:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-P", "-m"),
                    "qcore.sim.sweeps.executors.worker_program",
                    str(number),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                bufsize=0,
                env=environment,
                pass_fds=[number],
                start_new_session=True,  # ^C in a terminal is for the sweep
            )
        except OSError as error:
            raise ConfigError(f"cannot start a worker process: {error}") from None
        self._input = cast(IO[bytes], self._process.stdin)
        self._output = cast(IO[bytes], self._process.stdout)
        os.set_blocking(self._output.fileno(), False)
        here = str(Path.cwd())
        path = [entry for entry in sys.path if entry not in ADDED_FOLDERS]
        self._send([str(Path(here, entry)) if entry else here for entry in path])

    @property
    def process_id(self) -> int:
        """The id of the process."""
        return self._process.pid

    def fileno(self) -> int:
        """The pipe from which `take` reads."""
        return self._output.fileno()

    def submit(self, job: Job) -> None:
        """Send a job. It may wait behind another one."""
        source = job.source
        if source.key not in self._known:
            directory = self._directory / source.key
            if not directory.exists():
                source.write(directory)
            self._known.add(source.key)
            self._send(SourceMessage(source.key, str(directory), source.random))
        self.jobs.append((job, 0))
        self._send(JobMessage(job.number, source.key, job.seeds, job.saved_as))

    def take(self) -> list[Report] | None:
        """What has arrived from the process; None if it has ended.

        Raises:
            ConfigError: it ended before it could begin.
        """
        while True:
            try:
                data = os.read(self.fileno(), 1 << 20)
            except BlockingIOError:
                break
            if not data:
                if not self._is_ready:
                    self._process.wait()
                    raise ConfigError(f"a worker process cannot start: {self._last_line()}")
                return self._messages() or None
            self._received += data
        return self._messages()

    def _messages(self) -> list[Report]:
        reports: list[Report] = []
        while len(self._received) >= LENGTH_BYTES:
            end = LENGTH_BYTES + int.from_bytes(self._received[:LENGTH_BYTES])
            if len(self._received) < end:
                break
            message = pickle.loads(memoryview(self._received)[LENGTH_BYTES:end].tobytes())
            del self._received[:end]
            if isinstance(message, Report):
                self._count(message)
                reports.append(message)
            else:
                self._is_ready = True
        return reports

    def _count(self, report: Report) -> None:
        job, reported = self.jobs.popleft()
        assert job.number == report.job, "a worker does its jobs in order"
        reported += len(report.outcomes)
        if reported < len(job.seeds):
            self.jobs.appendleft((job, reported))

    def after_the_end(self) -> tuple[Report | None, list[Job]]:
        """After the process has ended: the outcome of the run that ended it, and what must be done again."""
        status = self._process.wait()
        if status < 0:
            name = signal.Signals(-status).name
            memory = ", perhaps because memory was short" if -status == signal.SIGKILL else ""
            text = f"the process of the run was ended by {name}{memory}"
        else:
            text = f"the run ended its process with the exit code {status}"
        if (line := self._last_line()) and status:
            text += f": {line}"
        return self._blame(cause_named(DIED, text))

    def hangs_since(self, now: float) -> float:
        """How long the current run takes, in seconds; 0 without one."""
        if not self.jobs or not self._is_ready:
            return 0.0
        begun = self._read_position()
        if begun != self._begun or begun[0] != self.jobs[0][0].number:
            self._begun, self._begun_s = begun, now
        return now - self._begun_s

    def kill_because_it_hangs(self, limit_s: float) -> tuple[Report | None, list[Job]]:
        """End the process, and return the same as `after_the_end`."""
        with suppress(OSError):
            self._process.send_signal(signal.SIGUSR1)  # it writes its stack
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_STACK_S)
        self.kill()
        stack = [
            CodePlace(file, int(line), function)
            for file, line, function in _FRAME.findall(self._stderr_text())
        ]
        place = users_place(stack)
        where = f", in {place}" if place else ""
        return self._blame(cause_named(HUNG, f"the run did not end within {limit_s:g} s{where}"))

    def _blame(self, cause: Cause) -> tuple[Report | None, list[Job]]:
        number, place = self._read_position()
        report: Report | None = None
        again: list[Job] = []
        for job, reported in self.jobs:
            rest = job.seeds[reported:]
            if job.number == number and place >= reported and report is None:
                seed = job.seeds[place]
                report = Report(number, [Outcome(seed, cause)])
                rest = tuple(each for each in rest if each != seed)
            if rest:
                again.append(Job(job.number, job.source, rest, job.saved_as))
        self.jobs.clear()
        return report, again

    def kill(self) -> None:
        """End the process, whatever it does."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """End the process, and release its files."""
        self.kill()
        for file in (self._input, self._output, self._stderr, self._position):
            with suppress(OSError):  # unsent data
                file.close()

    def _send(self, what: object) -> None:
        data = pickle.dumps(what, protocol=pickle.HIGHEST_PROTOCOL)
        rest = memoryview(len(data).to_bytes(LENGTH_BYTES) + data)
        with suppress(BrokenPipeError):  # it has ended, which `take` finds
            while rest:
                rest = rest[self._input.write(rest) :]

    def _read_position(self) -> tuple[int, int]:
        number, place = POSITION.unpack(os.pread(self._position.fileno(), POSITION.size, 0))
        return number, place

    def _stderr_text(self) -> str:
        file = self._stderr.fileno()
        size = os.fstat(file).st_size
        start = max(0, size - _STDERR_BYTES)
        return os.pread(file, _STDERR_BYTES, start).decode(errors="replace")

    def _last_line(self) -> str:
        lines = self._stderr_text().strip().splitlines()
        return printable(lines[-1]) if lines else ""
