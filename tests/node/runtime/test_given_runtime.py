"""Nodes and clients in a given world: no other entropy, no thread, no file, and the clocks that they were given."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import pytest

from qcore.client.client import Client
from qcore.core.effects import Write
from qcore.core.entry import DurableState
from qcore.errors import DiskFull, StorageError
from qcore.machines.register import RegisterMachine
from qcore.node.application import TextApplication
from qcore.node.config import NodeConfig
from qcore.node.observability.logs import NodeLog
from qcore.node.replica_node import ReplicaNode
from qcore.node.surroundings import Surroundings
from qcore.replica.peers.known_members import KnownMembers
from qcore.security.keys.node_key import NodeKey
from qcore.storage.group_commit import PendingWrites
from qcore.storage.interface import LogStorage
from qcore.storage.log_size import Footprint, FootprintMeter
from qcore.storage.memory import MemoryStorage
from qcore.transport.address import Address
from tests.runtime.no_entropy import SeededRuntime, forbid_clocks, forbid_entropy, forbid_threads
from tests.transport.support.endpoints import async_test

T = TypeVar("T")

WALL_US = 1_234_567_890_000_000
NODES = (1, 2)


class GivenRuntime(SeededRuntime):
    """Entropy from a seed, a wall clock that stands still, and no threads."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.ahead_s = 0.0

    def wall_us(self) -> int:
        return WALL_US

    def seconds(self) -> float:
        return super().seconds() + self.ahead_s

    async def run_long(self, work: Callable[[], T]) -> T:
        return work()


class InlineWriter:
    """A `DiskWriter` without a thread: a write is durable in the next turn of the event loop.

    Attributes:
        ends: whether `close` succeeds.
    """

    ends = True

    def __init__(
        self,
        storage: LogStorage,
        *,
        on_durable: Callable[[int], None],
        on_error: Callable[[StorageError], None],
        on_disk_full: Callable[[DiskFull | None], None],
        on_snapshot_stored: Callable[[int], None],
        loaded: DurableState,
    ) -> None:
        self._storage = storage
        self._on_durable = on_durable
        self._meter = FootprintMeter(loaded)

    @property
    def pending(self) -> PendingWrites:
        return PendingWrites(0, 0)

    @property
    def footprint(self) -> Footprint:
        return self._meter.footprint

    def start(self) -> None:
        """There is no thread."""

    def try_write(self, writes: Sequence[Write], commit: int | None = None) -> bool:
        return False

    def submit(self, writes: Sequence[Write], commit: int | None = None) -> None:
        self._storage.write(writes, commit)
        self._meter.written(writes)
        if writes:
            asyncio.get_running_loop().call_soon(self._on_durable, writes[-1].write_id)

    def close(self, timeout_s: float | None = None) -> bool:
        return self.ends


class World:
    """Two nodes, without a process around them.

    Attributes:
        loaded: the nodes that have loaded the members which they know.
    """

    def __init__(self) -> None:
        self.runtimes = {node: GivenRuntime(node) for node in NODES}
        self.disks = {node: MemoryStorage(node) for node in NODES}
        self.loaded: list[int] = []
        self.nodes = {node: self._node(node) for node in NODES}

    def _node(self, node_id: int) -> ReplicaNode:
        def load_members(
            _directory: Path, _others: Collection[int], _warn: Callable[[str], None]
        ) -> KnownMembers:
            self.loaded.append(node_id)
            return KnownMembers({}, lambda _known: None)

        config = NodeConfig.of(
            node_id,
            Path("/nothing/uses/it"),
            ws_addr=Address("127.0.0.1", 0),
            heartbeat_ms=50,
            election_timeout_min_ms=300,
            election_timeout_max_ms=600,
        )
        return ReplicaNode(
            config,
            TextApplication(RegisterMachine()),
            self.disks[node_id],
            NodeLog(node_id),
            world=Surroundings(
                runtime=self.runtimes[node_id],
                make_writer=InlineWriter,
                load_members=load_members,
                load_key=lambda _directory, random_bytes, _configured: NodeKey(random_bytes(32)),
                measures_stalls=False,
            ),
        )


@contextlib.asynccontextmanager
async def two_nodes() -> AsyncIterator[tuple[World, list[str]]]:
    """Two nodes that listen, and their addresses."""
    world = World()
    addresses = [await node.start() for node in world.nodes.values()]
    try:
        yield world, addresses
    finally:
        for node in world.nodes.values():
            await node.stop()


@pytest.mark.pure_only("it observes which compiled function reads a clock")
@async_test
async def test_a_cluster_uses_only_what_it_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    forbid_entropy(monkeypatch)
    forbid_clocks(monkeypatch)
    forbid_threads(monkeypatch)
    async with two_nodes() as (world, addresses):
        runtime = GivenRuntime(3)
        async with Client(addresses, runtime=runtime) as client:
            await client.init(list(zip(NODES, addresses, strict=True)))
            for number in range(1, 4):
                result = await client.execute('{"op":"add","key":"k","amount":1}')
                assert result == f'{{"ok":true,"value":{number}}}'
        assert {"rng", 16, 4} == set(runtime.drawn), "no entropy of the process is in a client"
        assert world.loaded == [*NODES]
        (first, *_), *_ = (disk.load().entries for disk in world.disks.values())
        assert first.kind == "membership"
        stamps = {
            entry.time_us for entry in world.disks[1].load().entries if entry.kind == "session"
        }
        assert stamps
        assert max(stamps) - WALL_US < 1000, "time stamps come from the wall clock"


@async_test
async def test_the_cluster_id_comes_from_the_tokens() -> None:
    async with two_nodes() as (world, addresses):
        async with Client(addresses[:1]) as client:
            await client.init()
        (token,) = world.runtimes[1].tokens
        assert world.disks[1].identity().cluster_id == token.replace("-", "")


@async_test
async def test_the_uptime_is_that_of_the_given_clock() -> None:
    async with two_nodes() as (world, _):
        world.runtimes[1].ahead_s = 1000.0

        def uptime_of(node: int) -> float:
            metrics = cast(Any, world.nodes[node].metrics_object())
            return float(metrics["qcore"]["uptime_seconds"])

        assert uptime_of(1) >= 1000
        assert uptime_of(2) < 1000
        page = world.nodes[1].exposition()
        (line,) = [line for line in page.splitlines() if line.startswith("qcore_uptime_seconds ")]
        assert float(line.split()[1]) >= 1000


@async_test
async def test_a_disk_hangs_by_the_given_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    async with two_nodes() as (world, _):
        monkeypatch.setattr(InlineWriter, "ends", False)
        stopping = asyncio.ensure_future(world.nodes[1].stop_writer())
        await asyncio.sleep(0.05)
        assert not stopping.done()
        world.runtimes[1].ahead_s = 11.0
        await stopping
        assert world.nodes[1].disk_hung
        monkeypatch.setattr(InlineWriter, "ends", True)
