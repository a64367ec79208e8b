"""`WorkerProcess`: a worker of a drill, which can be killed, paused and restarted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from qcore.processes import ProcessGuard
from tests.checkout import CHECKOUT
from tests.recipes.drill import drill_worker
from tests.recipes.drill.drill_records import DrillRecord, read_records


class WorkerProcess:
    """One worker, over all its restarts. Each process has its own file of records.

    Args:
        program: `MODULE:FUNCTION`.
        endpoints: the nodes.
        number, clients: which worker it is, and how many there are.
        seed: with `number` and the count of starts it seeds the program.
        directory: holds the records, and what the worker prints.
        guard: kills the process when this program ends.
    """

    def __init__(
        self,
        program: str,
        endpoints: Sequence[str],
        number: int,
        clients: int,
        seed: int,
        directory: Path,
        guard: ProcessGuard,
    ) -> None:
        self.number = number
        self._program = program
        self._endpoints = ",".join(endpoints)
        self._clients = clients
        self._seed = seed
        self._directory = directory
        self._guard = guard
        self._files: list[Path] = []
        self._log = directory / f"worker{number}.log"
        self._process: subprocess.Popen[bytes] | None = None

    def spawn(self) -> None:
        """Start the process without waiting for it."""
        start = len(self._files) + 1
        file = self._directory / f"worker{self.number}-{start}.jsonl"
        self._files.append(file)
        with open(self._log, "ab") as log:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", drill_worker.__name__, self._program),
                    *("--endpoints", self._endpoints, "--number", str(self.number)),
                    *("--clients", str(self._clients), "--seed", f"{self._seed}/{start}"),
                    *("--out", str(file)),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=CHECKOUT,
                env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
                start_new_session=True,  # a Ctrl-C at the terminal must not reach the workers
            )
        self._guard.watch(self._process.pid)

    @property
    def exit_code(self) -> int | None:
        """The exit code of the last process; None while it runs or before the first start."""
        return None if self._process is None else self._process.poll()

    def kill(self) -> None:
        """Send SIGKILL and wait for the end of the process, which may be paused, or have ended."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def pause(self) -> None:
        """Send SIGSTOP and wait until the process has stopped, or ended."""
        process = self._running()
        process.send_signal(signal.SIGSTOP)
        if process.returncode is None:
            os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def resume(self) -> None:
        """Send SIGCONT."""
        self._running().send_signal(signal.SIGCONT)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self._running().send_signal(signal.SIGTERM)

    def wait(self, timeout_s: float) -> str:
        """Wait for the end after SIGTERM. Returns what is wrong with how it ended; empty if nothing is."""
        process = self._running()
        try:
            code = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGUSR1)
            try:
                process.wait(1)
            except subprocess.TimeoutExpired:
                self.kill()
            return f"worker {self.number} did not end within {timeout_s:g} s after SIGTERM"
        if code == -signal.SIGTERM and not self.has_started:
            return ""  # it was still importing its modules
        return f"worker {self.number} ended with exit code {code}" if code else ""

    @property
    def has_started(self) -> bool:
        """Whether the last process has recorded something."""
        return (
            bool(self._files) and self._files[-1].exists() and bool(read_records(self._files[-1]))
        )

    def last_record_ns(self) -> int:
        """When the last process wrote its last record, by the clock of files; 0 if it has written none."""
        file = self._files[-1]
        return file.stat().st_mtime_ns if file.exists() else 0

    def records(self) -> list[DrillRecord]:
        """The records of all its processes, in order."""
        return [record for file in self._files for record in read_records(file)]

    def output(self) -> str:
        """What all its processes printed. A worker prints only what is wrong."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, f"worker {self.number} is not started"
        return self._process
