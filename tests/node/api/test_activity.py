"""`GetActivity` at real nodes in this process: what it shows, and to whom."""

from __future__ import annotations

import asyncio
import http.client
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect

from qcore.client.client import Client
from qcore.errors import PermissionDenied, RemoteProtocolError, Unauthenticated
from qcore.node.node import Node
from tests.node.embedded.embedded_nodes import add, config_of, leader_of
from tests.transport.support.endpoints import ask, async_test

PASSWORD = "correct horse battery"


async def activity(client: Client, address: str, **fields: int) -> dict[str, Any]:
    response: dict[str, Any] = (await client.request(address, "GetActivity", {**fields}))[
        "response"
    ]
    return response


def texts(found: dict[str, Any]) -> list[str]:
    return [event["text"] for event in found["events"] if event["kind"] == "line"]


@async_test
async def test_a_node_shows_what_it_has_done(tmp_path: Path) -> None:
    async with Node(config_of(1, tmp_path)) as node:
        await node.client.init()
        await add(node.client, "a")
        found = await activity(node.client, node.address)
        events = found["events"]
        assert [event["sequence"] for event in events] == sorted({e["sequence"] for e in events})
        leaders = [event["leader"] for event in events if event["kind"] == "leader"]
        assert leaders[-1] == 1
        assert [e["role"] for e in events if e["kind"] == "role"][-1] == "leader"
        assert [e["voters"] for e in events if e["kind"] == "members"] == [[1]]
        assert "joined cluster" in texts(found)
        assert found["started_us"] <= events[0]["t_us"] <= found["now_us"]
        counters = found["counters"]
        assert counters["requests"]["write"]["ok"] == 1
        assert sum(counters["request_seconds"]["write"]["counts"]) == 1
        assert counters["entries_applied"] >= 2
        assert counters["followers"] == {}
        rights = {"users_exist": False, "user": None, "manage": True, "write": True}
        assert found["rights"] == rights
        later = await activity(node.client, node.address, after=found["sequence"], lines=0)
        assert (later["events"], later["sequence"]) == ([], found["sequence"])
        few = await activity(node.client, node.address, lines=2)
        assert len(texts(few)) == 2 < len(texts(found))
        for wrong in ({"lines": 201}, {"lines": -1}, {"after": -1}):
            with pytest.raises(RemoteProtocolError):
                await activity(node.client, node.address, **wrong)


@async_test
async def test_a_leader_knows_how_far_its_followers_are_behind(tmp_path: Path) -> None:
    nodes = [Node(config_of(number, tmp_path, 150)) for number in (1, 2)]
    async with nodes[0], nodes[1]:
        members = [(number, node.address) for number, node in enumerate(nodes, 1)]
        await nodes[0].client.init(members)
        leader = await leader_of(nodes)
        await add(leader.client, "a")
        (follower,) = (node for node in nodes if node is not leader)
        while True:
            found = (await activity(leader.client, leader.address))["counters"]["followers"]
            ((number, lag),) = found.items()
            assert lag["silent_ms"] == 0  # it is the one that responded last
            if lag["lag_entries"] == 0:
                break
            await asyncio.sleep(0.02)
        assert (lag["lag_ms"], nodes[int(number) - 1]) == (0, follower)
        assert (await activity(follower.client, follower.address))["counters"]["followers"] is None


@async_test
async def test_only_who_may_manage_sees_the_log_lines(tmp_path: Path) -> None:
    async with Node(config_of(1, tmp_path)) as node:
        await node.client.init()
        await node.client.set_user("root", password=PASSWORD, roles=["admin"])
        address = node.address
        async with Client([address], user="root", password=PASSWORD) as root:
            await root.set_role("watcher", actions=["observe"])
            await root.set_role("reader", actions=["read", "write"])
            for name, role in (("ann", "watcher"), ("bob", "reader")):
                await root.set_user(name, password=PASSWORD, roles=[role])
            found = await activity(root, address)
            assert texts(found)
            rights = {"users_exist": True, "user": "root", "manage": True, "write": True}
            assert (found["rights"], found["lines_hidden"]) == (rights, False)
        async with Client([address], user="ann", password=PASSWORD) as ann:
            found = await activity(ann, address)
            assert (texts(found), found["lines_hidden"]) == ([], True)
            assert {event["kind"] for event in found["events"]} == {"leader", "role", "members"}
            rights = {"users_exist": True, "user": "ann", "manage": False, "write": False}
            assert found["rights"] == rights
            assert found["counters"]["requests"]
        async with Client([address], user="bob", password=PASSWORD) as bob:
            with pytest.raises(PermissionDenied):
                await activity(bob, address)
        async with connect(f"ws://{address}/", proxy=None) as stranger:
            reply = await ask(stranger, {"GetActivity": {"id": "1"}})
            assert reply["Error"]["detail"]["code"] == Unauthenticated.code
            assert "events" not in str(reply)

        def page() -> tuple[int, str]:
            connection = http.client.HTTPConnection(address, timeout=20)
            connection.request("GET", "/")
            response = connection.getresponse()
            text = response.read().decode()
            connection.close()
            return response.status, text

        # The page is for everyone, because it holds nothing of this cluster.
        status, text = await asyncio.to_thread(page)
        assert status == 200
        for secret in (node.metrics()["qcore"]["cluster_id"], address, PASSWORD):
            assert str(secret) not in text
