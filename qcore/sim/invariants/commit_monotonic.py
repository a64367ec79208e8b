"""Commit is monotonic: the commit index never goes back or beyond the log, and no entry that it covers is removed.

Source: Raft paper (extended version), figure 2: commitIndex "increases monotonically"; a follower takes
min(leaderCommit, index of last new entry). This holds within one life of a server: the commit index need not be
durable, so a restart may lower it.
"""

from __future__ import annotations

from qcore.core.effects import SaveCommit, TruncateLog
from qcore.sim.invariants.node_view import NodeView, Report

CHECK = "commit_monotonic"


class CommitMonotonic:
    """Judges each new commit index and each truncation."""

    def __init__(self, report: Report) -> None:
        self._report = report

    def on_start(self, view: NodeView) -> None:
        """A stored commit index must not be beyond the stored log, because other entries may come there."""
        self._within_log(view, view.commit)

    def on_commit(self, view: NodeView, effect: SaveCommit) -> None:
        """Called before the view is updated with the new commit index."""
        if effect.commit < view.commit:
            self._report(
                CHECK,
                view.node,
                f"node {view.node} lowers its commit index from {view.commit} to {effect.commit}",
            )
        self._within_log(view, effect.commit)

    def on_truncate(self, view: NodeView, effect: TruncateLog) -> None:
        if effect.from_index <= view.commit:
            self._report(
                CHECK,
                view.node,
                f"node {view.node} truncates its log from {effect.from_index} on, but has "
                f"committed up to {view.commit}",
            )

    def _within_log(self, view: NodeView, commit: int) -> None:
        if commit > view.last_index:
            self._report(
                CHECK,
                view.node,
                f"node {view.node} has commit index {commit}, but its log ends at {view.last_index}",
            )
