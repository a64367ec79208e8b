"""The rates of one node: by connection, and by user over all its connections. The clock is given."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import pytest
from websockets.asyncio.client import ClientConnection, connect

from qcore.errors import QuotaExceeded
from qcore.node.config import NodeConfig
from qcore.node.node import Node
from qcore.node.quotas import request_rates
from qcore.node.quotas.request_rates import RequestRates
from qcore.transport.server.server import Principal, ServerConnection, user_of
from tests.node.embedded.embedded_nodes import config_of
from tests.transport.support.endpoints import async_test

SECOND = 1_000_000
RATE = 40
PASSWORD = "correct horse battery"


@dataclass
class FakeConnection:
    """What the rates look at."""

    connection_id: int
    principal: Principal | None = None
    message_bytes: int = 100


class Rates:
    """The rates of a node, and a clock."""

    def __init__(self, **settings: int) -> None:
        self.now = 0
        config = NodeConfig.of(1, Path("data"), **settings)
        self.rates = RequestRates(config, lambda: self.now)

    def send(self, connection: FakeConnection, number: int) -> int:
        """Send so many requests; return how many pass."""
        asked = cast("ServerConnection", connection)
        user = user_of(asked)
        return sum(self.rates.rejection(asked, user) is None for _ in range(number))

    def error(self, connection: FakeConnection) -> QuotaExceeded:
        asked = cast("ServerConnection", connection)
        rejection = self.rates.rejection(asked, user_of(asked))
        assert rejection is not None
        return rejection


def of_user(number: int, name: str) -> FakeConnection:
    return FakeConnection(number, Principal(name, 1, 0, 1, ""))


def test_each_connection_has_its_own_rate() -> None:
    node = Rates(connection_requests_per_s=10)
    one, two = FakeConnection(1), FakeConnection(2)
    assert node.send(one, 100) == 20
    assert node.send(two, 100) == 20
    node.now += SECOND
    assert node.send(one, 100) == 10
    error = node.error(one)
    assert (error.quota, error.limit, error.retry_after_ms) == ("connection_requests", 10, 100)
    assert "this connection sends more than 10 requests a second to this node" in str(error)
    assert "(connection_requests_per_s): retry in 100 ms" in str(error)


def test_the_connections_of_a_user_share_its_rate() -> None:
    node = Rates(user_requests_per_s=10)
    assert node.send(of_user(1, "ann"), 15) + node.send(of_user(2, "ann"), 15) == 20
    assert node.send(of_user(3, "bob"), 15) == 15
    assert node.send(FakeConnection(4), 50) == 50, "no user, no rate of one"
    assert 'the user "ann" sends more' in str(node.error(of_user(5, "ann")))


def test_bytes_have_a_separate_rate() -> None:
    node = Rates(connection_bytes_per_s=10_000_000)
    sender = FakeConnection(1, message_bytes=1_000_000)
    assert node.send(sender, 100) == 20
    node.now += SECOND
    assert node.send(sender, 100) == 10
    assert node.error(sender).quota == "connection_bytes"


def test_the_largest_request_passes_after_a_pause() -> None:
    node = Rates(connection_bytes_per_s=1)
    largest = FakeConnection(
        1, message_bytes=NodeConfig.of(1, Path()).limits.max_client_frame_bytes
    )
    assert node.send(largest, 2) == 1


def test_a_rejected_request_takes_from_no_rate() -> None:
    node = Rates(connection_requests_per_s=100, user_requests_per_s=10)
    ann = of_user(1, "ann")
    assert node.send(ann, 1000) == 20
    ann.principal = None
    assert node.send(ann, 1000) == 180


def test_a_new_connection_does_not_renew_the_rate_of_its_user() -> None:
    node = Rates(connection_requests_per_s=10, user_requests_per_s=10)
    passed = 0
    for number in range(100):
        connection = of_user(number, "ann")
        passed += node.send(connection, 1)
        node.rates.forget(cast("ServerConnection", connection))
    assert passed == 20


def test_the_rates_do_not_remember_all_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_rates, "_SWEEP_ABOVE", 10)
    node = Rates(user_requests_per_s=10)
    for number in range(1000):
        node.now += SECOND
        assert node.send(of_user(1, f"user{number}"), 1) == 1
        assert len(node.rates._users) <= 10


def test_without_settings_there_are_no_rates() -> None:
    assert not Rates().rates.active
    assert Rates().rates.uses() == []


@async_test
async def test_a_revoked_token_takes_nothing_from_the_rate_of_its_user(tmp_path: Path) -> None:
    """One who stole it could otherwise keep the user out over a connection that is still open."""
    config = replace(config_of(1, tmp_path), user_requests_per_s=RATE)
    async with Node(config) as node:
        await node.client.init()
        await node.client.set_user("root", password=PASSWORD, roles=["admin"])
        async with (
            connect(f"ws://{node.address}") as thief,
            connect(f"ws://{node.address}") as root,
        ):
            await login(thief)
            await ask(thief, "RevokeTokens", name="root")
            await login(root)
            frame = [{"WhoAmI": {"id": str(number)}} for number in range(10 * RATE)]
            await thief.send(json.dumps(frame))
            assert "Ok" in (await ask(root, "ListUsers"))["response"]


async def login(connection: ClientConnection) -> None:
    answer = await ask(connection, "Authenticate", user="root", password=PASSWORD)
    assert "Ok" in answer["response"]


async def ask(connection: ClientConnection, message: str, **fields: str) -> dict[str, Any]:
    await connection.send(json.dumps({message: {"id": "1", **fields}}))
    ((_, answer),) = json.loads(await connection.recv()).items()
    return dict(answer)
