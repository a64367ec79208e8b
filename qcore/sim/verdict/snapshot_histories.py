"""Keeps the entries that produced every snapshot of a run, to answer whether a log holds a given entry.

A log begins after its snapshot, so the log alone cannot show which entries produced the state of the snapshot. The
history of a snapshot can: it is the list of entries that the node had applied when it took the snapshot. A node that
installs the snapshot, or restarts from it, continues that history.

Histories share segments, which grow only at the end. A history that continues differently begins a new segment with a
pointer to the place where it branches off. Therefore a history costs nothing until a node stores a snapshot, and then
only one list slice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from qcore.compiled_build import register_copies
from qcore.core.effects import StoreSnapshot
from qcore.core.entry import Entry, Snapshot
from qcore.core.log.compressed_text import text_checksum
from qcore.errors import StateMachineFailed
from qcore.replica.replica import Replica
from qcore.replica.sessions.session_table import SessionTable, digest_of_table
from qcore.replica.snapshot_builder import sessions_in
from qcore.sim.invariants import Invariants
from qcore.sim.invariants.session_differences import SessionDifferences
from qcore.sim.records.applied_entries import AppliedEntries
from qcore.sim.records.entry_archive import EntryArchive
from qcore.sim.records.entry_list import EntryList


@dataclass(eq=False)
class _Segment:
    """Consecutive entries after `parent`; the first has index `base + 1`. A segment grows only at its end."""

    parent: EntryHistory | None
    base: int
    entries: EntryList = field(default_factory=EntryList)

    @property
    def end(self) -> int:
        return self.base + len(self.entries)


@dataclass(frozen=True, eq=False)
class EntryHistory:
    """The entries up to index `through` that produced a state."""

    _segment: _Segment = field(repr=False)
    through: int

    @classmethod
    def unknown(cls, through: int = 0) -> EntryHistory:
        """The history of a state whose entries are not known; with 0, of the empty state."""
        return cls(_Segment(None, through), through)

    def extended(self, entries: Sequence[Entry]) -> EntryHistory:
        """This history and the entries that follow it."""
        segment = self._segment
        if segment.end != self.through:  # another history already continues from here
            segment = _Segment(self, self.through)
        segment.entries.extend(entries)
        return EntryHistory(segment, segment.end)

    def entry_at(self, index: int) -> Entry | None:
        """The entry at `index`, or None if the history does not hold one."""
        at: EntryHistory | None = self
        while at is not None and 0 < index <= at.through:
            offset = index - at._segment.base - 1
            if offset >= 0:
                entry = at._segment.entries[offset]
                return entry if entry.index == index else None
            at = at._segment.parent
        return None

    def after(self, index: int) -> list[Entry]:
        """The entries of this history that follow that of `index`, in order."""
        parts: list[list[Entry]] = []
        at: EntryHistory | None = self
        while at is not None and index < at.through:
            base = at._segment.base
            parts.append(at._segment.entries.between(max(0, index - base), at.through - base))
            at = at._segment.parent
        return [entry for part in reversed(parts) for entry in part]

    def pack(self, through: int, archive: EntryArchive) -> None:
        """Compress the entries up to index `through`. No answer changes."""
        at: EntryHistory | None = self
        while at is not None:
            at._segment.entries.pack(through - at._segment.base, archive)
            at = at._segment.parent


#: Identifies a snapshot: last index, last term, length and checksum of the text.
_Key = tuple[int, int, int, int]


class SnapshotHistories:
    """The histories of all snapshots of a run, by node and snapshot, and the entry applied last at each index.

    Attributes:
        sessions: explains differences between the session tables that the nodes report.
    """

    def __init__(self) -> None:
        self._known: dict[_Key, dict[int, EntryHistory]] = {}
        self._applied = AppliedEntries()
        self.sessions = SessionDifferences()
        #: Some node applied this entry.
        self.applied: Final = self._applied.add

    @property
    def entries(self) -> Mapping[int, Entry]:
        """The entry applied last at each index, over all nodes."""
        return self._applied

    def term_of(self, index: int, data: str) -> int:
        """The term of the entry applied last at this index; 0 if its text is not `data`.

        For a response that a node sends now: the node has just applied the entry.
        """
        entry = self._applied.get(index)
        return entry.term if entry is not None and entry.data == data else 0

    def captured(self, node: int, snapshot: Snapshot, history: EntryHistory) -> None:
        """The node took this snapshot when its state had this history."""
        self._known.setdefault(_key(snapshot), {})[node] = history

    def installed(self, node: int, snapshot: Snapshot, source: int) -> EntryHistory:
        """The node installs a snapshot from `source`; the snapshot has the same history here as there.

        A text that no node captured has no known history: it may hold anything.
        """
        held = self._known.setdefault(_key(snapshot), {})
        origin = held.get(source) or next(iter(held.values()), None)
        history = origin or EntryHistory.unknown(snapshot.meta.last_included_index)
        held[node] = history
        return history

    def of(self, node: int, snapshot: Snapshot | None) -> EntryHistory:
        """The history of a snapshot on the node's disk or in its memory."""
        if snapshot is None:
            return EntryHistory.unknown()
        held = self._known.get(_key(snapshot), {})
        return held.get(node) or EntryHistory.unknown(snapshot.meta.last_included_index)

    def pack(self, through: int, archive: EntryArchive) -> None:
        """Compress the applied entries up to index `through`. No answer changes."""
        self._applied.pack(through, archive)

    def mark_unknown(self, node: int, snapshot: Snapshot) -> None:
        """The state that the node restored from this snapshot is not the one that the history produces."""
        unknown = EntryHistory.unknown(snapshot.meta.last_included_index)
        self._known.setdefault(_key(snapshot), {})[node] = unknown


class NodeHistory:
    """The entries that produced the state of one node. The node reports what happens to it.

    Attributes:
        history: the entries up to the newest snapshot of the current life, taken or installed; empty without one.
        restored_through: the last index of that snapshot; 0 without one.
        captures: how many snapshots the node took and stored, over all its lives.
    """

    def __init__(self, node: int, histories: SnapshotHistories, invariants: Invariants) -> None:
        self._node = node
        self._histories = histories
        self._invariants = invariants
        self.history = EntryHistory.unknown()
        #: What this life has applied after the snapshot of `restored_through`, without the first `_moved` entries:
        #: those are in `history`, because snapshots cover them.
        self._applied: list[Entry] = []
        self._moved = 0
        self.restored_through = 0
        self.captures = 0

    def start(self, snapshot: Snapshot | None) -> None:
        """A new life starts from this snapshot."""
        self.history = self._histories.of(self._node, snapshot)
        self._applied, self._moved = [], 0
        self.restored_through = self.history.through
        if snapshot is not None:
            self._compare_sessions(snapshot)

    @property
    def applied(self) -> list[Entry]:
        """The entries that this life applied after the snapshot from which it started or that it installed last."""
        return [*self.history.after(self.restored_through), *self._applied]

    def stored(self, write: StoreSnapshot, source: int) -> None:
        """The node stores a snapshot that it took, or one that `source` sent."""
        snapshot = write.snapshot
        if write.reset_log:  # only a snapshot from a leader replaces the whole log
            self.history = self._histories.installed(self._node, snapshot, source)
            return
        self.captures += 1
        first, end = self.history.through, snapshot.meta.last_included_index
        place = first - self.restored_through - self._moved
        more = self._applied[place : place + max(0, end - first)]
        del self._applied[: place + len(more)]
        self._moved += place + len(more)
        self.history = self.history.extended(more)
        self._histories.captured(self._node, snapshot, self.history)
        self._compare_sessions(snapshot)
        archive = self._invariants.archive
        self.history.pack(write.compact_through, archive)
        self._histories.pack(write.compact_through, archive)

    def apply(self, entry: Entry) -> None:
        """The node applied this entry."""
        self._applied.append(entry)
        self._histories.applied(entry)

    def on_state_hash(self, index: int, digest: str) -> bool:
        """Report the digest of the node's state at this index; return whether other nodes had the same."""
        return self._invariants.on_state_hash(self._node, index, digest)

    def on_sessions(self, replica: Replica) -> None:
        """Report the session table of the node, which has no restore under way."""
        self._report_sessions(replica.applied_index, replica.sessions)

    def capturing(self, replica: Replica, digest: str) -> None:
        """The node freezes its state for a snapshot; the digest is that of the machine."""
        self.on_state_hash(replica.applied_index, digest)
        self.on_sessions(replica)

    def restored(self, snapshot: Snapshot, digest: str) -> None:
        """The machine was restored from a snapshot. If other nodes had another state there, the history is unknown."""
        index = snapshot.meta.last_included_index
        self._applied, self._moved = [], 0
        self.restored_through = index
        self._compare_sessions(snapshot)
        if not self.on_state_hash(index, digest):
            self._histories.mark_unknown(self._node, snapshot)
            self.history = EntryHistory.unknown(index)

    def _compare_sessions(self, snapshot: Snapshot) -> None:
        """Report the sessions that a node has once it has restored this snapshot."""
        try:
            table = sessions_in(snapshot.data)
        except StateMachineFailed:
            return  # no node can restore it either, and stops
        self._report_sessions(snapshot.meta.last_included_index, table)

    def _report_sessions(self, index: int, table: SessionTable) -> None:
        text = table.text()
        self._histories.sessions.saw(index, text)
        self._invariants.on_session_hash(self._node, index, digest_of_table(text))


def _key(snapshot: Snapshot) -> _Key:
    meta, data = snapshot.meta, snapshot.data
    checksum = text_checksum(data) if snapshot.checksum is None else snapshot.checksum
    return meta.last_included_index, meta.last_included_term, len(data), checksum


register_copies(globals())
