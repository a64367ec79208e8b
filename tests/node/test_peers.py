"""Messages between nodes: what becomes of those that cannot leave, and where answers go."""

from __future__ import annotations

import asyncio
import random

from qcore.node.identity import ClusterIdentity
from qcore.node.logs import NodeLog
from qcore.node.metrics import NodeMetrics
from qcore.node.peers import PeerLinks
from qcore.replica.events import PeerMessageReceived, ReplicaEvent
from qcore.replica.messages import Forward, ForwardResponse
from qcore.transport.codec import Codec
from qcore.transport.pool import PeerPool
from qcore.transport.wire import REGISTRY


def test_a_forward_that_cannot_leave_is_refused_at_once() -> None:
    """It certainly had no effect, so the client may try again instead of waiting for its timeout."""

    async def scenario() -> None:
        posted: list[ReplicaEvent] = []
        metrics = NodeMetrics()
        links = PeerLinks(ClusterIdentity(1, "red"), posted.append, NodeLog(1), metrics)
        pool = PeerPool(Codec(REGISTRY), links, links.hello, random.Random(1))
        links.use_pool(pool)
        links.send(2, Forward(77, "write", "command", 1000))
        (event,) = posted
        assert isinstance(event, PeerMessageReceived)
        assert event.from_id == 2
        assert event.message == ForwardResponse(77, None, error_code="NotLeader")
        assert metrics.peer_messages_dropped == 1
        await pool.close()

    asyncio.run(scenario())


def test_an_answer_whose_connection_is_gone_is_dropped() -> None:
    async def scenario() -> None:
        metrics = NodeMetrics()
        links = PeerLinks(ClusterIdentity(1, "red"), lambda event: None, NodeLog(1), metrics)
        pool = PeerPool(Codec(REGISTRY), links, links.hello, random.Random(1))
        links.use_pool(pool)
        links.send(2, ForwardResponse(5, "result"))
        assert metrics.peer_messages_dropped == 1
        await pool.close()

    asyncio.run(scenario())
