"""A node that cannot ask for the newest users judges passwords by those that it knows."""

from __future__ import annotations

from pathlib import Path

from websockets.asyncio.client import connect

from qcore.node.node import Node
from tests.node.embedded.embedded_nodes import config_of
from tests.transport.support.endpoints import ask, async_test

PASSWORD = "correct horse battery"


def login(password: str) -> dict[str, object]:
    return {"Authenticate": {"id": "1", "user": "root", "password": password}}


@async_test
async def test_a_node_without_a_quorum_judges_passwords(tmp_path: Path) -> None:
    async with Node(config_of(1, tmp_path)) as node:
        await node.client.init()
        await node.client.set_user("root", password=PASSWORD, roles=["admin"])
    # It never leads.
    async with (
        Node(config_of(1, tmp_path, priority=0)) as node,
        connect(f"ws://{node.address}") as client,
    ):
        answer = await ask(client, login("another password"))
        assert answer["AuthenticateResponse"]["detail"]["code"] == "Unauthenticated"
        answer = await ask(client, login(PASSWORD))
        assert answer["AuthenticateResponse"]["response"]["Ok"]["user"] == "root"
