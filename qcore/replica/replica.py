"""A replica: the Raft core joined to a state machine and to those who send it requests."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from qcore.core.effects import (
    AppendLog,
    Apply,
    ChangeAccepted,
    ChangeRejected,
    Effect,
    ProposalAccepted,
    ProposalRejected,
    ReadReady,
    ReadRejected,
    RestoreMachine,
    Send,
    TransferRejected,
    TransferStarted,
)
from qcore.core.entry import DurableState, Entry, EntryKind, Snapshot
from qcore.core.events import (
    Bootstrap,
    Campaign,
    Event,
    MessageReceived,
    PeerUnreachable,
    Propose,
    Tick,
    WriteDurable,
)
from qcore.core.raft import RaftCore
from qcore.core.raft_server import NEVER
from qcore.core.status import CoreStatus
from qcore.core.version import ClusterVersion
from qcore.errors import (
    ConfigError,
    NotLeader,
    OutcomeUnknown,
    ProposalDropped,
    QcoreError,
)
from qcore.machines.interface import StateMachine, version_support
from qcore.replica.apply.active_version import Versions, check_all_supported
from qcore.replica.apply.apply_backlog import ApplyBacklog, cost_of, work_counter
from qcore.replica.apply.apply_entry import apply_entry
from qcore.replica.apply.state_digests import StateDigests
from qcore.replica.config import ReplicaConfig
from qcore.replica.disk_window import DiskWindow
from qcore.replica.events import (
    AddLearner,
    Applied,
    ChangeMembers,
    ClientRequest,
    InitCluster,
    PeerMessageReceived,
    PeerVersionSupport,
    ReplicaEffect,
    ReplicaEvent,
    Reply,
    RequestSnapshot,
    Restored,
    SendPeer,
    TransferLeader,
    TriggerSnapshot,
    UpgradeMachine,
    VersionRaised,
)
from qcore.replica.messages import (
    Forward,
    ForwardResponse,
    PeerMessage,
    ReadIndex,
    ReadIndexResponse,
)
from qcore.replica.requests.admission import RequestAdmission, expiry_error, lost_leader_error
from qcore.replica.requests.forwarded_errors import response_of_error, response_of_result
from qcore.replica.requests.forwarder import Forwarder
from qcore.replica.requests.membership_requests import AdminRequests
from qcore.replica.requests.pending import AnyRequestKind, PendingRequest, RequestDeadlines
from qcore.replica.requests.reads import Reads
from qcore.replica.requests.state_copies import SnapshotRequests
from qcore.replica.sessions.session_table import SessionTable
from qcore.replica.sessions.ticks import SessionTicks
from qcore.replica.snapshotting import SnapshotBuilder, restore_all, restore_snapshot

#: What one step appends to the log at most, in bytes of requests (a single larger one goes alone): what follows
#: from it, in the same step, is bounded too.
MAX_STEP_BYTES = 1024 * 1024

_NO_CLUSTER = (
    "this node belongs to no cluster yet: begin one with Init (`qcore cluster init`), or add this node to one "
    "(`qcore member add`)"
)


@dataclass(slots=True, frozen=True)
class ReplicaStatus:
    """An immutable picture: the core's, how many requests have no outcome yet, and the cluster's version."""

    core: CoreStatus
    pending_writes: int
    pending_reads: int
    forwarded: int
    version: ClusterVersion


class Replica:
    """One replica, pure. See the package docstring for the host's duties.

    The first `step` also returns what the restart itself gives to do, so call `step([], now, wall_us)` at once.

    Args:
        config: settings.
        machine: a fresh state machine; the snapshot in `durable` is restored into it.
        durable: what the storage gave back.
        rng: draws election timeouts and the first forward number.
        now: µs on the monotonic clock that later steps will use.

    Raises:
        LogCorrupt: log and snapshot in `durable` do not meet.
        ConfigError: the machine declares no name or versions.
        IncompatibleVersion: log or snapshot belong to another state machine, or to a version that this one cannot
            apply.
        StateMachineFailed: the machine raised while it restored the snapshot or applied what was known to be
            committed.
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
        self._now = now
        self._wall_us = 0
        #: What the host knows of a peer that it has no connection to, for the texts of errors; None if nothing.
        self.connection_problem: Callable[[int], str | None] = lambda peer_id: None
        self._out: list[ReplicaEffect] = []
        self._batch: list[PendingRequest] = []
        self._writes: dict[int, PendingRequest] = {}  # by log index
        self._forwarder = Forwarder(self, rng)
        self._leader_id: int | None = None
        self._leader_lost_at: int | None = None
        self._reads = Reads(self, self._forwarder, machine)
        self._deadlines = RequestDeadlines()
        self._disk_window = DiskWindow()
        self._admission = RequestAdmission(config, now)
        self._snapshot_requests = SnapshotRequests(
            self, self._reads, config.raft.election_timeout_max_ms * 1000
        )
        self.sessions = SessionTable()
        self._session_ticks = SessionTicks(self, self.sessions, config.raft.heartbeat_ms * 1000)
        self.versions = Versions(self, version_support(machine, config.max_rules))
        check_all_supported(durable, self.versions.support)
        self.applied_index = 0
        self.digests = StateDigests(machine)
        self._work = work_counter(machine)
        self._backlog = ApplyBacklog(self._apply, self._reads.ready)
        size = 0
        if durable.snapshot is not None:
            # All at once: nobody waits for a node that starts.
            size = restore_all(restore_snapshot(durable.snapshot.data, machine, self.sessions))
            self.versions.on_restored(durable.snapshot.meta.version)
            self.sessions.on_restored(self.versions.active.rules)
            self.applied_index = durable.snapshot.meta.last_included_index
        self._snapshot_builder = SnapshotBuilder(config, self.applied_index, size)
        self.core = RaftCore(config.raft, durable, rng=rng, now=now)
        self._admin = AdminRequests(self, config)
        self._carry_out(self.core.initial_effects())
        while self._backlog.busy:
            self._backlog.begin_step()
            self._advance_backlog()

    def step(self, events: Sequence[ReplicaEvent], now: int, wall_us: int) -> list[ReplicaEffect]:
        """Take events that happened by `now` and return what must be done, in order.

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
            self._take(event, wall_us)
        self._follow_leader()
        if self._batch:
            self._propose(wall_us)
        if self._backlog.busy:
            self._advance_backlog()
        if not self._admin.idle:
            self._admin.advance()
        if not self.versions.idle:
            self.versions.advance(wall_us)
        if self.sessions.uses_cluster_clock:
            self._session_ticks.advance(wall_us)
        if self._snapshot_builder.active or self._snapshot_requests.waiting:
            self._continue_snapshot()
        if self._deadlines.next_deadline() <= self._now:
            self._expire()
        out, self._out = self._out, []
        return out

    def next_deadline(self) -> int:
        """When to step `Tick` at the latest, µs."""
        held = bool(self._batch) and not self._must_wait_for_disk
        if self._backlog.busy or self._reads.busy or held:
            return self._now
        return min(
            self._patience_ends_at(),
            self.core.next_deadline(),
            self._deadlines.next_deadline(),
            self._snapshot_builder.next_deadline(),
            self._session_ticks.next_deadline(),
        )

    def status(self) -> ReplicaStatus:
        """An immutable picture of the replica."""
        return ReplicaStatus(
            self.core.status(),
            len(self._writes),
            len(self._reads),
            len(self._forwarder),
            self.versions.active,
        )

    # -- events ----------------------------------------------------------------------------------

    def _take(self, event: ReplicaEvent, wall_us: int) -> None:
        match event:
            case PeerMessageReceived(from_id=from_id, message=message):
                self._on_peer_message(from_id, message)
            case ClientRequest():
                if event.kind == "stale_read":
                    self._reads.begin_stale(event)
                else:
                    self._accept(
                        event.request_id, None, event.kind, event.payload, event.timeout_ms
                    )
            case PeerUnreachable(peer_id=peer_id):
                self.step_core(event)
                self._forwarder.on_unreachable(peer_id)
            case WriteDurable(write_id=write_id):
                self._disk_window.durable(write_id)
                self.step_core(event)
            case Tick() | Campaign():
                self.step_core(event)
            case InitCluster():
                self._init_cluster(event, wall_us)
            case ChangeMembers():
                self._admin.change(event, wall_us)
            case AddLearner():
                self._admin.add_learner(event, wall_us)
            case TransferLeader():
                self._admin.transfer(event)
            case UpgradeMachine():
                self.versions.upgrade(event)
            case PeerVersionSupport():
                self.versions.on_peer_version_support(event)
            case RequestSnapshot():
                self._snapshot_requests.begin(event)
            case TriggerSnapshot(keep_entries=keep_entries):
                if not self._backlog.restoring:
                    self._begin_snapshot(keep_entries)
                    self._continue_snapshot(everything=True)

    def _on_peer_message(self, from_id: int, message: PeerMessage) -> None:
        if isinstance(message, Forward):
            self._accept(
                message.forward_id, from_id, message.kind, message.payload, message.timeout_ms
            )
        elif isinstance(message, ForwardResponse):
            self._forwarder.on_forward_response(message)
        elif isinstance(message, ReadIndex):
            self._accept(message.read_id, from_id, "read_index", "", message.timeout_ms)
        elif isinstance(message, ReadIndexResponse):
            self._forwarder.on_read_index_response(message)
        else:
            self.step_core(MessageReceived(from_id, message))

    def _accept(
        self,
        request_id: int,
        from_peer: int | None,
        kind: AnyRequestKind,
        payload: str,
        timeout_ms: int,
    ) -> None:
        deadline = self._now + timeout_ms * 1000
        request = PendingRequest(request_id, from_peer, kind, payload, deadline)
        rejection = self._admission.take(request, self._now)
        if rejection is not None:
            self.fail(request, rejection)
        else:
            self._deadlines.sweep(self._admission.waiting)
            self._deadlines.add(request)
            if kind in ("write", "session"):
                self._batch.append(request)
            else:
                self._reads.begin(request)

    def _init_cluster(self, event: InitCluster, wall_us: int) -> None:
        request = self.start_request(event.request_id, event.timeout_ms)
        stamp_us = 0 if event.same_everywhere else wall_us
        try:
            effects = self.core.step(
                Bootstrap(event.membership, stamp_us, self.versions.initial_version()),
                self._now,
                wall_us,
            )
        except ConfigError as error:
            self.fail(request, error)
            return
        request.index = request.term = 1
        self._writes[1] = request
        self._carry_out(effects)

    # -- writes ----------------------------------------------------------------------------------

    def _propose(self, wall_us: int) -> None:
        batch = self._next_batch()
        if not batch:
            return
        if self.core.role != "leader":
            for request in batch:
                self._forwarder.forward(request)
            return
        kinds: list[EntryKind] | None = None
        if any(request.kind == "session" for request in batch):
            kinds = ["session" if request.kind == "session" else "command" for request in batch]
        effects = self.core.step(
            Propose([request.payload for request in batch], wall_us, kinds), self._now, wall_us
        )
        outcome = effects[0]
        if isinstance(outcome, ProposalAccepted):
            for position, request in enumerate(batch):
                request.index = outcome.first_index + position
                request.term = outcome.term
                self._writes[request.index] = request
        else:
            assert isinstance(outcome, ProposalRejected), "the outcome of a proposal comes first"
            error = self._admission.overload_error(outcome, self.core.transfer_deadline, self._now)
            for request in batch:
                self.fail(request, error)
        self._carry_out(effects)

    def _next_batch(self) -> list[PendingRequest]:
        """The oldest requests that wait to be appended, and no more bytes of them than one step may append."""
        batch: list[PendingRequest] = []
        size = 0
        if self._must_wait_for_disk:
            return batch  # the next `WriteDurable` brings the next step
        for request in self._batch:
            if batch and size + (request.size or 0) > MAX_STEP_BYTES:
                break
            size += request.size or 0
            batch.append(request)
        del self._batch[: len(batch)]
        # The time of one may have come before its turn.
        return [request for request in batch if not request.done]

    @property
    def _must_wait_for_disk(self) -> bool:
        return self._disk_window.full and self.core.role == "leader"

    def _apply(self, entry: Entry) -> None:
        """Apply one committed entry and settle the request that waited at its index."""
        before = self.versions.active
        result, error = apply_entry(entry, self.machine, self.sessions, self.versions)
        cost = 0
        if entry.kind in ("command", "session"):
            cost = self._work() + (0 if result is None else cost_of(result))
            self._backlog.spend(cost)
        active = self.versions.active
        if active is not before and active != before:
            self._out.append(VersionRaised(active, entry.index))
        self.applied_index = entry.index
        self.digests.applied(entry.index)
        self._snapshot_builder.applied(entry, cost)
        self._out.append(Applied(entry))
        request = self._writes.pop(entry.index, None)
        if request is None:
            return
        if request.term != entry.term:
            error = ProposalDropped(
                f"another leader's entry took index {entry.index}; the command was not applied: send it again"
            )
        if error is not None:
            self.fail(request, error)
        else:
            self._admission.committed(entry.size_bytes(), self._now)
            self.succeed(request, result or "", entry.index)

    # -- the core's effects ----------------------------------------------------------------------

    def step_core(self, event: Event) -> list[Effect]:
        """Step the core, carry out what follows, and return its effects."""
        effects = self.core.step(event, self._now, self._wall_us)
        self._carry_out(effects)
        return effects

    def _carry_out(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send(to=to, message=message, after=after):
                    self._out.append(SendPeer(to, message, after))
                case AppendLog(entries=entries):
                    self._out.append(effect)
                    size = sum(entry.size_bytes() for entry in entries)
                    self._disk_window.appended(effect.write_id, size)
                    self._snapshot_builder.appended(size)
                    self._backlog.appended(entries)
                case Apply(entries=entries):
                    self._backlog.add(entries)
                    self._forwarder.on_applied()
                case ReadReady(read_id=read_id, index=index):
                    if index <= self.readable_index:
                        self._reads.ready(read_id)
                    else:
                        self._backlog.wait_for(index, read_id)
                case ReadRejected(read_id=read_id):
                    self._reads.rejected(read_id)
                case RestoreMachine(snapshot=snapshot):
                    self._begin_restore(snapshot)
                case (
                    ProposalAccepted()
                    | ProposalRejected()
                    | ChangeAccepted()
                    | ChangeRejected()
                    | TransferStarted()
                    | TransferRejected()
                ):
                    pass  # dealt with where the request was made
                case _:
                    self._out.append(effect)

    def _begin_restore(self, snapshot: Snapshot) -> None:
        index = snapshot.meta.last_included_index

        def restored() -> None:
            self.applied_index = index
            self.versions.on_restored(snapshot.meta.version)
            self.sessions.on_restored(self.versions.active.rules)
            self._out.append(Restored(snapshot))

        def restore() -> Iterator[None]:
            self._snapshot_builder.size = yield from restore_snapshot(
                snapshot.data, self.machine, self.sessions
            )

        self._snapshot_builder.on_replaced(index)
        self.digests.on_replaced()
        self._backlog.replace(restore(), restored)
        self._after_applying()
        for covered in [at for at in self._writes if at <= index]:
            self.fail(
                self._writes.pop(covered),
                OutcomeUnknown(
                    f"a snapshot replaced the log at index {covered}: whether the command is part of it is not known"
                ),
            )

    def _advance_backlog(self) -> None:
        self._backlog.advance()
        self._after_applying()

    def _after_applying(self) -> None:
        """Serve the reads that waited for what was applied."""
        self._forwarder.on_applied()
        self._backlog.reached(self.readable_index)

    @property
    def has_apply_backlog(self) -> bool:
        """True while something committed is not applied yet: the rest comes with the next steps."""
        return self._backlog.busy

    @property
    def restoring(self) -> bool:
        """True while a snapshot is taken over: the state is that of no index, and the machine must not be asked."""
        return self._backlog.restoring

    @property
    def readable_index(self) -> int:
        """Up to which index reads may be served: `applied_index`, but none while a snapshot is taken over."""
        return -1 if self._backlog.restoring else self.applied_index

    @property
    def busy(self) -> bool:
        """True while the replica works off more than one step can take: a snapshot, or a long catch-up."""
        return self._backlog.busy or self._snapshot_builder.capturing

    # -- snapshots -------------------------------------------------------------------------------

    @property
    def snapshot_size(self) -> int:
        """Bytes of the newest snapshot's text; 0 without one, and while one of the leader is taken over."""
        return self._snapshot_builder.size

    def _begin_snapshot(self, keep_entries: int) -> None:
        self._snapshot_builder.begin(
            self.machine,
            self.sessions,
            self.applied_index,
            keep_entries,
            self.versions.active,
            self._now,
        )

    def _continue_snapshot(self, *, everything: bool = False) -> None:
        """Begin a snapshot if the policy or a `RequestSnapshot` asks for one; go on with the one that was begun."""
        if self._backlog.restoring:
            return  # the state is that of no index
        self._snapshot_requests.settle()
        wanted = self._snapshot_requests.waiting and not self._snapshot_builder.capturing
        if wanted or self._snapshot_builder.due(self.applied_index):
            self._begin_snapshot(self.config.keep_entries)
        if self._snapshot_builder.capturing:
            taken = self._snapshot_builder.build_step(self._now, everything=everything)
            if taken is not None:
                self.step_core(taken)
                self._snapshot_requests.settle()

    # -- a leader that is lost -------------------------------------------------------------------

    def _follow_leader(self) -> None:
        """Notice that another node leads, or none.

        A request that waits for an election timeout without a leader does so in vain: this node is cut off, or no
        quorum is there.
        """
        leader_id = self.core.leader_id
        if leader_id != self._leader_id:
            self._leader_id = leader_id
            self._leader_lost_at = self._now if leader_id is None else None
            if leader_id is not None:
                self._forwarder.leader_changed(leader_id)
        if self._patience_ends_at() > self._now:
            return
        self._leader_lost_at = None
        for request in [*self._writes.values(), *self._forwarder.waiting()]:
            self._forget(request)
            self.fail(request, lost_leader_error(request))

    def _patience_ends_at(self) -> int:
        """When to give up on commands that wait for a leader, µs."""
        if self._leader_lost_at is None or not (self._writes or len(self._forwarder)):
            return NEVER
        return self._leader_lost_at + self.config.raft.election_timeout_max_ms * 1000

    def resubmit(self, request: PendingRequest) -> None:
        """Treat it as if it had just come; its deadline stays."""
        if request.kind in ("write", "session"):
            self._batch.append(request)
        else:
            self._reads.begin(request)

    def shorten_deadline(self, request: PendingRequest) -> None:
        """Give up on it after one more election timeout, if not before."""
        longest_us = self.config.raft.election_timeout_max_ms * 1000
        if request.deadline > self._now + longest_us:
            request.deadline = self._now + longest_us
            self._deadlines.add(request)

    # -- outcomes --------------------------------------------------------------------------------

    def _expire(self) -> None:
        for request in self._deadlines.expired(self._now):
            if request.done:
                continue  # it was given a shorter deadline, and stood here twice
            if request.deadline > self._now:
                self._deadlines.add(request)  # it was given more time meanwhile
                continue
            error = (
                self._admin.expire(request)
                or self._snapshot_requests.expire(request)
                or self.versions.expire(request)
            )
            if request.deadline > self._now:
                self._deadlines.add(request)  # what was begun for it has to be undone first
                continue
            self._forget(request)
            self.fail(request, error or expiry_error(request))

    def _forget(self, request: PendingRequest) -> None:
        if self._writes.get(request.index) is request:
            del self._writes[request.index]
        self._reads.forget(request)
        self._forwarder.forget(request)

    @property
    def now(self) -> int:
        return self._now

    def snapshot_confirmed(self, request: PendingRequest) -> None:
        """Have the state as it is now captured; the request's reads are confirmed."""
        self._snapshot_requests.confirmed(request)

    def serve(self, request: PendingRequest) -> None:
        """Answer a read from the state as it is now."""
        self._reads.serve(request)

    def confirm_leadership(self, request: PendingRequest) -> None:
        """End the request once a quorum confirms that this node leads."""
        request.kind = "leadership_check"
        self._reads.begin(request)

    def send(self, to: int, message: PeerMessage) -> None:
        """Send to a peer, at once."""
        self._out.append(SendPeer(to, message, 0))

    def start_request(self, request_id: int, timeout_ms: int) -> PendingRequest:
        """A local request about the cluster, with its deadline armed."""
        request = PendingRequest(request_id, None, "write", "", self._now + timeout_ms * 1000)
        self._deadlines.sweep(self._admission.waiting + self.config.max_admin_requests)
        self._deadlines.add(request)
        return request

    def succeed(self, request: PendingRequest, result: str, index: int) -> None:
        """Give the request its result as its one outcome."""
        self._admission.release(request, self._now)
        if request.from_peer is None:
            self._out.append(Reply(request.request_id, result, index, None))
        else:
            self.send(request.from_peer, response_of_result(request, result, index))

    def fail(self, request: PendingRequest, error: QcoreError) -> None:
        """Give the request an error as its one outcome."""
        self._admission.release(request, self._now)
        if request.from_peer is None:
            self._out.append(Reply(request.request_id, None, 0, error))
        else:
            self.send(request.from_peer, response_of_error(request, error))

    def silence_reason(self, peer_id: int) -> str:
        """See `ReplicaContext`."""
        return self.connection_problem(peer_id) or "it does not answer"

    def not_leader(self) -> NotLeader:
        """The error that names the leader as this node knows it."""
        leader_id = self.core.leader_id
        if leader_id is None or leader_id == self.config.raft.node_id:
            return NotLeader(text=_NO_CLUSTER if self.core.membership.is_empty else None)
        return NotLeader(leader_id, self.core.membership.address_of(leader_id))
