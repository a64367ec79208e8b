"""Whole nodes whose addresses change: all together while none runs, and one behind a NAT. Nothing is lost."""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from qcore.client.client import Client
from qcore.errors import ChangeRefused
from qcore.node import Address
from qcore.node.node import Node
from qcore.processes import free_ports
from tests.node.embedded.embedded_nodes import PATIENT_MS, add, config_of, leader_of
from tests.transport.support.endpoints import until

#: Long enough for a busy machine.
WITHIN_S = 30.0


def in_a_loop(test: Callable[[Path], Coroutine[None, None, None]]) -> Callable[[Path], None]:
    """Run a test in an event loop. Its own waits have deadlines."""

    @functools.wraps(test)
    def run(tmp_path: Path) -> None:
        asyncio.run(test(tmp_path))

    return run


def addresses_of(node: Node) -> dict[int, str]:
    """The addresses in the effective configuration of a node."""
    nodes = node.metrics()["membership_config"]["membership"]["nodes"]
    return {int(member): each["addr"] for member, each in nodes.items()}


async def until_all(nodes: Sequence[Node], addresses: dict[int, str]) -> None:
    """Wait until all nodes have these addresses."""
    await until(
        lambda: all(addresses_of(node) == addresses for node in nodes), str(addresses), WITHIN_S
    )


async def count(client: Client) -> int:
    """Add one to a register; returns its value."""
    value: int = json.loads(await add(client, "x"))["value"]
    return value


@asynccontextmanager
async def started(nodes: Sequence[Node]) -> AsyncIterator[Sequence[Node]]:
    try:
        for node in nodes:
            await node.start()
        yield nodes
    finally:
        await asyncio.gather(*(node.stop() for node in nodes))


def local(port: int) -> Address:
    return Address("127.0.0.1", port)


@in_a_loop
async def test_all_members_move_while_none_of_them_runs(tmp_path: Path) -> None:
    """They find each other by hints. A hint that names another member does no harm, and is reported."""
    old, new = free_ports(3), free_ports(3)

    def node(number: int, port: int, **settings: object) -> Node:
        return Node(config_of(number, tmp_path, PATIENT_MS, ws_addr=local(port), **settings))

    async with started([node(number, port) for number, port in enumerate(old, 1)]) as nodes:
        await nodes[0].client.init([(n, str(local(port))) for n, port in enumerate(old, 1)])
        assert await count(nodes[0].client) == 1

    moved = {number: str(local(port)) for number, port in enumerate(new, 1)}
    hints = {number: [f"{n}={address}" for n, address in moved.items()] for number in moved}
    hints[1][1] = f"2={moved[3]}"  # wrong: but node 2 announces its address to node 1
    again = [
        node(n, port, advertise_addr=local(port), peers=tuple(hints[n]))
        for n, port in enumerate(new, 1)
    ]
    async with started(again[:1]), started(again[2:]):
        statuses = again[0]._running.parts.peers.connection_statuses
        await until(lambda: statuses()[2].rejected, "the wrong hint was tried", WITHIN_S)
        assert f"{moved[3]} is node 3, not node 2" in str(statuses()[2].problem)
        async with started(again[1:2]):
            await until_all(again, moved)
            async with Client([moved[2]], timeout_s=WITHIN_S) as client:
                assert await count(client) == 2


class Relay:
    """A port that forwards its connections to another port, as a NAT does."""

    def __init__(self, port: int, to: int) -> None:
        self.port = port
        self.connections = 0
        self._to = to
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Relay:
        self._server = await asyncio.start_server(self._forward, "127.0.0.1", self.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._to)
        except OSError:
            writer.close()
            return
        await asyncio.gather(_copy(reader, back), _copy(there, writer))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
    except OSError:
        pass
    finally:
        writer.close()


async def refused(work: Callable[[], Awaitable[object]], name: str, words: str) -> None:
    with pytest.raises(ChangeRefused, match=words) as caught:
        await work()
    assert caught.value.name == name


@pytest.mark.long
@in_a_loop
async def test_members_behind_a_nat_are_reached_and_may_move(tmp_path: Path) -> None:
    """Each listens on one port, and others reach it at another one. Then the public port of node 3 changes."""
    private, public, elsewhere = free_ports(3), free_ports(3), free_ports(1)[0]

    def node(number: int, advertised: int | None) -> Node:
        shown = {} if advertised is None else {"advertise_addr": local(advertised)}
        at = local(private[number - 1])
        return Node(config_of(number, tmp_path, PATIENT_MS, ws_addr=at, **shown))

    async with AsyncExitStack() as stack:
        relays = [
            await stack.enter_async_context(Relay(port, to))
            for port, to in zip(public, private, strict=True)
        ]
        members = [(number, str(local(port))) for number, port in enumerate(public, 1)]
        nodes = [node(number, port) for number, port in enumerate(public, 1)]
        await stack.enter_async_context(started(nodes[:2]))
        async with started(nodes[2:]):
            await nodes[0].client.init(members)
            await until_all(nodes, dict(members))
            leader = await leader_of(nodes)
            follower = next(each for each in nodes if each is not leader)
            async with Client(
                [str(local(public[follower.node_id - 1]))], timeout_s=WITHIN_S
            ) as client:
                before = relays[leader.node_id - 1].connections
                assert await count(client) == 1
                # The node that it asks forwards the write. This request follows the name of the leader instead.
                metrics = await client.leader_metrics()
                assert metrics["id"] == leader.node_id
                assert relays[leader.node_id - 1].connections > before
            # Each pair of nodes is connected in both directions, through the relays.
            assert all(relay.connections >= 2 for relay in relays)

        await stack.enter_async_context(Relay(elsewhere, private[2]))
        moved = {**dict(members), 3: str(local(elsewhere))}
        client = await stack.enter_async_context(Client([members[0][1]], timeout_s=WITHIN_S))
        again = node(3, elsewhere)
        async with started([again]):
            await until_all([*nodes[:2], again], moved)
            await refused(
                lambda: client.move_member(3, members[2][1]),
                "announced",
                f"--advertise-addr {moved[3]}",
            )
        # Without an address for others the operator decides, and only for a place where the member is.
        plain = node(3, None)
        async with started([plain]):
            nowhere = {"node_id": 3, "node_addr": "127.0.0.1:1", "timeout_ms": 200}
            await refused(
                lambda: client._request_leader("MoveMember", nowhere),
                "unreachable",
                "start it there",
            )
            await refused(
                lambda: client.move_member(3, str(local(private[1]))),
                "unreachable",
                "is node 2, not node 3",
            )
            await refused(lambda: client.move_member(9, "127.0.0.1:1"), "unknown_member", "node 9")
            direct = str(local(private[2]))
            await client.move_member(3, direct)
            await client.move_member(3, direct)  # it is there already
            await until_all([*nodes[:2], plain], {**moved, 3: direct})
            assert await count(client) == 2
