"""Messages between nodes: those that cannot be sent, and responses that cannot be delivered."""

from __future__ import annotations

import asyncio
import random
from typing import cast

from qcore.core.config import RaftConfig
from qcore.core.entry import DurableState
from qcore.core.events import MessageReceived
from qcore.errors import LocalProtocolError
from qcore.machines.register import KeyValueMachine
from qcore.node.observability.logs import NodeLog
from qcore.node.observability.metrics import NodeMetrics
from qcore.node.peers.peer_router import PeerRouter
from qcore.replica.config import ReplicaConfig
from qcore.replica.events import ReplicaEvent
from qcore.replica.messages import (
    Forward,
    ForwardResponse,
    ReadIndex,
    ReadIndexResponse,
    RequestKind,
)
from qcore.replica.peers.identity import ClusterIdentity
from qcore.replica.peers.known_members import KnownMembers
from qcore.replica.peers.peer_admission import PeerAdmission
from qcore.replica.replica import Replica
from qcore.transport import wire
from qcore.transport.codec.codec import Codec
from qcore.transport.peers.peer_pool import PeerPool
from qcore.transport.server.handler import PeerIdentity
from qcore.transport.server.server import ServerConnection
from qcore.transport.wire import REGISTRY


def admission() -> PeerAdmission:
    """The admission of node 1, a member of cluster red that has met no other node."""
    config = ReplicaConfig(RaftConfig(1))
    replica = Replica(config, KeyValueMachine(), DurableState(), rng=random.Random(1), now=0)
    known = KnownMembers({}, lambda _known: None)
    return PeerAdmission(replica, ClusterIdentity(1, "red"), known, lambda _error: None)


def test_an_undeliverable_forward_is_rejected_immediately() -> None:
    """It certainly had no effect, so the client may retry instead of waiting for its timeout."""

    async def scenario() -> None:
        posted: list[ReplicaEvent] = []
        metrics = NodeMetrics()
        router = PeerRouter(admission(), posted.append, NodeLog(1), metrics)
        pool = PeerPool(Codec(REGISTRY), router, router.hello, random.Random(1))
        router.use_pool(pool)
        router.send(2, Forward(77, "write", "command", 1000))
        router.send(2, ReadIndex(78, 1000))
        for event, kind in zip(posted, (ForwardResponse, ReadIndexResponse), strict=True):
            assert isinstance(event, MessageReceived)
            assert event.from_id == 2
            assert isinstance(event.message, ForwardResponse | ReadIndexResponse)
            assert type(event.message) is kind
            assert event.message.error_code == "NotLeader"
        assert metrics.peer_messages_dropped == 2
        await pool.close()

    asyncio.run(scenario())


def test_an_answer_whose_connection_is_gone_is_dropped() -> None:
    async def scenario() -> None:
        metrics = NodeMetrics()
        router = PeerRouter(admission(), lambda event: None, NodeLog(1), metrics)
        pool = PeerPool(Codec(REGISTRY), router, router.hello, random.Random(1))
        router.use_pool(pool)
        router.send(2, ForwardResponse(5, "result"))
        assert metrics.peer_messages_dropped == 1
        await pool.close()

    asyncio.run(scenario())


def test_an_oversized_result_is_too_large_and_not_unknown() -> None:
    """A read has no effect, and a write with a result took effect: neither outcome is unknown."""

    class Narrow:
        """A connection of a peer that accepts only small frames."""

        is_open = True
        peer = PeerIdentity(2, "red")

        def __init__(self) -> None:
            self.sent: list[ForwardResponse] = []

        def send(self, message: wire.ForwardResponse) -> None:
            assert isinstance(message.response, wire.Ok)
            response = message.response.value
            if response.result is not None and len(response.result) > 10:
                raise LocalProtocolError("a message of 99 bytes exceeds the limit of a frame")
            self.sent.append(response)

    router = PeerRouter(admission(), lambda event: None, NodeLog(1), NodeMetrics())
    connection = Narrow()
    kinds: tuple[RequestKind, ...] = ("read", "write", "session")
    for number, kind in enumerate(kinds):
        request = wire.Forward(str(number), Forward(number, kind, "q", 1000))
        assert router.on_message(cast(ServerConnection, connection), request)
        router.send(2, ForwardResponse(number, "x" * 99, 7))
    codes = [response.error_code for response in connection.sent]
    assert codes == 3 * ["ResultTooLarge"]
    assert ["took effect" in str(response.error_text) for response in connection.sent] == [
        False,
        True,
        True,
    ]
    assert "read less" in str(connection.sent[0].error_text)
