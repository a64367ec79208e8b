"""Tokens that a member's key has signed, at a node: their times are bounded, whichever program signs them."""

from __future__ import annotations

import time
from pathlib import Path

import jwt
from websockets.asyncio.client import connect

from qcore.node.node import Node
from qcore.node.peers.node_key_file import load_key
from qcore.security.users.token import MAX_TTL_S, TokenClaims, sign_token
from tests.node.embedded.embedded_nodes import config_of
from tests.transport.support.endpoints import ask, async_test

PASSWORD = "correct horse battery"
US = 1_000_000


@async_test
async def test_a_node_bounds_the_times_of_tokens(tmp_path: Path) -> None:
    async with Node(config_of(1, tmp_path)) as node:
        await node.client.init()
        root = await node.client.set_user("root", password=PASSWORD, roles=["admin"])
        key = load_key(tmp_path / "node1")
        assert key is not None

        async def works(audience: str, begins_s: int, lasts_s: int, *, recovery: bool) -> bool:
            times = begins_s * US, (begins_s + lasts_s) * US
            epoch = 0 if recovery else root.epoch
            claims = TokenClaims("root", epoch, 1, "x", *times, is_recovery=recovery)
            token = sign_token(key, audience, claims)
            async with connect(f"ws://{node.address}") as client:
                await ask(client, {"Authenticate": {"id": "1", "token": token}})
                (answer,) = await ask(client, {"GetMetrics": {"id": "2"}})
                return answer == "GetMetricsResponse"

        async with connect(f"ws://{node.address}") as client:
            login = {"Authenticate": {"id": "1", "user": "root", "password": PASSWORD}}
            answer = await ask(client, login)
        issued = answer["AuthenticateResponse"]["response"]["Ok"]["token"]
        cluster = jwt.decode(issued, options={"verify_signature": False})["aud"]
        now = int(time.time())
        assert await works(cluster, 0, 3600, recovery=False)
        assert await works(cluster, 3600, 3600, recovery=False)  # this node's clock may lag
        assert not await works(cluster, MAX_TTL_S + 3600, 3600, recovery=False)
        assert await works(cluster, now, 900, recovery=True)
        assert not await works(cluster, now - 1000, 900, recovery=True)
        assert not await works(cluster, now + 900, 900, recovery=True)
