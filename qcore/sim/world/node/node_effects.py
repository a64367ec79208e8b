"""Executes the effects of a simulated node's replica: on the network, the disk, and the observers of the run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

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
from qcore.core.entry import Membership
from qcore.replica.durability_gate import DurabilityGate
from qcore.replica.events import Applied, Notice, ReplicaEffect, Reply, Restored, WatchEnded
from qcore.replica.messages import PeerMessage
from qcore.replica.trace_recorder import ReplicaTracer, trace_fields
from qcore.sim.faults.triggers import NodeEvent, fire_matching
from qcore.sim.verdict.node_observer import NodeObserver
from qcore.sim.verdict.snapshot_histories import NodeHistory
from qcore.sim.world.network import Link
from qcore.sim.world.node.disk import SimDisk
from qcore.sim.world.node.node_machine import HashedMachine
from qcore.sim.world.node.peer_connections import PeerConnections
from qcore.sim.world.node.pending_requests import PendingRequests
from qcore.sim.world.node.watcher_links import WatchConnections
from qcore.sim.world.program_front import FRONT_IDS, ProgramFront
from qcore.sim.world.services import Services


class NodeEffects:
    """Executes the effects of one node, over all its lives.

    Args:
        node_id: the node.
        services: the shared parts of the run.
        disk: the node's disk.
        state_history: the history of the node's state.
        pending_requests: where replies go.
        watch_connections: where notices go, and the replies to requests to watch.
        links: the links that leave the node, by target.

    Attributes:
        messages_sent: how many messages the node has sent to peers.
        snapshots_installed: how many snapshots of leaders the node has installed.
        snapshot_source: the peer that sent the latest part of a snapshot.
    """

    def __init__(
        self,
        node_id: int,
        services: Services,
        disk: SimDisk,
        state_history: NodeHistory,
        pending_requests: PendingRequests,
        watch_connections: WatchConnections,
        links: Mapping[int, Link],
    ) -> None:
        self._node_id = node_id
        self._engine = services.engine
        self._network = services.network
        self._trace = services.trace
        self._monitor = services.monitor
        self._triggers = services.triggers
        self._check = services.invariants.on_effect
        self._disk = disk
        self._state_history = state_history
        self._links = links
        self._pending_requests = pending_requests
        self._watch_connections = watch_connections
        self._observer = NodeObserver(node_id, services)
        self._recorder = ReplicaTracer(services.trace, node_id)
        self.messages_sent = 0
        self.snapshots_installed = 0
        self.snapshot_source = 0
        # `begin_life` sets these.
        self._gate: DurabilityGate
        self._machine: HashedMachine
        self._connections: PeerConnections
        self._front: ProgramFront | None = None
        # Any: the key is the type of the argument, which the type of a dict cannot express.
        self._handlers: dict[type, Callable[[Any], None]] = {
            Send: self._send,
            Reply: self._reply,
            Notice: self._notice,
            WatchEnded: self._watch_ended,
            AppendLog: self._append,
            SaveHardState: disk.submit,
            TruncateLog: self._truncate,
            StoreSnapshot: self._store_snapshot,
            SaveCommit: self._save_commit,
            Applied: self._on_applied,
            Restored: self._on_restored,
            RoleChanged: self._role_changed,
            VoteGranted: self._observer.on_vote,
            MembershipChanged: self._on_membership,
        }

    def begin_life(
        self,
        machine: HashedMachine,
        connections: PeerConnections,
        membership: Membership,
        front: ProgramFront | None,
    ) -> None:
        """Execute the effects of the replica of a process that has just started, from now on.

        Args:
            machine: its state machine.
            connections: its connections.
            membership: the configuration with which it starts.
            front: serves client programs.
        """
        self._gate = DurabilityGate()
        self._machine = machine
        self._connections = connections
        self._front = front
        self._use_membership(membership)

    def execute(self, effects: list[ReplicaEffect], now: int) -> None:
        """Execute the effects of one step, and start a sync of what they write."""
        node = self._node_id
        self._recorder.effects(now, effects)
        self._connections.admission.on_committed_membership()
        check = self._check
        handlers = self._handlers
        for effect in effects:
            check(node, effect, now)
            handler = handlers.get(type(effect))
            if handler is not None:
                handler(effect)
        self._disk.start_sync()

    def release(self, write_id: int) -> None:
        """Send the messages that waited until this write was durable."""
        for send in self._gate.release(write_id):
            self._transmit(send.to, send.message)

    # -- messages ---------------------------------------------------------------------------------

    def _send(self, effect: Send[PeerMessage]) -> None:
        if self._gate.admit(effect):
            self._transmit(effect.to, effect.message)

    def _transmit(self, to: int, message: PeerMessage) -> None:
        self.messages_sent += 1
        message_id = f"{self._node_id}-{self.messages_sent}"
        name, term, note = trace_fields(message)
        now = self._engine.now
        self._trace.send(now, self._node_id, to, message_id, name, term, note)
        link = self._links.get(to)
        if link is None:
            self._trace.drop(now, to, self._node_id, message_id, name, "no such node")
            return
        self._network.send(link, message, message_id)
        if self._triggers.send:
            fire_matching(
                self._triggers.send, NodeEvent(self._node_id, name, to, term=term, is_sender=True)
            )

    def _reply(self, reply: Reply) -> None:
        if self._front is not None and reply.request_id >= FRONT_IDS:
            self._front.reply(reply)
        elif not self._watch_connections.take_reply(reply):
            self._pending_requests.reply(reply)

    def _notice(self, notice: Notice) -> None:
        if self._front is not None and notice.watch_id >= FRONT_IDS:
            self._front.notice(notice)
        else:
            self._watch_connections.notice(notice)

    def _watch_ended(self, ended: WatchEnded) -> None:
        if self._front is not None and ended.watch_id >= FRONT_IDS:
            self._front.watch_ended(ended)
        else:
            self._watch_connections.ended(ended)

    def _role_changed(self, change: RoleChanged) -> None:
        self._observer.on_role(change)
        if self._front is not None:
            self._front.role_changed(change)

    # -- writes -----------------------------------------------------------------------------------

    def _append(self, write: AppendLog) -> None:
        self._disk.submit(write)
        if write.entries:
            self._monitor.appended(self._node_id, write.entries[-1].index)

    def _truncate(self, write: TruncateLog) -> None:
        self._disk.submit(write)
        self._monitor.truncated(self._node_id, write.from_index)

    def _store_snapshot(self, write: StoreSnapshot) -> None:
        self._disk.submit(write)
        self._state_history.stored(write, self.snapshot_source)

    def _save_commit(self, effect: SaveCommit) -> None:
        self._disk.save_commit(effect.commit)
        self._observer.committed(effect.commit)

    # -- notifications ----------------------------------------------------------------------------

    def _on_applied(self, effect: Applied) -> None:
        self._state_history.apply(effect.entry)
        if self._triggers.apply:
            entry = effect.entry
            fire_matching(
                self._triggers.apply, NodeEvent(self._node_id, term=entry.term, index=entry.index)
            )

    def _on_restored(self, effect: Restored) -> None:
        self.snapshots_installed += 1
        self._state_history.restored(effect.snapshot, self._machine.restored_hash)

    def _on_membership(self, effect: MembershipChanged) -> None:
        self._use_membership(effect.membership)

    def _use_membership(self, membership: Membership) -> None:
        self._connections.join_cluster(membership.cluster_id)
        self._observer.membership(membership)
