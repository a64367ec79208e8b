"""Watches on a real cluster whose nodes are killed: each sees every change once and in order, wherever it resumes."""

from __future__ import annotations

import asyncio
import json
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from qcore.processes import ProcessCluster
from tests.machines.entity.harness import write
from tests.process.conftest import ARGUMENTS, assert_no_traceback, initialise
from tests.process.support.wire_client import WireClient
from tests.process.wire.test_notifications import build
from tests.transport.support.endpoints import until

pytestmark = [pytest.mark.process, pytest.mark.long]

Place = tuple[int, int]

BOUNDS = (*ARGUMENTS, "--snapshot-entries", "150", "--keep-entries", "20")


@asynccontextmanager
async def connected(address: str) -> AsyncIterator[ClientConnection]:
    """A connection to a node, which may be dead."""
    async with asyncio.timeout(5):
        socket = await connect(f"ws://{address}", proxy=None, max_size=None)
    try:
        yield socket
    finally:
        # A close would first have to read the notifications that are still coming.
        socket.transport.abort()


async def receive(socket: ClientConnection) -> tuple[str, Any]:
    """The next envelope, which must come soon."""
    async with asyncio.timeout(8):
        ((name, content),) = json.loads(await socket.recv()).items()
    return name, content


class Watching:
    """One client that watches a topic, and resumes at another node whenever it loses the connection.

    Args:
        cluster: the nodes.
        config: what to watch.
        rng: draws nodes and times.
    """

    def __init__(self, cluster: ProcessCluster, config: object, rng: random.Random) -> None:
        self.cluster, self.config, self.rng = cluster, config, rng
        #: What it has seen since each start without a position, with the position of that start.
        self.runs: list[tuple[Place, list[tuple[Place, object]]]] = []
        self.position: Place | None = None
        self.resumed = self.compacted = 0

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            try:
                async with connected(self.rng.choice(self.cluster.endpoints)) as socket:
                    await self._watch(socket)
            except (OSError, TimeoutError, WebSocketException):
                await asyncio.sleep(0.02)

    async def _watch(self, socket: ClientConnection) -> None:
        after = self.position
        content = {"id": "r", "config": self.config, "after": after}
        await socket.send(json.dumps({"StoreRegisterNotification": content}))
        name, answer = await receive(socket)
        assert name == "StoreRegisterNotificationResponse", answer
        if "Err" in answer["response"]:
            self._failed(answer["detail"]["code"])
            return
        token = answer["response"]["Ok"]
        if after is None:
            self.position = tuple(answer["after"])
            self.runs.append((self.position, []))
        else:
            assert tuple(answer["after"]) == after
            self.resumed += 1
        for _ in range(self.rng.randrange(5, 200)):
            name, got = await receive(socket)
            if name == "Error":
                assert got["detail"]["token"] == token
                self._failed(got["detail"]["code"])
                return
            notification = got["notification"]
            assert notification["token"] == token
            place = notification["index"], notification["sequence"]
            assert self.position is not None
            assert place > self.position
            self.position = place
            self.runs[-1][1].append((place, json.dumps(notification["current_value"])))

    def _failed(self, code: str) -> None:
        if code == "WatchCompacted":
            self.compacted += 1
            self.position = None
        else:
            assert code in ("DeadlineExceeded", "NotLeader", "Overloaded", "WatchOverflow"), code


async def keep_writing(
    cluster: ProcessCluster, users: list[Any], number: int, rng: random.Random, done: list[str]
) -> None:
    """Write numbers that no other writer uses, several in a command; note those that were acknowledged."""
    value = number
    while True:
        try:
            async with connected(rng.choice(cluster.endpoints)) as socket:
                while True:
                    value += 1000
                    user = rng.choice(users)
                    texts = [{"Int": value + 100 * part} for part in range(rng.randrange(1, 4))]
                    requests = [write(user, "Age", text) for text in texts]
                    content = {"StorePerform": {"id": "w", "requests": requests}}
                    await socket.send(json.dumps(content))
                    _, answer = await receive(socket)
                    if "Ok" not in answer["response"]:
                        break
                    done += map(json.dumps, texts)
        except (OSError, TimeoutError, WebSocketException):
            await asyncio.sleep(0.02)


async def storm(cluster: ProcessCluster, configs: list[object], rng: random.Random) -> None:
    """Register, unregister and hang up, all the time."""
    while True:
        try:
            async with connected(rng.choice(cluster.endpoints)) as socket:
                for turn in range(rng.randrange(1, 30)):
                    content = {"id": str(turn), "config": rng.choice(configs)}
                    await socket.send(json.dumps({"RegisterNotification": content}))
                    if rng.random() < 0.7:
                        continue
                    name = ""
                    while name != "RegisterNotificationResponse":
                        name, answer = await receive(socket)
                    token = {"id": "u", "token": answer["response"].get("Ok", "none")}
                    await socket.send(json.dumps({"UnregisterNotification": token}))
        except (OSError, TimeoutError, WebSocketException):
            await asyncio.sleep(0.02)


async def kill_leaders(cluster: ProcessCluster, rounds: int, rng: random.Random) -> None:
    """Kill the leader or another node again and again, and start it again."""
    for _ in range(rounds):
        await asyncio.sleep(rng.uniform(0.3, 1.2))
        leader = await asyncio.to_thread(cluster.wait_leader)
        victim = leader if rng.random() < 0.7 else rng.choice(cluster.running())
        victim.kill()
        await asyncio.sleep(rng.uniform(0.05, 0.8))
        await asyncio.to_thread(victim.start)
    await asyncio.to_thread(cluster.wait_leader)
    await asyncio.sleep(1)


async def schedule(cluster: ProcessCluster, users: list[Any], rounds: int, seed: int) -> None:
    rng = random.Random(seed)
    by_entity = [
        {"entity_id": user, "field_type": "Age", "trigger_on_change": False, "context": ["Name"]}
        for user in users
    ]
    of_type = {"entity_type": "User", "field_type": "Age", "trigger_on_change": True, "context": []}
    configs: list[object] = [*({"EntityId": each} for each in by_entity), {"EntityType": of_type}]
    watchers = {
        number: Watching(cluster, configs[number % len(configs)], random.Random(seed + number))
        for number in range(30)
    }
    done: list[str] = []
    async with asyncio.TaskGroup() as group:
        watching = [group.create_task(each.run()) for each in watchers.values()]
        await until(lambda: all(each.runs for each in watchers.values()), "all have begun", 30)
        writing = [
            group.create_task(
                keep_writing(cluster, users, number, random.Random(seed - number), done)
            )
            for number in range(1, 6)
        ]
        storms = [
            group.create_task(storm(cluster, configs, random.Random(seed + 100 * number)))
            for number in range(1, 4)
        ]
        await kill_leaders(cluster, rounds, rng)
        for task in writing + storms:
            task.cancel()
        await asyncio.gather(*writing, *storms, return_exceptions=True)
        # No watcher may wait for ever, wherever it is.
        await until(lambda: not list(behind(watchers, len(configs))), "all have seen the end", 60)
        await asyncio.sleep(0.5)
        for task in watching:
            task.cancel()
    check(watchers, len(configs), done)


def behind(watchers: dict[int, Watching], topics: int) -> Iterator[int]:
    """The watchers that have not reached the last change of their topic that any watcher has seen."""
    newest: dict[int, Place] = defaultdict(lambda: (0, 0))
    for number, watcher in watchers.items():
        last = max((seen[-1][0] for _, seen in watcher.runs if seen), default=(0, 0))
        newest[number % topics] = max(newest[number % topics], last)
    for number, watcher in watchers.items():
        if (watcher.position or (0, 0)) < newest[number % topics]:
            yield number


def check(watchers: dict[int, Watching], topics: int, done: list[str]) -> None:
    """Each run of a watcher holds every change of its topic behind its start that any watcher saw."""
    known: dict[int, dict[Place, object]] = defaultdict(dict)
    for number, watcher in watchers.items():
        for _, seen in watcher.runs:
            for place, value in seen:
                assert known[number % topics].setdefault(place, value) == value
    for number, watcher in watchers.items():
        changes = sorted(known[number % topics].items())
        assert watcher.runs
        for turn, (begun, seen) in enumerate(watcher.runs):
            expected = [each for each in changes if each[0] > begun]
            if turn < len(watcher.runs) - 1:
                expected = expected[: len(seen)]  # it was compacted behind these
            assert seen == expected, f"watcher {number}, run {turn}"
    of_type = set(known[topics - 1].values())
    assert len(done) > 100
    assert sum(watcher.resumed for watcher in watchers.values()) > 100
    if all(watcher.compacted == 0 for watcher in watchers.values()):
        assert set(done) <= of_type, "a change that was acknowledged is received"


@pytest.mark.parametrize(("seed", "history"), [(1, 10_000), (2, 100)])
def test_watches_see_each_change_once_through_kills(
    tmp_path: Path, seed: int, history: int
) -> None:
    """With a short history some watches are compacted; no change is missing before that."""
    arguments = (*BOUNDS, "--watch-history-changes", str(history))
    with ProcessCluster(tmp_path, size=3, arguments=arguments) as cluster:
        cluster.start()
        initialise(cluster)
        with WireClient(cluster.wait_leader().address) as client:
            folder, first = build(client)
            users = [first]
            for name in ("b", "c"):
                made = client.ask(
                    "StoreCreateEntity", entity_type="User", parent_id=folder, name=name
                )
                users.append(made["Ok"]["entity_id"])
        asyncio.run(schedule(cluster, users, 8, seed))
        assert_no_traceback(cluster)
