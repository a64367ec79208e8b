"""The client leaves silent nodes, and only those."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve

from qcore.client.client import Client
from qcore.client.endpoints import Endpoints
from qcore.errors import NotLeader, OutcomeUnknown, TransportError
from qcore.runtime.real import REAL
from qcore.transport.address import Address

#: How long the client lets a node be silent here, seconds; and a time that is enough for a test on a busy machine.
SILENT_S = 0.3
SOON_S = 5.0

READ = {"GetSchema": {"entity_type": "Item"}}
WRITE = {"DeleteEntity": {"entity_id": {"typ": "Item", "id": 1}}}
METRICS = {"state": "Leader", "current_leader": 1, "qcore": {}, "id": 1}


class Node:
    """Answers a client's requests until it is stopped: then it accepts bytes and answers nothing.

    Args:
        delay_s: how long an answer takes; pings are answered meanwhile.
    """

    def __init__(self, delay_s: float = 0.0) -> None:
        self.address = ""
        self.seen: list[str] = []
        self.connections: list[ServerConnection] = []
        self.delay_s = delay_s
        self.stopped = asyncio.Event()
        self.resumed = asyncio.Event()
        self.used_thrice = asyncio.Event()
        self.rejection: NotLeader | None = None

    def stop(self) -> None:
        """Behave like a process after SIGSTOP: the kernel still accepts connections and bytes."""
        self.stopped.set()
        self.resumed.clear()
        for connection in self.connections:
            connection.transport.pause_reading()

    def resume(self) -> None:
        self.stopped.clear()
        self.resumed.set()
        for connection in self.connections:
            if not connection.transport.is_closing():
                connection.transport.resume_reading()

    async def greet(self, connection: ServerConnection, request: object) -> None:
        """Hold back the handshake while the node is stopped."""
        if self.stopped.is_set():
            await self.resumed.wait()

    async def handle(self, connection: ServerConnection) -> None:
        self.connections.append(connection)
        async for frame in connection:
            decoded = json.loads(frame)
            for envelope in decoded if isinstance(decoded, list) else [decoded]:
                await asyncio.sleep(self.delay_s)
                await connection.send(json.dumps(self._answer(envelope)))

    def _answer(self, envelope: dict[str, Any]) -> dict[str, Any]:
        ((name, fields),) = envelope.items()
        self.seen.append(name)
        if self.seen.count(name) == 3:
            self.used_thrice.set()
        if name == "GetMetrics":
            return {"GetMetricsResponse": {"id": fields["id"], "response": METRICS}}
        if name != "Perform":
            reply: dict[str, Any] = {"id": fields["id"], "response": {"Ok": 7}}
            if self.rejection is not None:
                reply["response"] = {"Err": str(self.rejection)}
                reply["detail"] = self.rejection.detail()
            return {f"{name}Response": reply}
        (command,) = fields["request"]
        body = {"response": None, "error": None}
        return {"PerformResponse": {"id": fields["id"], "response": {command: body}}}


@asynccontextmanager
async def node(delay_s: float = 0.0) -> AsyncIterator[Node]:
    made = Node(delay_s)
    async with serve(
        made.handle, "127.0.0.1", 0, process_request=made.greet, close_timeout=0.1
    ) as listening:
        made.address = f"127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        try:
            yield made
        finally:
            made.resume()


@asynccontextmanager
async def client_of(*nodes: Node) -> AsyncIterator[Client]:
    endpoints = [each.address for each in nodes]
    async with Client(endpoints, silent_after_s=SILENT_S, timeout_s=20) as client:
        yield client


Ask = Callable[[Client], Awaitable[object]]
REPEATABLE: dict[str, Ask] = {
    "a read": lambda client: client.perform(READ),
    "a follower's read": lambda client: client.perform(READ, consistency="follower"),
    "a stale read": lambda client: client.perform(READ, consistency={"stale": 500}),
    "a write in a session": lambda client: client.perform(
        WRITE, session={"id": 1, "sequence": 1, "acknowledged": 0}
    ),
    "the opening of a session": lambda client: client.session_request(
        "OpenSession", {"lifetime_ms": 1000}
    ),
    "the keeping of a session": lambda client: client.session_request(
        "KeepSession", {"session": 1}
    ),
    "the closing of a session": lambda client: client.session_request(
        "CloseSession", {"session": 1}
    ),
    "the leader's metrics": lambda client: client.leader_metrics(),
    "metrics": lambda client: client.get_metrics(),
    "a new learner": lambda client: client.add_learner(4, "127.0.0.1:1"),
}


def test_repeatable_requests_move_off_a_silent_node() -> None:
    async def one(ask: Ask) -> None:
        async with node() as dead, node() as other, client_of(dead, other) as client:
            await client.get_metrics()
            dead.stop()
            await ask(client)
            assert len(dead.seen) == 1
            before = len(other.seen)
            began = time.monotonic()
            await ask(client)
            assert len(other.seen) == before + 1
            assert time.monotonic() - began < SILENT_S, "the dead node got no request first"

    async def scenario() -> None:
        async with asyncio.timeout(SOON_S):
            await asyncio.gather(*(one(ask) for ask in REPEATABLE.values()))

    asyncio.run(scenario())


def test_writes_at_a_silent_node_get_an_unknown_outcome() -> None:
    async def scenario() -> None:
        async with node() as dead, node() as other, client_of(dead, other) as client:
            await client.get_metrics()
            dead.stop()
            async with asyncio.timeout(SOON_S):
                waiting = [asyncio.ensure_future(client.perform(WRITE)) for _ in range(5)]
                reads = [asyncio.ensure_future(client.perform(READ)) for _ in range(5)]
                outcomes = await asyncio.gather(*waiting, return_exceptions=True)
                assert {type(outcome) for outcome in outcomes} == {OutcomeUnknown}
                assert "no sign of life" in str(outcomes[0])
                await asyncio.gather(*reads)
                await client.perform(WRITE)
            assert dead.seen == ["GetMetrics"]

    asyncio.run(scenario())


def test_the_client_waits_for_a_slow_live_node() -> None:
    """The node stays slow for much longer than the client waits for a dead one."""

    async def scenario() -> None:
        async with (
            node(4 * SILENT_S) as slow,
            node() as other,
            client_of(slow, other) as client,
        ):
            await client.perform(WRITE)
            assert slow.seen == ["Perform"]
            assert other.seen == []

    asyncio.run(scenario())


def test_a_dead_first_endpoint_delays_only_once() -> None:
    async def scenario() -> None:
        async with node() as dead, node() as other, client_of(dead, other) as client:
            dead.stop()
            async with asyncio.timeout(SOON_S):
                for _ in range(20):
                    await client.perform(WRITE)
            assert other.seen == ["Perform"] * 20

    asyncio.run(scenario())


def test_a_dead_node_named_as_leader_is_avoided_until_it_lives() -> None:
    async def scenario() -> None:
        async with node() as leader, node() as follower, client_of(leader, follower) as client:
            await client.get_metrics()
            leader.stop()
            await client.perform(READ)
            follower.rejection = NotLeader(1, leader.address)
            transfer = asyncio.ensure_future(client.transfer_leader())
            async with asyncio.timeout(SOON_S):
                await follower.used_thrice.wait()
            assert not transfer.done()
            assert "TransferLeader" not in leader.seen
            leader.resume()
            async with asyncio.timeout(SOON_S):
                await transfer
            assert leader.seen.count("TransferLeader") == 1

    asyncio.run(scenario())


def test_closing_a_client_does_not_wait_for_a_dead_node() -> None:
    async def scenario() -> None:
        async with node() as dead:
            async with client_of(dead) as client:
                await client.get_metrics()
                dead.stop()
                began = time.monotonic()
            assert time.monotonic() - began < 1.5, "less than a closing handshake may take"

    asyncio.run(scenario())


def test_late_errors_of_an_old_node_do_not_move_the_client() -> None:
    async def scenario() -> None:
        endpoints = Endpoints(["a:1", "b:1", "c:1"], Random(1), runtime=REAL)
        lost = TransportError("lost")
        endpoints.prefer_another(Address("a", 1), lost)
        chosen = endpoints.choose()
        assert chosen != Address("a", 1)
        for _ in range(10):
            endpoints.prefer_another(Address("a", 1), lost)
            assert endpoints.choose() == chosen

    asyncio.run(scenario())


def test_the_timeout_holds_when_the_only_node_is_dead() -> None:
    async def scenario() -> None:
        async with node() as dead, Client([dead.address], timeout_s=0.6) as client:
            dead.stop()
            began = time.monotonic()
            with pytest.raises(
                TransportError, match=r"no answer from .* within 0\.[4-9].*tried for"
            ):
                await client.perform(READ)
            assert time.monotonic() - began < 1.8

    asyncio.run(scenario())
