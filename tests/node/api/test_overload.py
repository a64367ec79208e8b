"""A node with more to do than it takes: operators find room, and clients come back to it without an error."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from websockets.asyncio.client import connect

from qcore.transport.connection.outgoing import ADMIN, GOING_AWAY, IDLE_REASON, ROLE_HEADER
from qcore.transport.limits import TransportLimits
from tests.node.test_node import running
from tests.process.support.wire_client import string_schema


async def ask_at_once(address: str, requests: list[dict[str, Any]], **headers: str) -> list[str]:
    """Send requests in one frame; the code of each answer's error, or `ok`, in the order of the ids."""
    async with connect(f"ws://{address}", proxy=None, additional_headers=headers) as ws:
        await ws.send(json.dumps(requests))
        answers: list[dict[str, Any]] = []
        while len(answers) < len(requests):
            frame = json.loads(await ws.recv())
            for envelope in frame if isinstance(frame, list) else [frame]:
                answers += envelope.values()
    answers.sort(key=lambda answer: str(answer["id"]))
    return [answer["detail"]["code"] if answer.get("detail") else "ok" for answer in answers]


def test_admin_requests_have_reserved_room(tmp_path: Path) -> None:
    def several(name: str, **fields: object) -> list[dict[str, Any]]:
        return [{name: {"id": str(number), **fields}} for number in range(4)]

    changes = several("AddLearner", node_id=1, node_addr="127.0.0.1:1")  # refused, but not at once
    sessions = several("OpenSession", lifetime_ms=1000)
    copies = [{"TakeSnapshot": {"id": f"{number:02}", "stale": True}} for number in range(14)]

    async def scenario() -> None:
        async with running(tmp_path, max_admin_requests=4, max_session_requests=2) as world:
            said = await ask_at_once(world.address, changes)
            assert said == [*["ChangeRefused"] * 3, "Overloaded"]
            said = await ask_at_once(world.address, sessions)
            assert said == ["ok", "ok", "Overloaded", "Overloaded"]
            said = await ask_at_once(world.address, copies)
            assert said == [*["ok"] * 12, "Overloaded", "Overloaded"]
            operator = {ROLE_HEADER: ADMIN}
            assert await ask_at_once(world.address, changes, **operator) == ["ChangeRefused"] * 4
            assert await ask_at_once(world.address, sessions, **operator) == ["ok"] * 4

    asyncio.run(scenario())


def test_a_client_survives_the_close_of_an_idle_connection(tmp_path: Path) -> None:
    limits = TransportLimits(idle_timeout_s=0.2, ping_interval_s=0.1)

    async def scenario() -> None:
        async with running(tmp_path, limits=limits) as world:
            server = world.node._server
            await world.client.set_schema(string_schema("T"))
            while server.connections():  # noqa: ASYNC110 - the server tells nobody
                await asyncio.sleep(0.01)
            await world.client.set_schema(string_schema("U"))
            # A write that is on its way when the connection is closed was not taken, and is sent again.
            (connection,) = server.connections()
            write = asyncio.ensure_future(world.client.create_entity("T", "once"))
            await asyncio.sleep(0)  # sent
            connection.close(GOING_AWAY, IDLE_REASON)
            await write
            # So is a request that the client library does not repeat otherwise.
            (connection,) = server.connections()
            metrics_asked = asyncio.ensure_future(world.client.get_metrics(world.address))
            await asyncio.sleep(0)
            connection.close(GOING_AWAY, IDLE_REASON)
            assert (await metrics_asked)["id"] == 1
            assert server.stats.connections_accepted == 4
            metrics = world.node.metrics.requests
            assert metrics["write", "ok"] == 3
            assert sum(metrics.values()) == 3

    asyncio.run(scenario())
