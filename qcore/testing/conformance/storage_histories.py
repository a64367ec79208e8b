"""The random histories of the storage suite: Hypothesis strategies for writes that a Raft core could make."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from hypothesis import strategies as st

from qcore.core.effects import AppendLog, SaveHardState, StoreSnapshot, TruncateLog, Write
from qcore.core.entry import (
    DurableState,
    Entry,
    EntryKind,
    HardState,
    Membership,
    Snapshot,
    SnapshotMeta,
)
from qcore.core.log.durable_state import apply_write, first_index, last_index
from qcore.core.version import ClusterVersion

#: Any text that UTF-8 can carry, including NUL and the astral planes.
texts = st.text(st.characters(codec="utf-8"), max_size=40)
_kinds: st.SearchStrategy[EntryKind] = st.sampled_from(
    ["command", "noop", "membership", "session", "version", "access"]
)
_small = st.integers(0, 6)


@dataclass(slots=True, frozen=True)
class WriteChoice:
    """One raw choice. `StorageModel.make` turns it into a write that fits the state at that moment."""

    action: Literal["save", "append", "truncate", "compact", "install"]
    first: int
    second: int
    kind: EntryKind
    text: str


@dataclass(slots=True, frozen=True)
class StorageStep:
    """One call of `write`, and what happens around it.

    Attributes:
        choices: the writes of the call.
        advance_commit: by how much, at most, the commit index grows; None to pass no commit index.
        invalid_write: add a final write that does not fit, so the call must do nothing.
        reopen: close and open the storage after the call.
    """

    choices: tuple[WriteChoice, ...]
    advance_commit: int | None
    invalid_write: bool
    reopen: bool


choices = st.builds(
    WriteChoice,
    # Appends come first, because Hypothesis shrinks towards the first. Actions that empty the log are rare.
    st.sampled_from(["append"] * 3 + ["save", "truncate"] + ["compact"] * 4 + ["install"]),
    _small,
    _small,
    _kinds,
    texts,
)
steps = st.builds(
    StorageStep,
    st.lists(choices, max_size=4).map(tuple),
    st.none() | st.integers(0, 12),
    st.sampled_from([False] * 7 + [True]),
    st.sampled_from([False] * 3 + [True]),
)
histories = st.lists(steps, min_size=1, max_size=12)


@dataclass(slots=True)
class StorageModel:
    """The reference: `apply_write` on an in-memory state, and writes that obey Raft's rules.

    Terms and the commit index never fall, and no committed entry is truncated. A node's own snapshot covers only
    committed entries; a snapshot from the leader goes beyond them.
    """

    state: DurableState = field(default_factory=DurableState)
    next_write_id: int = 1

    def copy(self) -> StorageModel:
        """Return a copy that further writes do not change."""
        state = DurableState(
            replace(self.state.hard_state), self.state.snapshot, list(self.state.entries)
        )
        return StorageModel(state, self.next_write_id)

    def make(self, choice: WriteChoice) -> Write:
        """Return the write that the choice means now. The model has then applied it."""
        write = self._make(choice)
        apply_write(self.state, write)
        return write

    def invalid_write(self) -> Write:
        """Return a write that leaves a gap, which every storage must reject."""
        gap = last_index(self.state) + 2
        term = self.state.hard_state.term
        return AppendLog(self._write_id(), [Entry(gap, term, "command", "invalid_write", 0)])

    def advance_commit(self, by: int) -> int:
        """Advance the commit index, and return the one to pass along with the writes."""
        hard = self.state.hard_state
        hard.commit = max(hard.commit, min(hard.commit + by, last_index(self.state)))
        return hard.commit

    def _make(self, choice: WriteChoice) -> Write:
        snapshot_index = self._snapshot_index()
        match choice.action:
            case "save":
                return self._save(choice)
            case "append":
                return self._append(choice)
            case "truncate":
                floor = max(self.state.hard_state.commit, snapshot_index, self._first() - 1) + 1
                return TruncateLog(
                    self._write_id(), min(floor + choice.first, last_index(self.state) + 1)
                )
            case "compact":
                return self._compact(choice, snapshot_index)
            case "install":
                return self._install(choice)

    def _save(self, choice: WriteChoice) -> Write:
        hard = self.state.hard_state
        vote = choice.second or None
        return SaveHardState(
            self._write_id(),
            HardState(hard.term + choice.first, vote, hard.commit, choice.first * choice.second),
        )

    def _append(self, choice: WriteChoice) -> Write:
        first = last_index(self.state) + 1
        oldest = self._last_term()
        newest = self.state.hard_state.term
        entries = [
            Entry(
                first + offset,
                min(oldest + offset * choice.second, newest),
                choice.kind,
                choice.text * offset,
                1_700_000_000_000_000 + offset,
                offset * choice.second,
                "ann" * (choice.second % 2),
            )
            for offset in range(choice.first)
        ]
        return AppendLog(self._write_id(), entries)

    def _compact(self, choice: WriteChoice, snapshot_index: int) -> Write:
        upper = min(self.state.hard_state.commit, last_index(self.state))
        index = min(snapshot_index + choice.first, upper)
        held = [entry for entry in self.state.entries if entry.index == index]
        if not held:  # there is nothing to compact yet
            return self._save(choice)
        through = max(self._first() - 1, index - choice.second)
        snapshot = _snapshot(index, held[0].term, held[0].time_us, choice.text)
        return StoreSnapshot(self._write_id(), snapshot, through, reset_log=False)

    def _install(self, choice: WriteChoice) -> Write:
        index = max(self.state.hard_state.commit, self._snapshot_index()) + 1 + choice.first
        snapshot = _snapshot(
            index, self.state.hard_state.term, 1_800_000_000_000_000 + choice.second, choice.text
        )
        return StoreSnapshot(self._write_id(), snapshot, index, reset_log=True)

    def _first(self) -> int:
        return first_index(self.state)

    def _snapshot_index(self) -> int:
        return self.state.snapshot.meta.last_included_index if self.state.snapshot else 0

    def _last_term(self) -> int:
        if self.state.entries:
            return self.state.entries[-1].term
        return self.state.snapshot.meta.last_included_term if self.state.snapshot else 0

    def _write_id(self) -> int:
        self.next_write_id += 1
        return self.next_write_id - 1


def _snapshot(index: int, term: int, time_us: int, text: str) -> Snapshot:
    membership = Membership(
        voters=(1, 2, 3), addresses=((1, "127.0.0.1:1"),), cluster_id=f"c{index}"
    )
    version = ClusterVersion(1 + index % 2, "register" if index % 2 else "", 1)
    return Snapshot(SnapshotMeta(index, term, time_us, membership, index % 3, version), text * 3)
