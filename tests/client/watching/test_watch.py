"""`Client.watch` at real nodes: changes in order, each once, through lost connections, dead nodes and slow programs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from qcore.client import Client, EntityId, FieldChange, MachineChange, Watch, WatchPosition
from qcore.client.watching import watch as watch_module
from qcore.errors import ConfigError, TransportError, WatchCompacted
from qcore.processes import NodeProcess, ProcessCluster
from tests.checkout import EXAMPLES
from tests.machines.entity.harness import FOLDER, OBJECT, USER
from tests.process.conftest import ARGUMENTS, assert_no_traceback, initialise
from tests.transport.support.endpoints import async_test, until

pytestmark = pytest.mark.process


@asynccontextmanager
async def user_of(cluster: ProcessCluster) -> AsyncIterator[tuple[Client, EntityId]]:
    """A client, and a new user."""
    async with Client(cluster.endpoints) as client:
        for schema in (OBJECT, FOLDER, USER):
            await client.set_schema(schema)
        yield client, (await client.create_entity("User", "ada")).entity_id


async def write_ages(client: Client, user: EntityId, *ages: int) -> None:
    for age in ages:
        await client.write(user, "Age", age)


async def take(changes: Watch[FieldChange], number: int) -> list[FieldChange]:
    """The next changes, which must come soon."""
    async with asyncio.timeout(30):
        return [await anext(changes) for _ in range(number)]


def ages_of(changes: list[FieldChange]) -> list[object]:
    positions = [change.position for change in changes]
    assert positions == sorted(set(positions))
    return [change.current_value for change in changes]


async def watches_at(client: Client, cluster: ProcessCluster) -> int:
    """The number of watches that all nodes serve."""
    metrics: list[Any] = [await client.get_metrics(each) for each in cluster.endpoints]
    return sum(each["qcore"]["watches"]["watches"] for each in metrics)


async def until_async(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20):
        while not await condition():  # noqa: ASYNC110  # it asks other processes
            await asyncio.sleep(0.02)


def connections_of(client: Client) -> list[Any]:
    return list(client._sender.endpoints._connections.values())


def cut_connections(client: Client) -> None:
    for connection in connections_of(client):
        connection._wire.abort("for the test")


def test_watches_at_a_running_cluster(shared_cluster: ProcessCluster) -> None:
    """Several tests in one, because they share the client and the schema."""

    async def typed_changes(client: Client, user: EntityId) -> None:
        paths = ["Name", "Manager->Name"]
        async with client.watch(entity=user, field_type="Age", context=paths) as changes:
            ((_, config),) = await client.get_notification_configs()
            assert config["EntityId"] == {
                "entity_id": user._asdict(),
                "field_type": "Age",
                "trigger_on_change": False,
                "context": paths,
            }
            assert changes.position is not None
            begun = changes.position
            await write_ages(client, user, 20, 20, 21)
            first, *others = await take(changes, 3)
            assert first == FieldChange(
                user, "Age", 20, 18, {"Name": "ada", "Manager->Name": None}, (), (), first.position
            )
            assert ages_of([first, *others]) == [20, 20, 21]
            assert changes.position == others[-1].position > begun
        async with asyncio.timeout(20):
            again = client.watch(
                entity_type="Object",
                field_type="Age",
                changes_only=True,
                after=(begun.index, begun.sequence),
            )
            seen = []
            async for change in again:
                seen.append(change)
                if change.current_value == 21:
                    break
        assert [each.current_value for each in seen if each.entity_id == user] == [20, 21]

    async def break_and_cancel(client: Client, user: EntityId) -> None:
        async def none_left() -> bool:
            return await watches_at(client, shared_cluster) == 0

        await until_async(none_left)
        reached = asyncio.Event()

        async def follow() -> None:
            async for _ in client.watch(entity=user, field_type="Age"):
                reached.set()

        following = asyncio.ensure_future(follow())
        while not reached.is_set():
            await write_ages(client, user, 1)
        assert not await none_left()
        following.cancel()
        await until_async(none_left)

        writing = asyncio.ensure_future(write_ages(client, user, *range(40)))
        async for _ in client.watch(entity=user, field_type="Age", after=WatchPosition(1, 0)):
            break
        await until_async(none_left)
        await writing
        # A registration that is cancelled before its response comes.
        for turns in range(6):
            entering = asyncio.ensure_future(
                client.watch(entity=user, field_type="Age").__aenter__()
            )
            for _ in range(turns):
                await asyncio.sleep(0.001)
            entering.cancel()
            await asyncio.gather(entering, return_exceptions=True)
            if not entering.cancelled():
                await entering.result().close()
        await until_async(none_left)

    async def lost_connections(client: Client, user: EntityId) -> None:
        async with client.watch(entity=user, field_type="Age") as changes:
            for first in range(0, 60, 20):
                taking = asyncio.ensure_future(take(changes, 20))
                await write_ages(client, user, *range(first, first + 10))
                cut_connections(client)
                await write_ages(client, user, *range(first + 10, first + 20))
                assert ages_of(await taking) == [*range(first, first + 20)]

    async def the_end_of_the_client(client: Client, user: EntityId) -> None:
        async with Client(shared_cluster.endpoints) as other:
            changes = other.watch(entity=user, field_type="Age")
            await changes.__aenter__()
            waiting = asyncio.ensure_future(anext(changes, None))
            await asyncio.sleep(0)
        assert await waiting is None
        assert connections_of(other) == []

    async def scenario() -> None:
        async with user_of(shared_cluster) as (client, user):
            for test in (typed_changes, break_and_cancel, lost_connections, the_end_of_the_client):
                await test(client, user)

    asyncio.run(scenario())


def test_a_slow_program_gets_every_change(
    shared_cluster: ProcessCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_module, "MAX_WAITING", 10)

    async def scenario() -> None:
        async with user_of(shared_cluster) as (client, user):
            changes = await client.watch(entity=user, field_type="Age").__aenter__()
            seen = []
            for first in range(0, 60, 30):
                await write_ages(client, user, *range(first, first + 30))
                await until(lambda: len(changes._waiting) == 10, "the queue is full")
                assert changes._registered is None, "the client has ended the registration"
                seen += await take(changes, 30)
            assert ages_of(seen) == [*range(60)]

    asyncio.run(scenario())


def test_a_resumed_watch_reports_it_before_a_change(shared_cluster: ProcessCluster) -> None:
    """The report is repeated until it succeeds."""
    order: list[object] = []

    async def resumed() -> None:
        order.append("resumed")
        if len(order) == 2:
            raise ValueError("not yet")

    async def scenario() -> None:
        async with user_of(shared_cluster) as (client, user):
            changes = client.watch(entity=user, field_type="Age")
            changes.on_resumed = resumed
            async with changes:
                await write_ages(client, user, 1)
                order.extend(ages_of(await take(changes, 1)))
                cut_connections(client)
                await write_ages(client, user, 2)
                with pytest.raises(ValueError, match="not yet"):
                    await take(changes, 1)
                order.extend(ages_of(await take(changes, 1)))
        assert order == [1, "resumed", "resumed", 2]

    asyncio.run(scenario())


def node_of(changes: Watch[FieldChange], cluster: ProcessCluster) -> NodeProcess:
    """The node that serves a watch."""
    assert changes._registered is not None
    address = changes._registered.routes.connection.remote
    return next(node for node in cluster.nodes.values() if node.address == address)


def test_a_watch_survives_the_death_of_its_node(shared_cluster: ProcessCluster) -> None:
    async def scenario() -> None:
        async with user_of(shared_cluster) as (client, user):
            changes = await client.watch(entity=user, field_type="Age").__aenter__()
            taking = asyncio.ensure_future(take(changes, 60))
            await write_ages(client, user, *range(30))
            node = node_of(changes, shared_cluster)
            node.kill()
            await write_ages(client, user, *range(30, 60))
            assert ages_of(await taking) == [*range(60)]
            await asyncio.to_thread(node.start)

    asyncio.run(scenario())


@pytest.mark.long
def test_watches_survive_killed_leaders_under_writes(ready_cluster: ProcessCluster) -> None:
    async def scenario() -> None:
        async with user_of(ready_cluster) as (client, user), Client(ready_cluster.endpoints) as two:
            watches = [client.watch(entity=user, field_type="Age") for _ in range(3)]
            watches += [two.watch(entity=user, field_type="Age") for _ in range(3)]
            for each in watches:
                await each.__aenter__()
            done = asyncio.Event()
            written: list[int] = []

            async def write_until_done() -> None:
                while not done.is_set():
                    written.append(len(written))
                    await client.write(user, "Age", written[-1])

            async def follow(changes: Watch[FieldChange]) -> list[FieldChange]:
                seen = []
                async for change in changes:
                    seen.append(change)
                    if change.current_value == -1:
                        break
                return seen

            following = [asyncio.ensure_future(follow(each)) for each in watches]
            writing = asyncio.ensure_future(write_until_done())
            for _ in range(4):
                await asyncio.sleep(0.5)
                node = await asyncio.to_thread(ready_cluster.wait_leader)
                node.kill()
                await asyncio.sleep(0.5)
                await asyncio.to_thread(node.start)
            done.set()
            await writing
            await client.write(user, "Age", -1)
            async with asyncio.timeout(30):
                for seen in await asyncio.gather(*following):
                    assert ages_of(seen) == [*written, -1]

    asyncio.run(scenario())


def test_a_compacted_watch_says_to_read_the_state(tmp_path: Path) -> None:
    arguments = (*ARGUMENTS, "--watch-history-changes", "10")
    with ProcessCluster(tmp_path, size=1, arguments=arguments) as nodes:
        nodes.start()
        initialise(nodes)

        async def scenario() -> None:
            async with user_of(nodes) as (client, user):
                changes = client.watch(entity=user, field_type="Age", timeout_s=20)
                async with changes:
                    await write_ages(client, user, 1)
                    (first,) = await take(changes, 1)
                    assert changes.is_served
                    cut_connections(client)
                    await until(
                        lambda: not changes.is_served, "the watch knows that it is not served"
                    )
                    await write_ages(client, user, *range(30))
                    with pytest.raises(WatchCompacted, match="read the state") as raised:
                        await take(changes, 1)
                    assert raised.value.first_index > first.position.index
                    with pytest.raises(WatchCompacted):
                        await anext(changes)
                async with client.watch(entity=user, field_type="Age") as fresh:
                    await write_ages(client, user, 99)
                    assert ages_of(await take(fresh, 1)) == [99]
                (node,) = nodes.nodes.values()
                node.kill()
                with pytest.raises(TransportError, match=r"no node accepted the watch within 0\.2"):
                    async with client.watch(entity=user, field_type="Age", timeout_s=0.2):
                        pass

        asyncio.run(scenario())
    assert_no_traceback(nodes)


def test_a_topic_of_another_state_machine(tmp_path: Path) -> None:
    machine = f"{EXAMPLES / 'bank' / 'bank.py'}:BankMachine"
    with ProcessCluster(tmp_path, size=1, arguments=("--machine", machine)) as nodes:
        nodes.start()
        initialise(nodes)

        async def scenario() -> None:
            async with Client(nodes.endpoints) as client, client.watch(topic="ada") as changes:
                await client.execute('{"do": "open", "account": "ada"}')
                await client.execute('{"do": "open", "account": "eve"}')
                await client.execute('{"do": "deposit", "account": "ada", "amount": 3}')
                seen = [await anext(changes) for _ in range(2)]
                assert [each.change for each in seen] == [
                    {"account": "ada", "balance": 0},
                    {"account": "ada", "balance": 3},
                ]
                assert all(isinstance(each, MachineChange) for each in seen)

        asyncio.run(scenario())
    assert_no_traceback(nodes)


WRONG: list[dict[str, Any]] = [
    {},
    {"entity": "User$7"},
    {"field_type": "Age"},
    {"entity": "User$7", "entity_type": "User", "field_type": "Age"},
    {"topic": "t", "field_type": "Age"},
    {"topic": "t", "changes_only": True},
    {"topic": "t", "after": (1,)},
    {"topic": "t", "after": (-1, 0)},
    {"entity": "User", "field_type": "Age"},
    {"entity": "User$7", "field_type": "Age", "context": "Name"},
]


@pytest.mark.parametrize("arguments", WRONG, ids=repr)
@async_test
async def test_wrong_arguments_are_rejected(arguments: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"give|has no|names no|not an entity id"):
        Client(["127.0.0.1:1"]).watch(**arguments)
