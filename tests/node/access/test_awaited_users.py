"""A node that has a first user in its log, and cannot know whether it is committed, serves no strangers."""

from __future__ import annotations

import asyncio
import http.client
import json
from dataclasses import replace
from pathlib import Path

from websockets.asyncio.client import connect

from qcore.core.effects import AppendLog
from qcore.node.node import Node
from qcore.replica.access.access_commands import SetUser, command_text
from qcore.security.users.password import hash_password
from qcore.storage.sqlite.sqlite_storage import SqliteStorage
from tests.node.embedded.embedded_nodes import config_of
from tests.transport.support.endpoints import ask, async_test, until

PASSWORD = "correct horse battery"
REQUESTS = (
    {"GetMetrics": {"id": "1"}},
    {"SaveSnapshot": {"id": "1", "timeout_ms": 100, "stale": True}},
    {"Perform": {"id": "1", "request": {"Read": "a"}, "consistency": {"stale": 2**40}}},
    {"Authenticate": {"id": "1", "user": "root", "password": PASSWORD}},
    {"SetUser": {"id": "1", "name": "eve", "password": PASSWORD, "roles": ["admin"]}},
)


def page(address: str, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection(address, timeout=20)
    connection.request("GET", path)
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    return response.status, text


def append_first_user(directory: Path) -> None:
    """Append an entry that adds the user, as a leader would have that has failed meanwhile."""
    command = SetUser("root", hash_password(PASSWORD, b"16 bytes of salt"), ("admin",))
    storage = SqliteStorage.open(directory, 1)
    last = storage.load().entries[-1]
    entry = replace(last, index=last.index + 1, kind="access", data=command_text(command))
    storage.write([AppendLog(1, [entry])])
    storage.close()


@async_test
async def test_a_user_in_the_log_closes_a_node_without_quorum(tmp_path: Path) -> None:
    async with Node(config_of(1, tmp_path)) as node:
        await node.client.init()
        assert (await asyncio.to_thread(page, node.address, "/status"))[0] == 200
    append_first_user(tmp_path / "node1")
    # It never leads, so it never knows that this entry is committed.
    async with Node(config_of(1, tmp_path, priority=0)) as node:
        status, text = await asyncio.to_thread(page, node.address, "/status")
        assert status == 503
        assert "the log of this node holds a user" in text
        assert (await asyncio.to_thread(page, node.address, "/livez"))[0] == 200
        async with connect(f"ws://{node.address}") as stranger:
            for request in REQUESTS:
                ((kind, value),) = (await ask(stranger, request)).items()
                detail = value.get("detail") or {}
                assert detail.get("code") == "Overloaded", (kind, json.dumps(value))
            ((_, value),) = (await ask(stranger, {"WhoAmI": {"id": "1"}})).items()
            assert value["response"]["Ok"]["users_exist"] is True
    async with Node(config_of(1, tmp_path)) as node:
        await until(lambda: node.is_leader, "a leader")
        assert (await asyncio.to_thread(page, node.address, "/status"))[0] in (401, 503)
        login = {"Authenticate": {"id": "1", "user": "root", "password": PASSWORD}}
        async with connect(f"ws://{node.address}") as root:
            while (answer := await ask(root, login))["AuthenticateResponse"].get("detail"):
                pass
            assert answer["AuthenticateResponse"]["response"]["Ok"]["user"] == "root"
