"""Leader completeness: an entry committed in a term is in the logs of the leaders of all higher terms.

Source: Raft paper (extended version), figure 3 and section 5.4.3.

The commit term of an entry is the term of the first server that committed it. It is never lower than the term in
which a quorum held the entry. The check demands the entry only from leaders of higher terms, so it never blames a
leader that was elected late, by votes that were in transit for a long time.
"""

from __future__ import annotations

from qcore.core.effects import RoleChanged
from qcore.sim.invariants.node_view import NodeView, Report, describe
from qcore.sim.records.entry_archive import EntryArchive
from qcore.sim.records.first_entries import FirstEntries

CHECK = "leader_completeness"


class LeaderCompleteness:
    """Records committed entries with their commit terms, and inspects each new leader."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._committed = FirstEntries()
        self._highest = 0
        self._highest_by_term: dict[int, int] = {}  # commit term -> highest index committed in it
        self._inspected: dict[int, int] = {}  # node -> the term in which it was found complete

    def on_commit(self, view: NodeView) -> None:
        """Called after the view was updated with the new commit index."""
        commit = min(view.commit, view.last_index)
        if commit <= self._highest:
            return
        for index in range(self._highest + 1, commit + 1):
            entry = view.entry_at(index)
            if entry is not None:
                self._committed.set(index, entry, view.node)
        self._highest = commit
        self._highest_by_term[view.term] = commit

    def on_role(self, view: NodeView, effect: RoleChanged) -> None:
        if effect.role != "leader" or self._inspected.get(view.node) == effect.term:
            return
        self._inspected[view.node] = effect.term
        through = max(
            (index for term, index in self._highest_by_term.items() if term < effect.term),
            default=0,
        )
        if through and not self._holds(view, through):
            self._report_missing(view, effect.term, through)

    def pack(self, through: int, archive: EntryArchive) -> None:
        """Compress what is known of indexes up to `through`."""
        self._committed.pack(through, archive)

    def _holds(self, view: NodeView, index: int) -> bool:
        """Whether the log holds all committed entries up to `index`: by log matching, the term at `index` shows it."""
        entry = self._committed.entry(index)
        if entry is None or index < view.first_index - 1:
            return True  # covered by a snapshot
        return view.term_at(index) == entry.term

    def _report_missing(self, view: NodeView, term: int, through: int) -> None:
        for index in range(max(1, view.first_index), through + 1):
            if not self._holds(view, index):
                missing = self._committed.entry(index)
                break
        else:
            missing = self._committed.entry(through)
        assert missing is not None, "an entry is only missing if it is known"
        self._report(
            CHECK,
            view.node,
            f"node {view.node} leads term {term} without the committed {describe(missing)}",
        )
