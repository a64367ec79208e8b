"""`ChangeHistory`: the last changes of the state machine, for watches that resume."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from qcore.compiled_build import register_copies
from qcore.machines.interface import Change

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
        dropped: it holds every change behind this position.
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
        self.dropped: Position = (0, -1)

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
            self.dropped = (self._indexes[begin], len(changes) - 1)
            begin += 1
        if begin > 64 + len(self._indexes) // 2:
            del self._indexes[:begin], self._changes[:begin], self._sizes[:begin]
            begin = 0
        self._begin = begin

    def reset(self, index: int) -> None:
        """Forget everything: the state is now that of this index."""
        self._indexes, self._changes, self._sizes, self._begin = [], [], [], 0
        self.count = self.size_bytes = 0
        self.dropped = (index, LAST_SEQUENCE)

    def entry_after(self, position: Position) -> ChangedEntry | None:
        """The first entry that may hold a change behind a position; None if there is none yet."""
        index, sequence = position
        find = bisect_left if sequence < LAST_SEQUENCE else bisect_right
        at = find(self._indexes, index, lo=self._begin)
        if at == len(self._indexes):
            return None
        return ChangedEntry(self._indexes[at], self._changes[at])


register_copies(globals())
