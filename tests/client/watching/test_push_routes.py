"""What a node sends for watches reaches the right one, also what arrives together with a response or for no watch."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve

from qcore.client import Client
from tests.transport.support.endpoints import async_test, until

CHANGES = 3000


class WatchServer:
    """Answers each registration with all changes after the position, in one frame with the response.

    It also repeats the last two changes before the position.
    """

    def __init__(self) -> None:
        self.address = ""
        self.tokens: list[str] = []
        self.unregistered: list[str] = []
        self.answers = asyncio.Event()
        self.answers.set()

    async def handle(self, socket: ServerConnection) -> None:
        """Answer one connection."""
        async for text in socket:
            frame = json.loads(text)
            for envelope in frame if isinstance(frame, list) else [frame]:
                ((name, fields),) = envelope.items()
                await socket.send(json.dumps(await self._answer(name, fields)))

    async def _answer(self, name: str, fields: dict[str, Any]) -> list[dict[str, Any]]:
        if name == "UnwatchChanges":
            self.unregistered.append(fields["token"])
            return [{"UnwatchChangesResponse": {"id": fields["id"], "response": True}}]
        token = f"token {len(self.tokens)}"
        self.tokens.append(token)
        await self.answers.wait()
        after = fields.get("after") or [0, -1]
        response = {"id": fields["id"], "response": {"Ok": token}, "after": after}
        return [
            {"WatchChangesResponse": response},
            *(notification(token, each) for each in range(max(1, after[0] - 1), CHANGES + 1)),
        ]


def notification(token: str, index: int) -> dict[str, Any]:
    content = {"change": f"change {index}", "index": index, "sequence": 0, "token": token}
    return {"ChangeNotification": content}


@asynccontextmanager
async def watched() -> AsyncIterator[tuple[WatchServer, Client]]:
    """A server, and a client of it."""
    server = WatchServer()
    async with serve(server.handle, "127.0.0.1", 0) as listening:
        server.address = "{}:{}".format(*listening.sockets[0].getsockname()[:2])
        async with Client([server.address]) as client:
            yield server, client


@async_test
async def test_changes_that_arrive_with_the_response_are_kept() -> None:
    async with watched() as (server, client), client.watch(topic="t") as changes:
        indices = [(await anext(changes)).position.index for _ in range(CHANGES)]
        assert indices == [*range(1, CHANGES + 1)]
        assert len(server.tokens) > 1, "more arrive together than the client keeps, so it resumes"


@pytest.mark.parametrize("after", [None, (CHANGES + 10, 0)], ids=["changes", "no changes"])
@async_test
async def test_a_cancelled_registration_is_undone_once(after: tuple[int, int] | None) -> None:
    async with watched() as (server, client):
        server.answers.clear()
        # Without changes, nothing but the response shows that the node serves the watch.
        late = client.watch(topic="t", after=after)
        entering = asyncio.ensure_future(late.__aenter__())
        await until(lambda: server.tokens, "the registration")
        entering.cancel()
        await asyncio.gather(entering, return_exceptions=True)
        assert entering.cancelled()
        server.answers.set()
        await until(lambda: server.unregistered, "the watch is unregistered")
        await client.watch(topic="t").__aenter__()  # answered after what was sent before
        assert server.unregistered == server.tokens[:1]


@async_test
async def test_an_unknown_watch_is_unregistered_once() -> None:
    async with watched() as (server, client), client.watch(topic="t") as changes:
        await anext(changes)
        (connection,) = client._sender.endpoints._connections.values()
        for index in range(3):
            content = notification("lost", index)["ChangeNotification"]
            connection.received({"ChangeNotification": content})
        await until(lambda: "lost" in server.unregistered, "the unregistration")
        assert server.unregistered.count("lost") == 1
