"""`Invariants`: shows the effects of all nodes to the checks of the safety properties."""

from __future__ import annotations

from typing import Final

from qcore.core.effects import (
    AppendLog,
    MembershipChanged,
    RoleChanged,
    SaveCommit,
    SaveHardState,
    Send,
    StoreSnapshot,
    TruncateLog,
    VoteGranted,
)
from qcore.core.entry import DurableState
from qcore.replica.events import Applied, ReplicaEffect, Restored
from qcore.sim.invariants.commit_monotonic import CommitMonotonic
from qcore.sim.invariants.election_safety import ElectionSafety
from qcore.sim.invariants.leader_append_only import LeaderAppendOnly
from qcore.sim.invariants.leader_completeness import LeaderCompleteness
from qcore.sim.invariants.log_matching import LogMatching
from qcore.sim.invariants.node_view import NodeView, Report
from qcore.sim.invariants.promises import Promises
from qcore.sim.invariants.state_hash import SESSION_CHECK, StateHash
from qcore.sim.invariants.state_machine_safety import StateMachineSafety
from qcore.sim.records.entry_archive import EntryArchive

#: The names that `report` is called with.
CHECKS: Final = (
    "election_safety",
    "leader_append_only",
    "log_matching",
    "leader_completeness",
    "state_machine_safety",
    "durability",
    "quorum",
    "commit_monotonic",
    "state_hash",
    "session_hash",
)

#: The limit of reports for each check. Once a cluster is broken, nearly every step violates a property.
_REPORTS_PER_CHECK: Final = 20


class Invariants:
    """Watches all servers of one run.

    Args:
        report: called with (check, node, note) for each violation, at most 20 times for each check.

    Attributes:
        promises: the checks of what servers send; the driver reports starts and messages to it.
        state_hash, session_hash: the checks of states and of session tables; the driver may set their `explain`.
        archive: packs old entries, for the checks and for the histories of the nodes.
    """

    def __init__(self, report: Report) -> None:
        self._report = report
        self._reports: dict[str, int] = {}
        self._views: dict[int, NodeView] = {}
        self.archive = EntryArchive()
        limited = self._limited
        self._election = ElectionSafety(limited)
        self._append_only = LeaderAppendOnly(limited)
        self._matching = LogMatching(limited)
        self._completeness = LeaderCompleteness(limited)
        self._machine = StateMachineSafety(limited)
        self._commit = CommitMonotonic(limited)
        self.promises = Promises(limited)
        self.state_hash = StateHash(limited)
        self.session_hash = StateHash(limited, SESSION_CHECK, "session table")
        self._has_sessions = False

    def on_start(self, node: int, state: DurableState) -> None:
        """The server starts, for the first time or again, from `state`, which this object does not keep."""
        view = self.view(node)
        view.start(state)
        if state.snapshot is not None:
            self._on_replaced(node, state.snapshot.meta.last_included_index)
        self._election.on_start(view, state.hard_state)
        self._matching.on_start(view)
        self._commit.on_start(view)
        self._completeness.on_commit(view)

    def on_effect(self, node: int, effect: ReplicaEffect, now: int) -> None:
        """The server's step returned this effect; call it in the order of the step's list."""
        self.on_effect_of(self.view(node), effect)

    def on_effect_of(self, view: NodeView, effect: ReplicaEffect) -> None:
        """As `on_effect`, for the server with this view."""
        # The most frequent ones first.
        if isinstance(effect, Send):
            self._election.on_send(view, effect)
        elif isinstance(effect, Applied):
            self._machine.on_applied(view, effect.entry)
        elif isinstance(effect, AppendLog):
            self._on_append(view, effect)
        elif isinstance(effect, SaveCommit):
            self._on_commit(view, effect)
        elif isinstance(effect, SaveHardState):
            self._on_hard_state(view, effect)
        elif isinstance(effect, VoteGranted):
            self._election.on_vote(view, effect)
        elif isinstance(effect, RoleChanged):
            self._on_role(view, effect)
        elif isinstance(effect, TruncateLog):
            self._on_truncate(view, effect)
        elif isinstance(effect, StoreSnapshot):
            self._on_snapshot(view, effect)
        elif isinstance(effect, Restored):
            self._on_restored(view, effect)
        elif isinstance(effect, MembershipChanged):
            self.promises.on_membership(view, effect.membership)

    def on_wipe(self, node: int, state: DurableState) -> None:
        """The server is down and loses its disk, which held `state`. Its votes still count as cast."""
        self._election.on_start(self.view(node), state.hard_state)

    def on_stop(self, node: int) -> None:
        """The server stopped or crashed, so it no longer leads."""
        self.view(node).role = "follower"

    def on_state_hash(self, node: int, index: int, digest: str) -> bool:
        """The server's state machine has this digest after it applied `index` or restored a snapshot of that index.

        Returns:
            Whether the digest equals that of the first server at this index.
        """
        return self.state_hash.on_state_hash(node, index, digest)

    def on_session_hash(self, node: int, index: int, digest: str) -> None:
        """The server's session table has this digest after it applied `index`; empty: there is no session.

        Nothing is kept of a run without sessions.
        """
        self._has_sessions = self._has_sessions or bool(digest)
        if self._has_sessions:
            self.session_hash.on_state_hash(node, index, digest)

    # -- by effect -------------------------------------------------------------------------------

    def _on_append(self, view: NodeView, effect: AppendLog) -> None:
        self._append_only.on_append(view, effect)
        self._matching.on_append(view, effect)
        view.append(effect)

    def _on_truncate(self, view: NodeView, effect: TruncateLog) -> None:
        self._append_only.on_truncate(view, effect)
        self._commit.on_truncate(view, effect)
        view.truncate(effect.from_index)

    def _on_snapshot(self, view: NodeView, effect: StoreSnapshot) -> None:
        self._append_only.on_snapshot(view, effect)
        self._machine.on_snapshot(view, effect.snapshot)
        view.store_snapshot(effect)
        self._pack(view.first_index - 1)

    def _on_hard_state(self, view: NodeView, effect: SaveHardState) -> None:
        self._election.on_hard_state(view, effect)
        view.term = effect.hard_state.term

    def _on_commit(self, view: NodeView, effect: SaveCommit) -> None:
        self._commit.on_commit(view, effect)
        view.commit = effect.commit
        self._completeness.on_commit(view)
        self.promises.on_commit(view, effect.commit)

    def _on_role(self, view: NodeView, effect: RoleChanged) -> None:
        view.role = effect.role
        view.term = max(view.term, effect.term)
        self._election.on_role(view, effect)
        self._completeness.on_role(view, effect)
        if effect.role == "leader":
            self.promises.on_leader(view, effect.term)

    def _on_restored(self, view: NodeView, effect: Restored) -> None:
        self._machine.on_restored(view, effect.snapshot)
        self._on_replaced(view.node, effect.snapshot.meta.last_included_index)

    def _on_replaced(self, node: int, index: int) -> None:
        self.state_hash.on_restored(node, index)
        self.session_hash.on_restored(node, index)

    def _pack(self, through: int) -> None:
        """Compress what the checks keep of entries up to `through`, which a server has removed from its log."""
        for check in (self._matching, self._completeness, self._machine):
            check.pack(through, self.archive)
        self.state_hash.pack(through)

    def view(self, node: int) -> NodeView:
        """The view of a server. It stays the same object over all its lives."""
        view = self._views.get(node)
        if view is None:
            view = self._views[node] = NodeView(node)
        return view

    def _limited(self, check: str, node: int, note: str) -> None:
        count = self._reports.get(check, 0)
        self._reports[check] = count + 1
        if count < _REPORTS_PER_CHECK:
            self._report(check, node, note)
