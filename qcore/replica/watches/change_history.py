"""`ChangeHistory`: the last changes of the state machine, for watches that resume."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from qcore.compiled_build import register_copies
from qcore.machines.interface import Change, StateMachine, SupportsChangeHistory, with_inner

#: A log index, and the position of a change among the changes of that entry; -1 stands before the first.
Position = tuple[int, int]

#: Above every sequence number.
LAST_SEQUENCE: Final = 2**63 - 1
#: Counted for an entry besides what its changes report.
_ENTRY_BYTES: Final = 200


@dataclass
class ChangedEntry:
    """The changes of one log entry."""

    index: int
    changes: Sequence[Change]


class ChangeHistory:
    """The changes of the last entries, oldest first. Drops whole entries from the front.

    Args:
        max_changes: the most changes that it holds.
        max_bytes: the most memory that they hold, bytes.

    Attributes:
        count: how many changes it holds.
        size_bytes: about the memory that they take, bytes.
    """

    def __init__(self, max_changes: int, max_bytes: int) -> None:
        self._max_changes = max_changes
        self._max_bytes = max_bytes
        # One list for each attribute: an object for each entry would cost a write more time than the rest of `add`.
        self._indexes: list[int] = []
        self._changes: list[Sequence[Change]] = []
        self._sizes: list[int] = []
        self._begin = 0  # entries before this one are dropped
        self.count = self.size_bytes = 0
        self._dropped: Position = (0, -1)

    @property
    def dropped(self) -> Position:
        """It holds every change behind this position."""
        return self._dropped

    @property
    def first_index(self) -> int:
        """The first log index of which it holds all changes."""
        return self.dropped[0] + 1

    def add(self, index: int, changes: Sequence[Change]) -> None:
        """Add the changes of an entry, at least one."""
        size = _ENTRY_BYTES
        for change in changes:  # a generator takes twice as long, and this runs for each command
            size += change.size_bytes
        self._indexes.append(index)
        self._changes.append(changes)
        self._sizes.append(size)
        self.count += len(changes)
        self.size_bytes += size
        if self.count > self._max_changes or self.size_bytes > self._max_bytes:
            self._drop()

    def _drop(self) -> None:
        """Drop the oldest entries until the rest is within the bounds."""
        begin = self._begin
        while self.count > self._max_changes or self.size_bytes > self._max_bytes:
            changes = self._changes[begin]
            self.count -= len(changes)
            self.size_bytes -= self._sizes[begin]
            self._changes[begin] = ()  # free them now
            self._dropped = (self._indexes[begin], len(changes) - 1)
            begin += 1
        if begin > 64 + len(self._indexes) // 2:
            del self._indexes[:begin], self._changes[:begin], self._sizes[:begin]
            begin = 0
        self._begin = begin

    def reset(self, index: int) -> None:
        """Forget everything: the state is now that of this index."""
        self._indexes, self._changes, self._sizes, self._begin = [], [], [], 0
        self.count = self.size_bytes = 0
        self._dropped = (index, LAST_SEQUENCE)

    def entry_after(self, position: Position) -> ChangedEntry | None:
        """The first entry that may hold a change behind a position; None if there is none yet."""
        index, sequence = position
        find = bisect_left if sequence < LAST_SEQUENCE else bisect_right
        at = find(self._indexes, index, lo=self._begin)
        if at == len(self._indexes):
            return None
        return ChangedEntry(self._indexes[at], self._changes[at])


class MachineHistory(ChangeHistory):
    """The changes that the state machine itself keeps.

    Args:
        machine: the state machine.
    """

    def __init__(self, machine: SupportsChangeHistory) -> None:
        super().__init__(0, 0)
        self._machine = machine

    @property
    def dropped(self) -> Position:
        """See `ChangeHistory`."""
        return (self._machine.first_change_index() - 1, LAST_SEQUENCE)

    def add(self, index: int, changes: Sequence[Change]) -> None:
        """Do nothing: the machine has them."""

    def reset(self, index: int) -> None:
        """Do nothing: the state that replaced the old one has its own changes."""

    def entry_after(self, position: Position) -> ChangedEntry | None:
        """See `ChangeHistory`."""
        index, sequence = position
        found = self._machine.changes_from(index if sequence < LAST_SEQUENCE else index + 1)
        return None if found is None else ChangedEntry(*found)


def history_of(machine: StateMachine, max_changes: int, max_bytes: int) -> ChangeHistory:
    """The history of the machine, if it keeps one; else an empty one with these bounds."""
    for each in with_inner(machine):
        if isinstance(each, SupportsChangeHistory):
            return MachineHistory(each)
    return ChangeHistory(max_changes, max_bytes)


register_copies(globals())
