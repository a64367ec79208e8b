"""State-machine safety: no two servers apply different entries at one index.

Source: Raft paper (extended version), figure 3 and section 5.4.3. One server before and after a restart counts as two.
A server also applies entries in order, without a gap, and only committed ones (figure 2, "all servers": if
commitIndex > lastApplied, apply log[lastApplied]).
"""

from __future__ import annotations

from qcore.core.entry import Entry, Snapshot
from qcore.sim.invariants.first_entries import FirstEntries
from qcore.sim.invariants.node_view import NodeView, Report, describe, same_entry
from qcore.sim.records.entry_archive import EntryArchive

CHECK = "state_machine_safety"


class StateMachineSafety:
    """Compares each applied entry with the first one applied at its index."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._applied = FirstEntries()

    def on_applied(self, view: NodeView, entry: Entry) -> None:
        index = entry.index
        known = self._applied.entry(index)
        if known is None:
            self._applied.set(index, entry, view.node)
        elif known is not entry and not same_entry(known, entry):
            self._report(
                CHECK,
                view.node,
                f"node {view.node} applies {describe(entry)}, {self._first(index)}",
            )
        if index != view.applied + 1:
            self._check_order(view, entry)
        if index > view.commit:
            self._report(
                CHECK,
                view.node,
                f"node {view.node} applies {describe(entry)}, but its commit index is {view.commit}",
            )
        view.applied = index

    def on_restored(self, view: NodeView, snapshot: Snapshot) -> None:
        meta = snapshot.meta
        known = self._applied.entry(meta.last_included_index)
        if known is not None and known.term != meta.last_included_term:
            self._report(
                CHECK,
                view.node,
                f"node {view.node} restores a snapshot that ends with term {meta.last_included_term} "
                f"at {meta.last_included_index}, {self._first(meta.last_included_index)}",
            )
        view.applied = meta.last_included_index

    def pack(self, through: int, archive: EntryArchive) -> None:
        """Compress what is known of indexes up to `through`."""
        self._applied.pack(through, archive)

    def _first(self, index: int) -> str:
        known = self._applied.get(index)
        assert known is not None, "it was compared"
        return f"node {known[2]} applied {describe(known[0])}"

    def _check_order(self, view: NodeView, entry: Entry) -> None:
        if entry.index <= view.applied:
            self._report(
                CHECK,
                view.node,
                f"node {view.node} applies {describe(entry)} again or late: it has applied "
                f"{view.applied}",
            )
            return
        for index in range(view.applied + 1, entry.index):
            skipped = view.entry_at(index)
            if skipped is None or skipped.kind == "command":
                self._report(
                    CHECK,
                    view.node,
                    f"node {view.node} applies {describe(entry)} and skips index {index}",
                )
                return
