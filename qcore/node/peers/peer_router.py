"""`PeerRouter`: passes messages between the replica and its peers, and answers their `Hello`."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, cast

from qcore.core.entry import Membership
from qcore.core.events import PeerUnreachable
from qcore.core.messages import (
    AppendEntriesResponse,
    InstallSnapshotResponse,
    PreVoteResponse,
    RequestVoteResponse,
    TimeoutNowResponse,
)
from qcore.core.version import VersionSupport
from qcore.errors import (
    LocalProtocolError,
    NotLeader,
    RemoteProtocolError,
    ResultTooLarge,
)
from qcore.node.observability.logs import NodeLog
from qcore.node.observability.metrics import NodeMetrics
from qcore.node.observability.tracing import NodeTrace
from qcore.release import __version__
from qcore.replica import messages as replica_messages
from qcore.replica.events import PeerMessageReceived, PeerVersionSupport, ReplicaEvent
from qcore.replica.messages import ForwardResponse, PeerMessage, ReadIndexResponse, RequestKind
from qcore.replica.peers.identity import PeerHello
from qcore.replica.peers.peer_admission import PeerAdmission
from qcore.replica.requests.forwarded_errors import rejection_response
from qcore.transport.peers.peer_pool import PeerPool
from qcore.transport.server.server import ServerConnection
from qcore.transport.wire import (
    PROTOCOL_VERSION,
    Forward,
    Hello,
    HelloReply,
    RaftAppend,
    RaftPreVote,
    RaftReadIndex,
    RaftSnapshot,
    RaftTimeoutNow,
    RaftVote,
    is_peer_response,
    unwrap,
    wrap_request,
    wrap_response,
)

#: Class of a Raft request on the wire -> class of the core message that answers it.
_RESPONSE_TYPES: Final[dict[type, type]] = {
    RaftAppend: AppendEntriesResponse,
    RaftVote: RequestVoteResponse,
    RaftPreVote: PreVoteResponse,
    RaftSnapshot: InstallSnapshotResponse,
    RaftTimeoutNow: TimeoutNowResponse,
    RaftReadIndex: ReadIndexResponse,
}

#: The most unanswered Raft requests remembered for each peer and kind. The core may never answer some.
_MAX_UNANSWERED: Final = 64

#: How long the connection to a peer is kept after it left the configuration.
_DEPARTED_KEPT_S: Final = 5.0

_RequestOrigin = tuple[ServerConnection, str]


@dataclass(slots=True, frozen=True)
class ConnectionStatus:
    """The status of this node's connection to a peer.

    Attributes:
        address: the peer's address.
        introduction: the content of the peer's `HelloReply`; None while there is no connection.
        problem: why there is no connection; None while there is one, or before the first attempt has ended.
        rejected: whether the peer was reached, and one of the two nodes rejected the other.
    """

    address: str
    introduction: PeerHello | None
    problem: str | None
    rejected: bool


def first_rejection(problems: Mapping[int, str]) -> str | None:
    """The first of these problems with peers that is a rejection by the peer, or None."""
    return next((text for text in problems.values() if text.startswith("refused by")), None)


class HasMessageId(Protocol):
    """Any message of the wire."""

    id: str


def introduction_of(message: Hello | HelloReply) -> PeerHello:
    """The content of a peer's `Hello` or `HelloReply`."""
    support = VersionSupport(*message.rules, message.machine, *message.machine_versions)
    return PeerHello(
        message.node_id,
        message.cluster_id,
        message.incarnation,
        message.membership_index,
        support,
    )


class PeerRouter:
    """Routes messages between the replica and its peers.

    A response goes back on the connection that its request came over, with the request's id. The core does not use the
    id; it is for humans who read the wire. If the connection is closed, the response is lost, as any message may be.

    Args:
        admission: decides which peers are accepted.
        post: passes an event to the replica.
        log, metrics, trace: record messages, connections and rejections.

    Attributes:
        on_connection_change: called when an attempt to connect to a peer has succeeded or failed.
    """

    def __init__(
        self,
        admission: PeerAdmission,
        post: Callable[[ReplicaEvent], None],
        log: NodeLog,
        metrics: NodeMetrics,
        trace: NodeTrace | None = None,
    ) -> None:
        self._admission = admission
        self._identity = admission.identity
        self._post = post
        self._log = log
        self._metrics = metrics
        self._trace = trace
        self._pool: PeerPool | None = None
        self._members: dict[int, str] = {}  # id -> address, without this node
        self._departed: dict[int, str] = {}  # members that left recently
        #: The nodes that an `Init` at this node names, before the cluster has begun.
        self._init_nodes: dict[int, str] = {}
        self._introduced: dict[
            int, PeerHello
        ] = {}  # by peer, from the connections that this node opened
        self.on_connection_change: Callable[[], None] = lambda: None
        self._unanswered: dict[tuple[int, type], deque[_RequestOrigin]] = {}
        #: By peer and forward id. Every forward gets one response, so this is no longer than the replica's queues.
        self._forwards: dict[tuple[int, int], tuple[_RequestOrigin, RequestKind]] = {}

    # -- outgoing --------------------------------------------------------------------------------

    def use_pool(self, pool: PeerPool) -> None:
        """Send through this pool, which calls this object as its handler."""
        self._pool = pool

    def hello(self, message_id: str) -> Hello:
        """This node's `Hello`."""
        own = self._admission.hello()
        return Hello(
            id=message_id,
            protocol=PROTOCOL_VERSION,
            cluster_id=own.cluster_id,
            node_id=own.node_id,
            version=__version__,
            incarnation=own.incarnation,
            membership_index=own.membership_index,
            rules=(own.support.rules_min, own.support.rules_max),
            machine=own.support.machine,
            machine_versions=(own.support.machine_min, own.support.machine_max),
        )

    def set_membership(self, membership: Membership) -> None:
        """Keep connections to the other members of this configuration.

        The connection to a member that left is kept a little longer, so the member learns of its removal.
        """
        own_id = self._identity.node_id
        members = {
            member: address
            for member in membership.members()
            if member != own_id and (address := membership.address_of(member)) is not None
        }
        for peer, address in self._members.items():
            if peer not in members:
                self._departed[peer] = address
                loop = asyncio.get_running_loop()
                loop.call_later(_DEPARTED_KEPT_S, self._forget, peer, address)
        for peer in members:
            self._departed.pop(peer, None)
        new = [peer for peer in members if peer not in self._members]
        self._members, self._init_nodes = members, {}
        self._connect(new)

    def connect_to(self, nodes: Mapping[int, str]) -> None:
        """Keep connections to these nodes (address by id) as well, before there is a configuration.

        An empty mapping ends these connections.
        """
        for peer in self._init_nodes:
            if peer not in nodes:
                self._admission.on_closed(peer, dialled=True)
        self._init_nodes = dict(nodes)
        self._connect([])

    def connection_statuses(self) -> dict[int, ConnectionStatus]:
        """The status of the connection to each peer, by id."""
        assert self._pool is not None, "use_pool comes first"
        return {
            state.peer_id: ConnectionStatus(
                state.address,
                self._introduced.get(state.peer_id) if state.connected else None,
                None if state.connected else state.last_error,
                state.refused,
            )
            for state in self._pool.peer_states()
        }

    def connection_problem(self, peer_id: int) -> str | None:
        """Why there is no connection to this peer; None if there is one, or if the node needs none."""
        connection = self.connection_statuses().get(peer_id)
        if connection is None or connection.introduction is not None:
            return None
        return connection.problem or "there is no connection to it yet"

    def rejections(self) -> dict[int, str]:
        """By id of each member that this node reached: why one of the two rejects the other."""
        return {
            peer: connection.problem
            for peer, connection in self.connection_statuses().items()
            if connection.rejected and connection.problem and peer in self._members
        }

    def rejection(self) -> str | None:
        """Why a member rejects this node (because it was removed or wiped), or None."""
        return first_rejection(self.rejections())

    def stop(self) -> None:
        """Make no more connections. After this the pool may be closed."""
        self._departed.clear()

    def _forget(self, peer: int, address: str) -> None:
        if self._departed.get(peer) == address:
            del self._departed[peer]
            self._connect([])

    def _connect(self, new: Sequence[int]) -> None:
        assert self._pool is not None, "use_pool comes first"
        self._pool.set_peers({**self._departed, **self._init_nodes, **self._members})
        for peer in new:
            self._pool.wake(peer)  # it may be a former peer that waits long after a rejection

    def send(self, to: int, message: PeerMessage) -> None:
        """Send a request on the connection that this node opened, or a response on the connection of its request."""
        if is_peer_response(message):
            message_id = self._answer(to, message)
        else:
            assert self._pool is not None, "use_pool comes first"
            message_id = self._pool.next_id()
            if not self._pool.send(to, wrap_request(message_id, message)):
                message_id = None
                if isinstance(message, replica_messages.Forward | replica_messages.ReadIndex):
                    # It was certainly not sent, so the client may retry immediately instead of waiting for its timeout.
                    self._post(PeerMessageReceived(to, rejection_response(message, NotLeader())))
        if message_id is None:
            self._metrics.peer_messages_dropped += 1
        else:
            self._metrics.peer_messages_sent += 1
        if self._trace is not None:
            if message_id is None:
                self._trace.dropped(to, message)
            else:
                self._trace.sent(to, message_id, message)

    def _answer(self, to: int, message: PeerMessage) -> str | None:
        """Send a response; returns the id of its request, or None if the connection is closed."""
        if isinstance(message, ForwardResponse):
            forwarded = self._forwards.pop((to, message.forward_id), None)
            origin, kind = forwarded if forwarded is not None else (None, None)
        else:
            origin = self._oldest(to, type(message))
        if origin is None or not origin[0].is_open:
            return None
        connection, message_id = origin
        try:
            connection.send(wrap_response(message_id, message))
        except LocalProtocolError as error:
            if not isinstance(message, ForwardResponse):
                raise
            # The result does not fit into a frame. Without a response the client would wait until its timeout.
            writes = kind in ("write", "session")
            response = ForwardResponse(
                message.forward_id,
                None,
                error_code=ResultTooLarge.__name__,
                error_text=f"{error}; the command took effect"
                if writes
                else f"{error}: read less in one request",
            )
            connection.send(wrap_response(message_id, response))
        return message_id

    def _oldest(self, peer_id: int, response_type: type) -> _RequestOrigin | None:
        """The origin of the oldest unanswered request whose connection is open."""
        waiting = self._unanswered.get((peer_id, response_type))
        while waiting:
            origin = waiting.popleft()
            if origin[0].is_open:
                return origin
        return None

    # -- incoming: connections that this node opened (PeerHandler) ---------------------------------------------

    def on_hello_reply(self, reply: HelloReply) -> None:
        """A peer has answered our `Hello`: accept or reject it."""
        peer = introduction_of(reply)
        self._admission.admit_dialled(peer)
        self._introduced[peer.node_id] = peer
        self._post(PeerVersionSupport(peer.node_id, peer.support))

    def on_peer_message(self, peer_id: int, message: object) -> None:
        """A message arrived on a connection that this node opened."""
        inner = unwrap(message)
        if inner is not None:
            self._received(peer_id, message, inner)

    def _received(self, peer_id: int, message: object, inner: PeerMessage) -> None:
        self._metrics.peer_messages_received += 1
        if self._trace is not None:
            self._trace.received(peer_id, cast(HasMessageId, message).id, inner)
        self._post(PeerMessageReceived(peer_id, inner))

    def on_unreachable(self, peer_id: int) -> None:
        """Report to the replica that the messages in flight to the peer are lost."""
        self._log.warning("peer unreachable", peer=peer_id, why=self.connection_problem(peer_id))
        self._admission.on_closed(peer_id, dialled=True)
        self._post(PeerVersionSupport(peer_id, None))
        self._post(PeerUnreachable(peer_id))
        self.on_connection_change()

    def on_connected(self, peer_id: int) -> None:
        """The connection to the peer was made; the transport has logged it."""
        self.on_connection_change()

    # -- incoming: connections that peers opened ------------------------------------------------------------

    def on_hello(self, hello: Hello) -> HelloReply:
        """Accept or reject a peer.

        Raises:
            RemoteProtocolError: rejected; the text goes to the peer.
        """
        peer = introduction_of(hello)
        try:
            self._admission.admit(peer)
        except RemoteProtocolError:
            self._metrics.rejected_peers += 1  # the server logs it
            raise
        self._post(PeerVersionSupport(peer.node_id, peer.support))
        if self._pool is not None:
            self._pool.wake(hello.node_id)
        own = self._admission.hello()
        return HelloReply(
            protocol=PROTOCOL_VERSION,
            cluster_id=own.cluster_id,
            node_id=own.node_id,
            version=__version__,
            incarnation=own.incarnation,
            membership_index=own.membership_index,
            rules=(own.support.rules_min, own.support.rules_max),
            machine=own.support.machine,
            machine_versions=(own.support.machine_min, own.support.machine_max),
        )

    def on_message(self, connection: ServerConnection, message: object) -> bool:
        """Handle a message of a peer and return True; return False for any other message.

        The server passes messages of peers on only from connections whose `Hello` was accepted.
        """
        inner = unwrap(message)
        peer = connection.peer
        if inner is None or peer is None:
            return False
        origin = (connection, cast(HasMessageId, message).id)
        if isinstance(message, Forward):
            forward = message.request
            self._forwards[peer.node_id, forward.forward_id] = (origin, forward.kind)
        elif (response_type := _RESPONSE_TYPES.get(type(message))) is not None:
            key = (peer.node_id, response_type)
            waiting = self._unanswered.get(key)
            if waiting is None:
                waiting = self._unanswered[key] = deque(maxlen=_MAX_UNANSWERED)
            waiting.append(origin)
        self._received(peer.node_id, message, inner)
        return True

    def on_close(self, connection: ServerConnection) -> None:
        """A peer's connection is closed: drop the requests that came over it."""
        peer = connection.peer
        if peer is None:
            return
        self._identity.release(peer.cluster_id)
        self._admission.on_closed(peer.node_id)
        for key, waiting in list(self._unanswered.items()):
            if key[0] == peer.node_id:
                kept = [origin for origin in waiting if origin[0] is not connection]
                waiting.clear()
                waiting.extend(kept)
                if not kept:
                    del self._unanswered[key]
        self._forwards = {
            key: held for key, held in self._forwards.items() if held[0][0] is not connection
        }
