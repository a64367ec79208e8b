"""Log matching: logs with an entry of the same index and term are identical up to that entry.

Source: Raft paper (extended version), figure 3 and section 5.3.

Checked step by step, as the paper proves it. Every pair (index, term) that any log ever held is
remembered with the entry and with the term of the entry before it. If two logs agree on all pairs
that they share, then by induction they agree on everything before. This is a little stricter than
the paper, which compares logs at one moment: an entry of a term is made once, by the one leader of
that term, so no two versions of it may ever have existed, whether or not they met.
"""

from __future__ import annotations

from collections.abc import Sequence

from qcore.core.effects import AppendLog
from qcore.core.entry import Entry
from qcore.sim.invariants.view import NodeView, Report, describe, same_entry

CHECK = "log_matching"


class LogMatching:
    """Compares each entry, when a server appends it, with what was ever seen at its place."""

    def __init__(self, report: Report) -> None:
        self._report = report
        #: (index, term) -> (the entry, the term before it if known, the server that had it first)
        self._seen: dict[tuple[int, int], tuple[Entry, int | None, int]] = {}

    def on_start(self, view: NodeView) -> None:
        """Check the whole restored log: a disk may have changed it."""
        self._check(view, view.entries, view.first_index, view.base_term)

    def on_append(self, view: NodeView, effect: AppendLog) -> None:
        """Called before the view takes the entries."""
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

    def _check(
        self, view: NodeView, entries: Sequence[Entry], index: int, previous: int | None
    ) -> None:
        seen = self._seen
        for entry in entries:
            term = entry.term
            known = seen.get((index, term))
            if known is None:
                seen[index, term] = (entry, previous, view.node)
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
            self._seen[entry.index, entry.term] = (other, previous, owner)
        elif previous is not None and previous != other_previous:
            self._report(
                CHECK,
                view.node,
                f"before (index {entry.index}, term {entry.term}) node {view.node} holds an entry "
                f"of term {previous}, node {owner} of term {other_previous}",
            )
