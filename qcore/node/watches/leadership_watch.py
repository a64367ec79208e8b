"""`LeadershipWatch`: reports when this node leads and knows what is committed, and when it no longer leads."""

from __future__ import annotations

from collections.abc import Callable

from qcore.core.effects import RoleChanged
from qcore.core.raft import RaftCore
from qcore.node.replica_changes import ReplicaChanges


class LeadershipWatch:
    """Reports the leadership of this node.

    Args:
        core: this node's core.
        changes: the observer of the replica. This class sets its `on_role`, and its `on_step` for the time between an
            election and the first commit of the term, so that other steps cost nothing.
        report: called with the term once this node leads and has committed an entry of that term, and with None once it
            no longer leads. Each term is followed by None. It is called within a step, so it must be quick.
    """

    def __init__(
        self, core: RaftCore, changes: ReplicaChanges, report: Callable[[int | None], None]
    ) -> None:
        self._core = core
        self._changes = changes
        self._report = report
        self._reported: int | None = None
        self._usual_on_step = changes.on_step
        changes.on_role = self._role_changed

    def end(self) -> None:
        """The node can no longer lead, because it has failed. Idempotent."""
        self._changes.on_step = self._usual_on_step
        if self._reported is not None:
            self._reported = None
            self._report(None)

    def _role_changed(self, change: RoleChanged) -> None:
        if change.role == "leader" and change.term == self._reported:
            return
        self.end()
        if change.role == "leader":
            self._changes.on_step = self._on_step

    def _on_step(self) -> None:
        self._usual_on_step()
        if self._core.has_committed_in_term:
            self._changes.on_step = self._usual_on_step
            self._reported = self._core.term
            self._report(self._core.term)
