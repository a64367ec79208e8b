"""`Replica`: the Raft core, the state machine and the requests, as one pure object."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any, cast

from qcore.core.effects import (
    AppendLog,
    Apply,
    Effect,
    ReadReady,
    ReadRejected,
    RestoreMachine,
    Send,
)
from qcore.core.entry import DurableState
from qcore.core.events import Campaign, Event, MessageReceived, PeerUnreachable, Tick, WriteDurable
from qcore.core.messages import AppendEntries, AppendEntriesResponse
from qcore.core.raft import RaftCore
from qcore.errors import NotLeader, QcoreError
from qcore.machines.interface import StateMachine, version_support
from qcore.replica.access.access_table import AccessTable
from qcore.replica.admin.pending_admin import AdminRequests
from qcore.replica.admin.reinstalls import Reinstalls
from qcore.replica.admin.snapshot_steps import SnapshotSteps
from qcore.replica.apply.active_version import Versions, check_all_supported
from qcore.replica.apply.applier import Applier
from qcore.replica.config import ReplicaConfig
from qcore.replica.disk_window import DiskWindow
from qcore.replica.divergence.containment import Containment
from qcore.replica.events import (
    AddLearner,
    BeginWatch,
    ChangeMembers,
    ClientRequest,
    DiskSpaceChanged,
    EndWatch,
    InitCluster,
    KnownDiverged,
    PeerVersionSupport,
    ReinstallMember,
    ReplicaEffect,
    ReplicaEvent,
    Reply,
    RequestSnapshot,
    TransferLeader,
    TriggerSnapshot,
    UpgradeMachine,
)
from qcore.replica.messages import (
    Forward,
    ForwardResponse,
    PeerMessage,
    ReadIndex,
    ReadIndexResponse,
    StateDigests,
)
from qcore.replica.replica_context import NO_CLUSTER
from qcore.replica.requests.admission import RequestAdmission, expiry_error, lost_leader_error
from qcore.replica.requests.disk_space import writes_to_log
from qcore.replica.requests.forwarded_errors import response_of_error, response_of_result
from qcore.replica.requests.forwarder import Forwarder
from qcore.replica.requests.leader_wait import LeaderWait
from qcore.replica.requests.pending import PendingRequest, RequestDeadlines, is_outcome
from qcore.replica.requests.reads import Reads
from qcore.replica.requests.request_denial import request_denial
from qcore.replica.requests.requested_snapshots import SnapshotRequests
from qcore.replica.requests.storage_quotas import StorageQuotas
from qcore.replica.requests.writes import Writes
from qcore.replica.sessions.session_table import SessionTable
from qcore.replica.sessions.ticks import SessionTicks
from qcore.replica.snapshot_builder import SnapshotBuilder
from qcore.replica.watches.watch_table import Watches


class Replica:
    """One replica, pure. The package docstring describes the driver's duties.

    Call `step([], now, wall_us)` right after the constructor: the first step also returns the effects of the restart.

    Args:
        config: settings.
        machine: a fresh state machine; the snapshot in `durable` is restored into it.
        durable: the state that the storage returned.
        rng: draws election timeouts and the first forward number.
        now: µs on the monotonic clock that later steps will use.

    Raises:
        LogCorrupt: log and snapshot in `durable` do not meet.
        ConfigError: the machine declares no name or versions.
        IncompatibleVersion: log or snapshot belong to another state machine, or to a version that this one cannot
            apply.
        StateMachineFailed: the machine raised while it restored the snapshot or applied committed entries.
    """

    def __init__(
        self,
        config: ReplicaConfig,
        machine: StateMachine,
        durable: DurableState,
        *,
        rng: random.Random,
        now: int,
    ) -> None:
        self.config = config
        self.machine = machine
        self._now, self._wall_us = now, 0
        #: Why there is no connection to a peer, for the texts of errors; None if there is one or the reason is unknown.
        self.connection_problem: Callable[[int], str | None] = lambda peer_id: None
        #: Gets the effects of a step of the core that appends and commits, before the committed entries are applied. So
        #: a driver may execute the others first; `step` returns them nevertheless.
        self.before_applying: Callable[[Sequence[Effect]], None] | None = None
        self._out: list[ReplicaEffect] = []
        self.forwarder = Forwarder(self, rng, gather_reads=config.gather_reads)
        self.access = AccessTable()
        gather = config.gather_reads
        self._reads = Reads(self, self.forwarder, machine, self.access, gather=gather)
        self._deadlines = RequestDeadlines()
        self._disk_window = DiskWindow()
        self._admission = RequestAdmission(config, now)
        self._snapshot_builder = SnapshotBuilder(config)
        self.quotas = StorageQuotas(self, config, machine, self._snapshot_builder)
        self._writes = Writes(self, self.forwarder, self._admission, self._disk_window, self.quotas)
        self._longest_timeout_us = config.raft.election_timeout_max_ms * 1000
        self._leader_wait = LeaderWait(self._writes, self.forwarder, self._longest_timeout_us)
        self._snapshot_requests = SnapshotRequests(self, self._reads, self._longest_timeout_us)
        self.watches = Watches(self, self._reads, machine, config, self.access)
        self.sessions = SessionTable()
        self._session_ticks = SessionTicks(
            self, self.sessions, machine, config.raft.heartbeat_ms * 1000
        )
        self.versions = Versions(self, version_support(machine, config.max_rules))
        check_all_supported(durable, self.versions.support)
        self._applier = Applier(
            self,
            machine,
            self.sessions,
            self.versions,
            self._snapshot_builder,
            self.access,
            writes=self._writes,
            reads=self._reads,
            forwarder=self.forwarder,
            watches=self.watches,
            hash_log=config.digest_interval_ms > 0,
        )
        self._backlog = self._applier.backlog
        self.digests = self._applier.digests
        if durable.snapshot is not None:
            self._applier.restore_at_start(durable.snapshot)
        self.core = RaftCore(config.raft, durable, rng=rng, now=now)
        self._admin = AdminRequests(self, config)
        self._reinstalls = Reinstalls(self)
        self._snapshots = SnapshotSteps(
            self,
            config,
            machine,
            self.sessions,
            self.access,
            self.versions,
            self._backlog,
            builder=self._snapshot_builder,
            requests=self._snapshot_requests,
            reinstalls=self._reinstalls,
        )
        self.containment = Containment(
            self,
            self.digests,
            self.versions,
            config.digest_interval_ms * 1000,
            self._longest_timeout_us,
            [self.watches.abandon, self._snapshot_requests.abandon, self._writes.abandon],
        )
        self._applier.on_installed = self.containment.replaced
        #: What handles each other event, by class. `Any`: each handler takes the class that it is listed under.
        self._on_event: dict[type, Callable[[Any], object]] = {
            ClientRequest: self._on_client_request,
            WriteDurable: self._on_write_durable,
            Tick: self.step_core,
            Campaign: self.step_core,
            PeerUnreachable: self._on_peer_unreachable,
            InitCluster: self._on_init,
            ChangeMembers: lambda event: self._admin.change(event, self._wall_us),
            AddLearner: lambda event: self._admin.add_learner(event, self._wall_us),
            TransferLeader: self._admin.transfer,
            UpgradeMachine: self.versions.upgrade,
            PeerVersionSupport: self.versions.on_peer_version_support,
            RequestSnapshot: self._snapshot_requests.begin,
            BeginWatch: self.watches.begin,
            EndWatch: self.watches.end,
            ReinstallMember: self._reinstalls.begin,
            KnownDiverged: self.containment.known,
            DiskSpaceChanged: self._snapshots.on_disk_space,
            TriggerSnapshot: self._snapshots.on_trigger,
        }
        #: What handles a peer's message, by class; all others are messages of Raft.
        self._on_message_of: dict[type, Callable[[int, Any], None]] = {
            Forward: self._on_forward,
            ForwardResponse: lambda _, message: self.forwarder.on_forward_response(message),
            ReadIndex: self._on_read_index,
            ReadIndexResponse: lambda _, message: self.forwarder.on_read_index_response(message),
            StateDigests: self.containment.received,
        }
        self.carry_out(self.core.initial_effects())
        while self._backlog.busy:
            self._backlog.begin_step()
            self._applier.advance()

    def step(self, events: Sequence[ReplicaEvent], now: int, wall_us: int) -> list[ReplicaEffect]:
        """Take the events that happened by `now`; return what the driver must do, in order.

        Args:
            events: in order of arrival. Writes among them are appended together, after the rest.
            now: µs on the monotonic clock.
            wall_us: µs since the Unix epoch; stamps the entries that this node appends as leader.

        Raises:
            StateMachineFailed: the state machine broke its contract; the node must stop.
        """
        self._now = max(self._now, now)
        self._wall_us = wall_us
        self._backlog.begin_step()
        self._reads.begin_step()
        for event in events:
            if isinstance(event, MessageReceived):  # most events: without a look into a table
                self._on_message(event)
            else:
                self._on_event[type(event)](event)
        for request in self._leader_wait.advance(self.core.leader_id, self._now):
            self.cancel(request, lost_leader_error(request))
        self._reads.ask()
        self._writes.propose(wall_us)
        if self._backlog.busy:
            self._applier.advance()
        if self.watches.unfinished:
            self.watches.advance()
        if not self._admin.idle:
            self._admin.advance()
        if not self.versions.idle:
            self.versions.advance(wall_us)
        if self._session_ticks.needed:
            self._session_ticks.advance(wall_us)
        if not self._reinstalls.idle:
            self._reinstalls.advance()
        if self.containment.next_deadline() <= self._now:
            self.containment.advance()
        if self._snapshots.needed:
            self._snapshots.advance()
        self._reads.ask()  # those that the work above has begun
        if self._deadlines.next_deadline() <= self._now:
            self._expire()
        out, self._out = self._out, []
        return out

    def next_deadline(self) -> int:
        """When to step `Tick` at the latest, µs."""
        if self._backlog.busy or self._reads.busy or self._writes.can_propose or self.watches.busy:
            return self._now
        # In pairs: compiled, a `min` of more numbers makes objects of them.
        deadline = min(self._leader_wait.next_deadline(), self.core.next_deadline())
        deadline = min(deadline, self._deadlines.next_deadline())
        deadline = min(deadline, self._snapshot_builder.next_deadline())
        deadline = min(deadline, self._session_ticks.next_deadline())
        return min(deadline, self.containment.next_deadline())

    # -- events ----------------------------------------------------------------------------------

    def _on_message(self, event: MessageReceived) -> None:
        message = event.message
        if isinstance(message, (AppendEntries, AppendEntriesResponse)):  # the most frequent ones
            self.step_core(event)
        elif (handle := self._on_message_of.get(type(message))) is not None:
            handle(event.from_id, message)
        else:
            self.step_core(event)  # another message of Raft

    def _on_forward(self, from_id: int, message: Forward) -> None:
        request = PendingRequest(
            message.forward_id, from_id, message.kind, message.payload, 0, user=message.user
        )
        self._accept(request, message.timeout_ms)

    def _on_read_index(self, from_id: int, message: ReadIndex) -> None:
        request = PendingRequest(message.read_id, from_id, "read_index", "", 0)
        self._accept(request, message.timeout_ms)

    def _on_client_request(self, event: ClientRequest) -> None:
        if event.kind == "stale_read":
            self._reads.begin_stale(event)
        else:
            request = PendingRequest(
                event.request_id, None, event.kind, event.payload, 0, user=event.user
            )
            self._accept(request, event.timeout_ms)

    def _on_peer_unreachable(self, event: PeerUnreachable) -> None:
        self.step_core(event)
        self.forwarder.on_unreachable(event.peer_id)

    def _on_write_durable(self, event: WriteDurable) -> None:
        self._disk_window.durable(event.write_id)
        self.step_core(event)

    def _on_init(self, event: InitCluster) -> None:
        request = self.start_request(event.request_id, event.timeout_ms)
        self._writes.initialise(request, event, self._wall_us, self.versions.initial_version())

    def _accept(self, request: PendingRequest, timeout_ms: int) -> None:
        request.deadline = self._now + timeout_ms * 1000
        rejection = self.containment.rejection(request) or self._admission.take(request, self._now)
        if rejection is None and writes_to_log(request.kind):
            rejection = request_denial(self.access, self.versions.active.rules, request)
        if rejection is not None:
            self.fail(request, rejection)
        else:
            self._deadlines.sweep()
            self._deadlines.add(request)
            self.resubmit(request)

    # -- the core's effects ----------------------------------------------------------------------

    def step_core(self, event: Event) -> list[Effect]:
        """See `ReplicaContext`."""
        effects = self.core.step(event, self._now, self._wall_us)
        self.carry_out(effects)
        return effects

    def emit(self, effect: ReplicaEffect) -> None:
        """See `ReplicaContext`."""
        self._out.append(effect)

    def carry_out(self, effects: list[Effect]) -> None:
        """See `ReplicaContext`."""
        # Compiled, this takes a third of the time of `match`. The most frequent effects come first.
        for effect in effects:
            if isinstance(effect, Send):
                self._out.append(effect)
            elif isinstance(effect, AppendLog):
                self._out.append(effect)
                size = 0
                for entry in effect.entries:
                    size += entry.size_bytes()
                self._disk_window.appended(effect.write_id, size)
                self._snapshot_builder.appended(size)
                self._backlog.appended(effect.entries)
            elif isinstance(effect, Apply):
                if self.before_applying is not None and isinstance(effects[0], AppendLog):
                    self.before_applying(effects)
                self._applier.commit(effect.entries)
            elif isinstance(effect, ReadReady):
                if effect.index <= self.readable_index:
                    self._reads.ready(effect.read_id)
                else:
                    self._backlog.wait_for(effect.index, effect.read_id)
            elif isinstance(effect, ReadRejected):
                self._reads.rejected(effect.read_id)
            elif isinstance(effect, RestoreMachine):
                self._applier.begin_restore(effect.snapshot)
            elif not is_outcome(effect):  # an outcome is handled where the request was made
                self._out.append(cast(ReplicaEffect, effect))

    @property
    def applied_index(self) -> int:
        """The index of the last applied entry."""
        return self._applier.applied_index

    @property
    def has_apply_backlog(self) -> bool:
        """True while committed entries are not applied yet: the next steps apply the rest."""
        return self._backlog.busy

    @property
    def restoring(self) -> bool:
        """True while a snapshot is being restored: the state is that of no index, and the machine must not be asked."""
        return self._backlog.restoring

    @property
    def readable_index(self) -> int:
        """See `ReplicaContext`."""
        return self._applier.readable_index

    @property
    def busy(self) -> bool:
        """True while the replica has work for more than one step: a snapshot, or a long catch-up."""
        return self._backlog.busy or self._snapshot_builder.capturing

    def state_error(self) -> QcoreError | None:
        """See `ReplicaContext`."""
        return self.containment.read_error() if self.core.contained else None

    # -- outcomes --------------------------------------------------------------------------------

    def resubmit(self, request: PendingRequest) -> None:
        """See `ReplicaContext`."""
        if writes_to_log(request.kind):
            self._writes.add(request)
        else:
            self._reads.begin(request)

    def shorten_deadline(self, request: PendingRequest) -> None:
        """See `ReplicaContext`."""
        deadline = self._now + self._longest_timeout_us
        if request.deadline > deadline:
            request.deadline = deadline
            self._deadlines.add(request)

    def _expire(self) -> None:
        for request in self._deadlines.expired(self._now):
            if request.done:
                continue  # its deadline was shortened, so it was in the queue twice
            if request.deadline > self._now:
                self._deadlines.add(request)  # its deadline was extended
                continue
            error = (
                self._admin.expire(request)
                or self._snapshot_requests.expire(request)
                or self.versions.expire(request)
                or self.watches.expire(request)
                or self._reinstalls.expire(request)
            )
            if request.deadline > self._now:
                self._deadlines.add(request)  # its change must be undone first
                continue
            self.cancel(request, error or expiry_error(request))

    def cancel(self, request: PendingRequest, error: QcoreError) -> None:
        """See `ReplicaContext`."""
        self._writes.forget(request)
        self._reads.forget(request)
        self.forwarder.forget(request)
        self.fail(request, error)

    @property
    def now(self) -> int:
        """See `ReplicaContext`."""
        return self._now

    def snapshot_confirmed(self, request: PendingRequest) -> None:
        """See `ReplicaContext`."""
        self._snapshot_requests.confirmed(request)

    def watch_confirmed(self, request: PendingRequest) -> None:
        """See `ReplicaContext`."""
        self.watches.confirmed(request)

    def serve(self, request: PendingRequest) -> None:
        """See `ReplicaContext`."""
        self._reads.serve(request)

    def confirm_leadership(self, request: PendingRequest) -> None:
        """See `ReplicaContext`."""
        request.kind = "leadership_check"
        self._reads.begin(request)

    def send(self, to: int, message: PeerMessage) -> None:
        """See `ReplicaContext`."""
        self._out.append(Send(to, message, 0))

    def start_request(self, request_id: int, timeout_ms: int) -> PendingRequest:
        """See `ReplicaContext`."""
        request = PendingRequest(request_id, None, "write", "", self._now + timeout_ms * 1000)
        self._deadlines.sweep()
        self._deadlines.add(request)
        return request

    def succeed(self, request: PendingRequest, result: str, index: int) -> None:
        """See `ReplicaContext`."""
        self._admission.release(request, self._now)
        if request.from_peer is None:
            self._out.append(Reply(request.request_id, result, index, None))
        else:
            self.send(request.from_peer, response_of_result(request, result, index))

    def fail(self, request: PendingRequest, error: QcoreError) -> None:
        """See `ReplicaContext`."""
        if request.kind == "watch":
            self.watches.failed(request)
        self._admission.release(request, self._now)
        if request.from_peer is None:
            self._out.append(Reply(request.request_id, None, 0, error))
        else:
            self.send(request.from_peer, response_of_error(request, error))

    def silence_reason(self, peer_id: int) -> str:
        """See `ReplicaContext`."""
        return self.connection_problem(peer_id) or "it does not answer"

    def not_leader(self) -> NotLeader:
        """See `ReplicaContext`."""
        leader_id = self.core.leader_id
        if leader_id is None or leader_id == self.config.raft.node_id:
            return NotLeader(text=NO_CLUSTER if self.core.membership.is_empty else None)
        return NotLeader(leader_id, self.core.membership.address_of(leader_id))
