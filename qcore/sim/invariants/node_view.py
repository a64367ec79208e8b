"""The view that the invariants have of one server: its log, term, role, commit index and apply index.

The view follows the effects of the replica's steps, so it shows the server's memory. At a restart it starts again
from the contents of the disk.
"""

from __future__ import annotations

from collections.abc import Callable

from qcore.core.effects import AppendLog, Role, StoreSnapshot
from qcore.core.entry import DurableState, Entry

#: Called with the name of the check, the server (0: none), and a description of the violation.
Report = Callable[[str, int, str], None]


def same_entry(one: Entry, other: Entry) -> bool:
    """Whether two entries of equal index are the same entry: term, kind, data and time agree."""
    return one is other or (
        one.term == other.term
        and one.data == other.data
        and one.kind == other.kind
        and one.time_us == other.time_us
        and one.user == other.user
    )


def describe(entry: Entry) -> str:
    """A short description of an entry, for the note of a violation."""
    if entry.kind == "access":
        return f"(index {entry.index}, term {entry.term}, access, {entry.time_us} us)"
    data = entry.data if len(entry.data) <= 60 else entry.data[:57] + "..."
    return f"(index {entry.index}, term {entry.term}, {entry.kind} {data!r}, {entry.time_us} us)"


class NodeView:
    """The state of one server, derived from its effects.

    Attributes:
        node: the id of the server.
        life: the number of its starts.
        entries: its log from `first_index` on.
        first_index: the index of the first item of `entries`, or of the next one if there is none.
        base_term: the term of the entry before `first_index`; None if unknown.
        term, role: from the last effect that names them.
        commit, applied: the commit index and the apply index, in this life.
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
        """A new life starts from the contents of the disk."""
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
            # The log keeps entries from before the snapshot. The entry before the first of them is not known here.
            self.first_index = state.entries[0].index
            self.base_term = 0 if self.first_index == 1 else None
        self.entries = list(state.entries)

    @property
    def last_index(self) -> int:
        return self.first_index + len(self.entries) - 1

    def entry_at(self, index: int) -> Entry | None:
        """The entry at `index`, or None if the log does not hold it."""
        offset = index - self.first_index
        return self.entries[offset] if 0 <= offset < len(self.entries) else None

    def term_at(self, index: int) -> int | None:
        """The term of the entry at `index`, or None if it is not known."""
        offset = index - self.first_index
        if 0 <= offset < len(self.entries):
            return self.entries[offset].term
        return self.base_term if offset == -1 else None

    def append(self, effect: AppendLog) -> None:
        if not effect.entries:
            return
        start = effect.entries[0].index
        if start != self.last_index + 1:
            # log_matching has already reported this broken log. Follow it as well as possible.
            self.truncate(start)
            if start != self.last_index + 1:
                self.entries, self.first_index, self.base_term = [], start, None
        self.entries.extend(effect.entries)

    def truncate(self, from_index: int) -> None:
        del self.entries[max(0, from_index - self.first_index) :]

    def store_snapshot(self, effect: StoreSnapshot) -> None:
        meta = effect.snapshot.meta
        # A snapshot contains only committed entries.
        self.commit = max(self.commit, meta.last_included_index)
        if effect.reset_log or effect.compact_through >= self.last_index:
            self.entries = []
            self.first_index = meta.last_included_index + 1
            self.base_term = meta.last_included_term
        elif effect.compact_through >= self.first_index:
            self.base_term = self.term_at(effect.compact_through)
            del self.entries[: effect.compact_through - self.first_index + 1]
            self.first_index = effect.compact_through + 1
