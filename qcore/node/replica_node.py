"""`ReplicaNode`: creates the parts of one running node (driver, peers, request handler, pages) and connects them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from pydantic import JsonValue

from qcore.core.raft import RaftCore
from qcore.core.status import CoreStatus
from qcore.errors import QcoreError
from qcore.machines.interface import StateMachine
from qcore.node.access.audit.audit_log import LineSink
from qcore.node.access.node_access import NodeAccess
from qcore.node.api.client_requests import RequestHandler
from qcore.node.api.served_connections import ServedConnections
from qcore.node.application import Application, node_codec
from qcore.node.config import NodeConfig
from qcore.node.discovery.node_founding import NodeFounding
from qcore.node.joining_storage import JoiningStorage
from qcore.node.observability.both_recorders import with_trace
from qcore.node.observability.logs import NodeLog
from qcore.node.observability.metrics import NodeMetrics
from qcore.node.observability.node_recorder import NodeRecorder
from qcore.node.observability.node_recording import (
    ReplicaRecording,
    name_of_machine,
    start_of_node,
)
from qcore.node.observability.tracing import FLUSH_INTERVAL_S, NodeTrace
from qcore.node.peers.peer_keys import PeerKeys
from qcore.node.peers.peer_router import PeerRouter
from qcore.node.quotas.node_quotas import NodeQuotas
from qcore.node.replica_changes import ReplicaChanges
from qcore.node.runtime.disk_writer import DiskWriter
from qcore.node.runtime.driver import ReplicaDriver
from qcore.node.runtime.periodic import PeriodicTask
from qcore.node.runtime.shutdown import drain_writer, transfer_before_stop
from qcore.node.runtime.submit_event import MakeEvent
from qcore.node.status import metrics_object
from qcore.node.status.metrics_page import metrics_page
from qcore.node.status.node_state_hash import StateHash
from qcore.node.status.node_status import NodeStatus, VersionStatus, has_quorum, unready_reason
from qcore.node.surroundings import PROCESS, Surroundings
from qcore.node.topology_loader import topology_loader
from qcore.node.watches.divergence import (
    CHECK_INTERVAL_S,
    DivergenceMarkFile,
    DivergenceWatch,
)
from qcore.node.watches.leadership_watch import LeadershipWatch
from qcore.node.watches.node_watches import NodeWatches
from qcore.replica.events import KnownDiverged, PeerVersionSupport, ReplicaEvent, Reply
from qcore.replica.peers.identity import ClusterIdentity
from qcore.replica.peers.peer_admission import PeerAdmission
from qcore.replica.replica import Replica
from qcore.security.keys.join_token import HeldJoinToken
from qcore.storage.interface import HasIncarnation, LogStorage
from qcore.trace import TextSink
from qcore.transport.codec.codec import Codec
from qcore.transport.peers.peer_pool import PeerHandler, PeerPool
from qcore.transport.server.server import Server
from qcore.transport.wire import Hello

#: How often the state hash is refreshed.
_HASH_INTERVAL_S: Final = 0.1
#: How often saving the known members is tried again after a failure.
_SAVE_RETRY_S: Final = 5.0
#: How often the node looks at the cluster clock, for tokens that expire, and at its quotas and the space of its disk.
_LOOK_INTERVAL_S: Final = 1.0


class ReplicaNode:
    """A running node, without what belongs to its process: files, output, signals, garbage collector.

    Create it inside the event loop, then `await start()`.

    Args:
        config: settings.
        application: the state machine and its requests.
        storage: already open. Close it after `stop_writer` has returned, or at any time if `start` was not called.
        log: gets the lines.
        trace: gets the lines of the trace, and never blocks; None for no trace.
        observer: sees what the node does, as a trace does.
        codec: that of `node_codec`, if the caller has one for several nodes.
        wrap_machine: makes of the application's machine the one that the replica runs, such as one that is observed.
        recording: gets what the replica starts from, and its steps; None for no recording.
        on_leadership: called with the term once this node leads and has committed an entry of that term, and with None
            once it no longer leads or has failed. It must be quick.
        audit_sink: gets the lines of the audit log; None for none.
        join_token: with which this node waits to be added; None for none. A member ignores it.
        world: where the node runs.

    Raises:
        StorageError: the data cannot be read, or belongs to another node.
        ConfigError: the topology file is wrong.
    """

    def __init__(
        self,
        config: NodeConfig,
        application: Application,
        storage: LogStorage,
        log: NodeLog,
        trace: TextSink | None = None,
        *,
        observer: NodeRecorder | None = None,
        wrap_machine: Callable[[StateMachine], StateMachine] = lambda machine: machine,
        codec: Codec | None = None,
        recording: ReplicaRecording | None = None,
        on_leadership: Callable[[int | None], None] = lambda term: None,
        audit_sink: LineSink | None = None,
        join_token: HeldJoinToken | None = None,
        world: Surroundings = PROCESS,
    ) -> None:
        runtime = self._runtime = world.runtime
        self._config, self._application, self._log = config, application, log
        self._metrics = NodeMetrics()
        self._started_at = runtime.seconds()
        self._failure: BaseException | None = None
        self._stopping = False
        self.failed = asyncio.Event()
        #: Set by `stop_writer` and `stop`: the disk thread did not end, so the storage must no longer be used.
        self.disk_hung = False
        # A number that a recording holds. No two nodes must draw the same election timeouts.
        seed = runtime.new_rng().getrandbits(64)
        self._trace = observer
        if trace is not None:
            self._trace = with_trace(observer, NodeTrace(trace, config.node_id, runtime.wall_us))
        durable_storage = JoiningStorage(storage)
        loaded = durable_storage.load()
        replica_config, now = config.replica_config(), runtime.monotonic_us()
        self._recording = recording
        recorder = None
        if recording is not None:
            name = name_of_machine(application.machine, config.machine)
            recorder = recording.begin(
                start_of_node(replica_config, name, loaded, seed, now, runtime.wall_us())
            )
        machine = wrap_machine(application.machine)
        self._replica = Replica(replica_config, machine, loaded, rng=random.Random(seed), now=now)
        self._state_hash = StateHash(
            self._replica, machine, self._metrics, lambda: self._failure is not None, self._fatal
        )
        self._identity = ClusterIdentity(
            config.node_id,
            durable_storage.identity().cluster_id,
            storage.incarnation if isinstance(storage, HasIncarnation) else "",
        )
        self._driver = ReplicaDriver(
            self._replica, self._metrics, self._trace, runtime=runtime, recorder=recorder
        )
        self._admission = PeerAdmission(
            self._replica,
            self._identity,
            world.load_members(
                config.data_dir,
                set(self._replica.core.membership.members()) - {config.node_id},
                lambda why: log.warning("the known members are not on disk", why=why),
            ),
            lambda error: log.warning("the known members could not be saved", why=str(error)),
        )
        inbox, core = self._driver.inbox, self._replica.core
        known_key, random_bytes = core.membership.key_of(config.node_id), runtime.random_bytes
        self._key = world.load_key(config.data_dir, random_bytes, known_key)
        keys = PeerKeys(self._key, core, random_bytes, join_token)
        addresses = config.peer_addresses(
            lambda: core.membership,
            lambda peer, why: log.warning("a peer announces a wrong address", peer=peer, why=why),
        )
        self._peers = PeerRouter(
            self._admission, inbox, log, self._metrics, self._trace, keys, addresses
        )
        codec = codec or node_codec(application.perform_type, config.replica.max_command_bytes)
        server_tls, peer_tls = config.tls.contexts(config.advertise_addr)

        def make_pool(handler: PeerHandler, hello: Callable[[str], Hello]) -> PeerPool:
            # Not the generator of the replica: a replay could not draw what depends on connections.
            limits, rng, held = config.limits, runtime.new_rng(), self._driver.held
            return PeerPool(codec, handler, hello, rng, limits, held, runtime=runtime, tls=peer_tls)

        self._pool = make_pool(self._peers, self._peers.hello)
        self._peers.use_pool(self._pool, make_pool)
        self._requests = RequestHandler(
            application,
            self._identity,
            inbox,
            self.metrics_object,
            self._metrics,
            config,
            self._replica,
            self._peers,
            self._trace,
            runtime=runtime,
        )
        self.access = NodeAccess(
            self._replica,
            self._identity,
            self._key,
            config,
            self._requests.get_permission,
            self._requests.submit_event,
            audit_sink,
            runtime,
            world.hashing,
            self._metrics,
            log,
        )
        quotas = self.quotas = NodeQuotas(
            config, self._replica, inbox.add_event, log, lambda: self._writer.footprint, runtime
        )
        self._requests.write_quota = inbox.write_quota = quotas.write_rejection
        self.founding = NodeFounding(
            config, self._identity, core, self._key, self._requests, world, peer_tls, log
        )
        served = ServedConnections(self._requests, self._peers, self, log, self.access, quotas)
        self._server = Server(
            codec,
            served,
            config.limits,
            config.origins(),
            pages=config.page_guard(),
            runtime=runtime,
            tls=server_tls,
            peers_need_certificates=config.tls.tls_ca is not None,
            held=self._driver.held,
        )
        why = self._peers.connection_problem
        self._replica.connection_problem = why if recorder is None else recorder.answering(why)
        mark = world.divergence_mark or DivergenceMarkFile(config.data_dir)
        self._diverged_at = mark.load()
        self._topology = topology_loader(config.topology, application, self._requests.submit, log)
        if self._topology is not None:
            self._requests.after_init = self._topology.after_init
        self._changes = ReplicaChanges(
            config,
            self._replica,
            self._identity,
            self._admission,
            self._peers,
            self._requests,
            self._topology,
            log,
            self._metrics,
            mark,
            fatal=self._fatal,
            footprint=lambda: self._writer.footprint,
            wall_us=runtime.wall_us,
        )
        self._writer: DiskWriter = world.make_writer(
            durable_storage,
            on_durable=self._driver.on_durable,
            on_error=self._fatal,
            on_disk_full=self._changes.on_disk_full,
            on_snapshot_stored=self._changes.on_snapshot_stored,
            loaded=loaded,
        )
        self._periodic_tasks = [
            PeriodicTask(_HASH_INTERVAL_S, self._state_hash.refresh),
            PeriodicTask(_SAVE_RETRY_S, self._admission.retry_save),
            PeriodicTask(_LOOK_INTERVAL_S, served.tick),
        ]
        if any(use.limit for use in quotas.uses()):
            self._periodic_tasks.append(PeriodicTask(_LOOK_INTERVAL_S, quotas.check))
        for flushed in (self._trace, recording):
            if flushed is not None:
                self._periodic_tasks.append(PeriodicTask(FLUSH_INTERVAL_S, flushed.flush))
        self._watches = NodeWatches(
            config,
            self._replica,
            self._identity,
            self._peers,
            self._metrics,
            log,
            own_process=world.own_process,
            measures_stalls=world.measures_stalls,
            submit_event=self._requests.submit_event,
            runtime=runtime,
        )
        self._leadership = LeadershipWatch(self._replica.core, self._changes, on_leadership)
        comparison = self._replica.containment.comparison
        self._divergence = DivergenceWatch(core.status, comparison, log, runtime.seconds)
        self._periodic_tasks.append(PeriodicTask(CHECK_INTERVAL_S, self._divergence.check))

    # -- start and stop ------------------------------------------------------------------------------------

    async def start(self) -> str:
        """Listen and join the cluster's traffic; returns the address `host:port`.

        Raises:
            TransportError: the address cannot be bound.
            StorageError: the data belongs to a cluster other than the one that the log names.
        """
        bound = await self._server.start(self._config.ws_addr)
        if warning := self._config.tls.warning(self._config.ws_addr):
            self._log.warning(warning, addr=str(self._config.ws_addr))
        self._writer.start()  # last of the steps that can fail
        self._requests.initialiser.listening_on(bound)
        if self._trace is not None:
            self._trace.started(self._replica.core.status())
        self._changes.use_membership(self._replica.core.membership)
        if self._diverged_at is not None:  # with the first step, so that the node serves nothing
            self._log.error("this node was diverged before its restart", index=self._diverged_at)
            self._driver.inbox.add_event(KnownDiverged(self._diverged_at))
        self._driver.start(
            self._writer, self._peers, self._requests, self._requests.watches, self._changes
        )
        support = self._replica.versions.support
        self._driver.inbox.add_event(
            PeerVersionSupport(self._config.node_id, support, self._key.public)
        )
        self.access.start()
        for task in self._periodic_tasks:
            task.start()
        self._watches.start()
        self.founding.start(self._peers.awaited_cluster)
        return bound

    async def stop(self) -> None:
        """Reject new requests, wait for those in progress, and close everything."""
        self._stopping = True
        self._log.info("stopping", requests_in_progress=self._requests.in_progress)
        if self._failure is None:
            timeout_ms = 2 * self._config.raft.election_timeout_max_ms
            await transfer_before_stop(
                self._replica.core, self._requests.submit_event, timeout_ms, self._log
            )
        await self.founding.stop()
        self._requests.close()
        if self._topology is not None:
            self._topology.stop()
        if self._failure is None:
            await self._await_requests()
        self._requests.abandon("the node is shutting down: the request may or may not take effect")
        self.access.close()
        await self._server.stop()
        self._peers.stop()
        await self._pool.close()
        self._driver.stop()
        await self.stop_writer()
        self._watches.stop()
        for task in self._periodic_tasks:
            task.stop()
        if self._trace is not None:
            self._trace.stopped("stopped" if self._failure is None else str(self._failure))
        if self._recording is not None:
            self._recording.end("stopped" if self._failure is None else str(self._failure))
        self._log.info("stopped")

    async def abandon(self) -> None:
        """Close what a `start` that raised has opened, except the disk thread: see `stop_writer`."""
        self._stopping = True
        self._driver.stop()
        await self._server.stop()
        self._peers.stop()
        await self._pool.close()

    async def stop_writer(self) -> None:
        """End the disk thread. The storage may be closed only after this, however the node ends. Idempotent."""
        self.disk_hung = self.disk_hung or not await drain_writer(
            self._writer, self._log, self._runtime.seconds
        )

    async def _await_requests(self) -> None:
        """Wait for the requests in progress, at most for the grace period."""
        # Polled, because an event would add work to every request for something that happens once.
        for _ in range(self._config.shutdown_grace_ms // 10):
            if not self._requests.in_progress:
                return
            await asyncio.sleep(0.01)

    @property
    def metrics(self) -> NodeMetrics:
        """The node's counters."""
        return self._metrics

    def connections_accepted(self) -> int:
        """How many connections were accepted since the start."""
        return self._server.stats.connections_accepted

    def may_pause(self) -> bool:
        """Whether a pause shorter than an election timeout is safe."""
        return self._replica.core.role != "leader" and not self._replica.busy

    def on_busy(self, act: Callable[[], None]) -> None:
        """Call `act` when the replica becomes busy: it captures a snapshot or applies a long backlog."""
        self._changes.on_busy = act

    @property
    def replica(self) -> Replica:
        """The replica, to look at its state."""
        return self._replica

    @property
    def peers(self) -> PeerRouter:
        """What passes messages between the replica and its peers."""
        return self._peers

    def add_event(self, event: ReplicaEvent) -> None:
        """Give the replica an event with one of its next steps."""
        self._driver.inbox.add_event(event)

    def submit_event(self, make: MakeEvent, done: Callable[[Reply], None]) -> None:
        """See `SubmitEvent`."""
        self._requests.submit_event(make, done)

    @property
    def core(self) -> RaftCore:
        """The core, to look at its state."""
        return self._replica.core

    def has_quorum(self) -> bool:
        """Whether this node heard from a quorum (if it leads) or from the leader within an election timeout."""
        if self._failure is not None or self._stopping:
            return False
        timeout_us = 1000 * self._config.raft.election_timeout_max_ms
        return has_quorum(self._replica.core, self._runtime.monotonic_us() - timeout_us)

    @property
    def failure(self) -> BaseException | None:
        """The error that stopped the node, once `failed` is set."""
        return self._failure

    @property
    def removal_reason(self) -> str | None:
        """Why this node is no longer a member of its cluster, or None."""
        return self._watches.removal.reason()

    def _fatal(self, error: BaseException) -> None:
        """Stop the node, because of an error after which it cannot continue."""
        if self._failure is not None:
            return
        self._failure = error
        self._log.error("fatal: nothing is acknowledged any more", why=str(error))
        if not isinstance(error, QcoreError):
            # A bug, not bad input: the traceback is needed to fix it.
            self._log.bug("internal error", error)
        self._driver.stop()
        self._leadership.end()
        self.failed.set()

    # -- contents of the HTTP pages (NodeView) -----------------------------------------------------------------

    def unready_reason(self) -> str | None:
        """See `NodeView`."""
        core = self._replica.core
        return unready_reason(core.status(), core.has_committed_in_term, self._node_status())

    def metrics_object(self) -> dict[str, JsonValue]:
        """See `NodeView`."""
        return metrics_object.metrics_object(
            self._replica.core,
            self._status(),
            self._changes.leaders,
            self._node_status(),
            self._state_hash.current(),
            self._runtime.monotonic_us(),
        )

    def exposition(self) -> str:
        """See `NodeView`."""
        peers, stats = self._pool.peer_states(), self._server.stats
        return metrics_page(self._status(), self._metrics, self._node_status(), peers, stats)

    def _status(self) -> CoreStatus:
        """The core's status, with the apply index of the state machine, which may lag behind the core's."""
        return replace(self._replica.core.status(), applied_index=self._replica.applied_index)

    def _node_status(self) -> NodeStatus:
        return NodeStatus(
            cluster_id=self._identity.cluster_id,
            stopping=self._stopping,
            failure=None if self._failure is None else str(self._failure),
            rejections=self._peers.rejections(),
            removal_reason=self.removal_reason,
            address=self._requests.initialiser.own_address,
            disk_full=self._requests.rejects_writes,
            stored=self._writer.footprint,
            snapshot_stored_at=self._metrics.snapshot_stored_at,
            longest_stall_s=self._metrics.stall_seconds.largest,
            queues={
                "inbox": len(self._driver.inbox),
                "requests": self._requests.in_progress,
                "writes": self._driver.writes_in_flight,
            },
            connections={"clients": self._server.stats.clients, "peers": self._server.stats.peers},
            backups=self._metrics.backups,
            watches=self._requests.watches.figures(self._replica.watches.history),
            uptime_s=self._runtime.seconds() - self._started_at,
            versions=VersionStatus.of(self._replica.versions),
            digests=self._replica.digests.kept,
            comparison=self._divergence.found,
            diverged_at=self._replica.containment.diverged_at,
            quotas=self.quotas.uses(),
            founding=self.founding.state,
        )
