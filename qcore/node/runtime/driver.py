"""`ReplicaDriver`: the asyncio driver of one replica. It connects the replica with inbox, disk thread and timer.

Events that arrive within one turn of the event loop form one step of the replica, so concurrent requests share appends,
syncs and frames. A flood of requests is cut into steps of bounded size, and the events that the cluster itself needs
(heartbeats, acknowledgements, the clock, the disk) do not wait behind it. Otherwise a leader that serves thousands of
requests would be silent, and its followers would elect another one. Writes go to the disk thread, and the
`DurabilityGate` holds back the messages that must wait for them. Nothing here blocks, with one exception: a node that
follows may wait for a sync of a fast disk (`qcore.storage.group_commit`).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import Final, Protocol, cast

from qcore.core.effects import (
    AppendLog,
    Apply,
    Effect,
    MembershipChanged,
    MessageDropped,
    Role,
    RoleChanged,
    SaveCommit,
    SaveHardState,
    Send,
    StoreSnapshot,
    TruncateLog,
    VoteGranted,
    Write,
)
from qcore.core.events import Tick, WriteDurable
from qcore.node.observability.metrics import NodeMetrics
from qcore.node.observability.node_recorder import NodeRecorder
from qcore.node.runtime.inbox import Inbox
from qcore.node.runtime.late_acknowledgements import LateAcknowledgements
from qcore.recording import LifeRecorder
from qcore.replica.durability_gate import DurabilityGate
from qcore.replica.events import (
    Applied,
    DivergenceEnded,
    DivergenceFound,
    Notice,
    ReplicaEffect,
    Reply,
    Restored,
    VersionRaised,
    WatchEnded,
)
from qcore.replica.messages import PeerMessage
from qcore.replica.replica import Replica
from qcore.replica.requests.flow_control import FlowControl
from qcore.runtime.interface import Runtime
from qcore.transport.connection.held_sends import HeldSends

#: A deadline further away than this needs no timer, µs.
_MAX_TIMER_US: Final = 3_600_000_000
#: A node in one of these roles may wait for its disk. A stalled disk must not silence a leader or a candidate.
_WAITING_ROLES: Final[tuple[Role, ...]] = ("follower", "learner")


class WriteQueue(Protocol):
    """What the driver needs from the disk thread (`qcore.storage.group_commit.GroupCommitWriter`)."""

    def submit(self, writes: Sequence[Write], commit: int | None = None) -> None:
        """Make the writes durable in order. Their durability is reported to `ReplicaDriver.on_durable`."""
        ...

    def try_write(self, writes: Sequence[Write], commit: int | None = None) -> bool:
        """Make the writes durable before this returns, if the disk is fast. False if nothing was done."""
        ...


class PeerLinks(Protocol):
    """What the driver needs from the links to the peers (`qcore.node.peers.peer_router.PeerRouter`)."""

    def send(self, to: int, message: PeerMessage) -> None:
        """Send a message to a peer; it may be lost."""
        ...


class RequestOutcomes(Protocol):
    """What the driver needs from the request handler (`qcore.node.api.client_requests.RequestHandler`)."""

    def on_reply(self, reply: Reply) -> None:
        """A client's request ended."""
        ...


class WatchClients(Protocol):
    """What the driver needs from the watches (`qcore.node.notifications.watch_requests.WatchRequestHandler`)."""

    def on_notice(self, notice: Notice) -> None:
        """A watch receives a change."""
        ...

    def on_watch_ended(self, ended: WatchEnded) -> None:
        """The replica has ended a watch."""
        ...


class ReplicaObserver(Protocol):
    """Learns of changes of the replica. Its methods are called on the event loop, and must be quick."""

    def on_step(self) -> None:
        """The replica made a step; called before its effects are executed."""
        ...

    def busy(self) -> None:
        """The replica has begun work for more than one step: it captures a snapshot or applies a long backlog."""
        ...

    def role_changed(self, change: RoleChanged) -> None:
        """Role, term or known leader changed."""
        ...

    def membership_changed(self, change: MembershipChanged) -> None:
        """The effective configuration has changed."""
        ...

    def diverged(self, found: DivergenceFound) -> None:
        """This node differs from a majority."""
        ...

    def divergence_ended(self, ended: DivergenceEnded) -> None:
        """A snapshot of the leader replaced the state of this node."""
        ...

    def version_raised(self, raised: VersionRaised) -> None:
        """The cluster version was raised."""
        ...

    def message_dropped(self, dropped: MessageDropped) -> None:
        """The core has dropped a message of a peer that no correct peer sends."""
        ...

    def on_snapshot(self, write: StoreSnapshot) -> None:
        """A snapshot, taken here or sent by the leader, is on its way to the disk."""
        ...

    def fatal(self, error: BaseException) -> None:
        """The node cannot continue, because of a failed sync or a bug."""
        ...


class ReplicaDriver:
    """Drives one replica from the running event loop.

    Args:
        replica: only this driver may step it.
        metrics: counts steps, writes and entries.
        trace: records the effects, or None.
        runtime: the world that the node runs in.
        recorder: records the events, or None.

    Attributes:
        inbox: takes the events of the next steps, which follow soon.
        held: holds back what the connections of the node send during a step, so that each sends one frame.
    """

    def __init__(
        self,
        replica: Replica,
        metrics: NodeMetrics,
        trace: NodeRecorder | None = None,
        *,
        runtime: Runtime,
        recorder: LifeRecorder | None = None,
    ) -> None:
        self._now_us, self._wall_us = runtime.monotonic_us, runtime.wall_us
        self._replica = replica
        self._metrics = metrics
        self._trace = trace
        self._recorder = recorder
        self.held = HeldSends()
        self._gate = DurabilityGate()
        self._loop = asyncio.get_running_loop()
        config = replica.config
        flow = FlowControl(
            config.max_pending_requests,
            config.max_pending_bytes,
            config.raft.election_timeout_max_ms * 1000,
            self._now_us(),
        )
        self.inbox = Inbox(flow, partial(self._loop.call_soon, self._step), self._now_us)
        self.inbox.may_wait = LateAcknowledgements(replica.core).may_wait
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0
        self._writes_in_flight: deque[tuple[int, int]] = deque()  # (last write id, submitted at µs)
        self._stopped = False
        #: Of this step: whether it has one event, whether the disk was asked to write now, and what is done already.
        self._is_lone_event = self._was_asked = False
        self._done_early: Sequence[ReplicaEffect] = ()
        if trace is None:  # a trace shows the effects in their order
            replica.before_applying = self._execute_append
        self._busy = False
        self._leader_contact: int | None = None
        self._writer: WriteQueue
        self._peers: PeerLinks
        self._requests: RequestOutcomes
        self._watches: WatchClients
        self._observer: ReplicaObserver

    def start(
        self,
        writer: WriteQueue,
        peers: PeerLinks,
        requests: RequestOutcomes,
        watches: WatchClients,
        observer: ReplicaObserver,
    ) -> None:
        """Make a first step, and arm the timer. The effects go to these parts of the node."""
        self._writer = writer
        self._peers = peers
        self._requests = requests
        self._watches = watches
        self._observer = observer
        self.inbox.add_event(Tick())

    def stop(self) -> None:
        """Take no further steps."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    @property
    def writes_in_flight(self) -> int:
        """The number of batches of writes at the disk thread that are not durable yet."""
        return len(self._writes_in_flight)

    def on_durable(self, write_id: int) -> None:
        """Report that every write up to `write_id` is durable. Call it on the event loop."""
        in_flight = self._writes_in_flight
        now = self._now_us()
        while in_flight and in_flight[0][0] <= write_id:
            self._metrics.commit_seconds.observe((now - in_flight.popleft()[1]) / 1e6)
        if self._trace is not None:
            self._trace.durable(write_id)
        released = self._gate.release(write_id)
        if released:
            self.held.active = True
            for send in released:
                self._peers.send(send.to, cast(PeerMessage, send.message))
            self.held.send_all()
        self.inbox.add_event(WriteDurable(write_id))

    def _step(self) -> None:
        if self._stopped:
            return
        now = self._now_us()
        events = self.inbox.take(now)
        self._metrics.step_events.observe(len(events))
        self._is_lone_event, self._was_asked = len(events) == 1, False
        replica = self._replica
        try:
            if self._recorder is None:
                effects = replica.step(events, now, self._wall_us())
            else:
                effects = self._recorder.step(replica, events, now, self._wall_us())
            if self._trace is not None:
                self._trace.step(len(events), effects)
            if self._done_early:
                effects = self._not_done(effects)
            self._observer.on_step()
            if replica.busy != self._busy:
                self._busy = not self._busy
                if self._busy:
                    self._observer.busy()
            self._execute(effects, now)
            contact = replica.core.last_leader_contact
            if contact != self._leader_contact:
                # At each message of the leader: for how long it was silent.
                if contact is not None and self._leader_contact is not None:
                    silent_us = contact - self._leader_contact
                    self._metrics.leader_gap_seconds.observe(silent_us / 1e6)
                self._leader_contact = contact
        except Exception as error:  # noqa: BLE001 - after any exception the replica cannot be trusted
            # Either the storage has failed, or this is a bug, or the user's state machine broke its contract: bad input
            # never makes `step` raise.
            self.held.send_all()
            self.stop()
            self._observer.fatal(error)
            return
        deadline = replica.next_deadline()
        # A deadline that moves further away, as it does with every message, costs nothing: the timer stays, fires early
        # once, and is set again.
        if self._timer is None or deadline < self._timer_at:
            self._arm(deadline, now)

    def _execute_append(self, effects: Sequence[Effect]) -> None:
        """If the disk is fast, store a leader's append and acknowledge it before what it commits is applied.

        Nothing else is executed out of order. In particular no earlier write of the same step may wait.

        Raises:
            StorageError: the writer has failed.
        """
        follows = self._replica.core.role in _WAITING_ROLES
        if not (self._is_lone_event and follows) or self.inbox.waiting:
            return
        writes: list[Write] = []
        commits: list[SaveCommit] = []
        sends: list[ReplicaEffect] = []
        for effect in effects:
            match effect:
                case AppendLog():
                    writes.append(effect)
                case SaveCommit():
                    commits.append(effect)
                case Send():
                    sends.append(effect)
                case Apply():
                    pass
                case _:
                    return
        self._was_asked = True
        now = self._replica.now
        if self._writer.try_write(writes, commits[-1].commit if commits else None):
            self._written(writes, now)
            self._done_early = [*writes, *commits, *sends]
            self._execute(sends, now)

    def _not_done(self, effects: list[ReplicaEffect]) -> list[ReplicaEffect]:
        """The effects that `_execute_append` has left."""
        done, self._done_early = self._done_early, ()
        left: list[ReplicaEffect] = []
        for effect in effects:
            for one in done:
                if effect is one:
                    break
            else:
                left.append(effect)
        return left

    def _written(self, writes: Sequence[Write], began: int) -> None:
        """The event loop has made the writes durable, in a step that began at this time (µs)."""
        self._writes_in_flight.append((writes[-1].write_id, began))
        self.on_durable(writes[-1].write_id)

    def _execute(self, effects: Sequence[ReplicaEffect], now: int) -> None:
        """Execute the effects of a step.

        Raises:
            StorageError: the writer has failed.
        """
        writes: list[Write] = []
        commit: int | None = None
        applied = 0
        held = self.held
        held.active = True
        for effect in effects:
            match effect:
                case Send(to=to, message=message):
                    if self._gate.admit(effect):
                        self._peers.send(to, cast(PeerMessage, message))
                case Reply():
                    self._requests.on_reply(effect)
                case Notice():
                    self._watches.on_notice(effect)
                case WatchEnded():
                    self._watches.on_watch_ended(effect)
                case Applied():
                    applied += 1
                case AppendLog() | SaveHardState() | TruncateLog():
                    writes.append(effect)
                case StoreSnapshot():
                    writes.append(effect)
                    self._observer.on_snapshot(effect)
                case SaveCommit(commit=commit):
                    pass
                case RoleChanged():
                    self._observer.role_changed(effect)
                case MembershipChanged():
                    self._observer.membership_changed(effect)
                case VersionRaised():
                    self._observer.version_raised(effect)
                case MessageDropped():
                    self._metrics.messages_rejected += 1
                    self._observer.message_dropped(effect)
                case DivergenceFound():
                    self._observer.diverged(effect)
                case DivergenceEnded():
                    self._observer.divergence_ended(effect)
                case Restored() | VoteGranted():
                    pass  # only for traces
        held.active = False
        if held.waiting:
            held.send_all()
        self._metrics.entries_applied += applied
        if writes:
            # While other events wait, the disk thread writes.
            follows = self._replica.core.role in _WAITING_ROLES
            may_wait = follows and not (self._was_asked or self.inbox.waiting)
            if may_wait and self._writer.try_write(writes, commit):
                self._written(writes, now)
            else:
                self._writes_in_flight.append((writes[-1].write_id, now))
                self._writer.submit(writes, commit)
        elif commit is not None:
            self._writer.submit(writes, commit)

    # -- timer -----------------------------------------------------------------------------------

    def _arm(self, deadline: int, now: int) -> None:
        """Set the timer for the replica's deadline, instead of an earlier setting."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if deadline - now < _MAX_TIMER_US:
            self._timer_at = deadline
            self._timer = self._loop.call_later(max(0, deadline - now) / 1e6, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        now = self._now_us()
        deadline = self._replica.next_deadline()
        if deadline <= now:
            self.inbox.add_event(Tick())
        else:
            self._arm(deadline, now)
