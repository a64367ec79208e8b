"""A node under overload: operators have reserved room, and clients survive the close of an idle connection."""

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


async def send_together(address: str, requests: list[dict[str, Any]], **headers: str) -> list[str]:
    """Send requests in one frame; returns the code of each error, or `ok`, in the order of the ids."""
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

    changes = several(
        "AddLearner", node_id=1, node_addr="127.0.0.1:1"
    )  # rejected, but only after a while
    sessions = several("OpenSession", lifetime_ms=1000)
    copies = [{"SaveSnapshot": {"id": f"{number:02}", "stale": True}} for number in range(14)]

    async def scenario() -> None:
        async with running(tmp_path, max_admin_requests=4, max_session_requests=2) as world:
            codes = await send_together(world.address, changes)
            assert codes == [*["ChangeRefused"] * 3, "Overloaded"]
            codes = await send_together(world.address, sessions)
            assert codes == ["ok", "ok", "Overloaded", "Overloaded"]
            codes = await send_together(world.address, copies)
            assert codes == [*["ok"] * 12, "Overloaded", "Overloaded"]
            operator = {ROLE_HEADER: ADMIN}
            assert await send_together(world.address, changes, **operator) == ["ChangeRefused"] * 4
            assert await send_together(world.address, sessions, **operator) == ["ok"] * 4

    asyncio.run(scenario())


def test_a_client_survives_the_close_of_an_idle_connection(tmp_path: Path) -> None:
    limits = TransportLimits(idle_timeout_s=0.2, ping_interval_s=0.1)

    async def scenario() -> None:
        async with running(tmp_path, limits=limits) as world:
            server = world.node._server
            await world.client.set_schema(string_schema("T"))
            while server.connections():  # noqa: ASYNC110 - the server has no event for it
                await asyncio.sleep(0.01)
            await world.client.set_schema(string_schema("U"))
            # The node does not execute a write that is in flight when the connection closes; the client repeats it.
            (connection,) = server.connections()
            write = asyncio.ensure_future(world.client.create_entity("T", "once"))
            await asyncio.sleep(0)  # sent
            connection.close(GOING_AWAY, IDLE_REASON)
            await write
            # The client also repeats a request that it would not repeat otherwise.
            (connection,) = server.connections()
            metrics_request = asyncio.ensure_future(world.client.get_metrics(world.address))
            await asyncio.sleep(0)
            connection.close(GOING_AWAY, IDLE_REASON)
            assert (await metrics_request)["id"] == 1
            assert server.stats.connections_accepted == 4
            metrics = world.node.metrics.requests
            assert metrics["write", "ok"] == 3
            assert sum(metrics.values()) == 3

    asyncio.run(scenario())
