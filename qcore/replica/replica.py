"""A replica: the Raft core joined to a state machine and to those who send it requests."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from qcore.core.effects import (
    Apply,
    Effect,
    ProposalAccepted,
    ProposalRefused,
    ReadReady,
    ReadRefused,
    RestoreMachine,
    Send,
)
from qcore.core.entry import DurableState, Entry
from qcore.core.events import (
    Bootstrap,
    Campaign,
    Event,
    MessageReceived,
    PeerUnreachable,
    Propose,
    ReadRequested,
    SnapshotTaken,
    Tick,
    WriteDurable,
)
from qcore.core.raft import CoreStatus, RaftCore
from qcore.errors import (
    ConfigError,
    DeadlineExceeded,
    NotLeader,
    OutcomeUnknown,
    Overloaded,
    ProposalDropped,
    QcoreError,
    StateMachineFailed,
    StoreError,
    TooLarge,
)
from qcore.replica.config import ReplicaConfig
from qcore.replica.events import (
    Applied,
    ClientRequest,
    InitCluster,
    PeerMessageReceived,
    ReplicaEffect,
    ReplicaEvent,
    Reply,
    Restored,
    SendPeer,
    TakeSnapshot,
)
from qcore.replica.messages import Forward, ForwardResponse, PeerMessage, RequestKind
from qcore.replica.outcomes import error_of_response, response_of_error
from qcore.replica.pending import Deadlines, Request
from qcore.store.interface import StateMachine


@dataclass(slots=True, frozen=True)
class ReplicaStatus:
    """An immutable picture: the core's, and how many requests have no outcome yet."""

    core: CoreStatus
    pending_writes: int
    pending_reads: int
    forwarded: int


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
        StateMachineFailed: the machine raised while it applied what was known to be committed.
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
        self._out: list[ReplicaEffect] = []
        self._batch: list[Request] = []
        self._writes: dict[int, Request] = {}  # by log index
        self._reads: dict[int, Request] = {}  # by read id
        self._forwards: dict[int, Request] = {}  # by forward id
        self._deadlines = Deadlines()
        self._last_read_id = 0
        # Starts at random, so that an answer to a forward of the previous life matches nothing.
        self._last_forward_id = rng.getrandbits(48)
        self.applied_index = 0
        if durable.snapshot is not None:
            machine.restore([durable.snapshot.data])
            self.applied_index = durable.snapshot.meta.last_included_index
        self.core = RaftCore(config.raft, durable, rng=rng, now=now)
        self._carry_out(self.core.initial_effects())

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
        for event in events:
            self._take(event, wall_us)
        if self._batch:
            self._propose(wall_us)
        if self._deadlines.next_deadline() <= self._now:
            self._expire()
        out, self._out = self._out, []
        return out

    def next_deadline(self) -> int:
        """When to step `Tick` at the latest, µs."""
        return min(self.core.next_deadline(), self._deadlines.next_deadline())

    def status(self) -> ReplicaStatus:
        """An immutable picture of the replica."""
        return ReplicaStatus(
            self.core.status(), len(self._writes), len(self._reads), len(self._forwards)
        )

    # -- events ----------------------------------------------------------------------------------

    def _take(self, event: ReplicaEvent, wall_us: int) -> None:
        match event:
            case PeerMessageReceived(from_id=from_id, message=message):
                self._on_peer_message(from_id, message)
            case ClientRequest():
                self._accept(event.request_id, None, event.kind, event.payload, event.timeout_ms)
            case PeerUnreachable(peer_id=peer_id):
                self._step_core(event)
                self._on_unreachable(peer_id)
            case Tick() | WriteDurable() | Campaign():
                self._step_core(event)
            case InitCluster():
                self._init_cluster(event, wall_us)
            case TakeSnapshot(keep_entries=keep_entries):
                data = "".join(self.machine.snapshot())
                self._step_core(SnapshotTaken(self.applied_index, data, keep_entries))

    def _on_peer_message(self, from_id: int, message: PeerMessage) -> None:
        if isinstance(message, Forward):
            self._accept(
                message.forward_id, from_id, message.kind, message.payload, message.timeout_ms
            )
        elif isinstance(message, ForwardResponse):
            self._on_forward_response(message)
        else:
            self._step_core(MessageReceived(from_id, message))

    def _accept(
        self,
        request_id: int,
        from_peer: int | None,
        kind: RequestKind,
        payload: str,
        timeout_ms: int,
    ) -> None:
        deadline = self._now + timeout_ms * 1000
        request = Request(request_id, from_peer, kind, payload, deadline)
        unfinished = len(self._writes) + len(self._reads) + len(self._forwards) + len(self._batch)
        if len(payload) > self.config.max_command_bytes:
            limit = self.config.max_command_bytes
            error: QcoreError = TooLarge(
                f"the request has {len(payload)} bytes, the limit is {limit}: split it"
            )
            self._fail(request, error)
        elif unfinished >= self.config.max_pending_requests:
            self._fail(request, self._overloaded(f"{unfinished} requests are waiting"))
        else:
            self._deadlines.sweep(unfinished)
            self._deadlines.add(request)
            if kind == "write":
                self._batch.append(request)
            else:
                self._begin_read(request)

    def _init_cluster(self, event: InitCluster, wall_us: int) -> None:
        deadline = self._now + event.timeout_ms * 1000
        request = Request(event.request_id, None, "write", "", deadline)
        try:
            effects = self.core.step(Bootstrap(event.membership, wall_us), self._now)
        except ConfigError as error:
            self._fail(request, error)
            return
        request.index = request.term = 1
        self._writes[1] = request
        self._deadlines.add(request)
        self._carry_out(effects)

    # -- writes ----------------------------------------------------------------------------------

    def _propose(self, wall_us: int) -> None:
        batch, self._batch = self._batch, []
        if self.core.role != "leader":
            for request in batch:
                self._pass_on(request)
            return
        effects = self.core.step(
            Propose([request.payload for request in batch], wall_us), self._now
        )
        verdict = effects[0]
        if isinstance(verdict, ProposalAccepted):
            for position, request in enumerate(batch):
                request.index = verdict.first_index + position
                request.term = verdict.term
                self._writes[request.index] = request
        else:
            assert isinstance(verdict, ProposalRefused), "the verdict on a proposal comes first"
            for request in batch:
                self._fail(request, self._overloaded("too much is not committed yet"))
        self._carry_out(effects)

    def _apply(self, entry: Entry) -> None:
        """Apply one committed entry and settle the request that waited at its index."""
        result = ""
        if entry.kind == "command":
            try:
                result = self.machine.apply(entry.data, entry.index, entry.time_us)
            except Exception as error:  # the boundary to the user's own code
                raise StateMachineFailed(
                    f"applying entry {entry.index} raised {type(error).__name__}: {error}; a state machine must "
                    "return an error result instead, so this node stops before it differs from the others"
                ) from error
        self.applied_index = entry.index
        self._out.append(Applied(entry))
        request = self._writes.pop(entry.index, None)
        if request is None:
            return
        if request.term == entry.term:
            self._succeed(request, result, entry.index)
        else:
            self._fail(
                request,
                ProposalDropped(
                    f"another leader's entry took index {entry.index}; the command was not applied: send it again"
                ),
            )

    # -- reads -----------------------------------------------------------------------------------

    def _begin_read(self, request: Request) -> None:
        if self.core.role != "leader":
            self._pass_on(request)
            return
        self._last_read_id += 1
        request.ticket = self._last_read_id
        self._reads[request.ticket] = request
        self._step_core(ReadRequested(request.ticket))

    def _serve(self, request: Request) -> None:
        try:
            result = self.machine.query(request.payload)
        except StoreError as error:
            self._fail(request, error)
        except Exception as error:  # noqa: BLE001 - the user's own code; a read changes nothing
            self._fail(
                request,
                StoreError(
                    f"the state machine failed on the query: {type(error).__name__}: {error}"
                ),
            )
        else:
            self._succeed(request, result, self.applied_index)

    # -- other replicas --------------------------------------------------------------------------

    def _pass_on(self, request: Request) -> None:
        """Forward a client's request to the leader, once; a peer's is refused with the leader's address."""
        leader_id = self.core.leader_id
        if leader_id is None or leader_id == self.config.raft.node_id or request.from_peer:
            self._fail(request, self._not_leader())
            return
        self._last_forward_id += 1
        request.forwarded_to = leader_id
        request.ticket = self._last_forward_id
        self._forwards[request.ticket] = request
        timeout_ms = max(1, (request.deadline - self._now) // 1000)
        forward = Forward(self._last_forward_id, request.kind, request.payload, timeout_ms)
        self._out.append(SendPeer(leader_id, forward, 0))

    def _on_forward_response(self, response: ForwardResponse) -> None:
        request = self._forwards.pop(response.forward_id, None)
        if request is None:
            return  # too late: the client has been told that the outcome is unknown
        if response.result is not None:
            self._succeed(request, response.result, response.index)
        else:
            self._fail(request, error_of_response(response))

    def _on_unreachable(self, peer_id: int) -> None:
        lost = [key for key, request in self._forwards.items() if request.forwarded_to == peer_id]
        for key in lost:
            request = self._forwards.pop(key)
            if request.kind == "read":
                self._fail(request, NotLeader())
            else:
                self._fail(
                    request,
                    OutcomeUnknown(
                        f"the connection to the leader, node {peer_id}, broke: the command may or may not take effect"
                    ),
                )

    # -- the core's effects ----------------------------------------------------------------------

    def _step_core(self, event: Event) -> None:
        self._carry_out(self.core.step(event, self._now))

    def _carry_out(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send(to=to, message=message, after=after):
                    self._out.append(SendPeer(to, message, after))
                case Apply(entries=entries):
                    for entry in entries:
                        self._apply(entry)
                case ReadReady(read_id=read_id, index=index):
                    assert index <= self.applied_index, "committed entries are applied at once"
                    request = self._reads.pop(read_id, None)
                    if request is not None:
                        self._serve(request)
                case ReadRefused(read_id=read_id):
                    request = self._reads.pop(read_id, None)
                    if request is not None:
                        self._pass_on(request)
                case RestoreMachine(snapshot=snapshot):
                    self._restore(effect)
                    self._out.append(Restored(snapshot))
                case ProposalAccepted() | ProposalRefused():
                    pass  # dealt with where the proposal was made
                case _:
                    self._out.append(effect)

    def _restore(self, effect: RestoreMachine) -> None:
        index = effect.snapshot.meta.last_included_index
        self.machine.restore([effect.snapshot.data])
        self.applied_index = index
        for covered in [at for at in self._writes if at <= index]:
            self._fail(
                self._writes.pop(covered),
                OutcomeUnknown(
                    f"a snapshot replaced the log at index {covered}: whether the command is part of it is not known"
                ),
            )

    # -- outcomes --------------------------------------------------------------------------------

    def _expire(self) -> None:
        for request in self._deadlines.expired(self._now):
            if request.kind == "read":
                error: QcoreError = DeadlineExceeded(
                    "no quorum confirmed the read in time: retry, or look at the cluster's health"
                )
            else:
                error = OutcomeUnknown(
                    "the command was not committed in time: it may or may not take effect later"
                )
            self._forget(request)
            self._fail(request, error)

    def _forget(self, request: Request) -> None:
        if self._writes.get(request.index) is request:
            del self._writes[request.index]
        for table in (self._reads, self._forwards):
            if table.get(request.ticket) is request:
                del table[request.ticket]

    def _succeed(self, request: Request, result: str, index: int) -> None:
        request.done = True
        if request.from_peer is None:
            self._out.append(Reply(request.request_id, result, index, None))
        else:
            response = ForwardResponse(request.request_id, result, index)
            self._out.append(SendPeer(request.from_peer, response, 0))

    def _fail(self, request: Request, error: QcoreError) -> None:
        request.done = True
        if request.from_peer is None:
            self._out.append(Reply(request.request_id, None, 0, error))
        else:
            response = response_of_error(request.request_id, error)
            self._out.append(SendPeer(request.from_peer, response, 0))

    def _not_leader(self) -> NotLeader:
        leader_id = self.core.leader_id
        if leader_id is None or leader_id == self.config.raft.node_id:
            return NotLeader()
        return NotLeader(leader_id, self.core.membership.address_of(leader_id))

    def _overloaded(self, why: str) -> Overloaded:
        return Overloaded(f"{why}; nothing was appended: retry after a pause")
