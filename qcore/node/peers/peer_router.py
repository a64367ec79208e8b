"""`PeerRouter`: passes messages between the replica and its peers, and answers their `Hello`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from qcore.compiled_build import register_copies
from qcore.core.entry import Membership
from qcore.core.events import MessageReceived, PeerUnreachable
from qcore.errors import LocalProtocolError, NotLeader, RemoteProtocolError, ResultTooLarge
from qcore.node.addresses.peer_addresses import PeerAddresses
from qcore.node.observability.logs import NodeLog
from qcore.node.observability.metrics import NodeMetrics
from qcore.node.observability.node_recorder import NodeRecorder
from qcore.node.peers.founder_keys import Answer, MakePool, ask_nodes
from qcore.node.peers.introductions import first_rejection, hello_of, introduction_of, reply_of
from qcore.node.peers.peer_keys import PeerKeys
from qcore.node.runtime.inbox import Inbox
from qcore.replica import messages as replica_messages
from qcore.replica.events import PeerVersionSupport
from qcore.replica.messages import ForwardResponse, PeerMessage
from qcore.replica.peers.identity import PeerHello
from qcore.replica.peers.peer_admission import PeerAdmission
from qcore.replica.requests.forwarded_errors import rejection_response
from qcore.transport.peers.peer_pool import PeerPool
from qcore.transport.server.server import ServerConnection
from qcore.transport.wire import (
    ASKING_ROLE,
    PEER_REQUESTS,
    PEER_RESPONSES,
    RESPONSE_MESSAGES,
    Err,
    Forward,
    Hello,
    HelloProof,
    HelloReply,
    PeerResponse,
    RaftReadIndex,
    wrap_request,
    wrap_response,
)

#: How long the connection to a peer is kept after it left the configuration.
_DEPARTED_KEPT_S: Final = 5.0
_POLICY_VIOLATION: Final = 1008


@dataclass(frozen=True)
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


class RaftRequest(Protocol):
    """A request of a peer on the wire."""

    id: str
    request: PeerMessage


class PeerRouter:
    """Passes messages between the replica and its peers.

    A response goes back on the connection over which the newest request of that peer came, with the id of that request.
    With several requests in flight the id may therefore be that of a later one: it is for humans who read the wire. The
    fields of the message show what it answers. If the connection is closed, the response is lost, as any message may
    be.

    Args:
        admission: decides which peers are accepted.
        inbox: takes the messages for the replica.
        log, metrics, trace: record messages, connections and rejections.
        keys: demands proofs of the peers; None to trust them, as 0.1.0 does.
        addresses: where to dial the peers; None for the addresses in the configuration.

    Attributes:
        requests: handlers of the requests that arrive on connections that peers opened, by class; see `ServerHandler`.
        responses: handlers of the responses that arrive on connections that this node opened; see `PeerHandler`.
        on_connection_change: called when an attempt to connect to a peer has succeeded or failed.
        public_key: of this node; empty if it has none.
        addresses: see above.
        intercept: asked before a message is sent; if it returns True, it has taken the message. None in real nodes.
    """

    def __init__(
        self,
        admission: PeerAdmission,
        inbox: Inbox,
        log: NodeLog,
        metrics: NodeMetrics,
        trace: NodeRecorder | None = None,
        keys: PeerKeys | None = None,
        addresses: PeerAddresses | None = None,
    ) -> None:
        self._admission = admission
        self._identity = admission.identity
        self._inbox = inbox
        self._log = log
        self._metrics = metrics
        self._trace = trace
        self._keys = keys
        self.addresses = addresses or PeerAddresses(Membership, admission.identity.node_id)
        self.public_key = "" if keys is None else keys.public
        if keys is not None and keys.token_note:
            log.info(keys.token_note)
        self._pool: PeerPool | None = None
        self._make_pool: MakePool | None = None
        self._members: dict[int, str] = {}  # id -> address, without this node
        self._departed: dict[int, str] = {}  # members that left recently
        #: The nodes that an `Init` at this node names, before the cluster has begun.
        self._init_nodes: dict[int, str] = {}
        #: By peer, from the connections that this node opened.
        self._introduced: dict[int, PeerHello] = {}
        self.on_connection_change: Callable[[], None] = lambda: None
        self.intercept: Callable[[int, PeerMessage], bool] | None = None
        #: The connections that peers opened, with the id and the key that they have proved (empty: none).
        self._accepted: dict[ServerConnection, tuple[int, str]] = {}
        #: By peer: the connection of its newest request, and the id of that request.
        self._newest_requests: dict[int, tuple[ServerConnection, str]] = {}
        self.requests: dict[type, Callable[[ServerConnection, Any], None]] = {
            **dict.fromkeys(PEER_REQUESTS, self._on_message),
            Forward: self._on_request,
            RaftReadIndex: self._on_request,
        }
        self.responses: dict[type, Callable[[int, Any], None]] = dict.fromkeys(
            PEER_RESPONSES, self._on_response
        )

    # -- outgoing --------------------------------------------------------------------------------

    def use_pool(self, pool: PeerPool, make_pool: MakePool | None = None) -> None:
        """Send through this pool, which calls this object as its handler. `make_pool` is for `ask_nodes`."""
        self._pool = pool
        self._make_pool = make_pool

    async def ask_nodes(
        self,
        nodes: Mapping[int, str],
        timeout_s: float,
        cluster_id: str = "",
        *,
        need_keys: bool = True,
    ) -> tuple[dict[int, Answer], dict[int, str]]:
        """See `qcore.node.peers.founder_keys`."""
        keys, make_pool = self._keys, self._make_pool
        if keys is None or make_pool is None:
            return {}, {}
        return await ask_nodes(
            make_pool, self.hello, keys, nodes, timeout_s, cluster_id, need_keys=need_keys
        )

    def announced_by(self, peer: int) -> str | None:
        """The address that a peer announces which is connected. Its next process may announce another one."""
        connected = any(node_id == peer for node_id, _ in self._accepted.values())
        return self.addresses.announced_by(peer) if connected else None

    @property
    def awaited_cluster(self) -> str | None:
        """The cluster for which this node has a join token, until it is a member."""
        token = None if self._keys is None else self._keys.join_token
        return None if token is None else token.cluster_id

    def hello(self, message_id: str) -> Hello:
        """This node's `Hello`."""
        hello = hello_of(self._admission.hello(), message_id, self.addresses.own)
        return hello if self._keys is None else self._keys.complete_hello(hello)

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
        self._close_unproved()

    def connect_to(self, nodes: Mapping[int, str], keys: Mapping[int, str] | None = None) -> None:
        """Keep connections to these nodes (address by id) as well, before there is a configuration.

        An empty mapping ends these connections. The nodes must prove that they own these public keys (by id).
        """
        if self._keys is not None:
            self._keys.founders = keys or {}
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

    def connected(self) -> set[int]:
        """The peers to which this node has a connection."""
        statuses = self.connection_statuses()
        return {peer for peer, status in statuses.items() if status.introduction is not None}

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
            self._close_accepted(lambda node_id, key: node_id == peer, "it was removed")

    def _close_unproved(self) -> None:
        """Close the connections of peers that have another key in the configuration than they have proved.

        A member gets its key when the apply rules are raised to 5, or when it is removed and added again.
        """
        keys = self._keys
        if keys is not None:
            why = "the configuration has another public key for it"
            self._close_accepted(lambda node_id, key: not keys.fits(node_id, key), why)

    def _close_accepted(self, is_over: Callable[[int, str], bool], why: str) -> None:
        for connection, (node_id, key) in [*self._accepted.items()]:
            if is_over(node_id, key):
                self._log.info("connection of a peer closed", peer=node_id, why=why)
                connection.close(_POLICY_VIOLATION, f"node {node_id}: {why}")

    def _connect(self, new: Sequence[int]) -> None:
        assert self._pool is not None, "use_pool comes first"
        known = {**self._departed, **self._init_nodes, **self._members}
        self._pool.set_peers({peer: self.addresses.of(peer, known[peer]) for peer in known})
        for peer in new:
            self._pool.wake(peer)  # it may be a former peer that waits long after a rejection

    def send(self, to: int, message: PeerMessage) -> None:
        """Send a message; it may be lost. A response goes back on the connection of the peer's newest request."""
        if self.intercept is not None and self.intercept(to, message):
            return
        send = self._respond if type(message) in RESPONSE_MESSAGES else self._request
        message_id = send(to, message)
        if message_id is None:
            self._metrics.peer_messages_dropped += 1
        else:
            self._metrics.peer_messages_sent += 1
        if self._trace is not None:
            if message_id is None:
                self._trace.dropped(to, message)
            else:
                self._trace.sent(to, message_id, message)

    def _request(self, to: int, message: PeerMessage) -> str | None:
        """Send a request; returns its id, or None if it was dropped."""
        assert self._pool is not None, "use_pool comes first"
        message_id = self._pool.next_id()
        if self._trace is not None:
            message_id = self._trace.outgoing_id(message_id, message)
        if self._pool.send(to, wrap_request(message_id, message)):
            return message_id
        if isinstance(message, replica_messages.Forward | replica_messages.ReadIndex):
            # It was certainly not sent, so the client may retry immediately instead of waiting for its timeout.
            rejection = rejection_response(message, NotLeader())
            self._inbox.add_event(MessageReceived(to, rejection))
        return None

    def _respond(self, to: int, message: PeerMessage) -> str | None:
        """Send a response; returns its id, or None if there is no open connection for it."""
        newest = self._newest_requests.get(to)
        if newest is None or not newest[0].is_open:
            return None
        connection, message_id = newest
        try:
            connection.send(wrap_response(message_id, message))
        except LocalProtocolError as error:
            if not isinstance(message, ForwardResponse):
                raise
            # The result does not fit into a frame. Without a response the client would wait until its timeout.
            too_large = ForwardResponse(
                message.forward_id,
                None,
                error_code=ResultTooLarge.__name__,
                error_text=f"{error}; if the request was a write, the command took effect; read less in one request",
            )
            connection.send(wrap_response(message_id, too_large))
        return message_id

    # -- incoming: connections that this node opened (PeerHandler) ---------------------------------------------

    def prove(self, hello: Hello, reply: HelloReply) -> HelloProof | None:
        """Check the proof of a peer that has answered our `Hello`, and return ours."""
        self._admission.check(introduction_of(reply))  # first: its reasons are clearer
        return None if self._keys is None else self._keys.prove(hello, reply)

    def on_hello_reply(self, reply: HelloReply) -> None:
        """A peer has accepted our `Hello`: accept or reject it."""
        peer = introduction_of(reply)
        self._admission.admit_dialled(peer)
        self._introduced[peer.node_id] = peer
        key = reply.public_key if reply.signature and self._keys is not None else ""
        self._inbox.add_event(PeerVersionSupport(peer.node_id, peer.support, key))

    def _on_response(self, peer_id: int, message: PeerResponse) -> None:
        response = message.response
        if not isinstance(response, Err):
            self._receive(peer_id, message.id, response.value)

    def _receive(self, peer_id: int, message_id: str, message: PeerMessage) -> None:
        self._metrics.peer_messages_received += 1
        if self._trace is not None:
            self._trace.received(peer_id, message_id, message)
        if not self._inbox.offer_message(MessageReceived(peer_id, message)):
            self._metrics.peer_messages_dropped += 1

    def deliver(self, peer_id: int, message_id: str, message: PeerMessage) -> None:
        """Take a message of a peer that comes over no connection: one that the simulator held back."""
        if isinstance(message, replica_messages.Forward | replica_messages.ReadIndex):
            self._receive_request(peer_id, message_id, message)
        else:
            self._receive(peer_id, message_id, message)

    def on_unreachable(self, peer_id: int) -> None:
        """Report to the replica that the messages in flight to the peer are lost."""
        self._log.warning("peer unreachable", peer=peer_id, why=self.connection_problem(peer_id))
        self._admission.on_closed(peer_id, dialled=True)
        self._inbox.add_event(PeerVersionSupport(peer_id, None))
        self._inbox.add_event(PeerUnreachable(peer_id))
        self.on_connection_change()

    def on_connected(self, peer_id: int) -> None:
        """The connection to the peer was made; the transport has logged it."""
        self.on_connection_change()

    # -- incoming: connections that peers opened ------------------------------------------------------------

    def on_hello(self, connection: ServerConnection, hello: Hello) -> HelloReply:
        """Reject a peer; or reply, and demand a proof; or accept a peer that needs none.

        Raises:
            RemoteProtocolError: rejected; the text goes to the peer.
        """
        try:
            if hello.role != ASKING_ROLE:
                self._admission.check_opened(introduction_of(hello))
                if self._keys is not None:
                    self._keys.require(
                        hello.node_id, hello.cluster_id, hello.public_key, hello.vouchers
                    )
            reply = reply_of(self._admission.hello())
            if self._keys is not None:
                self._keys.complete_reply(hello, reply)
        except RemoteProtocolError:
            self._metrics.rejected_peers += 1  # the server logs it
            raise
        if hello.role != ASKING_ROLE and not reply.signature:
            self._accept(connection, hello, "")
        return reply

    def on_proof(
        self, connection: ServerConnection, hello: Hello, reply: HelloReply, proof: HelloProof
    ) -> None:
        """Accept or reject a peer that proves who it is.

        Raises:
            RemoteProtocolError: rejected; the text goes to the peer.
        """
        assert self._keys is not None, "a node without keys demands no proof"
        try:
            self._keys.check_proof(hello, reply, proof)
        except RemoteProtocolError:
            self._metrics.rejected_peers += 1
            raise
        self._accept(connection, hello, hello.public_key)

    def _accept(self, connection: ServerConnection, hello: Hello, key: str) -> None:
        peer = introduction_of(hello)
        try:
            self._admission.admit(peer)
        except RemoteProtocolError:
            self._metrics.rejected_peers += 1
            raise
        self._accepted[connection] = peer.node_id, key
        known = self._introduced.get(peer.node_id)
        if key or known is None or not known.public_key:  # else it proved more on our connection
            self._inbox.add_event(PeerVersionSupport(peer.node_id, peer.support, key))
        if self._pool is not None:
            if self.addresses.note(peer.node_id, hello.address, key):
                self._connect([])
            self._pool.wake(hello.node_id)

    def _on_message(self, connection: ServerConnection, message: RaftRequest) -> None:
        """A message of Raft arrived. The server passes it on only once it has accepted the peer's `Hello`."""
        peer = connection.peer
        assert peer is not None, "the server rejects messages before a Hello"
        self._newest_requests[peer.node_id] = (connection, message.id)
        self._receive(peer.node_id, message.id, message.request)

    def _on_request(self, connection: ServerConnection, message: Forward | RaftReadIndex) -> None:
        """A peer asks for something on behalf of its clients."""
        peer = connection.peer
        assert peer is not None, "the server rejects messages before a Hello"
        self._newest_requests[peer.node_id] = (connection, message.id)
        self._receive_request(peer.node_id, message.id, message.request)

    def _receive_request(
        self,
        peer_id: int,
        message_id: str,
        request: replica_messages.Forward | replica_messages.ReadIndex,
    ) -> None:
        self._metrics.peer_messages_received += 1
        if self._trace is not None:
            self._trace.received(peer_id, message_id, request)
        # A member that was removed keeps its connection a little longer, but not its rights.
        is_over = peer_id in self._departed
        rejection = NotLeader() if is_over else self._inbox.offer_request(peer_id, request)
        if rejection is not None:
            self.send(peer_id, rejection_response(request, rejection))

    def on_close(self, connection: ServerConnection) -> None:
        """A connection is closed."""
        self._accepted.pop(connection, None)
        peer = connection.peer
        if peer is None:
            return
        self._identity.release(peer.cluster_id)
        self._admission.on_closed(peer.node_id)
        newest = self._newest_requests.get(peer.node_id)
        if newest is not None and newest[0] is connection:
            del self._newest_requests[peer.node_id]


register_copies(globals())
