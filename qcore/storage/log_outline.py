"""The shape of a log without its contents: enough to reject a write that does not fit before it starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import assert_never

from qcore.compiled_build import register_copies
from qcore.core.effects import AppendLog, SaveHardState, StoreSnapshot, TruncateLog, Write
from qcore.core.entry import DurableState, Entry, Snapshot


@dataclass
class LogOutline:
    """The bounds, terms and snapshot index of a durable state, kept in a few integers.

    `after` accepts only what `qcore.core.log.durable_state.apply_write` accepts. It also rejects writes whose result no
    `load` may return: a gap inside an append or between snapshot and log, falling terms (paper, section 5.4.1: log
    matching), an entry newer than the hard state's term (paper, figure 2: the term is saved first).

    Attributes:
        first_index: index of the first entry, or the one that the next entry would have.
        last_index: index of the last entry, or of the snapshot's last entry, or 0.
        hard_term: the hard state's term.
        snapshot_index: the snapshot's last included index, or 0.
        snapshot_term: the snapshot's last included term, or 0.
        runs: `(index, term)` of each entry whose term differs from the one before.
    """

    first_index: int = 1
    last_index: int = 0
    hard_term: int = 0
    snapshot_index: int = 0
    snapshot_term: int = 0
    runs: list[tuple[int, int]] = field(default_factory=list)

    @classmethod
    def of(cls, state: DurableState) -> LogOutline:
        """The outline of a whole state.

        Raises:
            ValueError: no valid log has this state.
        """
        outline = cls(hard_term=state.hard_state.term)
        if state.entries:
            outline.first_index = state.entries[0].index
            outline.last_index = outline.first_index - 1
            outline._append(state.entries)
        if state.snapshot is not None:
            outline._store(state.snapshot, outline.first_index - 1, reset=not state.entries)
        outline._check()
        return outline

    def after(self, writes: Sequence[Write]) -> LogOutline:
        """The outline after all the writes. This one does not change.

        Raises:
            ValueError: a write does not fit; none may be carried out.
        """
        if len(writes) == 1:
            write = writes[0]
            if isinstance(write, AppendLog) and self._continues(write.entries):
                return LogOutline(
                    self.first_index,
                    self.last_index + len(write.entries),
                    self.hard_term,
                    self.snapshot_index,
                    self.snapshot_term,
                    self.runs,  # no outline changes a list that another one may have
                )
        result = LogOutline(
            self.first_index,
            self.last_index,
            self.hard_term,
            self.snapshot_index,
            self.snapshot_term,
            self.runs.copy(),
        )
        for write in writes:
            match write:
                case SaveHardState(hard_state=hard_state):
                    result.hard_term = hard_state.term
                case AppendLog(entries=entries):
                    result._append(entries)
                case TruncateLog(from_index=from_index):
                    result._truncate(from_index)
                case StoreSnapshot(snapshot=snapshot, compact_through=through, reset_log=reset):
                    result._store(snapshot, through, reset)
                case _:
                    assert_never(write)
        result._check()
        return result

    @property
    def is_empty(self) -> bool:
        """True while the log holds no entry."""
        return self.last_index < self.first_index

    def _continues(self, entries: Sequence[Entry]) -> bool:
        """Whether the entries fit, and have the term of the last entry. Then no other rule can be broken."""
        if not self.runs:
            return False
        expected, term = self.last_index + 1, self.runs[-1][1]
        for entry in entries:
            if entry.index != expected or entry.term != term:
                return False
            expected += 1
        return True

    def _append(self, entries: Sequence[Entry]) -> None:
        expected = self.last_index + 1
        term = self.runs[-1][1] if self.runs else self.snapshot_term
        for entry in entries:
            if entry.index != expected:
                raise ValueError(f"append of entry {entry.index}, the log ends at {expected - 1}")
            if entry.term != term or not self.runs:
                if entry.term < term:
                    raise ValueError(
                        f"entry {entry.index} has term {entry.term}, below the {term} before it"
                    )
                term = entry.term
                self.runs.append((expected, term))
            expected += 1
        self.last_index = expected - 1

    def _truncate(self, from_index: int) -> None:
        if from_index < self.first_index:
            raise ValueError(f"truncate from {from_index}, the log starts at {self.first_index}")
        if from_index <= self.snapshot_index:
            raise ValueError(
                f"truncate from {from_index}, the snapshot covers {self.snapshot_index}"
            )
        self.last_index = min(self.last_index, from_index - 1)
        while self.runs and self.runs[-1][0] >= from_index:
            self.runs.pop()

    def _store(self, snapshot: Snapshot, through: int, reset: bool) -> None:
        self.snapshot_index = snapshot.meta.last_included_index
        self.snapshot_term = snapshot.meta.last_included_term
        if reset or self.is_empty or through >= self.last_index:
            if not (reset or self.is_empty) and self.last_index > self.snapshot_index:
                raise ValueError(
                    f"compaction through {through} drops entries up to {self.last_index}, "
                    f"the snapshot ends at {self.snapshot_index}"
                )
            self.runs = []
            self.first_index = self.snapshot_index + 1
            self.last_index = self.snapshot_index
            return
        self.first_index = max(self.first_index, through + 1)
        while len(self.runs) > 1 and self.runs[1][0] <= self.first_index:
            del self.runs[0]
        self.runs[0] = (self.first_index, self.runs[0][1])

    def _check(self) -> None:
        newest = self.runs[-1][1] if self.runs else self.snapshot_term
        if max(newest, self.snapshot_term) > self.hard_term:
            raise ValueError(
                f"the log or snapshot reaches term {max(newest, self.snapshot_term)}, "
                f"the hard state only {self.hard_term}"
            )
        if self.is_empty:
            return
        if self.first_index > self.snapshot_index + 1:
            raise ValueError(
                f"the log starts at entry {self.first_index}, "
                f"the snapshot ends at {self.snapshot_index}"
            )
        if self.last_index < self.snapshot_index:
            raise ValueError(
                f"the log ends at entry {self.last_index}, "
                f"the snapshot only at {self.snapshot_index}"
            )
        self._check_snapshot_term()

    def _check_snapshot_term(self) -> None:
        """Check that the terms of the snapshot's last entry and of its neighbour in the log agree."""
        if self.first_index > self.snapshot_index:
            if self.runs[0][1] < self.snapshot_term:
                raise ValueError(
                    f"entry {self.first_index} has term {self.runs[0][1]}, "
                    f"the snapshot before it {self.snapshot_term}"
                )
            return
        held = [term for index, term in self.runs if index <= self.snapshot_index][-1]
        if held != self.snapshot_term:
            raise ValueError(
                f"entry {self.snapshot_index} has term {held}, "
                f"the snapshot that ends there {self.snapshot_term}"
            )


register_copies(globals())
