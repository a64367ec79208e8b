"""What the invariants know of one server: its log, term, role, commit and applied index.

The view follows the effects of the replica's steps, so it shows the server's memory; at a restart it
is replaced by what the disk gave back.
"""

from __future__ import annotations

from collections.abc import Callable

from qcore.core.effects import AppendLog, Role, StoreSnapshot
from qcore.core.entry import DurableState, Entry

#: Called with the name of the check, the server concerned (0: none), and what was seen.
Report = Callable[[str, int, str], None]


def same_entry(one: Entry, other: Entry) -> bool:
    """True when two entries of equal index are the same entry: term, kind, data and time agree."""
    return one is other or (
        one.term == other.term
        and one.data == other.data
        and one.kind == other.kind
        and one.time_us == other.time_us
    )


def describe(entry: Entry) -> str:
    """A short text of an entry for a violation's note."""
    data = entry.data if len(entry.data) <= 60 else entry.data[:57] + "..."
    return f"(index {entry.index}, term {entry.term}, {entry.kind} {data!r}, {entry.time_us} us)"


class NodeView:
    """One server as seen from its effects.

    Attributes:
        node: its id.
        life: counts its starts.
        entries: its log from `first_index` on.
        first_index: index of the first entry that `entries` holds or would hold.
        base_term: term of the entry just before `first_index`, None when unknown.
        term, role: as last heard.
        commit, applied: highest index known to be committed, and applied, in this life.
    """

    __slots__ = (
        "applied",
        "base_term",
        "commit",
        "entries",
        "first_index",
        "life",
        "node",
        "role",
        "term",
    )

    def __init__(self, node: int) -> None:
        self.node = node
        self.life = 0
        self.entries: list[Entry] = []
        self.first_index = 1
        self.base_term: int | None = 0
        self.term = 0
        self.role: Role = "follower"
        self.commit = 0
        self.applied = 0

    def start(self, state: DurableState) -> None:
        """A new life begins from what the disk holds."""
        self.life += 1
        self.role = "follower"
        self.term = state.hard_state.term
        self.commit = state.hard_state.commit
        self.applied = 0
        self.first_index, self.base_term = 1, 0
        if state.snapshot is not None:
            meta = state.snapshot.meta
            self.first_index = meta.last_included_index + 1
            self.base_term = meta.last_included_term
            self.applied = meta.last_included_index
            self.commit = max(self.commit, meta.last_included_index)
        if state.entries and state.entries[0].index != self.first_index:
            # Entries kept from before the snapshot: what precedes them is not known here.
            self.first_index = state.entries[0].index
            self.base_term = 0 if self.first_index == 1 else None
        self.entries = list(state.entries)

    @property
    def last_index(self) -> int:
        return self.first_index + len(self.entries) - 1

    def entry_at(self, index: int) -> Entry | None:
        """The entry at `index`, or None when the log does not hold it."""
        offset = index - self.first_index
        return self.entries[offset] if 0 <= offset < len(self.entries) else None

    def term_at(self, index: int) -> int | None:
        """The term of the entry at `index`, or None when it is not known."""
        offset = index - self.first_index
        if 0 <= offset < len(self.entries):
            return self.entries[offset].term
        return self.base_term if offset == -1 else None

    def append(self, effect: AppendLog) -> None:
        if not effect.entries:
            return
        start = effect.entries[0].index
        if start != self.last_index + 1:
            # Reported as a broken log by then; follow it as well as can be.
            self.truncate(start)
            if start != self.last_index + 1:
                self.entries, self.first_index, self.base_term = [], start, None
        self.entries.extend(effect.entries)

    def truncate(self, from_index: int) -> None:
        del self.entries[max(0, from_index - self.first_index) :]

    def store_snapshot(self, effect: StoreSnapshot) -> None:
        meta = effect.snapshot.meta
        self.commit = max(
            self.commit, meta.last_included_index
        )  # a snapshot holds committed entries
        if effect.reset_log or effect.compact_through >= self.last_index:
            self.entries = []
            self.first_index = meta.last_included_index + 1
            self.base_term = meta.last_included_term
        elif effect.compact_through >= self.first_index:
            self.base_term = self.term_at(effect.compact_through)
            del self.entries[: effect.compact_through - self.first_index + 1]
            self.first_index = effect.compact_through + 1
