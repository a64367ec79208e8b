"""Sessions and kinds of reads over the wire, with real nodes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from qcore.client.client import Client
from qcore.client.sessions.session import ClientSession
from qcore.errors import SessionExpired
from qcore.processes import NodeProcess, ProcessCluster, wait_for
from tests.process.conftest import ARGUMENTS, assert_no_traceback, initialise
from tests.process.support.load import schema_of_item
from tests.process.support.wire_client import WireClient, read_field, write_field

pytestmark = pytest.mark.process


def increment(entity: dict[str, object]) -> dict[str, object]:
    write = write_field(entity, "Count", {"Int": 1})
    write["Write"]["adjust_behavior"] = "Add"
    return {"UpdateEntity": {"request": [write]}}


def in_background(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test_session_increments_count_once_when_leaders_are_killed(
    ready_cluster: ProcessCluster,
) -> None:
    cluster = ready_cluster
    wanted, clients = 120, 4
    done = [0] * clients
    entities: list[dict[str, object]] = []

    async def one(number: int) -> None:
        endpoints = cluster.endpoints[number % 3 :] + cluster.endpoints[: number % 3]
        async with (
            Client(endpoints, timeout_s=40, attempt_timeout_s=3) as client,
            await ClientSession.open(client) as session,
        ):
            for _ in range(wanted):
                response = await session.perform(increment(entities[0]))
                assert response["UpdateEntity"]["error"] is None, response
                done[number] += 1

    async def all_clients() -> None:
        async with Client(cluster.endpoints) as client:
            await client.set_schema(schema_of_item())
            entities.append((await client.create_entity("Item", "x")).entity_id._asdict())
        killer = in_background(kill_leaders)
        await asyncio.gather(*(one(number) for number in range(clients)))
        await asyncio.to_thread(killer.join)

    killed: list[NodeProcess] = []

    def kill_leaders() -> None:
        for goal in (60, 200):
            while sum(done) < goal:
                stopped.wait(0.005)
            leader = cluster.wait_leader()
            leader.kill()
            killed.append(leader)
            leader.start()

    stopped = threading.Event()
    asyncio.run(all_clients())
    assert len(killed) == 2
    cluster.wait_leader()
    cluster.wait_converged()
    with WireClient(cluster.endpoints[0]) as client:
        read = client.perform("UpdateEntity", request=[read_field(entities[0], "Count")])
    assert read["response"][0]["Read"]["value"] == {"Int": wanted * clients}


def test_a_repeat_gets_the_first_result_a_closed_session_fails(
    shared_cluster: ProcessCluster,
) -> None:
    leader = shared_cluster.wait_leader()
    follower = next(node for node in shared_cluster.running() if node is not leader)
    with WireClient(follower.address) as client, WireClient(leader.address) as elsewhere:
        client.perform("SetSchema", entity_schema=schema_of_item())
        session = client.ask("OpenSession", lifetime_ms=60_000)["Ok"]
        create = {"CreateEntity": {"entity_type": "Item", "parent_id": None, "name": "once"}}
        use = {"id": session, "sequence": 1}
        first = client.ask("Perform", request=create, session=use)
        assert first["CreateEntity"]["error"] is None
        assert elsewhere.ask("Perform", request=create, session=use) == first
        second = elsewhere.ask("Perform", request=create, session={**use, "sequence": 2})
        assert second["CreateEntity"]["response"] != first["CreateEntity"]["response"]
        assert client.ask("KeepSession", session=session) == {"Ok": None}
        assert client.ask("CloseSession", session=session) == {"Ok": None}
        late = client.ask("Perform", request=create, session={**use, "sequence": 3})
        assert late["CreateEntity"]["detail"]["code"] == "SessionExpired"
        assert late["CreateEntity"]["detail"]["retryable"] is False


def test_the_client_reports_an_expired_session(shared_cluster: ProcessCluster) -> None:
    async def scenario() -> None:
        async with Client(shared_cluster.endpoints) as client:
            session = ClientSession(client, 987_654)
            with pytest.raises(SessionExpired):
                await session.keep()
            with pytest.raises(SessionExpired):
                await session.perform({"DeleteEntity": {"entity_id": {"typ": "X", "id": 1}}})

    asyncio.run(scenario())


def test_every_kind_of_read_sees_an_acknowledged_write(
    shared_cluster: ProcessCluster,
) -> None:
    cluster = shared_cluster
    with WireClient(cluster.wait_leader().address) as client:
        client.perform("SetSchema", entity_schema=schema_of_item())
        made = client.perform("CreateEntity", entity_type="Item", parent_id=None, name="r")
        entity = made["response"]
        written = write_field(entity, "Text", {"String": "seen"})
        client.perform("UpdateEntity", request=[written])
    cluster.wait_converged()
    read = {"UpdateEntity": {"request": [read_field(entity, "Text")]}}
    for node in cluster.running():
        with WireClient(node.address) as client:
            before = node.status()["last_log_index"]
            for consistency in ("linearizable", "lease", "follower", {"stale": 60_000}):
                answer = client.ask("Perform", request=read, consistency=consistency)
                body = answer["UpdateEntity"]
                assert body["error"] is None, (consistency, body)
                assert body["response"][0]["Read"]["value"] == {"String": "seen"}
            strict = client.ask("Perform", request=read, consistency={"stale": 0})
            assert strict["UpdateEntity"]["detail"]["code"] == "TooStale"
            assert node.status()["last_log_index"] == before, "a read wrote to the log"


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"consistency": "eventual"}, "consistency"),
        ({"consistency": {"stale": -1}}, "stale"),
        ({"session": {"id": 1}}, "sequence"),
        ({"session": {"id": 1, "sequence": 0}}, "sequence"),
        ({"session": {"id": 1, "sequence": 1, "other": 1}}, "other"),
        ({"session": {"id": 1, "sequence": 1}}, "Perform.session"),
    ],
)
def test_invalid_options_are_named_in_the_error(
    shared_cluster: ProcessCluster, fields: dict[str, object], named: str
) -> None:
    with WireClient(shared_cluster.endpoints[0]) as client:
        request = {"GetSchema": {"entity_type": "Item"}}
        name, value = client.exchange({"Perform": {"id": "x", "request": request, **fields}})
        assert name == "Error"
        assert value["id"] == "x"
        assert named in value["error"]
        write = {"DeleteEntity": {"entity_id": {"typ": "Item", "id": 1}}}
        frame = {"Perform": {"id": "y", "request": write, "consistency": "follower"}}
        name, value = client.exchange(frame)
        assert (name, value["id"]) == ("Error", "y")
        assert "Perform.consistency" in value["error"]


def test_the_highest_priority_node_leads_and_serves_lease_reads(tmp_path: Path) -> None:
    with ProcessCluster(tmp_path, size=3, arguments=[*ARGUMENTS, "--lease-reads"]) as cluster:
        cluster.nodes[3].arguments += ["--priority", "5"]
        cluster.nodes[2].arguments += ["--priority", "0"]
        cluster.start()
        initialise(cluster)
        wait_for(lambda: cluster.leader() is cluster.nodes[3], 30, "node 3 to lead")
        with WireClient(cluster.endpoints[0]) as client:
            client.perform("SetSchema", entity_schema=schema_of_item())
            request = {"GetSchema": {"entity_type": "Item"}}
            answer = client.ask("Perform", request=request, consistency="lease")
            assert answer["GetSchema"]["response"]["entity_type"] == "Item"
    assert_no_traceback(cluster)
