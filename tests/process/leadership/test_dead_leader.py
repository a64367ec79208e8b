"""Clients of a cluster whose leader falls silent: its process is paused, or the network loses all of its messages."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from qcore.client.client import Client
from qcore.client.sessions.session import ClientSession
from qcore.errors import OutcomeUnknown
from qcore.machines.entity.state.entity_id import EntityId
from qcore.processes import NodeProcess, ProcessCluster
from tests.process.support.load import increment, schema_of_item

pytestmark = pytest.mark.process

#: The time for an election and for the client afterwards, on a busy machine. 0.1.0 needed 8 to 18 s.
SOON_S = 5.0

Request = Callable[[Client], Awaitable[object]]


class Proxy:
    """A TCP proxy in front of a node. After `cut` it accepts data but forwards nothing, and closes nothing."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._connected = asyncio.Event()
        self._connected.set()
        self.address = ""

    def cut(self) -> None:
        self._connected.clear()

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        pumps: set[asyncio.Task[None]] = set()

        async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                with contextlib.suppress(OSError):
                    while data := await reader.read(65536):
                        await self._connected.wait()
                        writer.write(data)
            finally:
                writer.close()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            from_node, to_node = await asyncio.open_connection("127.0.0.1", self._port)
            for job in (pump(reader, to_node), pump(from_node, writer)):
                pumps.add(asyncio.create_task(job))

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield
        finally:
            server.close()
            for task in pumps:
                task.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            await asyncio.sleep(0)  # the loop closes the connections in its next turn


def repeatable_requests(
    item: EntityId, directory: Path, sessions: dict[str, ClientSession]
) -> dict[str, Request]:
    """One request of every kind that may be repeated."""
    read = {"UpdateEntity": {"request": [read_of(item)]}}
    write = {"UpdateEntity": {"request": increment(item._asdict())}}

    async def open_and_close(client: Client) -> None:
        await (await ClientSession.open(client)).close()

    return {
        "read": lambda client: client.perform(read),
        "lease": lambda client: client.perform(read, consistency="lease"),
        "follower": lambda client: client.perform(read, consistency="follower"),
        "stale": lambda client: client.perform(read, consistency={"stale": 2000}),
        "schema": lambda client: client.get_schema("Item"),
        "write": lambda client: sessions["write"].perform(write),
        "keep": lambda client: sessions["keep"].keep(),
        "open and close": open_and_close,
        "leader": lambda client: client.leader_metrics(),
        "metrics": lambda client: client.get_metrics(),
        "save": lambda client: client.save_snapshot(directory / f"{time.monotonic_ns()}"),
    }


def read_of(item: EntityId) -> dict[str, object]:
    return {
        "Read": {
            "entity_id": item._asdict(),
            "field_type": "Count",
            "value": None,
            "write_time": None,
            "writer_id": None,
        }
    }


# Clients notice both faults by the same silence.
@pytest.mark.parametrize("fault", ["stop", pytest.param("cut", marks=pytest.mark.long)])
def test_requests_continue_soon_after_the_leader_goes_silent(
    ready_cluster: ProcessCluster, tmp_path: Path, fault: str
) -> None:
    """If its process stops, its peers lose it too. If the connections of clients are cut, it keeps leading."""
    leader = ready_cluster.wait_leader()
    try:
        asyncio.run(lose_the_leader(ready_cluster, leader, tmp_path, fault))
    finally:
        leader.resume()


async def lose_the_leader(
    cluster: ProcessCluster, leader: NodeProcess, directory: Path, fault: str
) -> None:
    others = [node for node in cluster.running() if node is not leader]
    async with contextlib.AsyncExitStack() as stack:
        proxy = Proxy(leader.port)
        await stack.enter_async_context(proxy.serving())
        at_leader = [proxy.address, *(node.address for node in others)]
        at_follower = [others[0].address, proxy.address, others[1].address]

        async def client(endpoints: list[str]) -> Client:
            return await stack.enter_async_context(
                Client(endpoints, timeout_s=20, exactly_once=False)
            )

        first = await client(at_leader)
        await first.set_schema(schema_of_item())
        item = (await first.create_entity("Item", f"{fault} x")).entity_id
        waiting: dict[str, Awaitable[object]] = {}
        for place in (at_leader, at_follower):
            sessions: dict[str, ClientSession] = {}
            for name, request in repeatable_requests(item, directory, sessions).items():
                sender = await client(place)
                if name in ("write", "keep"):
                    sessions[name] = await ClientSession.open(sender)
                await request(sender)
                waiting[f"{name} at {place[0]}"] = request(sender)
        writing, idle = await client(at_leader), await client(at_leader)
        await asyncio.gather(writing.get_metrics(), idle.get_metrics())
        if fault == "stop":
            leader.pause()
        else:
            proxy.cut()
        unknown = asyncio.ensure_future(writing.create_entity("Item", f"{fault} y"))
        outcomes = await asyncio.gather(
            *(soon(request) for request in waiting.values()), return_exceptions=True
        )
        late = {
            name: str(outcome)
            for name, outcome in zip(waiting, outcomes, strict=True)
            if isinstance(outcome, BaseException)
        }
        assert not late
        with pytest.raises(OutcomeUnknown):
            await soon(unknown)
        await soon(writing.create_entity("Item", f"{fault} z"))
        await soon(idle.get_schema("Item"))


async def soon(work: Awaitable[object]) -> None:
    async with asyncio.timeout(SOON_S):
        await work
