"""One simulated node: runs a replica as a process that can start, crash, pause and receive."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from qcore.core.entry import Entry, Membership
from qcore.core.events import MessageReceived, PeerUnreachable, Tick, WriteDurable
from qcore.core.log.durable_state import last_index
from qcore.core.messages import InstallSnapshot
from qcore.errors import QcoreError
from qcore.machines.interface import StateMachine, SupportsChanges, WatchFilter
from qcore.recording import LifeRecorder
from qcore.replica.config import ReplicaConfig
from qcore.replica.events import KnownDiverged, PeerVersionSupport, ReplicaEvent, Reply
from qcore.replica.replica import Replica
from qcore.replica.trace_recorder import message_name
from qcore.sim.faults.ledger import Fault
from qcore.sim.faults.triggers import NodeEvent, fire_matching
from qcore.sim.verdict.snapshot_histories import NodeHistory
from qcore.sim.workload.sim_client import RequestMessage
from qcore.sim.workload.watcher_messages import CloseWatch, OpenWatch, Probe
from qcore.sim.world.clock.engine import NEVER_US
from qcore.sim.world.network import Link
from qcore.sim.world.node.disk import SimDisk
from qcore.sim.world.node.disk_reactions import DiskReactions
from qcore.sim.world.node.event_queue import EventQueue
from qcore.sim.world.node.node_clock import NodeClock
from qcore.sim.world.node.node_effects import NodeEffects
from qcore.sim.world.node.node_machine import create_machine, hashed_machine
from qcore.sim.world.node.peer_connections import PeerConnections
from qcore.sim.world.node.pending_requests import PendingRequests
from qcore.sim.world.node.watcher_links import WatchConnections
from qcore.sim.world.program_front import ProgramFront
from qcore.sim.world.services import Services


class SimNode:
    """A simulated node, which runs one replica while its process is up.

    Args:
        config: the replica's settings.
        services: the shared parts of the run.
        disk, clock: the node's hardware. It outlives the process.
        rng: draws the election timeouts of all lives.
        make_machine: makes a fresh state machine for each life.

    Attributes:
        replica: None while the process is down.
        peer_connections: those of the current life, or of the last one; None before the first.
        events: the events that it has not processed yet, because it is paused or slow.
        powered: False after a power loss.
        disk_reactions: how the node reacts to errors of its disk.
        state_history: the entries that the node's state consists of.
        clock_faults: the faults that disturb its clock, by the setting that they change.
        front: serves client programs; None without any.
    """

    #: Messages of simulated links need no proof.
    public_key = ""

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
        self.events = EventQueue(services.engine, self._process)
        self.powered = True
        self.disk_reactions = DiskReactions(
            self.node_id, services, disk, lambda: self.paused, self._stop
        )
        self.state_history = NodeHistory(self.node_id, services.histories, services.invariants)
        self.clock_faults: dict[str, Fault] = {}
        self.front: ProgramFront | None = None
        self._config = config
        self._services = services
        self._engine = services.engine
        self._network = services.network
        self._trace = services.trace
        self._triggers = services.triggers
        self._rng = rng
        self._make_machine = make_machine
        self._peers: dict[int, SimNode] = {}
        self._links: dict[int, Link] = {}
        self._lives = 0
        self._recorder: LifeRecorder | None = None
        self._pending_requests = PendingRequests(self.node_id, services, self._links)
        self._watch_connections = WatchConnections(
            self.node_id, services, self._links, self._pending_requests.next_id, self._deliver_now
        )
        self._effects = NodeEffects(
            self.node_id,
            services,
            disk,
            self.state_history,
            self._pending_requests,
            self._watch_connections,
            self._links,
        )
        self._wake_at = NEVER_US
        disk.on_durable = self._on_durable

    # -- state ------------------------------------------------------------------------------------

    @property
    def up(self) -> bool:
        """Whether the process runs; a paused one does."""
        return self.replica is not None

    @property
    def paused(self) -> bool:
        """Whether the process is frozen."""
        return self.events.paused

    @property
    def applied(self) -> list[Entry]:
        """The entries that this life has applied since its latest snapshot, started from or installed, in order."""
        return self.state_history.applied

    @property
    def snapshots_installed(self) -> int:
        """How many snapshots of leaders the node has installed, over all its lives."""
        return self._effects.snapshots_installed

    @property
    def messages_sent(self) -> int:
        """How many messages the node has sent to peers, over all its lives."""
        return self._effects.messages_sent

    @property
    def visible_state(self) -> tuple[object, ...]:
        """A value that changes when the replica does anything visible: role, term, messages sent, snapshots taken."""
        core = self.replica.core if self.replica is not None else None
        role_and_term = (core.role, core.term) if core is not None else None
        return role_and_term, self._effects.messages_sent, self.state_history.captures

    # -- the life of the process ------------------------------------------------------------------

    def attach(self, peers: dict[int, SimNode]) -> None:
        """Record the links and the other nodes, once all of them exist."""
        self._links.update(self._network.links_from(self.node_id))
        self._peers = peers

    def start(self) -> None:
        """Start the process from what the disk holds."""
        services, node = self._services, self.node_id
        now = self._now
        self.powered = True
        durable = self.disk_reactions.load()
        if durable is None:
            return
        self.state_history.start(durable.snapshot)
        self._pending_requests.forget_clients()
        self._watch_connections.forget_all()
        if services.watches is not None:
            services.watches.started(node)
        hard_state, end = durable.hard_state, last_index(durable)
        self._effects.process_started(durable, self.clock)
        services.invariants.on_start(node, durable)
        services.invariants.promises.on_start(
            node, durable, lambda: self.disk.durable, self._config.raft.safeguards
        )
        services.monitor.node_up(now, node, hard_state.term, min(hard_state.commit, end), end)
        try:
            inner = create_machine(self._make_machine)
            self._machine = hashed_machine(
                node,
                inner,
                self.state_history.on_state_hash,
                self._on_capture,
                self._on_changes
                if services.watches is not None or self.front is not None
                else None,
                self._on_filter,
                services.machine_observers,
            )
            local = self.clock.local(now)
            if services.recordings is not None:
                self._recorder = services.recordings.begin_life(
                    self._config, durable, self._rng, local, self.clock.wall_of(local)
                )
            self.replica = Replica(self._config, self._machine, durable, rng=self._rng, now=local)
        except QcoreError as error:
            self._fail(error)
            return
        self._lives += 1
        self.peer_connections = PeerConnections(self.replica, self.disk.identity, self._lives)
        self._effects.connect(self.peer_connections, self.front)
        self._effects.begin_life(self.replica, self._machine)
        if self.front is not None:
            self.front.begin_life(self.replica, inner)
        diverged_at = self.disk.identity.diverged_at
        self._step([] if diverged_at is None else [KnownDiverged(diverged_at)])

    def reconfigure(self, config: ReplicaConfig) -> None:
        """Use these settings from the next start."""
        self._config = config

    def crash(self, *, power_loss: bool = False, survivors: int = 0, torn: bool = False) -> int:
        """Kill the process, or cut the node's power.

        Args:
            power_loss: cut the power.
            survivors, torn: which of the unsynced writes survive a power loss; see `SimDisk.crash`.

        Returns:
            How many writes were lost.
        """
        lost = self.disk.crash(power_loss=power_loss, survivors=survivors, torn=torn)
        if self.up:
            self._die("power loss" if power_loss else "crash")
            if not power_loss:
                self._break_connections()
        self.powered = not power_loss
        return lost

    def wipe(self) -> int:
        """Kill the process and blank the disk. Returns how many unsynced writes the kill lost."""
        lost = self.crash()
        self._services.invariants.on_wipe(self.node_id, self.disk.durable)
        self.disk.wipe()
        return lost

    def pause(self) -> None:
        """Freeze the process."""
        if self.up and not self.paused:
            self.events.pause()
            self._trace.down(self._now, self.node_id, "pause")
            self._services.monitor.node_paused(self._now, self.node_id, True)

    def resume(self) -> None:
        """Let the process continue. It finds all events of the pause, in order, and its timers are late."""
        if self.up and self.paused:
            replica = self.replica
            assert replica is not None
            core = replica.core.status()
            self._trace.up(
                self._now, self.node_id, core.term, core.commit_index, core.last_log_index
            )
            self._services.monitor.node_paused(self._now, self.node_id, False)
            self.events.resume()
            self.disk_reactions.process_continues()
            if self.front is not None:
                self.front.resumed()

    def _die(self, why: str) -> None:
        self.replica = None
        if self._recorder is not None:
            self._recorder.end(why)
        self.events.clear()
        self.disk_reactions.process_died()
        self._pending_requests.process_died()
        if self.front is not None:
            self.front.died()
        self._wake_at = NEVER_US
        self._trace.down(self._now, self.node_id, why)
        self._services.invariants.on_stop(self.node_id)
        self._services.monitor.node_down(self._now, self.node_id)

    def _break_connections(self) -> None:
        """Close the connections, as the operating system does for a dead process. The other ends notice."""
        self._pending_requests.break_connections()
        self._watch_connections.break_connections()
        if self.front is not None:
            self.front.break_connections()
        for peer in sorted(peer for peer in self._links if peer > 0):
            self._network.signal(self._links[peer], PeerUnreachable(self.node_id))

    def _fail(self, error: QcoreError | AssertionError) -> None:
        """Stop after an error of the replica: a broken contract of the state machine, or a failed assertion."""
        self._services.report("node_failed", self.node_id, f"{type(error).__name__}: {error}")
        self._stop("failed")

    def _stop(self, why: str) -> None:
        self.disk.crash(power_loss=False)
        self._die(why)
        self._break_connections()

    # -- messages and events ----------------------------------------------------------------------

    def receive(self, source: int, payload: object, message_id: str) -> None:
        """Receive a message from a peer, or the signal that its connection broke."""
        name = message_name(payload)
        now = self._engine.now
        if isinstance(payload, PeerUnreachable):
            if self.peer_connections is not None:
                self.peer_connections.disconnect(source)
            self.deliver_event(PeerVersionSupport(source, None))
            self.deliver_event(payload)
        elif self.replica is None:
            self._trace.drop(now, self.node_id, source, message_id, name, "node is down")
        elif (refusal := self.connect(source, is_response=name.endswith("Response"))) is not None:
            self._trace.drop(now, self.node_id, source, message_id, name, refusal)
        else:
            self._trace.recv(now, self.node_id, source, message_id, name)
            if type(payload) is InstallSnapshot:
                self._effects.snapshot_source = source
            event: MessageReceived
            event = MessageReceived(source, payload)  # type: ignore[arg-type]  # peers send nothing else
            if self.events.holds:
                self.events.add(event)
            else:
                self._step([event])
            if self._triggers.receive:
                term = getattr(payload, "term", 0)
                fire_matching(
                    self._triggers.receive, NodeEvent(self.node_id, name, source, term=term)
                )

    def connect(self, source: int, *, is_response: bool = False) -> str | None:
        """Accept a connection from a peer, unless there is one.

        A response returns on the connection of its request, which its sender has accepted.

        Returns:
            Why the connection is refused, or None.
        """
        peer = self._peers[source]
        assert self.peer_connections is not None, "a running node has peer connections"
        assert peer.peer_connections is not None, "the sender was running when it sent"
        if is_response:
            if peer.peer_connections.is_connected(self.peer_connections):
                return None
            return "its connection is gone"
        if self.peer_connections.is_connected(peer.peer_connections):
            return None
        refusal = self.peer_connections.connect(peer.peer_connections)
        if refusal is None:
            self.deliver_event(PeerVersionSupport(source, peer.peer_connections.support))
            peer.deliver_event(PeerVersionSupport(self.node_id, self.peer_connections.support))
        return refusal

    def deliver_event(self, event: ReplicaEvent, fault: Fault | None = None) -> bool:
        """Give the replica one event: now, or when its paused or slow process comes to it.

        Args:
            event: the event.
            fault: the fault that causes the event. If the event waits, the fault has acted once the process finds it.

        Returns:
            False if the event is lost, because the process is down or has too many events waiting.
        """
        if self.replica is None:
            return False
        if self.events.holds:
            return self.events.add(event, fault)
        self._step([event])
        return True

    def receive_request(self, client: int, request: object, _message_id: str) -> None:
        """Receive a request from a client."""
        assert isinstance(request, RequestMessage)
        if self.replica is None:
            if self.powered:
                self._pending_requests.refuse_connection(client, request)
            return
        event = self._pending_requests.add(client, request)
        rejection = self.disk_reactions.rejection(event.request_id, event.kind)
        if rejection is None:
            self.deliver_event(event)
        else:
            self._pending_requests.reply(rejection)

    def receive_from_watcher(self, watcher: int, message: object, _message_id: str) -> None:
        """Receive a message of a watcher. A frozen process does not answer a probe."""
        assert isinstance(message, OpenWatch | Probe | CloseWatch)
        if self.replica is None:
            if self.powered and not isinstance(message, CloseWatch):
                self._watch_connections.refuse(watcher, message.connection)
        elif not (self.paused and isinstance(message, Probe)):
            self._watch_connections.receive(watcher, message)

    def receive_admin_request(
        self,
        make: Callable[[int, Membership], ReplicaEvent],
        then: Callable[[Reply | None], None],
    ) -> bool:
        """Give the replica an admin request.

        Args:
            make: makes the request from its id and the replica's effective configuration.
            then: called with the reply, or with None if the process dies first. It never runs during the call.

        Returns:
            False if the request is lost, because the process is down or has too many events waiting.
        """
        if self.replica is None:
            return False
        request_id = self._pending_requests.add_admin_request(then)
        rejection = self.disk_reactions.rejection(request_id, "write")
        if rejection is not None:
            self._pending_requests.reply(rejection)
            return True
        return self.deliver_event(make(request_id, self.replica.core.membership))

    def _deliver_now(self, event: ReplicaEvent) -> bool:
        """Give the replica an event; False if it does not take it now."""
        return self.deliver_event(event) and not self.events.holds

    def _on_changes(self, index: int, machine: SupportsChanges) -> None:
        if self._services.watches is not None:  # else only client programs watch
            self._services.watches.applied(self.node_id, index, machine, self._services.engine.now)

    def _on_filter(self, request: str, found: WatchFilter) -> None:
        if self._services.watches is not None:  # else only client programs watch
            self._services.watches.accepted(self.node_id, request, found)

    def _on_durable(self, write_id: int) -> None:
        if self.replica is None:
            return
        if self.events.holds:
            self.events.add(WriteDurable(write_id))
            return
        self._effects.release(write_id)
        if self._triggers.durable:
            end = last_index(self.disk.durable)
            fire_matching(self._triggers.durable, NodeEvent(self.node_id, index=end))
        self._step([WriteDurable(write_id)])

    def _on_capture(self) -> None:
        if self.replica is not None:
            self.state_history.capturing(self.replica, self._machine.state_hash())

    # -- steps and deadlines ----------------------------------------------------------------------

    @property
    def _now(self) -> int:
        return self._engine.now

    def _process(self, events: list[ReplicaEvent]) -> None:
        """Process events that had to wait."""
        for event in events:
            if isinstance(event, WriteDurable):
                self._effects.release(event.write_id)
        self._step(events)

    def _step(self, events: list[ReplicaEvent]) -> None:
        replica = self.replica
        assert replica is not None
        now = self._engine.now
        if self.clock_faults:
            for fault in self.clock_faults.values():  # each step reads the clock
                fault.acted += 1
        clock = self.clock
        local = clock.local(now)
        wall_us = clock.wall_of(local)
        try:
            if self._recorder is None:
                effects = replica.step(events, local, wall_us)
            else:
                effects = self._recorder.step(replica, events, local, wall_us)
        except (QcoreError, AssertionError) as error:  # this node stops, the others continue
            self._fail(error)
            return
        if effects:
            self._effects.execute(effects, now)
        self._set_alarm(now)

    def _set_alarm(self, now: int) -> None:
        """Wake the replica at its deadline. An alarm that is too early does no harm."""
        replica = self.replica
        if replica is None:
            return
        due = self.clock.true_at(replica.next_deadline())
        if due < self._wake_at:
            due = max(due, now)
            self._wake_at = due
            self._engine.after(due - now, self.alarm)

    def alarm(self) -> None:
        """An alarm is due: let the replica act if its deadline is reached."""
        now = self._now
        if now != self._wake_at:
            return  # an earlier alarm replaced this one, or the process died
        self._wake_at = NEVER_US
        replica = self.replica
        if replica is None or self.paused:
            return
        if self.clock.local(now) >= replica.next_deadline():
            if self.events.holds:
                self.events.add_tick()
            else:
                self._step([Tick()])
        else:
            self._set_alarm(now)

    def clock_changed(self) -> None:
        """Set the alarm again, because the clock runs at another speed."""
        if self.up and not self.paused:
            self._set_alarm(self._now)
