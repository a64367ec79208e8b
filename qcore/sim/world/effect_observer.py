"""Shows the effects of a node's replica to the observers of the run: trace, invariants, monitor, triggers, histories.

It executes nothing. Both fidelities use it: see `qcore.sim.world.simulated_node`.
"""

from __future__ import annotations

from collections.abc import Sequence

from qcore.core.effects import (
    AppendLog,
    MembershipChanged,
    RoleChanged,
    SaveCommit,
    StoreSnapshot,
    TruncateLog,
    VoteGranted,
)
from qcore.core.entry import DurableState, Membership
from qcore.core.log.durable_state import last_index
from qcore.replica.events import Applied, ReplicaEffect, Restored
from qcore.replica.replica import Replica
from qcore.replica.trace_recorder import ReplicaTracer
from qcore.sim.faults.triggers import NodeEvent, fire_matching
from qcore.sim.verdict.node_observer import NodeObserver
from qcore.sim.verdict.snapshot_histories import NodeHistory
from qcore.sim.world.node.node_clock import NodeClock
from qcore.sim.world.node.node_machine import HASH_EVERY, HashedMachine
from qcore.sim.world.services import Services


class EffectObserver:
    """Observes the effects of one node, over all its lives.

    Args:
        node_id: the node.
        services: the shared parts of the run.
        state_history: the history of the node's state.

    Attributes:
        snapshots_installed: how many snapshots of leaders the node has installed.
        snapshot_source: the peer that sent the latest part of a snapshot.
    """

    def __init__(self, node_id: int, services: Services, state_history: NodeHistory) -> None:
        self._node_id = node_id
        self._engine = services.engine
        self._trace = services.trace
        self._monitor = services.monitor
        self._triggers = services.triggers
        self._invariants = services.invariants
        self._promises = services.invariants.promises
        self._state_history = state_history
        self._observer = NodeObserver(node_id, services)
        self._recorder = ReplicaTracer(services.trace, node_id)
        self.snapshots_installed = 0
        self.snapshot_source = 0
        self._replica: Replica  # `begin_life` sets both
        self._machine: HashedMachine

    def process_started(self, durable: DurableState, clock: NodeClock) -> None:
        """Write the trace records of the start of a process.

        Args:
            durable: what it found on the disk.
            clock: the node's clock.
        """
        now, state = self._engine.now, durable.hard_state
        self._trace.up(now, self._node_id, state.term, state.commit, last_index(durable))
        self._recorder.started()
        if self._trace.takes_details:
            self._trace.clock(now, self._node_id, clock.ahead_us(now), clock.drift_ppm)

    def begin_life(self, replica: Replica, machine: HashedMachine) -> None:
        """Observe the replica of a process that has just started, from now on.

        Args:
            replica: its replica, which has taken no step.
            machine: its state machine.
        """
        self._replica = replica
        self._machine = machine
        self.use_membership(replica.core.membership)

    def record(self, effects: Sequence[ReplicaEffect], now: int) -> None:
        """Write the trace records of one step."""
        self._recorder.effects(now, effects)

    def observe(self, effects: Sequence[ReplicaEffect], now: int) -> None:
        """Show the effects of one step to the observers, in their order."""
        invariants = self._invariants
        view = invariants.view(self._node_id)
        for effect in effects:
            invariants.on_effect_of(view, effect)
            self._handle(effect)

    def _handle(self, effect: ReplicaEffect) -> None:
        """Show one effect to the observers that are not invariants. The most frequent ones first."""
        if isinstance(effect, Applied):
            self._on_applied(effect)
        elif isinstance(effect, AppendLog):
            self._append(effect)
        elif isinstance(effect, SaveCommit):
            self._save_commit(effect)
        elif isinstance(effect, RoleChanged):
            self._observer.on_role(effect)
        elif isinstance(effect, VoteGranted):
            self._observer.on_vote(effect)
        elif isinstance(effect, TruncateLog):
            self._truncate(effect)
        elif isinstance(effect, StoreSnapshot):
            self._store_snapshot(effect)
        elif isinstance(effect, Restored):
            self._on_restored(effect)
        elif isinstance(effect, MembershipChanged):
            self.use_membership(effect.membership)

    def use_membership(self, membership: Membership) -> None:
        """The node has this effective configuration."""
        self._observer.membership(membership)

    # -- writes -----------------------------------------------------------------------------------

    def _append(self, write: AppendLog) -> None:
        if write.entries:
            self._monitor.appended(self._node_id, write.entries[-1].index)

    def _truncate(self, write: TruncateLog) -> None:
        self._monitor.truncated(self._node_id, write.from_index)

    def _store_snapshot(self, write: StoreSnapshot) -> None:
        self._state_history.stored(write, self.snapshot_source)

    def _save_commit(self, effect: SaveCommit) -> None:
        self._observer.committed(effect.commit)

    # -- notifications ----------------------------------------------------------------------------

    def _on_applied(self, effect: Applied) -> None:
        self._state_history.apply(effect.entry)
        index = effect.entry.index
        # The step is over. The table is that after this entry only if it is the last one that the step applied.
        if index % HASH_EVERY == 0 and index == self._replica.readable_index:
            self._state_history.on_sessions(self._replica)
        if self._triggers.apply:
            entry = effect.entry
            fire_matching(
                self._triggers.apply, NodeEvent(self._node_id, term=entry.term, index=entry.index)
            )

    def _on_restored(self, effect: Restored) -> None:
        self.snapshots_installed += 1
        self._state_history.restored(effect.snapshot, self._machine.restored_hash)
