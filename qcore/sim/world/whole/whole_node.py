"""`WholeNode`: one simulated node that runs all code of a real one, on a simulated computer."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final, cast

from qcore.core.entry import DurableState, Entry, Membership
from qcore.core.log.durable_state import last_index
from qcore.errors import QcoreError, StorageError
from qcore.machines.interface import StateMachine, SupportsChanges, WatchFilter
from qcore.node.application import Application
from qcore.node.config import NodeConfig
from qcore.node.replica_node import ReplicaNode
from qcore.node.surroundings import NO_PROMISES, Surroundings
from qcore.replica.config import ReplicaConfig
from qcore.replica.events import ReplicaEvent, Reply
from qcore.replica.messages import PeerMessage
from qcore.replica.replica import Replica
from qcore.replica.requests.disk_space import no_space_left
from qcore.sim.faults.ledger import Fault
from qcore.sim.verdict.snapshot_histories import NodeHistory
from qcore.sim.world.hosts.host import Host
from qcore.sim.world.hosts.segments import Segment
from qcore.sim.world.hosts.simulated_hashing import SIMULATED_HASHING
from qcore.sim.world.network import Link
from qcore.sim.world.node.disk import SimDisk
from qcore.sim.world.node.node_clock import NodeClock
from qcore.sim.world.node.node_machine import HashedMachine, create_machine, hashed_machine
from qcore.sim.world.programs.node_front import shared_codec
from qcore.sim.world.services import Services
from qcore.sim.world.whole.answers import Answers
from qcore.sim.world.whole.disk_storage import (
    DiskStorage,
    DiskWriter,
    SimulatedMark,
    simulated_key,
)
from qcore.sim.world.whole.host_processor import HostProcessor
from qcore.sim.world.whole.silent_log import SilentLog
from qcore.sim.world.whole.whole_recorder import WholeRecorder, plain_id, trace_id
from qcore.sim.world.whole.whole_recording import WholeRecording
from qcore.storage.interface import LogStorage
from qcore.transport.address import Address

_NO_DIRECTORY: Final = Path("simulated")  # nothing reads it


class DiskCounts:
    """How a node reacted to errors of its disk, over all its lives.

    Attributes:
        stops: how often the node stopped because a write or sync failed.
        starts_refused: how often it refused to start, because its disk was damaged or could not be read.
    """

    def __init__(self) -> None:
        self.stops = self.starts_refused = 0


class WholeNode:
    """A simulated computer with a disk, on which a `ReplicaNode` runs while the process is up.

    Args:
        config: the replica's settings.
        services: the shared parts of the run.
        disk: the node's disk.
        host: the node's computer.
        address: the address that the node has in configurations, on which it listens.
        make_machine: makes a fresh state machine for each life.
        make_application: makes the application that serves the machine.
        answers: gets the answers to clients.
        event_us: what the replica takes for each event.

    Attributes:
        host: the node's computer.
        disk_reactions: how often its disk stopped it.
        state_history: the entries that the node's state consists of.
        clock_faults: the faults that disturb its clock, by the setting that they change.
    """

    def __init__(
        self,
        config: ReplicaConfig,
        services: Services,
        disk: SimDisk,
        host: Host,
        address: str,
        make_machine: Callable[[], StateMachine],
        make_application: Callable[[StateMachine], Application],
        answers: Answers,
        event_us: int,
    ) -> None:
        self.node_id = config.raft.node_id
        self.disk = disk
        self.host = host
        self.disk_reactions = DiskCounts()
        self.state_history = NodeHistory(self.node_id, services.histories, services.invariants)
        self.clock_faults: dict[str, Fault] = {}
        self.events = HostProcessor(host)
        self._config = config
        self._address = Address.parse(address)
        self._services = services
        self._engine = services.engine
        self._trace = services.trace
        self._make_machine = make_machine
        self._make_application = make_application
        self._event_us = event_us
        self._links: dict[int, Link] = {}
        self._node: ReplicaNode | None = None
        self._writer: DiskWriter | None = None
        self._machine: HashedMachine
        #: What a node that is still starting has to do; None once it has started.
        self._waiting: list[Callable[[], object]] | None = None
        self._recording: WholeRecording | None = None
        self._powered = True
        self._admin_requests: dict[int, Callable[[Reply | None], None]] = {}
        self._admin_count = self._intercepted = 0
        host.on_error = self._error_escaped
        self._recorder = WholeRecorder(
            self.node_id,
            services,
            self.state_history,
            disk,
            answers,
            self._stepped,
        )

    # -- state ------------------------------------------------------------------------------------

    @property
    def clock(self) -> NodeClock:
        """Its clock, which outlives the process."""
        return self.host.clock

    @property
    def replica(self) -> Replica | None:
        """The replica; None while the process is down."""
        return None if self._node is None else self._node.replica

    @property
    def powered(self) -> bool:
        """False after a power loss."""
        return self._powered

    @property
    def up(self) -> bool:
        """Whether the process runs; a paused one does."""
        return self._node is not None

    @property
    def paused(self) -> bool:
        """Whether the process is frozen."""
        return self._node is not None and self.host.paused

    @property
    def applied(self) -> list[Entry]:
        """The entries that this life has applied since its latest snapshot, started from or installed, in order."""
        return self.state_history.applied

    @property
    def snapshots_installed(self) -> int:
        """How many snapshots of leaders the node has installed, over all its lives."""
        return self._recorder.snapshots_installed

    @property
    def messages_sent(self) -> int:
        """How many messages the node has sent to peers, over all its lives."""
        return self._recorder.messages_sent

    @property
    def visible_state(self) -> tuple[object, ...]:
        """A value that changes when the replica does anything visible."""
        replica = self.replica
        role_and_term = (replica.core.role, replica.core.term) if replica is not None else None
        return role_and_term, self._recorder.messages_sent, self.state_history.captures

    # -- the life of the process ------------------------------------------------------------------

    def attach(self) -> None:
        """Record the links, once all of them exist."""
        self._links.update(self._services.network.links_from(self.node_id))

    def start(self) -> None:
        """Start the process from what the disk holds."""
        services, node, now = self._services, self.node_id, self._engine.now
        self._powered = True
        try:
            durable = self.disk.load()
        except StorageError as error:
            self.disk_reactions.starts_refused += 1
            self._trace.down(now, node, f"refuses to start: {error.code}: {error}")
            return
        self.state_history.start(durable.snapshot)
        if services.watches is not None:
            services.watches.started(node)
        hard_state, end = durable.hard_state, last_index(durable)
        self._recorder.process_started(durable, self.clock)
        services.invariants.on_start(node, durable)
        services.invariants.promises.on_start(
            node, durable, lambda: self.disk.durable, self._config.raft.safeguards
        )
        services.monitor.node_up(now, node, hard_state.term, min(hard_state.commit, end), end)
        self.host.boot()
        try:
            with self.host.loop.entered():
                self._begin_life(durable)
        except QcoreError as error:
            self._fail(error)

    def _begin_life(self, durable: DurableState) -> None:
        """Make the node, and let it start. Called inside its event loop."""
        host, node_id = self.host, self.node_id
        loop = host.loop
        storage = DiskStorage(node_id, self.disk, durable)
        application = self._make_application(create_machine(self._make_machine))
        recordings = self._services.recordings
        self._recording = None if recordings is None else WholeRecording(recordings)
        node = ReplicaNode(
            NodeConfig(replica=self._config, data_dir=_NO_DIRECTORY, ws_addr=self._address),
            application,
            storage,
            SilentLog(node_id),
            observer=self._recorder,
            recording=self._recording,
            wrap_machine=self._observed,
            codec=shared_codec(application.perform_type, self._config.max_command_bytes),
            world=Surroundings(
                runtime=host.runtime,
                own_process=False,
                make_writer=self._make_writer,
                load_members=lambda *_place: storage.known_members(),
                load_key=lambda *_place: storage.node_key(),
                promises=NO_PROMISES,
                divergence_mark=SimulatedMark(self.disk),
                hashing=SIMULATED_HASHING,
                measures_stalls=False,
            ),
        )
        node.peers.intercept = self._intercept
        self._node = node
        self._waiting = []
        self._recorder.begin_life(node.replica, self._machine)
        loop.create_task(self._run(node))

    @property
    def public_key(self) -> str:
        """See `SimulatedNode`."""
        return simulated_key(self.node_id, self.disk.identity.incarnation).public

    def _observed(self, inner: StateMachine) -> StateMachine:
        """The machine that the replica runs: it reports its state hash and its changes."""
        services = self._services
        self._machine = hashed_machine(
            self.node_id,
            inner,
            self.state_history.on_state_hash,
            self._on_capture,
            self._on_changes,
            self._on_filter,
            services.machine_observers,
        )
        return self._machine

    # Any: passes the callbacks of `MakeWriter` on.
    def _make_writer(self, storage: LogStorage, **callbacks: Any) -> DiskWriter:
        loop = self.host.loop
        self._writer = DiskWriter(
            self.disk, loop.defer, storage, loop.call_soon_threadsafe, **callbacks
        )
        return self._writer

    async def _run(self, node: ReplicaNode) -> None:
        """What the process does: it starts the node, and ends when the node has failed."""
        try:
            await node.start()
            waiting, self._waiting = self._waiting or [], None
            for action in waiting:
                self.host.loop.call_soon(action)
            await node.failed.wait()
        except QcoreError as error:
            failure: BaseException | None = error
        else:
            failure = node.failure
        self._engine.immediately(partial(self._failed, node, failure))

    def _failed(self, node: ReplicaNode, failure: BaseException | None) -> None:
        if node is not self._node:
            return  # it has died meanwhile
        if isinstance(failure, StorageError):
            self.disk_reactions.stops += 1
            self._stop(f"disk: {failure.code}: {failure}")
        else:
            assert failure is not None, "a node that has failed knows why"
            self._fail(failure)

    def _fail(self, error: BaseException) -> None:
        """Stop after an error of the replica: a broken contract of the state machine, or a bug."""
        self._services.report("node_failed", self.node_id, f"{type(error).__name__}: {error}")
        self._stop("failed")

    def _error_escaped(self, _owner: int, error: BaseException, what: str) -> None:
        """An error in a callback or a task, which a real node would only log."""
        note = f"{what} raised {type(error).__name__}: {error}"
        self._services.report("node_failed", self.node_id, note)

    def reconfigure(self, config: ReplicaConfig) -> None:
        """Use these settings from the next start."""
        self._config = config

    def crash(self, *, power_loss: bool = False, survivors: int = 0, torn: bool = False) -> int:
        """Kill the process, or cut the node's power; see `SimDisk.crash`. Returns how many writes were lost."""
        was_up = self.up
        self._node = self._writer = None
        if power_loss:
            self.host.power_off()
        else:
            self.host.kill()
        lost = self.disk.crash(power_loss=power_loss, survivors=survivors, torn=torn)
        if was_up:
            self._died("power loss" if power_loss else "crash")
        self._powered = not power_loss
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
            self.host.pause()
            self._trace.down(self._engine.now, self.node_id, "pause")
            self._services.monitor.node_paused(self._engine.now, self.node_id, True)

    def resume(self) -> None:
        """Let the process continue. It finds everything in order, and its timers are late."""
        replica = self.replica
        if replica is not None and self.paused:
            core, now = replica.core.status(), self._engine.now
            self._trace.up(now, self.node_id, core.term, core.commit_index, core.last_log_index)
            self._services.monitor.node_paused(now, self.node_id, False)
            self.host.resume()

    def _stop(self, why: str) -> None:
        self._node = self._writer = None
        self.host.kill()
        self.disk.crash(power_loss=False)
        self._died(why)

    def _died(self, why: str) -> None:
        self._recorder.process_died()
        if self._recording is not None:
            self._recording.end(why)
        admin_requests, self._admin_requests = self._admin_requests, {}
        for then in admin_requests.values():
            self._engine.immediately(partial(then, None))
        now = self._engine.now
        self._trace.down(now, self.node_id, why)
        self._services.invariants.on_stop(self.node_id)
        self._services.monitor.node_down(now, self.node_id)

    # -- messages and events ----------------------------------------------------------------------

    def receive(self, source: int, payload: object, message_id: str) -> None:
        """Receive a segment, or a message of Raft that a fault had held back."""
        if isinstance(payload, Segment):
            self.host.receive(source, payload, message_id)
        elif self._node is not None:
            message = cast(PeerMessage, payload)  # only the router gives messages to `intercept`
            deliver = partial(self._node.peers.deliver, source, plain_id(message_id), message)
            self._call(deliver)

    def _call(self, action: Callable[[], object]) -> None:
        """Call this on the event loop of the node, which runs, once the node has started."""
        if self._waiting is None:
            self.host.loop.call_soon(action)
        else:
            self._waiting.append(action)

    def _intercept(self, to: int, message: PeerMessage) -> bool:
        """Let the faults of the timeline take a message before it enters TCP."""
        network, link = self._services.network, self._links.get(to)
        if network.intercept is None or link is None or not network.has_receiver(link):
            return False
        self._intercepted += 1
        number = f"t{self._intercepted}"
        taken = network.intercept(link, message, trace_id(self.node_id, to, number, message))
        if taken is None:
            return False
        self._recorder.sent(to, number, message)
        if taken == "dropped":
            self._recorder.dropped(to, message, number, "dropped by the timeline")
        return True

    def deliver_event(self, event: ReplicaEvent, fault: Fault | None = None) -> bool:
        """Give the replica one event, with one of its next steps; see `SimulatedNode`."""
        if self._node is None:
            return False
        self._call(partial(self._take_event, self._node, event, fault))
        return True

    def _take_event(self, node: ReplicaNode, event: ReplicaEvent, fault: Fault | None) -> None:
        if fault is not None:
            fault.acted += 1
        node.add_event(event)

    def receive_admin_request(
        self,
        make: Callable[[int, Membership], ReplicaEvent],
        then: Callable[[Reply | None], None],
    ) -> bool:
        """Give the replica an admin request; see `SimulatedNode`."""
        node, writer = self._node, self._writer
        if node is None or writer is None:
            return False
        self._admin_count += 1
        number = self._admin_count
        self._admin_requests[number] = then
        if writer.full is not None:
            rejection = Reply(0, None, 0, no_space_left(f"node {self.node_id}", writer.full))
            self._admin_reply(number, rejection)
        else:
            self._call(partial(self._submit_admin_request, node, make, number))
        return True

    def _submit_admin_request(
        self, node: ReplicaNode, make: Callable[[int, Membership], ReplicaEvent], number: int
    ) -> None:
        membership = node.core.membership
        node.submit_event(
            lambda request_id: make(request_id, membership), partial(self._admin_reply, number)
        )

    def _admin_reply(self, number: int, reply: Reply) -> None:
        then = self._admin_requests.pop(number, None)
        if then is not None:
            self._engine.immediately(partial(then, reply))

    def clock_changed(self) -> None:
        """The clock runs at another speed."""
        if self.host.runs:
            self.host.loop.clock_changed()

    # -- what the observers see -------------------------------------------------------------------

    def _stepped(self, events: int) -> None:
        self.events.spend_on_events(events, self._event_us)
        for fault in self.clock_faults.values():  # each step reads the clock
            fault.acted += 1

    def _on_capture(self) -> None:
        replica = self.replica
        if replica is not None:
            self.state_history.capturing(replica, self._machine.state_hash())

    def _on_changes(self, index: int, machine: SupportsChanges) -> None:
        if self._services.watches is not None:
            self._services.watches.applied(self.node_id, index, machine, self._engine.now)

    def _on_filter(self, request: str, found: WatchFilter) -> None:
        if self._services.watches is not None:
            self._services.watches.accepted(self.node_id, request, found)
