"""Runs the programs of `examples/coordination/` as a user does, and reads what they print."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from qcore.processes import ProcessError, wait_for
from tests.checkout import CHECKOUT, EXAMPLES

#: How long a program may take for anything, seconds. It only limits how long a failing test takes.
PATIENCE_S = 60.0


class Program:
    """One process of an example.

    Args:
        name: of the example, such as `cron`.
        words: its command line.
        output: the file for what it prints, also on standard error.
    """

    def __init__(self, name: str, words: Sequence[str], output: Path) -> None:
        self._output = output
        with output.open("ab") as file:
            self.process = subprocess.Popen(
                [sys.executable, str(EXAMPLES / "coordination" / f"{name}.py"), *words],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                env={**os.environ, "PYTHONPATH": str(CHECKOUT), "PYTHONUNBUFFERED": "1"},
                start_new_session=True,
            )

    @property
    def text(self) -> str:
        """All that it has printed."""
        return self._output.read_text()

    def found(self, pattern: str) -> list[str]:
        """What the lines that it has printed have in the groups of the pattern; see `re.findall`."""
        return re.findall(pattern, self.text, re.MULTILINE)

    def wait(self, pattern: str, count: int = 1) -> str:
        """Wait until it has printed something so many times, and return the last of them."""

        def found() -> list[str] | None:
            seen = self.found(pattern)
            if len(seen) < count and self.process.poll() is not None:
                raise ProcessError(f"it has ended without {pattern!r}:\n{self.text}")
            return seen if len(seen) >= count else None

        return wait_for(found, PATIENCE_S, f"{count} x {pattern!r} in {self._output}")[-1]

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Send a signal, and check that the program ends well."""
        self.process.send_signal(number)
        self.wait_end()

    def wait_end(self) -> None:
        """Wait for its end, and check that all was well."""
        assert self.process.wait(PATIENCE_S) == 0, self.text
        assert "Traceback" not in self.text, self.text

    def wait_failure(self) -> str:
        """Wait until it ends with an error, and return what it has printed."""
        assert self.process.wait(PATIENCE_S) == 1, self.text
        assert "Traceback" not in self.text, self.text
        return self.text

    def kill(self) -> None:
        """Kill it, as `kill -9` does. It may be stopped."""
        self.process.kill()
        self.process.wait()


class Programs:
    """Starts programs, and kills those that run at its end.

    Args:
        endpoint: where the cluster is.
        folder: for what they print.
    """

    def __init__(self, endpoint: str, folder: Path) -> None:
        self._endpoint = endpoint
        self._folder = folder
        self._started: list[Program] = []

    def start(self, name: str, *words: str) -> Program:
        """Start a program. The endpoint of the cluster comes first in its command line."""
        output = self._folder / f"program{len(self._started)}.log"
        self._started.append(Program(name, ["--endpoints", self._endpoint, *words], output))
        return self._started[-1]

    def run(self, name: str, *words: str) -> str:
        """Run a program to its end, and return what it printed. All must be well."""
        program = self.start(name, *words)
        program.wait_end()
        return program.text

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for program in self._started:
            program.kill()
