"""The log of a node over time: `LogHistory` gives its shape at any time."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from typing import Final

from qcore.analysis.course.course_types import LogChange, LogShape

#: After how many changes a history keeps a shape, from which it computes later ones.
_SHAPE_EVERY: Final = 16


class LogState:
    """A log that changes: the last entry of its snapshot, and runs of entries with one term."""

    __slots__ = ("_runs", "snapshot_index", "snapshot_term")

    def __init__(self, shape: LogShape | None = None) -> None:
        self.snapshot_index = 0 if shape is None else shape.snapshot_index
        self.snapshot_term = 0 if shape is None else shape.snapshot_term
        self._runs: list[tuple[int, int, int]] = [] if shape is None else list(shape.runs)

    @property
    def last_index(self) -> int:
        """The last entry, or that of the snapshot."""
        return self._runs[-1][1] if self._runs else self.snapshot_index

    def change(self, change: LogChange) -> None:
        """Change the log. An append where entries exist replaces these and all after them."""
        if change.phase == "append":
            self._append(change.first, change.last, change.term)
        elif change.phase == "cut":
            self._cut(change.first)
        else:
            self._snapshot(change)

    def term_of(self, index: int) -> int | None:
        """The term of an entry; None if the log does not hold it."""
        for first, last, term in reversed(self._runs):
            if first <= index:
                return term if index <= last else None
        return self.snapshot_term if index and index == self.snapshot_index else None

    def runs_between(self, first: int, last: int) -> list[tuple[int, int, int]]:
        """The runs of the entries from `first` to `last`, as far as the log holds them."""
        found: list[tuple[int, int, int]] = []
        for begin, end, term in reversed(self._runs):
            if end < first:
                break
            if begin <= last:
                found.append((max(begin, first), min(end, last), term))
        return found[::-1]

    def shape(self) -> LogShape:
        """The log as it is now."""
        return LogShape(self.snapshot_index, self.snapshot_term, tuple(self._runs))

    def _append(self, first: int, last: int, term: int) -> None:
        runs = self._runs
        if runs and runs[-1][1] >= first:
            self._cut(first)
        if runs and runs[-1][2] == term and runs[-1][1] == first - 1:
            runs[-1] = (runs[-1][0], last, term)
        else:
            runs.append((first, last, term))

    def _cut(self, first: int) -> None:
        runs = self._runs
        while runs and runs[-1][0] >= first:
            runs.pop()
        if runs and runs[-1][1] >= first:
            runs[-1] = (runs[-1][0], first - 1, runs[-1][2])
        if first <= self.snapshot_index:  # a blank disk
            self.snapshot_index = self.snapshot_term = 0

    def _snapshot(self, change: LogChange) -> None:
        self.snapshot_index, self.snapshot_term = change.last, change.term
        kept = [run for run in self._runs if run[1] >= change.first]
        if kept and kept[0][0] < change.first:
            kept[0] = (change.first, *kept[0][1:])
        self._runs = kept


class LogHistory(tuple[LogChange, ...]):
    """The changes of a log in the order of time, with some of its shapes."""

    def shape_at(self, t_us: int) -> LogShape:
        """The log at a time, after the changes at this time."""
        return self.shape_after(bisect_right(self, t_us, key=lambda change: change.t_us))

    def shape_after(self, changes: int) -> LogShape:
        """The log after so many changes."""
        shapes: list[LogShape] = self.__dict__.setdefault("shapes", [LogState().shape()])
        while len(shapes) <= changes // _SHAPE_EVERY:
            start = (len(shapes) - 1) * _SHAPE_EVERY
            shapes.append(_after(shapes[-1], self[start : start + _SHAPE_EVERY]))
        start = changes // _SHAPE_EVERY * _SHAPE_EVERY
        return _after(shapes[changes // _SHAPE_EVERY], self[start:changes])


def shape_of(changes: Iterable[LogChange], t_us: int) -> LogShape:
    """The log at a time, from its changes in the order of time."""
    history = changes if isinstance(changes, LogHistory) else LogHistory(changes)
    return history.shape_at(t_us)


def _after(shape: LogShape, changes: Iterable[LogChange]) -> LogShape:
    state = LogState(shape)
    for change in changes:
        state.change(change)
    return state.shape()
