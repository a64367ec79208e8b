"""Log matching: logs with an entry of the same index and term are identical up to that entry.

Source: Raft paper (extended version), figure 3 and section 5.3.

The check works step by step, like the proof in the paper. It records every pair (index, term) that any log ever held,
with the entry and the term of the entry before it. If two logs agree on all pairs that they share, then by induction
they agree on everything before. This is a little stricter than the paper, which compares logs at one moment. But the
one leader of a term makes each entry of that term once, so two versions of it may never exist, not even at different
times.
"""

from __future__ import annotations

from collections.abc import Sequence

from qcore.core.effects import AppendLog
from qcore.core.entry import Entry
from qcore.sim.invariants.node_view import NodeView, Report, describe, same_entry
from qcore.sim.records.entry_archive import EntryArchive
from qcore.sim.records.first_entries import FirstEntries

CHECK = "log_matching"


class LogMatching:
    """Compares each appended entry with every earlier entry of the same index and term."""

    def __init__(self, report: Report) -> None:
        self._report = report
        #: The entries of the first term that was seen at each index, and by term those of later ones. An index rarely
        #: has several.
        self._first = FirstEntries()
        self._later: dict[int, FirstEntries] = {}

    def on_start(self, view: NodeView) -> None:
        """Check the whole restored log, because the disk may have changed it."""
        self._check(view, view.entries, view.first_index, view.base_term)

    def on_append(self, view: NodeView, effect: AppendLog) -> None:
        """Called before the view appends the entries."""
        if not effect.entries:
            return
        start = effect.entries[0].index
        if start > view.last_index + 1 or start < view.first_index:
            self._report(
                CHECK,
                view.node,
                f"node {view.node} appends from {start} on, but its log is "
                f"{view.first_index}..{view.last_index}",
            )
        self._check(view, effect.entries, start, view.term_at(start - 1))

    def pack(self, through: int, archive: EntryArchive) -> None:
        """Compress what is known of indexes up to `through`."""
        self._first.pack(through, archive)

    def _check(
        self, view: NodeView, entries: Sequence[Entry], index: int, previous: int | None
    ) -> None:
        for entry in entries:
            seen = self._table(index, entry.term)
            term = entry.term
            known = seen.get(index)
            if known is None:
                seen.set(index, entry, view.node, previous)
            elif known[0] is not entry or known[1] != previous:
                self._compare(view, entry, previous, known)
            if entry.index != index:
                self._report(
                    CHECK, view.node, f"node {view.node} holds {describe(entry)} at {index}"
                )
            if previous is not None and term < previous:
                self._report(
                    CHECK,
                    view.node,
                    f"node {view.node} appends {describe(entry)} after an entry of term {previous}",
                )
            previous = term
            index += 1

    def _table(self, index: int, term: int) -> FirstEntries:
        """Where the entries of this index and term are kept."""
        first = self._first.entry(index)
        if first is None or first.term == term:
            return self._first
        return self._later.setdefault(term, FirstEntries())

    def _compare(
        self,
        view: NodeView,
        entry: Entry,
        previous: int | None,
        known: tuple[Entry, int | None, int],
    ) -> None:
        other, other_previous, owner = known
        if not same_entry(entry, other):
            self._report(
                CHECK,
                view.node,
                f"node {view.node} holds {describe(entry)}, node {owner} {describe(other)}",
            )
        elif other_previous is None:
            self._table(entry.index, entry.term).set(entry.index, other, owner, previous)
        elif previous is not None and previous != other_previous:
            self._report(
                CHECK,
                view.node,
                f"before (index {entry.index}, term {entry.term}) node {view.node} holds an entry "
                f"of term {previous}, node {owner} of term {other_previous}",
            )
