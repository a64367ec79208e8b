"""The client against scripted servers: what it repeats, at which node, and what it must not repeat."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve

from qcore.client.client import Client
from qcore.errors import (
    ConfigError,
    NotLeader,
    OutcomeUnknown,
    Overloaded,
    RemoteProtocolError,
    StoreError,
    TransportError,
)
from qcore.processes import free_ports

DONE = {"response": "done", "error": None}

#: Takes the number of the request (from 0); returns the body of the response, or None to abort the connection.
Script = Callable[[int], dict[str, Any] | None]


class Server:
    """A server that answers every `Perform` according to its script."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self.seen: list[dict[str, Any]] = []
        self.address = ""

    async def handle(self, connection: ServerConnection) -> None:
        async for frame in connection:
            decoded = json.loads(frame)
            for message in decoded if isinstance(decoded, list) else [decoded]:
                envelope = message["Perform"]
                body = self._script(len(self.seen))
                self.seen.append(envelope["request"])
                if body is None:
                    connection.transport.abort()
                    return
                (command,) = envelope["request"]
                response = {"id": envelope["id"], "response": {command: body}}
                await connection.send(json.dumps({"PerformResponse": response}))


@asynccontextmanager
async def serving(script: Script) -> AsyncIterator[Server]:
    server = Server(script)
    async with serve(server.handle, "127.0.0.1", 0) as listening:
        server.address = f"127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        yield server


def rejection(error: NotLeader | Overloaded) -> dict[str, Any]:
    return {"response": None, "error": str(error), "detail": error.detail()}


def plain_client(endpoints: list[str], timeout_s: float = 15.0) -> Client:
    """A client that sends writes without sessions."""
    return Client(endpoints, timeout_s=timeout_s, exactly_once=False)


def test_the_client_follows_a_leader_hint() -> None:
    async def scenario() -> None:
        async with serving(lambda _: DONE) as leader:
            rejects = rejection(NotLeader(2, leader.address))
            async with (
                serving(lambda _: rejects) as follower,
                plain_client([follower.address]) as client,
            ):
                assert await client.execute("x") == "done"
                assert await client.execute("x") == "done"
                assert len(follower.seen) == 1, "it remembers the leader"
                assert len(leader.seen) == 2

    asyncio.run(scenario())


def test_an_unknown_request_is_reported_as_an_older_qcore() -> None:
    async def reject(connection: ServerConnection) -> None:
        async for frame in connection:
            (name, fields), *_ = json.loads(frame).items()
            error = {"id": fields["id"], "error": f"{name}: unknown message type"}
            await connection.send(json.dumps({"Error": error}))

    async def scenario() -> None:
        async with serve(reject, "127.0.0.1", 0) as listening:
            address = f"127.0.0.1:{listening.sockets[0].getsockname()[1]}"
            async with plain_client([address]) as client:
                with pytest.raises(RemoteProtocolError) as raised:
                    await client.upgrade_machine()
        assert str(raised.value).startswith(
            f"UpgradeMachine: unknown message type: the node at {address} runs an older qcore"
        )

    asyncio.run(scenario())


def test_a_write_whose_answer_is_lost_is_never_retried() -> None:
    async def scenario() -> None:
        async with (
            serving(lambda _: None) as one,
            serving(lambda _: None) as other,
            plain_client([one.address, other.address]) as client,
        ):
            with pytest.raises(OutcomeUnknown):
                await client.execute("x")
            assert len(one.seen) + len(other.seen) == 1

    asyncio.run(scenario())


def test_a_read_whose_answer_is_lost_is_retried() -> None:
    async def scenario() -> None:
        async with (
            serving(lambda number: None if number < 3 else DONE) as server,
            plain_client([server.address]) as client,
        ):
            assert await client.execute("Name", read=True) == "done"
            assert len(server.seen) == 4

    asyncio.run(scenario())


def test_a_rejection_is_retried_and_a_store_error_is_not() -> None:
    async def scenario() -> None:
        overloaded = rejection(Overloaded("too much"))
        async with (
            serving(lambda number: overloaded if number < 2 else DONE) as server,
            plain_client([server.address]) as client,
        ):
            assert await client.execute("x") == "done"
            assert len(server.seen) == 3
        detail = {"code": "TypeNotFound", "retryable": False}
        missing = {"response": None, "error": "no type Item", "detail": detail}
        async with (
            serving(lambda _: missing) as server,
            plain_client([server.address]) as client,
        ):
            with pytest.raises(StoreError, match="no type Item"):
                await client.execute("x")
            assert len(server.seen) == 1

    asyncio.run(scenario())


def test_retries_end_at_the_deadline_with_the_last_reason() -> None:
    async def scenario() -> None:
        rejects = rejection(NotLeader())
        async with (
            serving(lambda _: rejects) as server,
            plain_client([server.address], timeout_s=0.3) as client,
        ):
            with pytest.raises(NotLeader):
                await client.execute("x")
            assert len(server.seen) > 1

    asyncio.run(scenario())


def test_a_rejected_retry_keeps_the_outcome_unknown() -> None:
    """A lost response in a session is requested again. Without a leader the outcome stays unknown."""

    async def scenario() -> None:
        rejects = rejection(NotLeader(None))
        async with (
            serving(lambda number: None if number == 0 else rejects) as server,
            plain_client([server.address], timeout_s=0.5) as client,
        ):
            request = {"CreateEntity": {"entity_type": "Item", "parent_id": None, "name": "x"}}
            with pytest.raises(OutcomeUnknown) as caught:
                await client.perform(request, session={"id": 1, "sequence": 1, "acknowledged": 0})
            assert not caught.value.retryable
            assert len(server.seen) > 1
            with pytest.raises(NotLeader):
                await client.perform(request, session={"id": 1, "sequence": 2, "acknowledged": 0})

    asyncio.run(scenario())


def test_the_client_moves_on_when_a_node_is_gone() -> None:
    async def scenario() -> None:
        gone = f"127.0.0.1:{free_ports(1)[0]}"
        async with (
            serving(lambda _: DONE) as server,
            plain_client([gone, server.address]) as client,
        ):
            assert await client.execute("x") == "done"
        async with plain_client([gone], timeout_s=0.3) as client:
            with pytest.raises(TransportError, match=gone):
                await client.execute("x")

    asyncio.run(scenario())


def test_an_answer_outranks_a_connection_error() -> None:
    """Two of three nodes are down. The missing leader is a more useful error than an unreachable node."""

    async def scenario() -> None:
        gone = [f"127.0.0.1:{port}" for port in free_ports(2)]
        rejects = rejection(NotLeader())
        for attempt in range(4):  # the node that comes last is random
            async with (
                serving(lambda _: rejects) as server,
                plain_client([server.address, *gone], timeout_s=0.3 + attempt / 20) as client,
            ):
                with pytest.raises(NotLeader):
                    await client.execute("x")

    asyncio.run(scenario())


def test_concurrent_requests_share_one_connection() -> None:
    async def scenario() -> None:
        connections: list[ServerConnection] = []

        class Counting(Server):
            async def handle(self, connection: ServerConnection) -> None:
                connections.append(connection)
                await super().handle(connection)

        server = Counting(lambda _: DONE)
        async with serve(server.handle, "127.0.0.1", 0) as listening:
            address = f"127.0.0.1:{listening.sockets[0].getsockname()[1]}"
            async with plain_client([address]) as client:
                await asyncio.gather(*(client.execute("x") for n in range(50)))
        assert len(server.seen) == 50
        assert len(connections) == 1

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("endpoints", "reason"),
    [
        ([], "give at least one host:port"),
        (["nowhere"], "'nowhere' is not host:port"),
        (["http://a:1"], "without the scheme"),
        ("127.0.0.1:8080", "'127.0.0.1:8080' is not a list: give several host:port"),
        (5, "5 is not a list"),
        (None, "None is not a list"),
        ([5], "5 is not a text; give host:port"),
        ([None], "None is not a text"),
    ],
)
def test_endpoints_are_checked(endpoints: list[str], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        Client(endpoints)


def test_the_endpoint_of_one_request_is_checked() -> None:
    async def scenario() -> None:
        async with plain_client(["127.0.0.1:1"]) as client:
            await client.get_metrics(5)  # type: ignore[arg-type]  # as a program without type checks may do

    with pytest.raises(ConfigError, match="5 is not a text; give host:port"):
        asyncio.run(scenario())
