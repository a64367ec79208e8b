"""`WholeRecorder`: shows what a whole node does to the observers of the run."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from qcore.core.log.durable_state import last_index
from qcore.core.messages import InstallSnapshot
from qcore.core.status import CoreStatus
from qcore.replica.events import ClientRequest, ReplicaEffect, Reply
from qcore.replica.messages import PeerMessage
from qcore.replica.request_details import RequestDetails
from qcore.replica.trace_recorder import trace_fields
from qcore.sim.faults.triggers import NodeEvent, fire_matching
from qcore.sim.verdict.snapshot_histories import NodeHistory
from qcore.sim.world.effect_observer import EffectObserver
from qcore.sim.world.node.disk import SimDisk
from qcore.sim.world.services import Services
from qcore.sim.world.whole.answers import Answers
from qcore.transport.wire import RESPONSE_MESSAGES


class WholeRecorder(EffectObserver):
    """The `NodeRecorder` of one simulated node, over all its lives.

    Args:
        node_id, services, state_history: see `EffectObserver`.
        disk: the node's disk.
        answers: gets the answers to clients.
        on_step: called with the number of events of each step of the replica.

    Attributes:
        messages_sent: how many messages the node has sent to peers.
    """

    def __init__(
        self,
        node_id: int,
        services: Services,
        state_history: NodeHistory,
        disk: SimDisk,
        answers: Answers,
        on_step: Callable[[int], None],
    ) -> None:
        super().__init__(node_id, services, state_history)
        self._disk = disk
        self._answers = answers
        self._on_step = on_step
        self._requests: dict[int, ClientRequest] = {}
        self._request_details = RequestDetails(services.trace, node_id)
        self.messages_sent = 0

    def started(self, status: CoreStatus) -> None:
        """See `NodeRecorder`. The node has recorded its start already."""

    def stopped(self, why: str) -> None:
        """See `NodeRecorder`. The node records its end."""

    def process_died(self) -> None:
        """Forget the requests of the process."""
        self._requests.clear()
        self._request_details.process_died()

    def step(self, events: int, effects: Sequence[ReplicaEffect]) -> None:
        """See `NodeRecorder`."""
        self._on_step(events)
        if effects:
            now = self._engine.now
            self.record(effects, now)
            self.observe(effects, now)

    def durable(self, write_id: int) -> None:
        """See `NodeRecorder`."""
        self._recorder.durable(self._engine.now, write_id)
        if self._triggers.durable:
            end = last_index(self._disk.durable)
            fire_matching(self._triggers.durable, NodeEvent(self._node_id, index=end))

    def request_began(self, event: ClientRequest, message_id: str) -> None:
        """See `NodeRecorder`."""
        self._requests[event.request_id] = event
        client, op_id = self._answers.operation_of(self._node_id, event.payload)
        self._request_details.took(self._engine.now, event, client, op_id)

    def request_ended(self, reply: Reply) -> None:
        """See `NodeRecorder`. `answered` follows if it is a client's."""
        self._ended = self._requests.pop(reply.request_id, None)
        term = self._answers.term_of(self._ended, reply)
        self._request_details.ended(self._engine.now, reply, term)

    def answered(self, remote: str, message_id: str, reply: Reply) -> None:
        """See `NodeRecorder`."""
        self._answers.add(self._node_id, remote, message_id, self._ended, reply)

    def outgoing_id(self, message_id: str, message: PeerMessage) -> str:
        """See `NodeRecorder`."""
        return message_id

    def sent(self, to: int, message_id: str, message: PeerMessage) -> None:
        """See `NodeRecorder`."""
        self.messages_sent += 1
        self._promises.on_sent(self._node_id, to, message)
        name, term, note = trace_fields(message)
        full_id = trace_id(self._node_id, to, message_id, message)
        self._trace.send(self._engine.now, self._node_id, to, full_id, name, term, note)
        self._request_details.sent(self._engine.now, message, full_id)
        if self._triggers.send:
            fire_matching(
                self._triggers.send, NodeEvent(self._node_id, name, to, term=term, is_sender=True)
            )

    def received(self, from_id: int, message_id: str, message: PeerMessage) -> None:
        """See `NodeRecorder`."""
        name, term, _ = trace_fields(message)
        full_id = trace_id(from_id, self._node_id, message_id, message)
        self._trace.recv(self._engine.now, self._node_id, from_id, full_id, name)
        if type(message) is InstallSnapshot:
            self.snapshot_source = from_id
        if self._triggers.receive:
            fire_matching(
                self._triggers.receive, NodeEvent(self._node_id, name, from_id, term=term)
            )

    def dropped(
        self,
        to: int,
        message: PeerMessage,
        message_id: str = "",
        why: str = "no connection or a full queue",
    ) -> None:
        """See `NodeRecorder`.

        Args:
            to, message: see there.
            message_id: the id that the message had; empty if it got none.
            why: the reason, for the trace.
        """
        name, _, _ = trace_fields(message)
        full_id = message_id and trace_id(self._node_id, to, message_id, message)
        self._trace.drop(self._engine.now, to, self._node_id, full_id, name, why)

    def flush(self) -> None:
        """See `NodeRecorder`. Nothing waits."""


def trace_id(sender: int, receiver: int, message_id: str, message: PeerMessage) -> str:
    """The id of a request in the whole run, or of its response; as in the trace of a real node."""
    is_response = type(message) in RESPONSE_MESSAGES
    requester = receiver if is_response else sender
    return f"{requester}-{message_id}{'r' if is_response else ''}"


def plain_id(full_id: str) -> str:
    """The id of the message on the wire, from its id in the trace."""
    return full_id.partition("-")[2].removesuffix("r")
