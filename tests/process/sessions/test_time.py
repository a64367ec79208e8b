"""Time on real nodes: sessions during an outage and on an idle cluster, and a leader with a wrong wall clock."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qcore.client.client import Client
from qcore.client.sessions.session import ClientSession
from qcore.errors import SessionExpired
from qcore.processes import NodeProcess, ProcessCluster, wait_for
from tests.process.conftest import ARGUMENTS, assert_no_traceback, initialise
from tests.process.support.commands import run_qcore
from tests.process.support.load import Load, increment, schema_of_item
from tests.process.support.wire_client import WireClient

pytestmark = pytest.mark.process

PROGRAM = str(Path(__file__).parents[1] / "programs" / "clock_node.py")
YEARS_50_S = 50 * 365 * 86_400
LIFETIME_S = 2.0


@pytest.fixture
def wrong_clocks(tmp_path: Path) -> Iterator[ProcessCluster]:
    """A cluster of nodes whose wall clocks can be set (`clock_node`)."""
    with ProcessCluster(tmp_path, 3, ARGUMENTS) as cluster:
        for node in cluster.nodes.values():
            node.program = (PROGRAM,)
        cluster.start()
        initialise(cluster)
        yield cluster
    assert_no_traceback(cluster)


def set_ahead(node: NodeProcess, seconds: int) -> None:
    node.data_dir.with_name(node.data_dir.name + ".ahead").write_text(str(seconds))


def test_a_session_survives_an_outage_longer_than_its_lifetime(
    ready_cluster: ProcessCluster,
) -> None:
    """Two of three nodes are killed, and restart after twice the lifetime. The client retries continuously."""
    cluster = ready_cluster

    async def scenario() -> None:
        async with Client(cluster.endpoints, timeout_s=40, attempt_timeout_s=1) as client:
            await client.set_schema(schema_of_item())
            entity = (await client.create_entity("Item", "x")).entity_id._asdict()
            session = await ClientSession.open(client, lifetime_s=LIFETIME_S)
            request = {"UpdateEntity": {"request": increment(entity)}}
            await session.perform(request)
            down = [node for node in cluster.running() if node is not cluster.nodes[1]]
            for node in down:
                await asyncio.to_thread(node.kill)
            retried = asyncio.create_task(session.perform(request))
            await asyncio.sleep(2 * LIFETIME_S)
            assert not retried.done(), "two of three nodes are down"
            for node in down:
                await asyncio.to_thread(node.start)
            answer: Any = await retried
            body = answer["UpdateEntity"]
            assert body["error"] is None, body
            assert body["response"][1]["Read"]["value"] == {"Int": 2}, (
                "applied once, however often it was sent"
            )

    asyncio.run(scenario())


def test_a_session_expires_on_an_idle_cluster(ready_cluster: ProcessCluster) -> None:
    cluster = ready_cluster
    leader = cluster.wait_leader()

    async def scenario() -> None:
        async with Client(cluster.endpoints) as client:
            session = await ClientSession.open(client, lifetime_s=LIFETIME_S)
            end = leader.status()["last_log_index"]
            began = time.monotonic()
            await asyncio.to_thread(
                wait_for, lambda: leader.status()["last_log_index"] > end or None, 30, "a tick"
            )
            assert time.monotonic() - began >= LIFETIME_S / 2
            await asyncio.sleep(LIFETIME_S)
            assert leader.status()["last_log_index"] == end + 1, "no session, no ticks"
            with pytest.raises(SessionExpired):
                await session.keep()

    asyncio.run(scenario())


def test_a_leader_50_years_ahead_warns_and_stamps_true_time(
    wrong_clocks: ProcessCluster,
) -> None:
    cluster = wrong_clocks
    leader = cluster.wait_leader()
    with WireClient(leader.address) as client:
        client.perform("SetSchema", entity_schema=schema_of_item())
        made = client.perform("CreateEntity", entity_type="Item", parent_id=None, name="x")
        set_ahead(leader, YEARS_50_S)
        wait_for(lambda: "is far from a quorum's" in leader.log_text() or None, 60, "a warning")
        written = client.perform("UpdateEntity", request=increment(made["response"]))
        assert written["error"] is None
        read = written["response"][1]["Read"]
        assert abs(read["write_time"]["secs_since_epoch"] - time.time()) < 10, (
            "the time stamp is near the true time"
        )
    clock = leader.status()["qcore"]["clock"]
    assert clock["wall_skew_us"] > (YEARS_50_S - 60) * 1_000_000
    assert clock["log_time_ahead_us"] is None
    page = leader.get("/metrics")[1]
    assert "qcore_wall_clock_skew_seconds 1.576" in page
    followers = [node for node in cluster.nodes.values() if node is not leader]
    for node in followers:
        assert f'qcore_peer_wall_clock_offset_seconds{{peer="{node.node_id}"}} -1576' in page
    health = run_qcore("cluster", "health", endpoints=[leader.address])
    assert health.returncode == 0, health.stdout
    assert f"warning: {leader.address}: its wall clock is 1576" in health.stdout
    assert "ahead of a quorum's" in health.stdout
    set_ahead(leader, 0)
    wait_for(lambda: "agrees with a quorum's again" in leader.log_text() or None, 60, "its end")
    assert leader.log_text().count("is far from a quorum's") == 1


@pytest.mark.long  # in the simulator `tests/sim/faults/test_faults.py` does the same
def test_wall_clocks_that_jump_by_an_hour_cause_no_election(
    wrong_clocks: ProcessCluster,
) -> None:
    """On the leader, on a follower and on all nodes together, in both directions."""
    cluster = wrong_clocks
    leader = cluster.wait_leader()
    term = leader.status()["current_term"]
    follower = next(node for node in cluster.nodes.values() if node is not leader)
    with Load(cluster.endpoints) as load:
        for nodes in ([leader], [follower], list(cluster.nodes.values())):
            for seconds in (3600, 0, -3600, 0):
                for node in nodes:
                    set_ahead(node, seconds)
                time.sleep(0.8)  # longer than the longest election timeout
                load.wait_acknowledged(5)
    load.read_all()
    load.check()
    assert [node.status()["current_term"] for node in cluster.nodes.values()] == [term] * 3
    assert cluster.wait_leader() is leader
