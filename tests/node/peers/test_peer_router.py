"""Messages between nodes: those that cannot be sent, and responses that cannot be delivered."""

from __future__ import annotations

import asyncio
import random
from typing import cast

import pytest

from qcore.core.config import RaftConfig
from qcore.core.entry import DurableState, Membership
from qcore.core.events import MessageReceived
from qcore.core.messages import AppendEntries, AppendEntriesResponse
from qcore.errors import LocalProtocolError
from qcore.machines.register import RegisterMachine
from qcore.node.observability.logs import NodeLog
from qcore.node.observability.metrics import NodeMetrics
from qcore.node.peers.peer_router import PeerRouter
from qcore.node.runtime import inbox as inbox_module
from qcore.node.runtime.inbox import Inbox
from qcore.replica.config import ReplicaConfig
from qcore.replica.messages import (
    Forward,
    ForwardResponse,
    PeerMessage,
    ReadIndex,
    ReadIndexResponse,
)
from qcore.replica.peers.identity import ClusterIdentity
from qcore.replica.peers.known_members import KnownMembers
from qcore.replica.peers.peer_admission import PeerAdmission
from qcore.replica.replica import Replica
from qcore.replica.requests.flow_control import FlowControl
from qcore.runtime.real import REAL
from qcore.transport.codec.codec import Codec
from qcore.transport.peers.peer_pool import PeerPool
from qcore.transport.server.handler import PeerIdentity
from qcore.transport.server.server import ServerConnection
from qcore.transport.wire import REGISTRY, Ok, PeerResponse, wrap_request


def admission() -> PeerAdmission:
    """The admission of node 1, a member of cluster red that has met no other node."""
    config = ReplicaConfig(RaftConfig(1))
    replica = Replica(config, RegisterMachine(), DurableState(), rng=random.Random(1), now=0)
    known = KnownMembers({}, lambda _known: None)
    return PeerAdmission(replica, ClusterIdentity(1, "red"), known, lambda _error: None)


def new_inbox() -> Inbox:
    return Inbox(FlowControl(2, 1000, 1_000_000, 0), lambda: None, REAL.monotonic_us)


class Connection:
    """The connection of a peer, node 2, that accepts only responses with a small result."""

    is_open = True
    peer = PeerIdentity(2, "red")

    def __init__(self) -> None:
        self.sent: list[tuple[str, PeerMessage]] = []

    def send(self, message: PeerResponse) -> None:
        assert isinstance(message.response, Ok)
        response = message.response.value
        if isinstance(response, ForwardResponse) and len(response.result or "") > 10:
            raise LocalProtocolError("a message of 99 bytes exceeds the limit of a frame")
        self.sent.append((message.id, response))


def arrive(router: PeerRouter, connection: Connection, number: int, message: PeerMessage) -> None:
    """Pass a request to the router as the server does."""
    request = wrap_request(str(number), message)
    router.requests[type(request)](cast(ServerConnection, connection), request)


def test_an_undeliverable_forward_is_rejected_immediately() -> None:
    """It certainly had no effect, so the client may retry instead of waiting for its timeout."""

    async def scenario() -> None:
        inbox = new_inbox()
        metrics = NodeMetrics()
        router = PeerRouter(admission(), inbox, NodeLog(1), metrics)
        pool = PeerPool(Codec(REGISTRY), router, router.hello, random.Random(1), runtime=REAL)
        router.use_pool(pool)
        router.send(2, Forward(77, "write", "command", 1000))
        router.send(2, ReadIndex(78, 1000))
        posted = inbox.take(0)
        for event, kind in zip(posted, (ForwardResponse, ReadIndexResponse), strict=True):
            assert isinstance(event, MessageReceived)
            assert event.from_id == 2
            assert isinstance(event.message, ForwardResponse | ReadIndexResponse)
            assert type(event.message) is kind
            assert event.message.error_code == "NotLeader"
        assert metrics.peer_messages_dropped == 2
        await pool.close()

    asyncio.run(scenario())


def test_a_response_without_an_open_connection_is_dropped() -> None:
    metrics = NodeMetrics()
    router = PeerRouter(admission(), new_inbox(), NodeLog(1), metrics)
    router.send(2, ForwardResponse(5, "result"))
    assert metrics.peer_messages_dropped == 1, "no request has arrived"
    connection = Connection()
    arrive(router, connection, 1, AppendEntries(1, 2, 0, 0, 0, []))
    connection.is_open = False
    router.send(2, AppendEntriesResponse(1, True, 0, 0, 0, 0))
    assert metrics.peer_messages_dropped == 2
    router.on_close(cast(ServerConnection, connection))
    connection.is_open = True
    router.send(2, AppendEntriesResponse(1, True, 0, 0, 0, 0))
    assert metrics.peer_messages_dropped == 3
    assert not connection.sent


def test_a_response_goes_to_the_connection_of_the_newest_request() -> None:
    """A peer that has opened another connection does not read the old one for long."""
    metrics = NodeMetrics()
    router = PeerRouter(admission(), new_inbox(), NodeLog(1), metrics)
    old, new = Connection(), Connection()
    response = AppendEntriesResponse(1, True, 0, 0, 0, 0)
    arrive(router, old, 1, AppendEntries(1, 2, 0, 0, 0, []))
    router.send(2, response)
    arrive(router, old, 2, AppendEntries(1, 2, 0, 0, 0, []))
    arrive(router, new, 3, AppendEntries(1, 2, 0, 0, 0, []))
    router.on_close(cast(ServerConnection, old))
    router.send(2, response)
    router.send(2, response)
    assert old.sent == [("1", response)]
    assert new.sent == [("3", response), ("3", response)]
    assert metrics.peer_messages_sent == 3


def test_an_oversized_result_is_too_large_and_not_unknown() -> None:
    """A read has no effect, and a write with a result took effect: neither outcome is unknown."""
    router = PeerRouter(admission(), new_inbox(), NodeLog(1), NodeMetrics())
    connection = Connection()
    arrive(router, connection, 1, Forward(1, "write", "q", 1000))
    router.send(2, ForwardResponse(1, "x" * 99, 7))
    ((message_id, response),) = connection.sent
    assert isinstance(response, ForwardResponse)
    assert (message_id, response.forward_id) == ("1", 1)
    assert response.error_code == "ResultTooLarge"
    assert "took effect" in str(response.error_text)
    assert "read less" in str(response.error_text)


def test_a_removed_member_forwards_nothing() -> None:
    """Its connection stays a little longer, so that it learns of its removal. It could name any user."""

    async def scenario() -> None:
        inbox = new_inbox()
        router = PeerRouter(admission(), inbox, NodeLog(1), NodeMetrics())
        pool = PeerPool(Codec(REGISTRY), router, router.hello, random.Random(1), runtime=REAL)
        router.use_pool(pool)
        addresses = tuple((node, f"127.0.0.1:{node}") for node in (1, 2))
        router.set_membership(Membership((1, 2), addresses=addresses, cluster_id="red"))
        connection = Connection()
        arrive(router, connection, 1, Forward(1, "write", "q", 1000))
        assert not connection.sent
        assert len(inbox.take(0)) == 1
        router.set_membership(Membership((1,), addresses=addresses[:1], cluster_id="red"))
        for number, message in ((2, Forward(2, "write", "q", 1000)), (3, ReadIndex(3, 1000))):
            arrive(router, connection, number, message)
        assert not inbox.take(0)
        for _, response in connection.sent:
            assert isinstance(response, ForwardResponse | ReadIndexResponse)
            assert response.error_code == "NotLeader"
        assert len(connection.sent) == 2
        await pool.close()

    asyncio.run(scenario())


def test_forwards_beyond_a_limit_are_rejected_messages_dropped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(inbox_module, "MAX_MESSAGES", 2)
    metrics = NodeMetrics()
    router = PeerRouter(admission(), new_inbox(), NodeLog(1), metrics)
    connection = Connection()
    for number in range(3):
        arrive(router, connection, number, Forward(number, "write", "q", 1000))
    ((message_id, response),) = connection.sent
    assert isinstance(response, ForwardResponse)
    assert (message_id, response.forward_id, response.error_code) == ("2", 2, "Overloaded")
    for number in range(3):
        arrive(router, connection, number, AppendEntries(1, 2, 0, 0, 0, []))
    assert metrics.peer_messages_received == 6
    assert metrics.peer_messages_dropped == 1


def test_a_step_takes_many_responses_and_few_other_messages() -> None:
    inbox = new_inbox()
    response = MessageReceived(1, ForwardResponse(5, "result"))
    append = MessageReceived(1, AppendEntries(1, 1, 0, 0, 0, []))
    for event in [append] * 60 + [response] * 300 + [append] * 100:
        inbox.offer_message(event)
    kinds = [
        [type(event.message) for event in inbox.take(0) if isinstance(event, MessageReceived)]
        for _ in range(4)
    ]
    assert kinds[0] == [AppendEntries] * 60 + [ForwardResponse] * 196
    assert kinds[1] == [ForwardResponse] * 104 + [AppendEntries] * 64
    assert kinds[2] == [AppendEntries] * 36
    assert not kinds[3]
