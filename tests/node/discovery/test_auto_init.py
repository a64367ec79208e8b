"""Real nodes that begin a cluster by themselves: in this process, on the loopback interface."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from qcore.client.client import Client
from qcore.errors import ConfigError, QcoreError, Refused
from qcore.node import Address
from qcore.node.application import application_of
from qcore.node.config import NodeConfig
from qcore.node.discovery.auto_init import Pace
from qcore.node.discovery.promise_file import FILE_NAME, PromiseFile
from qcore.node.observability.logs import NodeLog
from qcore.node.replica_node import ReplicaNode
from qcore.node.surroundings import Surroundings
from qcore.processes.node_process import free_ports
from qcore.runtime.real import AsyncioRuntime
from qcore.storage.sqlite.sqlite_storage import SqliteStorage
from tests.transport.support.endpoints import async_test

#: Quick rounds: the nodes share an event loop.
QUICK = Pace(shortest_s=0.05, longest_s=0.2, turn_s=0.3, finish_s=0.5, patient_rounds=3)


class Names(AsyncioRuntime):
    """A name service that knows one name."""

    def __init__(self, ips: Sequence[str]) -> None:
        self.ips = [*ips]

    async def resolve(self, host: str, timeout_s: float) -> list[str]:
        if host == "founders.example":
            return [*self.ips]
        return await super().resolve(host, timeout_s)


class LinesLog(NodeLog):
    """Keeps the lines."""

    def __init__(self, node_id: int) -> None:
        super().__init__(node_id)
        self.lines: list[str] = []

    def put(self, level: int, event: str, fields: dict[str, object]) -> None:  # type: ignore[override]  # takes more
        self.lines.append(f"{event} {fields}")


class Founders:
    """The nodes of a test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.nodes: dict[int, ReplicaNode] = {}
        self.logs: dict[int, LinesLog] = {}
        self._storages: dict[int, SqliteStorage] = {}

    async def start(
        self,
        node_id: int,
        address: Address,
        discover: Sequence[str],
        *,
        expect: int = 3,
        runtime: AsyncioRuntime | None = None,
        **settings: object,
    ) -> ReplicaNode:
        config = NodeConfig.of(
            node_id,
            self.folder / f"node{node_id}",
            **{
                "ws_addr": address,
                "machine": "kv",
                "heartbeat_ms": 80,
                "election_timeout_min_ms": 400,
                "election_timeout_max_ms": 800,
                "auto_init": True,
                "expect": expect,
                "discover": tuple(discover),
                **settings,
            },
        )
        storage = SqliteStorage.open(config.data_dir, node_id)
        log = self.logs[node_id] = LinesLog(node_id)
        world = Surroundings(own_process=False, runtime=runtime or AsyncioRuntime())
        node = ReplicaNode(config, application_of("kv"), storage, log, world=world)
        node.founding.pace = QUICK
        self.nodes[node_id], self._storages[node_id] = node, storage
        await node.start()
        return node

    async def stop(self, node_id: int) -> None:
        node = self.nodes.pop(node_id)
        await node.stop()
        self._storages.pop(node_id).close()

    def clusters(self) -> list[str | None]:
        return [node.core.membership.cluster_id or None for node in self.nodes.values()]

    async def until_one_cluster(self) -> str:
        while True:
            found = {*self.clusters()}
            if None not in found and len(found) == 1:
                return str(found.pop())
            await asyncio.sleep(0.02)

    async def until_logged(self, node_id: int, text: str) -> None:
        while True:
            if any(text in line for line in self.logs[node_id].lines):
                return
            await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def founders(folder: Path) -> AsyncIterator[Founders]:
    found = Founders(folder)
    try:
        async with asyncio.timeout(100):
            yield found
    finally:
        for node_id in [*found.nodes]:
            await found.stop(node_id)


@async_test
async def test_a_static_list_gives_one_cluster(tmp_path: Path) -> None:
    """Three founders, then a late node, a node that takes no Init, and a restart with the same settings."""
    ports = free_ports(4)
    places = [f"static:127.0.0.1:{port}" for port in ports[:3]]
    async with founders(tmp_path) as world:
        first = Address("127.0.0.1", ports[0])
        await world.start(1, first, places)
        await world.start(2, Address("127.0.0.1", ports[1]), places)
        await world.until_logged(1, "not found yet: founders [3] of 3")
        client = Client([str(first)])
        with pytest.raises(Refused, match="--auto-init"):
            await client.init([(1, str(first))])
        assert world.clusters() == [None, None]
        await world.start(3, Address("127.0.0.1", ports[2]), places)
        cluster = await world.until_one_cluster()
        assert await client.execute('{"op":"add","key":"a","amount":1}') == '{"ok":true,"value":1}'
        await client.close()
        members = world.nodes[1].core.membership
        assert members.voters == (1, 2, 3)
        assert len(members.keys) == 3
        kept = PromiseFile(tmp_path / "node2").load().accepted
        assert kept is not None
        assert kept.founding.cluster_id == cluster
        await world.start(4, Address("127.0.0.1", ports[3]), places)
        await world.until_logged(4, f"belongs to cluster {cluster}")
        assert world.nodes[4].core.membership.is_empty
        await world.stop(4)
        await world.stop(3)
        await world.start(3, Address("127.0.0.1", ports[2]), places)
        assert world.nodes[3].core.membership.cluster_id == cluster


@async_test
async def test_a_name_with_several_addresses_gives_one_cluster(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    ips = ["127.0.0.1", "127.0.0.2", "127.0.0.3"]
    async with founders(tmp_path) as world:
        for node_id, ip in enumerate(ips, 1):
            await world.start(
                node_id,
                Address(ip, port),
                [f"dns:founders.example:{port}"],
                runtime=Names(ips),
            )
        await world.until_one_cluster()
        assert dict(world.nodes[1].core.membership.addresses) == {
            node_id: f"{ip}:{port}" for node_id, ip in enumerate(ips, 1)
        }


@async_test
async def test_founders_that_contradict_each_other_begin_nothing(tmp_path: Path) -> None:
    ports = free_ports(3)
    places = [f"127.0.0.1:{port}" for port in ports]
    async with founders(tmp_path) as world:
        await world.start(1, Address("127.0.0.1", ports[0]), places, expect=2)
        await world.start(2, Address("127.0.0.1", ports[1]), places, expect=3)
        await world.until_logged(1, "expects 3 founders, and this node 2")
        await world.until_logged(2, "expects 2 founders, and this node 3")
        other = Founders(tmp_path / "other")
        try:
            await other.start(1, Address("127.0.0.1", ports[2]), places, expect=2)
            await world.until_logged(2, "two nodes have the id 1")
            assert world.clusters() == [None, None]
            assert not (tmp_path / "node2" / FILE_NAME).exists()
        finally:
            await other.stop(1)


@async_test
async def test_one_founder_begins_a_cluster_alone(tmp_path: Path) -> None:
    async with founders(tmp_path) as world:
        node = await world.start(1, Address("127.0.0.1", 0), [], expect=1)
        await world.until_one_cluster()
        assert node.core.membership.voters == (1,)


@async_test
async def test_a_founding_is_finished_after_a_restart(tmp_path: Path) -> None:
    """All founders stop after they have accepted: whichever begins the cluster, it is the accepted one."""
    ports = free_ports(3)
    places = [f"127.0.0.1:{port}" for port in ports]
    async with founders(tmp_path) as world:

        async def refuse(*_founding: object) -> QcoreError | None:
            return ConfigError("the test lets no cluster begin")

        for node_id, port in enumerate(ports, 1):
            node = await world.start(node_id, Address("127.0.0.1", port), places)
            node.founding.begin_cluster = refuse  # type: ignore[method-assign, assignment]  # the planted fault
        await world.until_logged(1, "the test lets no cluster begin")
        for node_id in (1, 2, 3):
            await world.stop(node_id)
        kept = [PromiseFile(tmp_path / f"node{node}").load().accepted for node in (1, 2, 3)]
        decided = {each.founding.cluster_id for each in kept if each is not None}
        assert len(decided) == 1
        for node_id in (2, 3):  # node 1, which began it, never returns
            await world.start(node_id, Address("127.0.0.1", ports[node_id - 1]), places)
        assert await world.until_one_cluster() == decided.pop()
        assert world.nodes[2].core.membership.voters == (1, 2, 3)
