"""State-machine safety: no two servers apply different entries at one index.

Source: Raft paper (extended version), figure 3 and section 5.4.3. One server before and after a restart counts as two.
A server also applies entries in order, without a gap, and only committed ones (figure 2, "all servers": if
commitIndex > lastApplied, apply log[lastApplied]). A snapshot names term, times and configuration of the entries that
it replaces (section 7).
"""

from __future__ import annotations

from qcore.core.entry import Entry, Membership, Snapshot
from qcore.sim.invariants.node_view import NodeView, Report, describe, same_entry
from qcore.sim.records.entry_archive import EntryArchive
from qcore.sim.records.first_entries import FirstEntries

CHECK = "state_machine_safety"


class StateMachineSafety:
    """Compares each applied entry with the first one applied at its index."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._applied = FirstEntries()
        self._memberships: list[tuple[int, str]] = []  # index and data of each, in order

    def on_applied(self, view: NodeView, entry: Entry) -> None:
        index = entry.index
        known = self._applied.entry(index)
        if known is None:
            self._applied.set(index, entry, view.node)
            if entry.kind == "membership":
                self._memberships.append((index, entry.data))
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

    def on_snapshot(self, view: NodeView, snapshot: Snapshot) -> None:
        """The server stores a snapshot, its own or a leader's."""
        meta = snapshot.meta
        index = meta.last_included_index
        known = self._applied.entry(index)
        wrong = ""
        if known is not None:
            held = (known.term, known.time_us, known.clock_us)
            stated = (
                meta.last_included_term,
                meta.last_included_time_us,
                meta.last_included_clock_us,
            )
            if held != stated:
                wrong = f"term and times {stated}, {self._first(index)} with {held}"
        data = next((data for at, data in reversed(self._memberships) if at <= index), None)
        if data is not None and meta.membership != Membership.from_json(data):
            wrong = f"the configuration {meta.membership.to_json()}; that of the log is {data}"
        if wrong:
            text = f"node {view.node} stores a snapshot of index {index} that states {wrong}"
            self._report(CHECK, view.node, text)

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
