"""Leader append-only: a leader never overwrites or deletes entries in its log; it only appends.

Source: Raft paper (extended version), figure 3 and section 5.3.
"""

from __future__ import annotations

from qcore.core.effects import AppendLog, StoreSnapshot, TruncateLog
from qcore.sim.invariants.node_view import NodeView, Report

CHECK = "leader_append_only"


class LeaderAppendOnly:
    """Judges each write of a server that leads."""

    def __init__(self, report: Report) -> None:
        self._report = report

    def on_truncate(self, view: NodeView, effect: TruncateLog) -> None:
        if view.role == "leader" and effect.from_index <= view.last_index:
            self._report(
                CHECK,
                view.node,
                f"leader {view.node} of term {view.term} truncates its log from {effect.from_index} "
                f"(it ends at {view.last_index})",
            )

    def on_append(self, view: NodeView, effect: AppendLog) -> None:
        if view.role == "leader" and effect.entries and effect.entries[0].index <= view.last_index:
            self._report(
                CHECK,
                view.node,
                f"leader {view.node} of term {view.term} overwrites its log at "
                f"{effect.entries[0].index} (it ends at {view.last_index})",
            )

    def on_snapshot(self, view: NodeView, effect: StoreSnapshot) -> None:
        if view.role == "leader" and effect.reset_log:
            self._report(
                CHECK,
                view.node,
                f"leader {view.node} of term {view.term} replaces its log by another's snapshot",
            )
