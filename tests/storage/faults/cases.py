"""The cases, and the allowed outcomes of each."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from errno import EACCES, EIO, ENOSPC
from pathlib import Path
from typing import Final

from tests.storage.faults import ROOT, build, environment

SHORT: Final = -1
KILL: Final = -2
NAMES: Final = {EIO: "EIO", ENOSPC: "ENOSPC", EACCES: "EACCES", SHORT: "short", KILL: "kill"}

#: The ways in which each kind of call can fail.
KINDS: Final = {
    "open": (EIO, ENOSPC, EACCES, KILL),
    "read": (EIO, SHORT),
    "write": (EIO, ENOSPC, SHORT, KILL),
    "sync": (EIO, KILL),
    "truncate": (EIO, KILL),
    "allocate": (EIO, ENOSPC),
    "rename": (EIO, ENOSPC, EACCES, KILL),
    "link": (EIO, ENOSPC, EACCES, KILL),
    "unlink": (EIO, EACCES, KILL),
    "mkdir": (EIO, ENOSPC, EACCES, KILL),
    "stat": (EIO,),
    "mmap": (EIO,),
    "lock": (EIO,),
}
ONCE: Final = 1
FOR_EVER: Final = 0

#: SQLite does not report why it could not open a file. If the system no longer has a reason, the three are named.
_IO_ERROR: Final = ("I/O error", "Input/output error")
_UNKNOWN_CAUSE: Final = "It may have been an I/O error, a missing permission, or a full disk"


@dataclass(frozen=True)
class Case:
    """The `nth` call of one kind fails as `kind` says; if `times` is 0, so do all later ones."""

    operation: str
    call: str
    kind: int
    nth: int
    times: int

    def __str__(self) -> str:
        how = "once" if self.times == ONCE else "for ever"
        return f"{self.operation}: {self.call} {self.nth} {NAMES[self.kind]} {how}"

    def complaint(self, outcome: str, next_start: str) -> str | None:
        """What is wrong with the outcome, or None."""
        if next_start != "done":
            return f"the next start: {next_start}"
        if outcome == "done" or (outcome == "killed" and self.kind == KILL):
            return None
        if outcome.startswith(("TRACEBACK", "LogCorrupt", "vanished", "killed", "DataDirLocked")):
            return outcome
        if self.kind == EIO:
            named = any(word in outcome for word in _IO_ERROR) and not outcome.startswith(
                "DiskFull"
            )
        elif self.kind == ENOSPC:
            named = outcome.startswith("DiskFull") or _UNKNOWN_CAUSE in outcome
            named = named or (outcome.startswith("SnapshotFileError") and "No space" in outcome)
        else:
            named = self.kind == EACCES and "ermission" in outcome
        return None if named else f"the error does not name its cause: {outcome}"


class FaultRunner:
    """A process with the layer that runs cases."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def run_case(
        self, operation: str, call: str, kind: int, nth: int = 1, times: int = ONCE
    ) -> dict[str, object]:
        """Run one case and return its result."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([operation, call, kind, nth, times]) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the sweep ended"
        result: dict[str, object] = json.loads(line)
        return result

    def cases(self, operation: str) -> Iterator[Case]:
        """Every call of an operation with every way to fail, once and for ever."""
        result = self.run_case(operation, "open", 0)
        assert (result["outcome"], result["next start"]) == ("done", "done"), result
        calls = result["calls"]
        assert isinstance(calls, dict)
        for call, kinds in KINDS.items():
            for nth in range(1, calls[call] + 1):
                for kind in kinds:
                    for times in (ONCE,) if kind == KILL else (ONCE, FOR_EVER):
                        yield Case(operation, call, kind, nth, times)

    def complaint(self, case: Case) -> str | None:
        """What is wrong with the outcome of a case, or None."""
        result = self.run_case(case.operation, case.call, case.kind, case.nth, case.times)
        found = case.complaint(str(result["outcome"]), str(result["next start"]))
        return None if found is None else f"{case}: {found}"


@contextmanager
def fault_runner(directory: Path, library: Path | None = None) -> Iterator[FaultRunner]:
    """A sweep in an empty directory, which ends with the context."""
    work = directory / "work"
    work.mkdir(parents=True)
    library = library or build(directory)
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.storage.faults.sweep", str(work)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment(library),
    )
    try:
        yield FaultRunner(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.wait()
