"""`ReplicaDriver`: the asyncio driver of one replica. It connects the replica with inbox, disk thread and timer.

Events that arrive within one turn of the event loop form one step of the replica, so concurrent requests share appends,
syncs and frames. A flood of requests is cut into steps of bounded size, and the events that the cluster itself needs
(heartbeats, acknowledgements, the clock, the disk) do not wait behind it. Otherwise a leader that serves thousands of
requests would be silent, and its followers would elect another one. Nothing here blocks: writes go to the disk thread,
and the `DurabilityGate` holds back the messages that must wait for them.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Final, Protocol

from qcore.core.effects import (
    AppendLog,
    MembershipChanged,
    MessageDropped,
    RoleChanged,
    SaveCommit,
    SaveHardState,
    Send,
    StoreSnapshot,
    TruncateLog,
    VoteGranted,
    Write,
)
from qcore.core.events import MessageReceived, Tick, WriteDurable
from qcore.errors import Overloaded, StorageError
from qcore.node.clock import now_us, wall_us
from qcore.node.observability.metrics import NodeMetrics
from qcore.node.runtime.inbox import Inbox
from qcore.replica.durability_gate import DurabilityGate
from qcore.replica.events import (
    Applied,
    ReplicaEffect,
    ReplicaEvent,
    Reply,
    Restored,
    VersionRaised,
)
from qcore.replica.messages import Forward, PeerMessage, ReadIndex
from qcore.replica.replica import Replica
from qcore.replica.requests.flow_control import FlowControl
from qcore.replica.requests.forwarded_errors import rejection_response

#: A deadline further away than this needs no timer, µs.
_MAX_TIMER_US: Final = 3_600_000_000


class WriteQueue(Protocol):
    """What the driver needs from the disk thread (`qcore.storage.group_commit.GroupCommitWriter`)."""

    def submit(self, writes: Sequence[Write], commit: int | None = None) -> None:
        """Make the writes durable in order. Their durability is reported to `ReplicaDriver.on_durable`."""
        ...


class EffectHandler(Protocol):
    """Executes effects for the driver. Its methods are called on the event loop, and must be quick."""

    def send_peer(self, to: int, message: PeerMessage) -> None:
        """Send a message to a peer; it may be lost."""
        ...

    def reply(self, reply: Reply) -> None:
        """A client's request ended."""
        ...

    def role_changed(self, change: RoleChanged) -> None:
        """Role, term or known leader changed."""
        ...

    def membership_changed(self, change: MembershipChanged) -> None:
        """The effective configuration has changed."""
        ...

    def version_raised(self, raised: VersionRaised) -> None:
        """The cluster version was raised."""
        ...

    def on_snapshot(self, write: StoreSnapshot) -> None:
        """A snapshot, taken here or sent by the leader, is on its way to the disk."""
        ...

    def on_step(self, effects: Sequence[ReplicaEffect]) -> None:
        """The replica made a step; called before its effects are executed."""
        ...

    def fatal(self, error: BaseException) -> None:
        """The node cannot continue, because of a failed sync or a bug."""
        ...


class ReplicaDriver:
    """Drives one replica from the running event loop.

    Args:
        replica: only this driver may step it.
        writer: makes writes durable.
        handler: executes the other effects.
        metrics: counts steps, writes and entries.
    """

    def __init__(
        self, replica: Replica, writer: WriteQueue, handler: EffectHandler, metrics: NodeMetrics
    ) -> None:
        self._replica = replica
        self._writer = writer
        self._handler = handler
        self._metrics = metrics
        self._gate = DurabilityGate()
        self._loop = asyncio.get_running_loop()
        config = replica.config
        self._inbox = Inbox(
            FlowControl(
                config.max_pending_requests,
                config.max_pending_bytes,
                config.raft.election_timeout_max_ms * 1000,
                now_us(),
            )
        )
        self._step_scheduled = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0
        self._writes_in_flight: deque[tuple[int, int]] = deque()  # (last write id, submitted at µs)
        self._stopped = False
        self._leader_contact: int | None = None

    def start(self) -> None:
        """Make a first step, and arm the timer."""
        self.post(Tick())

    def stop(self) -> None:
        """Take no further steps."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    @property
    def inbox_length(self) -> int:
        """The number of events that wait for the next step."""
        return len(self._inbox)

    @property
    def writes_in_flight(self) -> int:
        """The number of batches of writes at the disk thread that are not durable yet."""
        return len(self._writes_in_flight)

    def post(self, event: ReplicaEvent) -> None:
        """Queue an event for one of the next steps, which follow soon.

        Requests keep their order, and so do all other events. Beyond the limits of the `Inbox`, a peer's Raft message
        is lost, and a peer's request is rejected as overloaded.
        """
        try:
            if not self._inbox.offer(event, now_us()):
                self._metrics.peer_messages_dropped += 1
        except Overloaded as rejection:
            assert isinstance(event, MessageReceived), "only requests of peers are rejected here"
            message = event.message
            assert isinstance(message, Forward | ReadIndex), "only requests are rejected here"
            self._handler.send_peer(event.from_id, rejection_response(message, rejection))
        if not self._step_scheduled:
            self._step_scheduled = True
            self._loop.call_soon(self._step)

    def on_durable(self, write_id: int) -> None:
        """Report that every write up to `write_id` is durable. Call it on the event loop."""
        in_flight = self._writes_in_flight
        now = now_us()
        while in_flight and in_flight[0][0] <= write_id:
            self._metrics.commit_seconds.observe((now - in_flight.popleft()[1]) / 1e6)
        for send in self._gate.release(write_id):
            self._handler.send_peer(send.to, send.message)
        self.post(WriteDurable(write_id))

    def _step(self) -> None:
        self._step_scheduled = False
        if self._stopped:
            return
        now = now_us()
        events = self._inbox.take(now)
        if self._inbox:
            self._step_scheduled = True
            self._loop.call_soon(self._step)
        self._metrics.step_events.observe(len(events))
        try:
            effects = self._replica.step(events, now, wall_us())
            self._handler.on_step(effects)
            self._execute(effects, now)
            self._note_leader_contact()
        except Exception as error:  # noqa: BLE001 - after any exception the replica cannot be trusted
            # Bad input never makes `step` raise: this is a bug, or the user's state machine broke its contract.
            self.stop()
            self._handler.fatal(error)
            return
        self._arm(now)

    def _note_leader_contact(self) -> None:
        """At each message of the leader, measure how long the leader was silent."""
        contact, before = self._replica.core.last_leader_contact, self._leader_contact
        if contact != before:
            self._leader_contact = contact
            if contact is not None and before is not None:
                self._metrics.leader_gap_seconds.observe((contact - before) / 1e6)

    def _execute(self, effects: Sequence[ReplicaEffect], now: int) -> None:
        writes: list[Write] = []
        commit: int | None = None
        handler = self._handler
        gate = self._gate
        applied = 0
        for effect in effects:
            match effect:
                case Send(to=to, message=message):
                    if gate.admit(effect):
                        handler.send_peer(to, message)
                case Reply():
                    handler.reply(effect)
                case Applied():
                    applied += 1
                case AppendLog() | SaveHardState() | TruncateLog():
                    writes.append(effect)
                case StoreSnapshot():
                    writes.append(effect)
                    handler.on_snapshot(effect)
                case SaveCommit(commit=commit):
                    pass
                case RoleChanged():
                    handler.role_changed(effect)
                case MembershipChanged():
                    handler.membership_changed(effect)
                case VersionRaised():
                    handler.version_raised(effect)
                case Restored() | VoteGranted() | MessageDropped():
                    pass  # only for traces
        self._metrics.entries_applied += applied
        if writes or commit is not None:
            self._submit(writes, commit, now)

    def _submit(self, writes: list[Write], commit: int | None, now: int) -> None:
        if writes:
            self._writes_in_flight.append((writes[-1].write_id, now))
        try:
            self._writer.submit(writes, commit)
        except StorageError as error:
            self.stop()
            self._handler.fatal(error)

    # -- timer -----------------------------------------------------------------------------------

    def _arm(self, now: int) -> None:
        """Set the timer so that it fires no later than the replica's deadline.

        A deadline that moves further away, as it does with every message, costs nothing: the timer stays, fires early
        once, and is set again.
        """
        deadline = self._replica.next_deadline()
        if self._timer is not None:
            if self._timer_at <= deadline:
                return
            self._timer.cancel()
            self._timer = None
        if deadline - now < _MAX_TIMER_US:
            self._timer_at = deadline
            self._timer = self._loop.call_later(max(0, deadline - now) / 1e6, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        now = now_us()
        if self._replica.next_deadline() <= now:
            self.post(Tick())
        else:
            self._arm(now)
