"""The records of worker processes: how a worker writes them, how the drill reads them, and what a checker is."""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

from qcore.client.programs.program_context import ProgramRecord
from qcore.errors import ConfigError
from qcore.runtime.real import REAL

#: The records that a worker writes by itself, beside those of its program.
STARTED: Final = "started"
ENDED: Final = "ended"
FAILED: Final = "failed"
#: The record of the drill itself, with the number of no client: from now on there are no faults.
HEALED: Final = "healed"
NO_CLIENT: Final = 0


@dataclass(slots=True, frozen=True)
class DrillRecord(ProgramRecord):
    """What a client program recorded in a worker process.

    Attributes:
        client: the number of the worker, which it keeps over its restarts.
        time_s: when it was written, seconds of `time.monotonic`, which all processes of a machine share.
        incarnation: the id of the process.
    """

    incarnation: int = 0

    @property
    def failed(self) -> bool:
        """Whether the program ended with an error. A program may have records of the same name."""
        return self.what == FAILED and "traceback" in self.details


#: Reads the records of all clients in the order of `time_s`. Returns a text for each violation.
Checker: TypeAlias = Callable[[Sequence[ProgramRecord]], list[str]]


class RecordFile:
    """Appends records to a file. Each is one `write`, so a process that is killed loses none that it has written.

    Args:
        path: the file, which one process writes.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def append(self, record: ProgramRecord) -> None:
        """Write a record, with the time of this moment."""
        self.write(record.client, record.what, record.details)

    def write(self, client: int, what: str, details: Mapping[str, Any]) -> None:
        """Write a record of this process.

        Raises:
            OSError: the disk is full, or took only a part of it.
        """
        line = json.dumps([client, REAL.seconds(), what, dict(details), os.getpid()]) + "\n"
        data = line.encode()
        if os.write(self._file, data) != len(data):
            raise OSError(f"the disk took only a part of the record {what}")


def read_records(path: Path) -> list[DrillRecord]:
    """The records of a file, without a last one that was cut off; none if the process did not create the file."""
    if not path.exists():
        return []
    whole = path.read_text().rpartition("\n")[0]
    return [DrillRecord(*json.loads(line)) for line in whole.splitlines()]


def progress_failures(records: Sequence[ProgramRecord], what: str, at_least: int) -> list[str]:
    """A text if there are fewer records of a kind after the faults."""
    healed_s = max((record.time_s for record in records if record.what == HEALED), default=None)
    if healed_s is None:
        return ["the faults did not end"]
    late = sum(record.what == what and record.time_s >= healed_s for record in records)
    return [] if late >= at_least else [f"{what}: {late} records after the faults, not {at_least}"]


def load_function(reference: str) -> Callable[..., Any]:
    """The function that `MODULE:FUNCTION` names.

    Raises:
        ConfigError: the reference has another form, or the module has no such function.
    """
    module_name, _, name = reference.partition(":")
    if not name:
        raise ConfigError(f"{reference!r} is no function: write MODULE:FUNCTION")
    found = getattr(importlib.import_module(module_name), name, None)
    if not callable(found):
        raise ConfigError(f"{reference}: the module {module_name} has no function {name}")
    function: Callable[..., Any] = found
    return function


def ttl_of(reference: str) -> float:
    """The time to live of the leases of a program: `TTL_S` in its module, seconds.

    Raises:
        ConfigError: the module has none.
    """
    module_name = reference.partition(":")[0]
    found = getattr(importlib.import_module(module_name), "TTL_S", None)
    if not isinstance(found, int | float):
        raise ConfigError(
            f"{module_name} has no TTL_S: give one, by which the drill pauses workers, even if there are no leases"
        )
    return float(found)
