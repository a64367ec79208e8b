"""The ways in which a simulated disk fails to do what it is asked: I/O errors, and no space.

Each operation of the disk asks here first. The errors are those of real storage (`qcore.core.log.disk_errors`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from qcore.compiled_build import register_copies
from qcore.core.effects import Write
from qcore.core.entry import DurableState, Entry
from qcore.core.log.disk_errors import io_error
from qcore.core.log.durable_state import size_bytes
from qcore.errors import DiskFull, StorageError
from qcore.sim.faults.ledger import Firing

#: What a disk does for its node, and what can fail.
DiskOperation = Literal["write", "sync", "read"]

_NAMES: dict[DiskOperation, str] = {"write": "write to", "sync": "sync", "read": "read"}


@dataclass
class IoErrors:
    """I/O errors that one firing causes.

    Attributes:
        operation: what fails.
        left: how many operations will still fail; None for all.
        keeps_batch: draws whether the writes of a failed sync had reached the disk.
        spent: called when none is left.
    """

    firing: Firing
    operation: DiskOperation
    left: int | None
    keeps_batch: Callable[[], bool]
    spent: Callable[[], object]


@dataclass
class _Full:
    """No space: the disk may hold this many bytes of log and snapshot."""

    firing: Firing
    capacity: int


class DiskFailures:
    """The active failures of one disk.

    Args:
        where: the name of the disk, for messages.
    """

    def __init__(self, where: str) -> None:
        self._where = where
        self._errors: list[IoErrors] = []
        self._full: list[_Full] = []

    @property
    def active(self) -> bool:
        """Whether anything may fail."""
        return bool(self._errors or self._full)

    def add_errors(self, errors: IoErrors) -> None:
        """Let operations fail from now on."""
        self._errors.append(errors)

    def fill_up(self, firing: Firing, state: DurableState, free_bytes: int) -> None:
        """Leave this much space from now on; `state` is what the disk holds."""
        self._full.append(_Full(firing, stored_bytes(state) + free_bytes))

    def end(self, firing: Firing | None) -> None:
        """End the failures of one firing, or all."""
        self._errors = [one for one in self._errors if firing not in (None, one.firing)]
        self._full = [one for one in self._full if firing not in (None, one.firing)]

    def io_error(self, operation: DiskOperation) -> tuple[StorageError, IoErrors] | None:
        """The error with which this operation fails, and its cause; None if it does not fail. Counts it."""
        for errors in self._errors:
            if errors.operation == operation:
                errors.firing.fault.acted += 1
                if errors.left is not None:
                    errors.left -= 1
                    if not errors.left:
                        self._errors.remove(errors)
                        errors.spent()
                text = f"cannot {_NAMES[operation]} {self._where}: Input/output error"
                return io_error(text), errors
        return None

    def no_space(self, writes: Sequence[Write], state: DurableState) -> DiskFull | None:
        """The error if there is no space for these writes, or None. Counts it for each firing that takes the space."""
        if not self._full:
            return None
        needed = stored_bytes(state) + sum(map(size_bytes, writes))
        short = [full for full in self._full if full.capacity < needed]
        for full in short:
            full.firing.fault.acted += 1
        if not short:
            return None
        return DiskFull(
            f"cannot write to {self._where}: the disk is full: nothing was written; free some space"
        )


def stored_bytes(state: DurableState) -> int:
    """About how many bytes a state takes on the disk."""
    text = len(state.snapshot.data) if state.snapshot is not None else 0
    return text + sum(map(Entry.size_bytes, state.entries))


register_copies(globals())
