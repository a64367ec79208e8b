"""Watches at a real node with real sockets. What the replica does is scripted: it accepts every watch."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from qcore.errors import Refused, WatchCompacted
from qcore.machines.entity.entity_store import EntityStore
from qcore.machines.interface import ApplyContext, Change
from qcore.machines.register import RegisterMachine
from qcore.node.application import Application, EntityApplication, TextApplication
from qcore.node.replica_node import ReplicaNode
from qcore.replica.events import BeginWatch, EndWatch, Notice, ReplicaEffect, Reply, WatchEnded
from qcore.transport.limits import TransportLimits
from tests.docs.test_wire_reference import validator
from tests.node.test_node import running
from tests.transport.support.endpoints import async_test, until

CONFIG = {
    "EntityId": {
        "entity_id": {"typ": "T", "id": 7},
        "field_type": "Name",
        "trigger_on_change": False,
        "context": [],
    }
}
BODY = '{"entity_id":{"typ":"T","id":7},"field_type":"Name","current_value":null,"previous_value":null,"context":null}'
LIMITS = TransportLimits(max_watch_queue_bytes=256 * 1024)


class WatchableStore(EntityStore):
    def last_changes(self) -> Sequence[Change]:
        return ()


class SilentMachine:
    """Has no state, and does not report changes."""

    name = "silent"
    versions = (1, 1)

    def apply(self, command: str, context: ApplyContext) -> str:
        return ""

    def query(self, query: str) -> str:
        return ""

    def snapshot(self) -> Iterable[str]:
        return [""]

    def restore(self, chunks: Iterable[str]) -> None:
        assert "".join(chunks) == ""

    def state_hash(self) -> str:
        return "0"


class ScriptedReplica:
    """Takes the node's events about watches, and passes effects to its driver as a step of the replica does.

    Attributes:
        slow: registrations wait for `accept`.
    """

    def __init__(self, node: ReplicaNode) -> None:
        self.slow = False
        self.begun: list[BeginWatch] = []
        self.ended: list[int] = []
        self._node = node
        handlers = node._replica._on_event
        handlers[BeginWatch] = self._begin
        handlers[EndWatch] = lambda event: self.ended.append(event.watch_id)

    def _begin(self, event: BeginWatch) -> None:
        self.begun.append(event)
        if not self.slow:
            self.accept(event)

    def accept(self, event: BeginWatch) -> None:
        self._node._replica._out.append(Reply(event.request_id, "[5,0]", 5, None))

    def report(self, *effects: ReplicaEffect) -> None:
        self._node._driver._execute(effects, 0)

    def notify(self, index: int, body: str = BODY) -> None:
        live = [each.watch_id for each in self.begun if each.watch_id not in self.ended]
        self.report(*(Notice(watch_id, index, 0, body) for watch_id in live))


class World:
    def __init__(self, node: ReplicaNode, address: str) -> None:
        self.node = node
        self.address = address
        self.replica = ScriptedReplica(node)

    def connect(self, **options: Any) -> connect:
        return connect(f"ws://{self.address}", proxy=None, **options)


@asynccontextmanager
async def watchable(
    tmp_path: Path, application: Application | None = None, limits: TransportLimits = LIMITS
) -> AsyncIterator[World]:
    chosen = application or EntityApplication(WatchableStore())
    async with running(tmp_path, chosen, limits=limits) as world:
        yield World(world.node, world.address)


async def receive(ws: ClientConnection) -> dict[str, Any]:
    async with asyncio.timeout(10):
        envelope: dict[str, Any] = json.loads(await ws.recv())
    return envelope


async def ask(ws: ClientConnection, name: str, **fields: object) -> Any:
    await ws.send(json.dumps({name: {"id": "1", **fields}}))
    envelope = await receive(ws)
    return envelope.get(f"{name}Response") or envelope


async def register(ws: ClientConnection, name: str = "StoreRegisterNotification") -> str:
    answer = await ask(ws, name, config=CONFIG)
    assert answer["after"] == [5, 0]
    token: str = answer["response"]["Ok"]
    return token


@async_test
async def test_each_registration_is_notified_in_its_spelling(tmp_path: Path) -> None:
    async with watchable(tmp_path) as world, world.connect() as ws, world.connect() as other:
        first = await register(ws)
        second = await register(ws, "RegisterNotification")
        assert json.loads(world.replica.begun[0].request) == CONFIG
        world.replica.notify(9)
        expected = {**json.loads(BODY), "index": 9, "sequence": 0}
        long, short = await receive(ws), await receive(ws)
        assert long == {"StoreNotification": {"notification": {**expected, "token": first}}}
        assert short == {"Notification": {"notification": {**expected, "token": second}}}
        pairs = (await ask(ws, "GetNotificationConfigs"))["response"]
        assert pairs == [[first, CONFIG], [second, CONFIG]]
        assert (await ask(other, "StoreGetNotificationConfigs"))["response"] == []
        for connection, token, found in (
            (other, first, False),
            (ws, first, True),
            (ws, first, False),
        ):
            answer = await ask(connection, "StoreUnregisterNotification", token=token)
            assert answer["response"] is found
        assert (await ask(ws, "UnregisterNotification", token="no UUID"))["response"] is False
        world.replica.notify(10)
        assert (await receive(ws))["Notification"]["notification"]["index"] == 10
        assert world.node.metrics.notifications_sent == 3
        page = world.node.exposition()
        assert "qcore_watches 1.0\n" in page
        assert "qcore_notifications_sent_total 3.0\n" in page


@async_test
async def test_errors_of_a_registration_name_the_field(tmp_path: Path) -> None:
    entity = CONFIG["EntityId"]
    async with watchable(tmp_path) as world, world.connect() as ws:
        for fields, name in (
            ({"config": {"EntityId": {**entity, "field_type": "Parent->Name"}}}, "field_type"),
            ({"config": {"EntityId": {**entity, "context": [1]}}}, "context"),
            ({"config": {"EntityId": {**entity, "context": ["Name"] * 33}}}, "context"),
            ({"config": {"EntityId": {**entity, "more": 1}}}, "more"),
            ({"config": {}}, "config"),
            ({"config": {"EntityType": entity}}, "entity_type"),
            ({"config": CONFIG, "after": [1]}, "after"),
            ({"config": CONFIG, "after": [1, -2]}, "after"),
            ({"config": CONFIG, "after": [-1, 0]}, "after"),
            ({"config": CONFIG, "after": [1, 2**63]}, "after"),
        ):
            error = (await ask(ws, "StoreRegisterNotification", **fields))["Error"]
            assert name in error["detail"]["field"], error
        assert world.replica.begun == []
        for after in ([3, 1], [4, -1]):
            await ask(ws, "StoreRegisterNotification", config=CONFIG, after=after)
            assert world.replica.begun[-1].after == tuple(after)


@async_test
async def test_other_machines_have_topics(tmp_path: Path) -> None:
    application = TextApplication(RegisterMachine())
    async with watchable(tmp_path, application) as world, world.connect() as ws:
        token = (await ask(ws, "WatchChanges", topic='a"b'))["response"]["Ok"]
        assert world.replica.begun[0].request == 'a"b'
        world.replica.notify(6, "[1]")
        change = {"change": [1], "index": 6, "sequence": 0, "token": token}
        assert await receive(ws) == {"ChangeNotification": change}
        refused = await ask(ws, "StoreRegisterNotification", config=CONFIG)
        assert "use WatchChanges" in refused["response"]["Err"]
        assert (await ask(ws, "UnwatchChanges", token=token))["response"] is True


@async_test
async def test_writes_notify_in_order_and_a_watch_resumes(tmp_path: Path) -> None:
    """Nothing is scripted here: the node's own replica keeps the history."""
    application = TextApplication(RegisterMachine())
    async with (
        running(tmp_path, application) as world,
        connect(f"ws://{world.address}", proxy=None) as ws,
        connect(f"ws://{world.address}", proxy=None) as late,
    ):
        begun = await ask(ws, "WatchChanges", topic="k")
        token = begun["response"]["Ok"]
        seen: list[dict[str, Any]] = []
        for number in range(20):
            command = json.dumps({"op": "set", "key": "k", "value": number})
            await ws.send(json.dumps({"Perform": {"id": "w", "request": {"Write": command}}}))
        answers = 0
        while answers < 20 or len(seen) < 20:
            envelope = await receive(ws)
            if "ChangeNotification" in envelope:
                seen.append(envelope["ChangeNotification"])
            else:
                answers += 1
        places = [(each["index"], each["sequence"]) for each in seen]
        assert places == sorted(set(places))
        figures = cast(Any, world.node.metrics_object())["qcore"]["watches"]
        history = figures["history"]
        assert figures == {
            "watches": 1,
            "connections": 1,
            "sent": 20,
            "cut_off": 0,
            "compacted": 0,
            "history": {"changes": 20, "bytes": history["bytes"], "first_index": 1},
        }
        assert 20 * 200 < history["bytes"] < 20 * 500
        page = world.node.exposition()
        assert "qcore_watching_connections 1.0\n" in page
        assert "qcore_watch_history_changes 20.0\n" in page
        assert f"qcore_watch_history_bytes {history['bytes']}.0\n" in page
        again = await ask(late, "WatchChanges", topic="k", after=places[4])
        resumed = [(await receive(late))["ChangeNotification"] for _ in range(15)]
        other = again["response"]["Ok"]
        assert resumed == [{**each, "token": other} for each in seen[5:]]
        answer = await ask(ws, "UnwatchChanges", token=token)
        assert answer["response"] is True
        for envelope in (
            {"ChangeNotification": seen[0]},
            {"WatchChangesResponse": again},
            {"UnwatchChangesResponse": answer},
        ):
            assert validator().is_valid(envelope), envelope


@async_test
async def test_a_machine_without_changes_refuses_watches(tmp_path: Path) -> None:
    application = TextApplication(SilentMachine())
    async with watchable(tmp_path, application) as world, world.connect() as ws:
        answer = await ask(ws, "WatchChanges", topic="a")
        assert answer["detail"]["code"] == "Refused"
        assert world.replica.begun == []


@async_test
async def test_the_watches_of_a_connection_are_bounded(tmp_path: Path) -> None:
    async with watchable(tmp_path) as world, world.connect() as ws:
        world.node._requests.watches._max_watches = 2
        await register(ws)
        token = await register(ws)
        answer = await ask(ws, "RegisterNotification", config=CONFIG)
        assert answer["detail"]["code"] == "Overloaded"
        await ask(ws, "UnregisterNotification", token=token)
        await register(ws)


@async_test
async def test_registrations_that_wait_leave_room_for_other_requests(tmp_path: Path) -> None:
    async with watchable(tmp_path) as world, world.connect() as ws:
        requests = world.node._requests
        requests.watches._flow._max_requests = 2
        world.replica.slow = True
        for number in range(3):
            message = {"id": str(number), "config": CONFIG, "after": [10**9, 0]}
            await ws.send(json.dumps({"StoreRegisterNotification": message}))
        rejected = (await receive(ws))["StoreRegisterNotificationResponse"]
        assert (rejected["id"], rejected["detail"]["code"]) == ("2", "Overloaded")
        assert requests._flow.requests == 0
        for event in world.replica.begun:
            world.replica.report(Reply(event.request_id, "[5,0]", 5, None))
        assert [(await receive(ws)).keys() for _ in range(2)]
        world.replica.slow = False
        await register(ws)


@async_test
async def test_a_closed_connection_ends_its_watches(tmp_path: Path) -> None:
    async with watchable(tmp_path) as world:
        async with world.connect() as ws:
            await register(ws)
            await register(ws)
        await until(lambda: len(world.replica.ended) == 2, "both watches ended")
        assert world.node.metrics.watches == 0
        assert world.node._requests.watches._connections == {}


@async_test
async def test_a_connection_with_watches_is_not_idle(tmp_path: Path) -> None:
    limits = TransportLimits(idle_timeout_s=0.1, ping_interval_s=0.05)
    async with watchable(tmp_path, limits=limits) as world, world.connect() as ws:
        token = await register(ws)
        await asyncio.sleep(0.4)
        world.replica.notify(6)
        assert "StoreNotification" in await receive(ws)
        await ask(ws, "StoreUnregisterNotification", token=token)
        with pytest.raises(ConnectionClosed, match="idle"):
            await receive(ws)


@async_test
async def test_the_end_of_a_watch_is_reported(tmp_path: Path) -> None:
    async with watchable(tmp_path) as world, world.connect() as ws:
        token = await register(ws)
        world.replica.notify(6)
        ended = WatchEnded(world.replica.begun[0].watch_id, WatchCompacted("too old", 40))
        world.replica.report(ended, ended)
        assert "StoreNotification" in await receive(ws)
        error = (await receive(ws))["Error"]
        assert error["id"] == token
        detail = error["detail"]
        assert (detail["code"], detail["first_index"], detail["token"]) == (
            "WatchCompacted",
            40,
            token,
        )
        assert (await ask(ws, "StoreGetNotificationConfigs"))["response"] == []
        page = world.node.exposition()
        assert "qcore_watches_compacted_total 1.0\n" in page
        assert "qcore_watches_cut_off_total 0.0\n" in page
        assert "qcore_watching_connections 0.0\n" in page


@async_test
async def test_a_client_that_does_not_read_is_cut_off(tmp_path: Path) -> None:
    async with watchable(tmp_path) as world, world.connect(max_queue=1, ping_interval=None) as ws:
        tokens = [await register(ws), await register(ws)]
        (served,) = (each for each in world.node._server.connections() if each.watches)
        ws.transport.pause_reading()
        index, body, held = 5, BODY[:-1] + f',"fill":"{"x" * 4000}"}}', 0
        while not world.replica.ended:
            index += 1
            assert index < 20_000, "the queue must be bounded"
            world.replica.notify(index, body)
            held = max(held, served.unsent_bytes())
            if index % 50 == 0:
                await asyncio.sleep(0)
        assert held <= LIMITS.max_watch_queue_bytes
        await until(lambda: len(world.replica.ended) == 2, "both watches ended")
        world.replica.notify(index + 1, body)
        assert world.node.metrics.watches_cut_off == 2
        ws.transport.resume_reading()
        seen: dict[str, list[int]] = {token: [] for token in tokens}
        errors: list[str] = []
        while len(errors) < 2:
            envelope = await receive(ws)
            if "Error" in envelope:
                assert envelope["Error"]["detail"]["code"] == "WatchOverflow"
                errors.append(envelope["Error"]["id"])
            else:
                notification = envelope["StoreNotification"]["notification"]
                assert not errors, "the errors come last"
                seen[notification["token"]].append(notification["index"])
        assert errors == tokens
        for indexes in seen.values():
            assert indexes == list(range(6, 6 + len(indexes)))
        assert sum(map(len, seen.values())) == world.node.metrics.notifications_sent > 50
        await register(ws)  # the connection is still usable


@async_test
async def test_a_registration_that_waits_is_cut_off_too(tmp_path: Path) -> None:
    async with watchable(tmp_path) as world, world.connect(max_queue=1, ping_interval=None) as ws:
        token = await register(ws)
        world.replica.slow = True
        await ws.send(json.dumps({"StoreRegisterNotification": {"id": "late", "config": CONFIG}}))
        await until(lambda: len(world.replica.begun) == 2, "the registration waits")
        waiting = world.replica.begun[1]
        ws.transport.pause_reading()
        body = BODY[:-1] + f',"fill":"{"x" * 8000}"}}'
        for index in range(6, 3000):
            if waiting.watch_id in world.replica.ended:
                break
            notice = Notice(world.replica.begun[0].watch_id, index, 0, body)
            world.replica.report(notice)
            await asyncio.sleep(0)
        assert waiting.watch_id in world.replica.ended
        world.replica.report(Reply(waiting.request_id, "[5,0]", 5, None))
        ws.transport.resume_reading()
        codes: dict[str, str] = {}
        while len(codes) < 2:
            envelope = await receive(ws)
            for content in envelope.values():
                if "detail" in content:
                    codes[content["id"]] = content["detail"]["code"]
        assert codes == {token: "WatchOverflow", "late": "WatchOverflow"}
        assert world.node.metrics.watches == 0
        assert (await ask(ws, "StoreGetNotificationConfigs"))["response"] == []


@pytest.mark.parametrize("ends", [True, False])
@async_test
async def test_a_connection_that_closes_while_it_registers(tmp_path: Path, ends: bool) -> None:
    """Whether the replica ends the request or has begun the watch already, no watch remains."""
    async with watchable(tmp_path) as world:
        world.replica.slow = True
        async with world.connect() as ws:
            await ws.send(json.dumps({"StoreRegisterNotification": {"id": "r", "config": CONFIG}}))
            await until(lambda: len(world.replica.begun) == 1, "the registration waits")
        (begun,) = world.replica.begun
        await until(lambda: world.replica.ended == [begun.watch_id], "the request is ended")
        error = Refused("ended") if ends else None
        result = None if ends else "[5,0]"
        world.replica.report(Reply(begun.request_id, result, 5, error))
        assert set(world.replica.ended) == {begun.watch_id}
        requests = world.node._requests.watches
        assert (requests._watches, requests._connections) == ({}, {})
        assert world.node.metrics.watches == 0


@async_test
async def test_no_watch_of_a_closed_connection_remains_in_the_replica(tmp_path: Path) -> None:
    """Nothing is scripted here. Some registrations have begun, and some wait for an index."""
    application = TextApplication(RegisterMachine())
    async with running(tmp_path, application) as world:
        for _ in range(20):
            async with connect(f"ws://{world.address}", proxy=None) as ws:
                for after in (None, [10**9, 0], [0, -1]):
                    content = {"id": "r", "topic": "k", "after": after}
                    await ws.send(json.dumps({"WatchChanges": content}))
        watches = world.node._replica.watches
        await until(lambda: not len(watches) and not watches._beginning, "none remains")
        assert world.node.metrics.watches == 0
        assert not watches._live
        assert not watches.busy
        assert world.node._requests._flow.requests == 0


@async_test
async def test_many_deaf_watchers_are_cut_off_not_dropped(tmp_path: Path) -> None:
    """Each is below its own limit; together they would exceed that of all clients."""
    limits = TransportLimits(max_clients_bytes=1024 * 1024)
    async with watchable(tmp_path, limits=limits) as world, world.connect() as reads:
        deaf = [await world.connect(max_queue=1, ping_interval=None) for _ in range(8)]
        for ws in deaf:
            await register(ws)
            ws.transport.pause_reading()
        token = await register(reads)
        body = BODY[:-1] + f',"fill":"{"x" * 20_000}"}}'
        index = 5
        while len(world.replica.ended) < len(deaf):
            index += 1
            assert index < 3000, "the queues must be bounded"
            world.replica.notify(index, body)
            notification = (await receive(reads))["StoreNotification"]["notification"]
            assert (notification["index"], notification["token"]) == (index, token)
        assert world.node._server.stats.connections_refused == 0
        assert world.node.metrics.watches_cut_off == len(deaf)
        for ws in deaf:
            ws.transport.resume_reading()
            indexes: list[int] = []
            while "Error" not in (envelope := await receive(ws)):
                indexes.append(envelope["StoreNotification"]["notification"]["index"])
            assert envelope["Error"]["detail"]["code"] == "WatchOverflow"
            assert indexes == list(range(6, 6 + len(indexes)))
            await register(ws)
            await ws.close()
