"""Executes the effects of a simulated node's replica: on the network, the disk, and the observers of the run."""

from __future__ import annotations

from typing import cast

from qcore.core.effects import (
    AppendLog,
    RoleChanged,
    SaveCommit,
    SaveHardState,
    Send,
    StoreSnapshot,
    TruncateLog,
)
from qcore.core.entry import Membership
from qcore.replica.durability_gate import DurabilityGate
from qcore.replica.events import (
    DivergenceEnded,
    DivergenceFound,
    Notice,
    ReplicaEffect,
    Reply,
    WatchEnded,
)
from qcore.replica.messages import PeerMessage
from qcore.replica.trace_recorder import trace_fields
from qcore.sim.faults.triggers import NodeEvent, fire_matching
from qcore.sim.verdict.snapshot_histories import NodeHistory
from qcore.sim.world.effect_observer import EffectObserver
from qcore.sim.world.network import Link
from qcore.sim.world.node.disk import SimDisk
from qcore.sim.world.node.peer_connections import PeerConnections
from qcore.sim.world.node.pending_requests import PendingRequests
from qcore.sim.world.node.watcher_links import WatchConnections
from qcore.sim.world.program_front import FRONT_IDS, ProgramFront
from qcore.sim.world.services import Services


class NodeEffects(EffectObserver):
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
    """

    def __init__(
        self,
        node_id: int,
        services: Services,
        disk: SimDisk,
        state_history: NodeHistory,
        pending_requests: PendingRequests,
        watch_connections: WatchConnections,
        links: dict[int, Link],
    ) -> None:
        super().__init__(node_id, services, state_history)
        self._network = services.network
        self._disk = disk
        self._links = links
        self._pending_requests = pending_requests
        self._watch_connections = watch_connections
        self.messages_sent = 0
        self._id_prefix = f"{node_id}-"
        # `connect` sets these.
        self._gate: DurabilityGate
        self._connections: PeerConnections
        self._front: ProgramFront | None = None

    def connect(self, connections: PeerConnections, front: ProgramFront | None) -> None:
        """Use the connections of a process that has just started. Call it before `begin_life`.

        Args:
            connections: its connections.
            front: serves client programs.
        """
        self._gate = DurabilityGate()
        self._connections = connections
        self._front = front
        if front is not None:
            front.request_details = self._pending_requests.details

    def execute(self, effects: list[ReplicaEffect], now: int) -> None:
        """Execute the effects of one step, and start a sync of what they write."""
        self.record(effects, now)
        self._connections.admission.on_committed_membership()
        self.observe(effects, now)
        self._disk.start_sync()

    def release(self, write_id: int) -> None:
        """Send the messages that waited until this write was durable."""
        self._recorder.durable(self._engine.now, write_id)
        for send in self._gate.release(write_id):
            self._transmit(send.to, cast(PeerMessage, send.message))

    def _handle(self, effect: ReplicaEffect) -> None:
        if isinstance(effect, Send):
            self._send(effect)
        elif isinstance(effect, Reply):
            self._reply(effect)
        elif isinstance(effect, SaveHardState):
            self._disk.submit(effect)
        elif isinstance(effect, RoleChanged):
            self._role_changed(effect)
        elif isinstance(effect, Notice):
            self._notice(effect)
        elif isinstance(effect, WatchEnded):
            self._watch_ended(effect)
        elif isinstance(effect, DivergenceFound):
            self._disk.identity.diverged_at = effect.index
        elif isinstance(effect, DivergenceEnded):
            self._disk.identity.diverged_at = None
        else:
            super()._handle(effect)

    # -- messages ---------------------------------------------------------------------------------

    def _send(self, effect: Send) -> None:
        if self._gate.admit(effect):
            self._transmit(effect.to, cast(PeerMessage, effect.message))

    def _transmit(self, to: int, message: PeerMessage) -> None:
        self.messages_sent += 1
        self._promises.on_sent(self._node_id, to, message)
        message_id = self._id_prefix + str(self.messages_sent)
        name, term, note = trace_fields(message)
        now = self._engine.now
        self._trace.send(now, self._node_id, to, message_id, name, term, note)
        self._pending_requests.details.sent(now, message, message_id, self._connections.request_of)
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
        super()._append(write)

    def _truncate(self, write: TruncateLog) -> None:
        self._disk.submit(write)
        super()._truncate(write)

    def _store_snapshot(self, write: StoreSnapshot) -> None:
        self._disk.submit(write)
        super()._store_snapshot(write)

    def _save_commit(self, effect: SaveCommit) -> None:
        self._disk.save_commit(effect.commit)
        super()._save_commit(effect)

    # -- configuration ----------------------------------------------------------------------------

    def use_membership(self, membership: Membership) -> None:
        """See `EffectObserver`."""
        self._connections.join_cluster(membership.cluster_id)
        super().use_membership(membership)
