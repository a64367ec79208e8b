"""One simulated server: carries out its replica's effects on the simulated network, disk and clock."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import Any

from simpy.events import NORMAL, Event

from qcore.core.effects import (
    AppendLog,
    MembershipChanged,
    RoleChanged,
    SaveCommit,
    SaveHardState,
    StoreSnapshot,
    TruncateLog,
    VoteGranted,
    Write,
)
from qcore.core.entry import Entry, Membership
from qcore.core.events import PeerUnreachable, Tick, WriteDurable
from qcore.core.log.durable_state import last_index
from qcore.core.messages import InstallSnapshot
from qcore.errors import QcoreError
from qcore.machines.interface import StateMachine
from qcore.replica.config import ReplicaConfig
from qcore.replica.durability_gate import DurabilityGate
from qcore.replica.events import (
    Applied,
    PeerMessageReceived,
    PeerVersionSupport,
    ReplicaEffect,
    ReplicaEvent,
    Reply,
    Restored,
    SendPeer,
)
from qcore.replica.messages import PeerMessage
from qcore.replica.replica import Replica
from qcore.replica.trace_recorder import ReplicaTracer, trace_fields
from qcore.sim.faults.ledger import Fault
from qcore.sim.faults.triggers import NodeEvent, fire_matching
from qcore.sim.verdict.node_observer import NodeObserver
from qcore.sim.verdict.snapshot_histories import NodeHistory
from qcore.sim.workload.callers import PendingRequests
from qcore.sim.workload.sim_client import ClientCall
from qcore.sim.world.disk import SimDisk
from qcore.sim.world.engine import Call
from qcore.sim.world.hashed_machine import HashedMachine, create_machine
from qcore.sim.world.network import Link
from qcore.sim.world.node_clock import NodeClock
from qcore.sim.world.peer_sessions import PeerConnections
from qcore.sim.world.services import Services

_NEVER_US = 1 << 60
#: What a paused process finds in its sockets at most; the rest is lost.
_PAUSED_QUEUE = 10_000


class SimNode:
    """A machine that runs (or does not run) one replica.

    Args:
        config: the replica's settings.
        services: the shared parts of the run.
        disk, clock: this machine's own; they outlive the process.
        rng: for the replica's election timeouts, over all its lives.
        make_machine: a fresh state machine for each life.

    Attributes:
        state_history: what its state is made of.
        clock_faults: the faults that set its clock wrong, by what they set.
        snapshots_installed: how many snapshots it installed from leaders, over all its lives.
    """

    def __init__(
        self,
        config: ReplicaConfig,
        services: Services,
        disk: SimDisk,
        clock: NodeClock,
        rng: Random,
        make_machine: Callable[[], StateMachine],
    ) -> None:
        self.node_id = config.raft.node_id
        self.disk = disk
        self.clock = clock
        self.replica: Replica | None = None
        self.peer_connections: PeerConnections | None = None
        self._peers: Mapping[int, SimNode] = {}
        self._lives = 0
        self.paused = False
        self.powered = True
        self.state_history = NodeHistory(self.node_id, services.histories, services.invariants)
        self.clock_faults: dict[str, Fault] = {}
        self._backlog_faults: list[Fault] = []
        self._snapshot_source = 0
        self._config = config
        self._services = services
        self._env = services.engine.env
        self._network = services.network
        self._trace = services.trace
        self._triggers = services.triggers
        self._observer = NodeObserver(self.node_id, services)
        self._rng = rng
        self._make_machine = make_machine
        self._recorder = ReplicaTracer(services.trace, self.node_id)
        self._links: dict[int, Link] = {}
        self._gate = DurabilityGate()
        self._messages_sent = 0
        self._pending_requests = PendingRequests(self.node_id, services, self._links)
        self.snapshots_installed = 0
        self._backlog: list[ReplicaEvent] = []
        self._wake_at = _NEVER_US
        disk.on_durable = self._on_durable
        # Any: the argument's type is the key, which a dict's type cannot say.
        self._handlers: dict[type, Callable[[Any], None]] = {
            SendPeer: self._send,
            Reply: self._pending_requests.reply,
            AppendLog: self._append,
            SaveHardState: self._write,
            TruncateLog: self._truncate,
            StoreSnapshot: self._store_snapshot,
            SaveCommit: self._save_commit,
            Applied: self._on_applied,
            Restored: self._on_restored,
            RoleChanged: self._observer.on_role,
            VoteGranted: self._observer.on_vote,
            MembershipChanged: self._on_membership,
        }

    # -- life and death ---------------------------------------------------------------------------

    @property
    def up(self) -> bool:
        return self.replica is not None

    @property
    def applied(self) -> list[Entry]:
        """The entries that the present life has applied since its last snapshot of another, in order."""
        return self.state_history.applied

    @property
    def visible_state(self) -> tuple[object, ...]:
        """What differs if the replica did anything visible since: role, term, messages and snapshots."""
        core = self.replica.core if self.replica is not None else None
        standing = (core.role, core.term) if core is not None else None
        return standing, self._messages_sent, self.state_history.captures

    def attach(self, peers: Mapping[int, SimNode]) -> None:
        """All links and nodes are in place."""
        self._links.update(self._network.links_from(self.node_id))
        self._peers = peers

    def start(self) -> None:
        """Start the process from what the disk holds."""
        services, node = self._services, self.node_id
        now = self._now
        durable = self.disk.load()
        self.powered, self.paused = True, False
        self.state_history.start(durable.snapshot)
        self._gate = DurabilityGate()
        self._pending_requests.forget()
        hard_state, end = durable.hard_state, last_index(durable)
        services.trace.up(now, node, hard_state.term, hard_state.commit, end)
        services.invariants.on_start(node, durable)
        services.monitor.node_up(now, node, hard_state.term, min(hard_state.commit, end), end)
        try:
            self._machine = HashedMachine(
                create_machine(self._make_machine),
                self.state_history.on_state_hash,
                self._on_capture,
            )
            self.replica = Replica(
                self._config, self._machine, durable, rng=self._rng, now=self.clock.local(now)
            )
        except QcoreError as error:
            self._fail(error)
            return
        self._lives += 1
        self.peer_connections = PeerConnections(self.replica, self.disk.identity, self._lives)
        self._note_membership(self.replica.core.membership)
        self._step([])

    def reconfigure(self, config: ReplicaConfig) -> None:
        """Use these settings from the next start on."""
        self._config = config

    def crash(self, *, power_loss: bool = False, survivors: int = 0) -> int:
        """Kill the process, or cut the machine's power; returns how many writes that lost.

        Args:
            power_loss: the machine, not only the process.
            survivors: how many of the unsynced writes a power loss leaves; see `SimDisk.crash`.
        """
        lost = self.disk.crash(power_loss=power_loss, survivors=survivors)
        if self.up:
            self._die("power loss" if power_loss else "crash")
            if not power_loss:
                self._break_connections()
        self.powered = not power_loss
        return lost

    def wipe(self) -> int:
        """Kill the process and blank the disk; returns how many unsynced writes that lost."""
        lost = self.crash()
        self._services.invariants.on_wipe(self.node_id, self.disk.durable)
        self.disk.wipe()
        return lost

    def pause(self) -> None:
        """Freeze the process."""
        if self.up and not self.paused:
            self.paused = True
            self._trace.down(self._now, self.node_id, "pause")
            self._services.monitor.node_paused(self._now, self.node_id, True)

    def resume(self) -> None:
        """Let it go on: it finds everything that came meanwhile, in order, and its timers are late."""
        if self.up and self.paused:
            self.paused = False
            replica = self.replica
            assert replica is not None
            core = replica.core.status()
            self._trace.up(
                self._now, self.node_id, core.term, core.commit_index, core.last_log_index
            )
            self._services.monitor.node_paused(self._now, self.node_id, False)
            backlog, self._backlog = self._backlog, []
            backlog_faults, self._backlog_faults = self._backlog_faults, []
            for fault in backlog_faults:
                fault.acted += 1
            for event in backlog:
                if isinstance(event, WriteDurable):
                    self._release(event.write_id)
            self._step([*backlog, Tick()])

    def _die(self, why: str) -> None:
        self.replica = None
        self.paused = False
        self._backlog, self._backlog_faults = [], []
        self._pending_requests.died()
        self._wake_at = _NEVER_US
        self._trace.down(self._now, self.node_id, why)
        self._services.invariants.on_stop(self.node_id)
        self._services.monitor.node_down(self._now, self.node_id)

    def _break_connections(self) -> None:
        """The operating system closes a dead process's connections; the other ends notice."""
        self._pending_requests.break_connections()
        for peer in sorted(peer for peer in self._links if peer > 0):
            self._network.signal(self._links[peer], PeerUnreachable(self.node_id))

    def _fail(self, error: QcoreError | AssertionError) -> None:
        """The replica stopped by itself: a broken contract, or a bug that an assertion found."""
        self._services.report("node_failed", self.node_id, f"{type(error).__name__}: {error}")
        self.disk.crash(power_loss=False)
        self._die("failed")
        self._break_connections()

    # -- what comes in ----------------------------------------------------------------------------

    def receive(self, source: int, payload: object, message_id: str) -> None:
        """A message arrived from a peer, or the news that its connection broke."""
        name = type(payload).__name__
        now: int = self._env._now  # type: ignore[assignment]  # only integers are ever scheduled
        if isinstance(payload, PeerUnreachable):
            if self.peer_connections is not None:
                self.peer_connections.disconnect(source)
            self.deliver_event(PeerVersionSupport(source, None))
            self.deliver_event(payload)
        elif self.replica is None:
            self._trace.drop(now, self.node_id, source, message_id, name, "node is down")
        elif (rejection := self.connect(source, is_response=name.endswith("Response"))) is not None:
            self._trace.drop(now, self.node_id, source, message_id, name, rejection)
        else:
            self._trace.recv(now, self.node_id, source, message_id, name)
            if type(payload) is InstallSnapshot:
                self._snapshot_source = source
            event = PeerMessageReceived(source, payload)  # type: ignore[arg-type]  # peers send nothing else
            if self.paused:
                self.deliver_event(event)
            else:
                self._step([event])
            if self._triggers.receive:
                term = getattr(payload, "term", 0)
                fire_matching(
                    self._triggers.receive, NodeEvent(self.node_id, name, source, term=term)
                )

    def connect(self, source: int, *, is_response: bool = False) -> str | None:
        """Make sure that a peer is one that this node listens to; returns why it is not, or None.

        A response returns on the connection of its request, which its sender has accepted.
        """
        peer = self._peers[source]
        assert self.peer_connections is not None, "a running node has them"
        assert peer.peer_connections is not None, "the sender ran when it sent"
        if is_response:
            if peer.peer_connections.is_connected(self.peer_connections):
                return None
            return "its connection is gone"
        if self.peer_connections.is_connected(peer.peer_connections):
            return None
        rejection = self.peer_connections.connect(peer.peer_connections)
        if rejection is None:
            self.deliver_event(PeerVersionSupport(source, peer.peer_connections.support))
            peer.deliver_event(PeerVersionSupport(self.node_id, self.peer_connections.support))
        return rejection

    def deliver_event(self, event: ReplicaEvent, fault: Fault | None = None) -> bool:
        """Give the replica one event, now or when it goes on; False if no process is there to take it.

        Args:
            event: what happens.
            fault: what acts when a paused process goes on and finds the event.
        """
        if self.replica is None:
            return False
        if not self.paused:
            self._step([event])
        elif len(self._backlog) < _PAUSED_QUEUE:
            self._backlog.append(event)
            if fault is not None:
                self._backlog_faults.append(fault)
        else:
            return False
        return True

    def receive_call(self, client: int, call: object, _message_id: str) -> None:
        """A client's request arrived."""
        assert isinstance(call, ClientCall)
        if self.replica is None:
            if self.powered:
                self._pending_requests.refuse(client, call)
            return
        self.deliver_event(self._pending_requests.take(client, call))

    def receive_admin_request(
        self,
        make: Callable[[int, Membership], ReplicaEvent],
        then: Callable[[Reply | None], None],
    ) -> bool:
        """Give the replica a request of the operator; False if nobody is there to take it.

        Args:
            make: the request, given its id and the membership that the replica knows.
            then: called with the reply, or with None if the process dies first; never at once.
        """
        if self.replica is None:
            return False
        request_id = self._pending_requests.take_admin_request(then)
        return self.deliver_event(make(request_id, self.replica.core.membership))

    def _on_durable(self, write_id: int) -> None:
        if self.replica is None:
            return
        if self.paused:
            self._backlog.append(WriteDurable(write_id))
            return
        self._release(write_id)
        if self._triggers.durable:
            end = last_index(self.disk.durable)
            fire_matching(self._triggers.durable, NodeEvent(self.node_id, index=end))
        self._step([WriteDurable(write_id)])

    def _release(self, write_id: int) -> None:
        for send in self._gate.release(write_id):
            self._transmit(send.to, send.message)

    # -- the replica's steps ----------------------------------------------------------------------

    @property
    def _now(self) -> int:
        return self._env._now  # type: ignore[return-value]  # only integers are ever scheduled

    def _step(self, events: list[ReplicaEvent]) -> None:
        replica = self.replica
        assert replica is not None
        now: int = self._env._now  # type: ignore[assignment]  # only integers are ever scheduled
        for fault in self.clock_faults.values():  # it reads its clock
            fault.acted += 1
        clock = self.clock
        local = clock.local(now)
        try:
            effects = replica.step(events, local, clock.wall_of(local))
        except (QcoreError, AssertionError) as error:  # the replica stops, the others go on
            self._fail(error)
            return
        if effects:
            self._execute_effects(effects, now)
        self._set_alarm(now)

    def _execute_effects(self, effects: list[ReplicaEffect], now: int) -> None:
        node = self.node_id
        self._recorder.effects(now, effects)
        if self.peer_connections is not None:
            self.peer_connections.admission.on_committed_membership()
        check = self._services.invariants.on_effect
        handlers = self._handlers
        for effect in effects:
            check(node, effect, now)
            handler = handlers.get(type(effect))
            if handler is not None:
                handler(effect)
        self.disk.start_sync()

    def _set_alarm(self, now: int) -> None:
        """Make sure that something wakes the replica at its deadline; early alarms do no harm."""
        replica = self.replica
        if replica is None:
            return
        due = self.clock.true_at(replica.next_deadline())
        if due < self._wake_at:
            due = max(due, now)
            self._wake_at = due
            self._env.schedule(Call(self._alarm), NORMAL, due - now)

    def _alarm(self, _event: Event) -> None:
        now = self._now
        if now != self._wake_at:
            return  # overtaken by an earlier alarm, or the process died
        self._wake_at = _NEVER_US
        replica = self.replica
        if replica is None or self.paused:
            return
        if self.clock.local(now) >= replica.next_deadline():
            self._step([Tick()])
        else:
            self._set_alarm(now)

    def clock_changed(self) -> None:
        """The clock runs at another speed: deadlines fall on other moments."""
        if self.up and not self.paused:
            self._set_alarm(self._now)

    # -- effects ----------------------------------------------------------------------------------

    def _send(self, effect: SendPeer) -> None:
        if self._gate.admit(effect):
            self._transmit(effect.to, effect.message)

    def _transmit(self, to: int, message: PeerMessage) -> None:
        self._messages_sent += 1
        message_id = f"{self.node_id}-{self._messages_sent}"
        name, term, note = trace_fields(message)
        now: int = self._env._now  # type: ignore[assignment]  # only integers are ever scheduled
        self._trace.send(now, self.node_id, to, message_id, name, term, note)
        link = self._links.get(to)
        if link is None:
            self._trace.drop(now, to, self.node_id, message_id, name, "no such node")
            return
        self._network.send(link, message, message_id)
        if self._triggers.send:
            fire_matching(self._triggers.send, NodeEvent(self.node_id, name, to, term=term))

    def _write(self, write: Write) -> None:
        self.disk.submit(write)

    def _store_snapshot(self, write: StoreSnapshot) -> None:
        self.disk.submit(write)
        self.state_history.stored(write, self._snapshot_source)

    def _on_capture(self) -> None:
        if self.replica is not None:
            self.state_history.on_state_hash(self.replica.applied_index, self._machine.state_hash())

    def _append(self, write: AppendLog) -> None:
        self.disk.submit(write)
        if write.entries:
            self._services.monitor.appended(self.node_id, write.entries[-1].index)

    def _truncate(self, write: TruncateLog) -> None:
        self.disk.submit(write)
        self._services.monitor.truncated(self.node_id, write.from_index)

    def _save_commit(self, effect: SaveCommit) -> None:
        self.disk.save_commit(effect.commit)
        self._observer.committed(effect.commit)

    def _on_applied(self, effect: Applied) -> None:
        self.state_history.apply(effect.entry)
        if self._triggers.apply:
            entry = effect.entry
            fire_matching(
                self._triggers.apply, NodeEvent(self.node_id, term=entry.term, index=entry.index)
            )

    def _on_restored(self, effect: Restored) -> None:
        self.snapshots_installed += 1
        self.state_history.restored(effect.snapshot, self._machine.restored_hash)

    def _on_membership(self, effect: MembershipChanged) -> None:
        self._note_membership(effect.membership)

    def _note_membership(self, membership: Membership) -> None:
        if self.peer_connections is not None:
            self.peer_connections.joined(membership.cluster_id)
        self._observer.membership(membership)
