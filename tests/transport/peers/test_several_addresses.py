"""A peer with several addresses, and host names whose addresses change: each dial looks the name up again."""

from __future__ import annotations

import contextlib
import random
from collections.abc import AsyncIterator, Mapping, Sequence

from qcore.client.client import Client
from qcore.errors import TransportError
from qcore.runtime.real import REAL, AsyncioRuntime
from qcore.transport.address import Address
from qcore.transport.limits import TransportLimits
from qcore.transport.peers.peer_pool import PeerPool
from qcore.transport.server.server import Server
from qcore.transport.wire import Hello
from tests.transport.peers.test_pool import RecordingPeers, only, pool_of, send_vote
from tests.transport.support.endpoints import (
    CODEC,
    RecordingHandler,
    async_test,
    running_server,
    until,
)

#: No process listens on this port of the loopback interface.
SILENT = "127.0.0.1:1"


def pool_at(
    addresses: Sequence[str],
) -> contextlib.AbstractAsyncContextManager[tuple[PeerPool, RecordingPeers]]:
    """The pool of node 2, which looks for node 1 at these addresses."""
    return pool_of({1: tuple(addresses)})


@async_test
async def test_the_next_address_is_tried_without_a_pause() -> None:
    async with (
        running_server() as (_, handler, address),
        pool_at([SILENT, address]) as (pool, peers),
    ):
        await until(lambda: only(pool).connected, "connected")
        assert (only(pool).address, only(pool).last_error, peers.unreachable) == (address, None, [])
        assert send_vote(pool)
        await until(lambda: handler.messages, "the message arrived")


@async_test
async def test_other_nodes_are_refused_and_not_used() -> None:
    """The address may belong to another member, or to a node of another cluster."""
    member, stranger, expected = (
        RecordingHandler(node_id=3),
        RecordingHandler(cluster_id="c9"),
        RecordingHandler(),
    )
    async with (
        running_server(member) as (_, _, members),
        running_server(stranger) as (_, _, strangers),
        running_server(expected) as (_, _, right),
        pool_at([SILENT, members, strangers]) as (pool, peers),
    ):
        await until(lambda: peers.unreachable, "unreachable")
        state = only(pool)
        assert state.refused
        assert not state.connected
        assert not send_vote(pool)
        why = str(state.last_error)
        assert f"{members} is node 3, not node 1" in why
        assert "you belong to cluster 'c1', this node to 'c9'" in why
        assert why.index("is node 3") < why.index("cannot connect"), "a rejection says more"
        assert member.messages == stranger.messages == []

        pool.set_peers({1: (members, strangers, right)})
        await until(lambda: only(pool).connected, "connected to the right node")
        assert (only(pool).address, only(pool).refused) == (right, False)


@async_test
async def test_a_connection_stays_while_its_address_is_one_of_them() -> None:
    async with (
        running_server() as (_, handler, address),
        running_server() as (_, other, another),
        pool_at([address]) as (pool, _),
    ):
        await until(lambda: only(pool).connected, "connected")
        for addresses in ((another, address), (address, SILENT)):
            pool.set_peers({1: addresses})
            assert only(pool).connected
            assert only(pool).address == address
        pool.set_peers({1: (another,)})
        await until(lambda: only(pool).connected, "connected to the other address")
        await until(lambda: handler.closed, "the first connection is closed")
        assert len(handler.hellos) == len(other.hellos) == 1


# --- host names -----------------------------------------------------------------------------------


class MovingNames(AsyncioRuntime):
    """The world with another name service."""

    def __init__(self, hosts: Mapping[str, Sequence[str]]) -> None:
        self.hosts = dict(hosts)
        self.looked_up = 0

    async def resolve(self, host: str, timeout_s: float) -> list[str]:
        self.looked_up += 1
        if host not in self.hosts:
            raise TransportError(f"cannot look up the host {host!r}: unknown")
        return list(self.hosts[host])


@contextlib.asynccontextmanager
async def listening_on(ip: str, port: int, handler: RecordingHandler) -> AsyncIterator[int]:
    """A server on another loopback address; gives its port."""
    server = Server(CODEC, handler, TransportLimits(), runtime=REAL)
    bound = await server.start(Address(ip, port))
    try:
        yield int(bound.rpartition(":")[2])
    finally:
        await server.stop()


@async_test
async def test_a_peer_is_followed_to_the_new_address_of_its_name() -> None:
    names = MovingNames({"node-1.test": ["127.0.0.2"]})
    peers, first, second = RecordingPeers(), RecordingHandler(), RecordingHandler()
    limits = TransportLimits(backoff_min_s=0.01, backoff_max_s=0.02)
    pool = PeerPool(
        CODEC,
        peers,
        lambda number: Hello(number, 1, "c1", 2),
        random.Random(1),
        limits,
        runtime=names,
    )
    try:
        async with listening_on("127.0.0.2", 0, first) as port:
            pool.set_peers({1: f"node-1.test:{port}"})
            await until(lambda: only(pool).connected, "connected")
        await until(lambda: not only(pool).connected, "the server has stopped")
        before = names.looked_up
        await until(lambda: names.looked_up > before + 1, "each attempt looks the name up")
        async with listening_on("127.0.0.4", port, second):
            names.hosts["node-1.test"] = ["127.0.0.3", "127.0.0.4"]  # the first one is not there
            await until(lambda: only(pool).connected, "connected to the new address")
            assert send_vote(pool)
            await until(lambda: second.messages, "the message went to the new address")
    finally:
        await pool.close()


@async_test
async def test_a_client_follows_the_name_of_a_node() -> None:
    names = MovingNames({"node-1.test": ["127.0.0.2"]})
    first, second = RecordingHandler(), RecordingHandler()
    async with listening_on("127.0.0.2", 0, first) as port:
        client = Client([f"node-1.test:{port}"], timeout_s=20, runtime=names)
        await client.get_metrics()
    async with client, listening_on("127.0.0.4", port, second):
        names.hosts["node-1.test"] = ["127.0.0.3", "127.0.0.4"]
        await client.get_metrics()
        assert len(first.messages) == len(second.messages) == 1
