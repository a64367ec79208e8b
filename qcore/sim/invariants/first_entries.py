"""`FirstEntries`: the first entry that was seen at each index, in little memory."""

from __future__ import annotations

from array import array
from typing import Final

from qcore.core.entry import Entry

#: Stands for "not known" in an array.
_UNKNOWN: Final = -1


class FirstEntries:
    """For each index an entry, the server that had it first, and the term of the entry before it, if known.

    Nearly all indexes come one after the other, so they are kept in lists. The others are in a dictionary.
    """

    def __init__(self) -> None:
        self._entries: list[Entry] = []
        self._nodes = array("q")
        self._previous = array("q")
        self._others: dict[int, tuple[Entry, int | None, int]] = {}

    def entry(self, index: int) -> Entry | None:
        """The entry at an index; None if none was seen."""
        if 0 < index <= len(self._entries):
            return self._entries[index - 1]
        found = self._others.get(index)
        return None if found is None else found[0]

    def get(self, index: int) -> tuple[Entry, int | None, int] | None:
        """The entry, the term of the entry before it, and the first server; None if no entry was seen."""
        if 0 < index <= len(self._entries):
            previous = self._previous[index - 1]
            return (
                self._entries[index - 1],
                None if previous == _UNKNOWN else previous,
                self._nodes[index - 1],
            )
        return self._others.get(index)

    def set(self, index: int, entry: Entry, node: int, previous: int | None = None) -> None:
        """Keep the entry of an index, in place of an earlier one."""
        place = index - 1
        term = _UNKNOWN if previous is None else previous
        if place == len(self._entries) and index not in self._others:
            self._entries.append(entry)
            self._nodes.append(node)
            self._previous.append(term)
        elif 0 <= place < len(self._entries):
            self._entries[place] = entry
            self._nodes[place] = node
            self._previous[place] = term
        else:
            self._others[index] = (entry, previous, node)
