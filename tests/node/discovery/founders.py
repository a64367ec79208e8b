"""Founders for tests: real nodes in this process, on the loopback interface."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from qcore.node import Address
from qcore.node.application import application_of
from qcore.node.config import NodeConfig
from qcore.node.discovery.auto_init import Pace
from qcore.node.discovery.finder import MakeAnnouncer
from qcore.node.discovery.promise_file import FILE_NAME, PromiseStore
from qcore.node.observability.logs import NodeLog
from qcore.node.replica_node import ReplicaNode
from qcore.node.surroundings import Surroundings, announcer
from qcore.runtime.real import AsyncioRuntime
from qcore.storage.sqlite.sqlite_storage import SqliteStorage

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
        promises: PromiseStore | None = None,
        make_announcer: MakeAnnouncer = announcer,
        pace: Pace = QUICK,
        **settings: object,
    ) -> ReplicaNode:
        config = NodeConfig.of(
            node_id,
            self.folder / f"node{node_id}",
            **{
                "ws_addr": address,
                "machine": "register",
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
        world = Surroundings(
            own_process=False,
            runtime=runtime or AsyncioRuntime(),
            promises=promises,
            make_announcer=make_announcer,
        )
        node = ReplicaNode(config, application_of("register"), storage, log, world=world)
        node.founding.pace = pace
        self.nodes[node_id], self._storages[node_id] = node, storage
        await node.start()
        return node

    async def stop(self, node_id: int) -> None:
        node = self.nodes.pop(node_id)
        await node.stop()
        self._storages.pop(node_id).close()

    def clusters(self) -> list[str | None]:
        return [node.core.membership.cluster_id or None for node in self.nodes.values()]

    def has_promises(self) -> bool:
        """Whether a node has ever stored a promise."""
        return any(self.folder.glob(f"*/{FILE_NAME}"))

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
