"""Logins and password changes in one frame: they take no more than their places, and the turn of the client pays."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import jwt
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from qcore.node.access.access_gate import MAX_FAILURES
from qcore.node.node import Node
from qcore.security.keys.node_key import NodeKey
from qcore.security.users.token import TokenClaims, sign_token
from tests.node.embedded.embedded_nodes import config_of
from tests.transport.support.endpoints import async_test, until

PASSWORD = "correct horse battery"
#: How many messages a frame holds.
MANY = 200
#: The passwords of one address that wait or are checked.
PLACES = 8


@asynccontextmanager
async def node_with_root(folder: Path) -> AsyncIterator[tuple[Node, str]]:
    """A node with the user `root`, and a token of that user."""
    async with Node(config_of(1, folder)) as node:
        await node.client.init()
        await node.client.set_user("root", password=PASSWORD, roles=["admin"])
        async with connect(f"ws://{node.address}") as root:
            login = {"Authenticate": {"id": "0", "user": "root", "password": PASSWORD}}
            await root.send(json.dumps(login))
            answer = json.loads(await root.recv())
            await until(lambda: not login_tasks(), "the libraries")
            yield node, answer["AuthenticateResponse"]["response"]["Ok"]["token"]


def login_tasks() -> int:
    """How many tasks of logins there are."""
    return [task.get_name() for task in asyncio.all_tasks()].count("qcore access")


class Most:
    """The most tasks of logins that there were at a time."""

    def __init__(self) -> None:
        self.tasks = 0
        self.watch()

    def watch(self) -> None:
        """Look once in each turn of the event loop."""
        self.tasks = max(self.tasks, login_tasks())
        self._handle = asyncio.get_running_loop().call_soon(self.watch)

    def stop(self) -> None:
        self._handle.cancel()


async def answers(connection: ClientConnection, number: int) -> list[dict[str, Any]]:
    """So many answers, or fewer if the connection ends."""
    found: list[dict[str, Any]] = []
    while len(found) < number:
        try:
            each = json.loads(await connection.recv())
        except ConnectionClosed:
            break
        found += each if isinstance(each, list) else [each]
    return found


@async_test
async def test_forged_tokens_make_no_task_and_end_soon(tmp_path: Path) -> None:
    async with node_with_root(tmp_path) as (node, token):
        audience = jwt.decode(token, options={"verify_signature": False})["aud"]
        claims = TokenClaims("root", 1, 1, "x", 0, 10**12)
        forged = sign_token(NodeKey(b"a stranger's seed, 32 bytes long"), audience, claims)
        frame = [{"Authenticate": {"id": str(n), "token": forged}} for n in range(MANY)]
        most = Most()
        async with connect(f"ws://{node.address}") as stranger:
            await stranger.send(json.dumps(frame))
            assert len(await answers(stranger, MANY)) == MAX_FAILURES
            assert stranger.close_code == 1008
        # Good ones, as often as the client likes.
        frame = [{"Authenticate": {"id": str(n), "token": token}} for n in range(MANY)]
        async with connect(f"ws://{node.address}") as root:
            await root.send(json.dumps(frame))
            assert len(await answers(root, MANY)) == MANY
        most.stop()
        assert most.tasks == 0


@pytest.mark.parametrize(
    "message",
    [
        {"Authenticate": {"user": "root", "password": "wrong password"}},
        {"SetUser": {"name": "root", "password": PASSWORD}},
    ],
    ids=["login", "new password"],
)
@async_test
async def test_passwords_of_one_frame_take_their_places(
    tmp_path: Path, message: dict[str, dict[str, str]]
) -> None:
    async with node_with_root(tmp_path) as (node, token):
        ((name, body),) = message.items()
        frame = [{name: {"id": str(n), **body}} for n in range(MANY)]
        headers = {"Authorization": f"Bearer {token}"}
        async with connect(f"ws://{node.address}", additional_headers=headers) as client:
            most = Most()
            await client.send(json.dumps(frame))
            found = await answers(client, MANY)
            most.stop()
        codes = [each[f"{name}Response"].get("detail") for each in found]
        assert sum(code is not None and code["code"] == "Overloaded" for code in codes) >= (
            MANY - 2 * PLACES
        )
        assert 1 <= most.tasks <= PLACES
