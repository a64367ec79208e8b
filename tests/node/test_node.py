"""A whole node in this process: real sockets and a real log, with faults in the disk and the state machine."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from websockets.asyncio.client import connect

from qcore.client.client import Client
from qcore.core.effects import SaveHardState, Write
from qcore.core.entry import DurableState, HardState, Membership
from qcore.errors import DiskFull, OutcomeUnknown, StateMachineFailed, StorageError, StoreError
from qcore.machines.interface import ApplyContext
from qcore.machines.register import RegisterMachine
from qcore.node.application import Application, EntityApplication, TextApplication
from qcore.node.config import NodeConfig
from qcore.node.observability.logs import NodeLog
from qcore.node.replica_node import ReplicaNode
from qcore.node.runtime.shutdown import drain_writer
from qcore.runtime.real import REAL
from qcore.storage.group_commit import GroupCommitWriter
from qcore.storage.interface import Identity, LogStorage
from qcore.storage.sqlite.sqlite_storage import SqliteStorage
from qcore.transport.address import Address
from qcore.transport.limits import TransportLimits
from tests.process.support.wire_client import string_schema


class FaultyDisk:
    """A real storage whose writes fail while `failure` is set."""

    def __init__(self, inner: LogStorage) -> None:
        self.inner = inner
        self.failure: StorageError | None = None

    def identity(self) -> Identity:
        return self.inner.identity()

    def join_cluster(self, cluster_id: str) -> None:
        self.inner.join_cluster(cluster_id)

    def load(self) -> DurableState:
        return self.inner.load()

    def write(self, writes: Sequence[Write], commit: int | None = None) -> None:
        if self.failure is not None:
            raise self.failure
        self.inner.write(writes, commit)

    def close(self) -> None:
        self.inner.close()


class Running:
    """A started node, its disk, and a client."""

    def __init__(self, node: ReplicaNode, disk: FaultyDisk, address: str, client: Client) -> None:
        self.node = node
        self.disk = disk
        self.address = address
        self.client = client


@asynccontextmanager
async def running(
    tmp_path: Path,
    application: Application | None = None,
    *,
    begin: bool = True,
    limits: TransportLimits | None = None,
    quotas: Mapping[str, int] = MappingProxyType({}),
    **settings: int,
) -> AsyncIterator[Running]:
    config = NodeConfig.of(
        1,
        tmp_path,
        ws_addr=Address("127.0.0.1", 0),
        heartbeat_ms=20,
        election_timeout_min_ms=settings.get("election_timeout_ms", 100),
        election_timeout_max_ms=2 * settings.get("election_timeout_ms", 100),
        request_timeout_ms=settings.get("request_timeout_ms", 5000),
        shutdown_grace_ms=settings.get("shutdown_grace_ms", 200),
        max_pending_requests=settings.get("max_pending_requests", 8192),
        max_session_requests=settings.get("max_session_requests", 1024),
        max_admin_requests=settings.get("max_admin_requests", 64),
        limits=limits or TransportLimits(),
        priority=settings.get("priority", 1),
        **quotas,
    )
    disk = FaultyDisk(SqliteStorage.open(tmp_path, 1))
    node = ReplicaNode(config, application or EntityApplication(), disk, NodeLog(1))
    address = await node.start()
    try:
        async with Client([address], timeout_s=5, exactly_once=False) as client:
            if begin:
                await client.init()
            yield Running(node, disk, address, client)
    finally:
        await node.stop()
        disk.close()


#: An election timeout for tests of a slow disk on a busy machine: a leader whose disk makes no progress steps down.
PATIENT_MS = 2000


async def eventually(probe: Callable[[], Awaitable[bool]], timeout_s: float = 60) -> None:
    """Poll until the probe holds; fails the test if it does not in time."""
    async with asyncio.timeout(timeout_s):
        while not await probe():  # noqa: ASYNC110 - the condition is behind a socket
            await asyncio.sleep(0.02)


async def raw_perform(world: Running, request: dict[str, Any]) -> Any:
    """Perform one attempt, without the client's retries."""
    reply = await world.client.request(world.address, "Perform", {"request": request})
    ((_, body),) = reply["response"].items()
    return body


def test_a_full_disk_rejects_writes_and_serves_reads(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        async with running(tmp_path, election_timeout_ms=PATIENT_MS) as world:
            await world.client.set_schema(string_schema("Item", "Name"))
            world.disk.failure = DiskFull("no space")
            stuck = asyncio.ensure_future(world.client.create_entity("Item", "stuck"))
            create = {"CreateEntity": {"entity_type": "Item", "parent_id": None, "name": "x"}}

            async def disk_full() -> bool:
                metrics = await world.client.get_metrics()
                return bool(metrics["qcore"]["disk_full"])

            await eventually(disk_full)
            body = await raw_perform(world, create)
            assert body["detail"] == {"code": "DiskFull", "retryable": True}
            assert str(tmp_path) in body["error"]
            schema = await world.client.get_schema("Item")
            assert schema is not None
            assert schema["entity_type"] == "Item"
            assert not stuck.done(), "acknowledged without being durable"
            assert world.node.unready_reason() == (
                "the disk is full: writes are rejected; reads are served as long as there is a leader"
            )

            world.disk.failure = None
            entity = await stuck
            assert await world.client.read(entity, "Name") == "stuck"
            assert world.node.unready_reason() is None
            assert not world.node.failed.is_set()

    asyncio.run(scenario())


def test_a_failed_write_is_fatal_and_acknowledges_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path) as world:
            await world.client.set_schema(string_schema("Item", "Name"))
            world.disk.failure = StorageError("EIO on log.db")
            create = {"CreateEntity": {"entity_type": "Item", "parent_id": None, "name": "x"}}
            lost = asyncio.ensure_future(raw_perform(world, create))
            await asyncio.wait_for(world.node.failed.wait(), 20)
            assert isinstance(world.node.failure, StorageError)
            assert "EIO" in str(world.node.failure)
            assert world.node.metrics_object()["running_state"] == {"Err": "EIO on log.db"}
            assert not lost.done()
            await world.node.stop()
            assert (await lost)["detail"] == {"code": "OutcomeUnknown", "retryable": False}

    asyncio.run(scenario())


def test_a_follower_acknowledges_nothing_before_it_is_durable(tmp_path: Path) -> None:
    """A leader's append reaches a node whose disk is stuck: the response waits for the disk."""

    async def scenario() -> None:
        async with running(tmp_path, begin=False) as world:
            members = Membership(
                (1, 2), addresses=((1, world.address), (2, "127.0.0.1:1")), cluster_id="red"
            )
            entry = {
                "index": 1,
                "term": 1,
                "kind": "membership",
                "data": members.to_json(),
                "time_us": 5,
            }
            append = {
                **{"term": 1, "leader_id": 2, "prev_log_index": 0, "prev_log_term": 0},
                **{"leader_commit": 0, "entries": [entry], "round": 0},
            }
            hello = {"id": "h", "protocol": 1, "cluster_id": "red", "node_id": 2, "role": "peer"}
            world.disk.failure = DiskFull("no space")
            async with connect(f"ws://{world.address}", proxy=None) as leader:
                await leader.send(json.dumps({"Hello": hello}))
                assert "Ok" in json.loads(await leader.recv())["HelloResponse"]["response"]
                await leader.send(json.dumps({"RaftAppend": {"id": "a", "request": append}}))

                async def appended() -> bool:
                    metrics = world.node.metrics_object()
                    return bool(metrics["last_log_index"] == 1)

                await eventually(appended)
                # The response to a later request arrives first, so the awaited one is not merely slow.
                await leader.send(json.dumps({"GetMetrics": {"id": "m"}}))
                assert "GetMetricsResponse" in json.loads(await leader.recv())
                world.disk.failure = None
                answer = json.loads(await leader.recv())["RaftAppendResponse"]
            assert answer["id"] == "a"
            assert answer["response"]["Ok"]["match_index"] == 1
            assert world.disk.identity().cluster_id == "red"

    asyncio.run(scenario())


def test_a_machine_that_raises_stops_the_node(tmp_path: Path) -> None:
    class Broken(RegisterMachine):
        def apply(self, command: str, context: ApplyContext) -> str:
            if "boom" in command:
                raise ZeroDivisionError("boom")
            return super().apply(command, context)

    async def scenario() -> None:
        async with running(tmp_path, TextApplication(Broken())) as world:
            request = asyncio.ensure_future(world.client.perform({"Write": "boom"}))
            await asyncio.wait_for(world.node.failed.wait(), 20)
            assert isinstance(world.node.failure, StateMachineFailed)
            await world.node.stop()
            with pytest.raises(OutcomeUnknown):
                await request

    asyncio.run(scenario())


def test_a_user_defined_machine_runs_in_a_real_node(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path, TextApplication(RegisterMachine())) as world:
            done = await world.client.perform({"Write": '{"op":"set","key":"k","value":7}'})
            assert done["Write"] == {"response": '{"ok":true,"value":7}', "error": None}
            seen = await world.client.perform({"Read": '{"op":"get","key":"k"}'})
            assert seen["Read"] == done["Write"]
            bad = await world.client.perform({"Read": "nonsense"})
            assert bad["Read"]["detail"]["code"] == "StoreError"

    asyncio.run(scenario())


def test_concurrent_requests_share_a_step_and_a_commit(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path) as world:
            await world.client.set_schema(string_schema("Item", "Name"))
            before = world.node.exposition()
            await asyncio.gather(*(world.client.create_entity("Item", str(n)) for n in range(200)))
            after = world.node.exposition()
            name = "qcore_storage_commit_duration_seconds_count"
            commits = value_of(after, name) - value_of(before, name)
            assert 1 <= commits < 100
            ok = 'qcore_requests_total{kind="write",outcome="ok"}'
            assert value_of(after, ok) == 201

    asyncio.run(scenario())


async def flood(world: Running, number: int) -> list[str]:
    """Send this many writes in one frame; returns the outcome of each: `ok`, or the code of the error."""
    create = {"CreateEntity": {"entity_type": "Item", "parent_id": None, "name": "x"}}
    frame = [{"Perform": {"id": str(n), "request": create}} for n in range(number)]
    outcomes: list[str] = []
    async with connect(f"ws://{world.address}", proxy=None, max_size=None) as socket:
        await socket.send(json.dumps(frame))
        while len(outcomes) < number:
            replies = json.loads(await asyncio.wait_for(socket.recv(), 20))
            for reply in replies if isinstance(replies, list) else [replies]:
                body = reply["PerformResponse"]["response"]["CreateEntity"]
                outcomes.append(body["detail"]["code"] if body["error"] else "ok")
    return outcomes


def test_a_flood_of_requests_is_split_into_bounded_steps(tmp_path: Path) -> None:
    """A leader that serves thousands of requests in one step is silent meanwhile, and is deposed."""

    async def scenario() -> None:
        async with running(tmp_path, election_timeout_ms=PATIENT_MS) as world:
            await world.client.set_schema(string_schema("Item", "Name"))
            assert {*await flood(world, 3000)} == {"ok"}
            page = world.node.exposition()
            steps = value_of(page, "qcore_step_events_count")
            assert value_of(page, 'qcore_step_events_bucket{le="1024"}') == steps

    asyncio.run(scenario())


def test_requests_beyond_the_limit_are_rejected_before_queueing(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path, max_pending_requests=10) as world:
            await world.client.set_schema(string_schema("Item", "Name"))
            outcomes = await flood(world, 50)
            assert (outcomes.count("ok"), outcomes.count("Overloaded")) == (10, 40)
            await world.client.create_entity("Item", "later")

    asyncio.run(scenario())


def value_of(page: str, name: str) -> float:
    """The value of a sample on a Prometheus page."""
    return float(next(line for line in page.splitlines() if line.startswith(name)).split()[-1])


def test_a_store_error_is_raised_by_the_client(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path) as world:
            with pytest.raises(StoreError, match="Nothing"):
                await world.client.create_entity("Nothing", "x")

    asyncio.run(scenario())


def test_a_stopping_node_rejects_new_requests_as_not_leader(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(
            tmp_path, shutdown_grace_ms=3000, election_timeout_ms=PATIENT_MS
        ) as world:
            await world.client.set_schema(string_schema("Item", "Name"))
            world.disk.failure = DiskFull("no space")  # keeps one request in progress
            stuck = asyncio.ensure_future(world.client.create_entity("Item", "stuck"))

            async def disk_full() -> bool:
                metrics = await world.client.get_metrics()
                return bool(metrics["qcore"]["disk_full"])

            await eventually(disk_full)
            stopping = asyncio.ensure_future(world.node.stop())
            await asyncio.sleep(0)
            body = await raw_perform(world, {"GetSchema": {"entity_type": "Item"}})
            assert body["detail"]["code"] == "NotLeader"
            assert (await world.client.get_metrics())["state"] == "Shutdown"
            world.disk.failure = None
            assert (await stuck).entity_id.typ == "Item"
            await stopping

    asyncio.run(scenario())


class HangingDisk(FaultyDisk):
    """A disk whose writes wait for `go_on`."""

    def __init__(self, inner: LogStorage) -> None:
        super().__init__(inner)
        self.go_on = threading.Event()

    def write(self, writes: Sequence[Write], commit: int | None = None) -> None:
        self.go_on.wait(60)
        super().write(writes, commit)


def test_a_hanging_disk_does_not_block_a_stop(tmp_path: Path) -> None:
    async def scenario() -> None:
        disk = HangingDisk(SqliteStorage.open(tmp_path, 1))
        loop = asyncio.get_running_loop()
        writer = GroupCommitWriter(
            disk,
            loop.call_soon_threadsafe,
            on_durable=lambda _: None,
            on_error=lambda _: None,
            on_disk_full=lambda _: None,
        )
        writer.start()
        writer.submit([SaveHardState(1, HardState(1, None))])
        assert not await drain_writer(writer, NodeLog(1), REAL.seconds, timeout_s=0.05)
        disk.go_on.set()
        assert await drain_writer(writer, NodeLog(1), REAL.seconds, timeout_s=20)
        assert disk.load().hard_state.term == 1
        disk.close()

    asyncio.run(scenario())
