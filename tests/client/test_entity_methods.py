"""The typed methods of the client, against a whole node: every message, every kind of value, every option."""

from __future__ import annotations

import ast
import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qcore.client import (
    DEFAULT,
    Choice,
    Client,
    Created,
    CreateEntity,
    DeleteEntity,
    Entity,
    EntityId,
    Field,
    MoveEntity,
    ReadField,
    RenameEntity,
    Stale,
    Timestamp,
    Value,
    WriteField,
    parse_id,
)
from qcore.client.entity_values import decode_value, encode_value
from qcore.errors import ConfigError, KindMismatch, PathNotFound, StoreError
from qcore.machines.register import RegisterMachine
from qcore.node.application import TextApplication
from qcore.store_api.message_table import STORE_MESSAGES
from tests.checkout import CHECKOUT
from tests.node.test_node import running


def field(kind: str, name: str, default: object, **more: object) -> dict[str, object]:
    common = {"field_type": name, "rank": 0, "read_permission": None, "write_permission": None}
    return {kind: {**common, "default_value": default, **more}}


FIELDS = {
    "Name": field("String", "Name", ""),
    "Parent": field("EntityReference", "Parent", None),
    "Children": field("EntityList", "Children", []),
    "Text": field("String", "Text", "none"),
    "Count": field("Int", "Count", 3),
    "Share": field("Float", "Share", 0.5),
    "On": field("Bool", "On", False),
    "Data": field("Blob", "Data", []),
    "Seen": field("Timestamp", "Seen", {"secs_since_epoch": 0, "nanos_since_epoch": 0}),
    "Mode": field("Choice", "Mode", 0, choices=["off", "on"]),
    "Link": field("EntityReference", "Link", None),
    "Links": field("EntityList", "Links", []),
}
ITEM = {"entity_type": "Item", "inherit": None, "fields": FIELDS}


@asynccontextmanager
async def store(directory: Path) -> AsyncIterator[Client]:
    """A client of a node with the type `Item`."""
    async with running(directory) as world, Client([world.address], timeout_s=10) as client:
        await client.set_schema(ITEM)
        yield client


def with_store(directory: Path, work: Callable[[Client], Awaitable[None]]) -> None:
    async def scenario() -> None:
        async with store(directory) as client:
            await work(client)

    asyncio.run(scenario())


def test_every_kind_of_value_is_written_and_read(tmp_path: Path) -> None:
    async def work(client: Client) -> None:
        root = await client.create_entity("Item", "root")
        values: dict[str, Value] = {
            "Text": "né\n",
            "Count": -(2**63),
            "Share": -0.25,
            "On": True,
            "Data": bytes(range(256)),
            "Seen": Timestamp(2**40, 999_999_999),
            "Mode": Choice(1),
            "Link": root.entity_id,
            "Links": [root.entity_id, root.entity_id],
        }
        for name, value in values.items():
            written = await client.write(root, name, value)
            assert written.value == value
            assert written.write_time is not None
            assert await client.read(root, name) == value
        whole = await client.get_entity(root)
        assert {name: whole[name] for name in values} == values
        assert whole["Name"] == "root"

    with_store(tmp_path, work)


def test_values_are_written_in_several_forms(tmp_path: Path) -> None:
    async def work(client: Client) -> None:
        root = await client.create_entity("Item", "root")
        await client.write(root, "Link", root)
        assert await client.read(root, "Link") == root.entity_id
        await client.write(str(root.entity_id), "Link", None)
        assert await client.read(root.entity_id, "Link") is None
        await client.write(root, "Links", [root, str(root.entity_id)])
        assert await client.read(root, "Links") == [root.entity_id] * 2
        await client.write(root, "Seen", datetime(2026, 1, 2, tzinfo=UTC))
        seen = await client.read(root, "Seen")
        assert isinstance(seen, Timestamp)
        assert seen.to_datetime() == datetime(2026, 1, 2, tzinfo=UTC)
        await client.write(root, "Mode", {"Choice": 1})
        await client.write(root, "Count", 10)
        assert (await client.write(root, "Count", 5, adjust_behavior="Add")).value == 15
        assert (await client.write(root, "Count", DEFAULT)).value == 3
        with pytest.raises(KindMismatch):
            await client.write(root, "Share", 1)
        assert await client.read(root, "Mode") == Choice(1)

    with_store(tmp_path, work)


def test_entities_are_created_found_moved_and_deleted(tmp_path: Path) -> None:
    async def work(client: Client) -> None:
        root = await client.create_entity("Item", "root")
        assert root["Count"] == 3
        kids = [await client.create_entity("Item", f"kid {n}", root) for n in range(3)]
        ids = [kid.entity_id for kid in kids]
        assert await client.find_by_path("root/kid 1") == ids[1]
        assert await client.find_by_path(["root", "kid 2"]) == ids[2]
        with pytest.raises(PathNotFound):
            await client.find_by_path("root/nothing")
        page = await client.get_children(root, limit=2)
        assert (page.items, page.total) == (ids[:2], 3)
        rest = await client.get_children(root, limit=2, cursor=page.next_cursor)
        assert (rest.items, rest.next_cursor) == (ids[2:], None)
        assert [found async for found in client.children(root)] == ids
        assert [found async for found in client.children()] == [root.entity_id]
        await client.write(kids[0], "Count", 9)
        found = await client.find_entities("Item", "Count > 3", exact=True)
        assert found.items == ids[:1]
        assert [found async for found in client.entities("Item")] == [root.entity_id, *ids]
        await client.rename_entity(kids[0], "first")
        await client.move_entity(kids[0], None)
        assert await client.find_by_path("first") == ids[0]
        assert await client.read(kids[1], "Parent->Name") == "root"
        assert await client.field_exists(kids[1], "Parent->Count")
        assert not await client.field_exists(kids[1], "Nothing")
        await client.delete_entity(root)
        assert not await client.entity_exists(ids[1])
        assert await client.entity_exists(ids[0])

    with_store(tmp_path, work)


def test_pages_follow_one_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qcore.client.methods.item_pages._PAGE_SIZE", 2)

    async def work(client: Client) -> None:
        made = await client.bulk([CreateEntity("Item", str(n)) for n in range(5)])
        assert [found async for found in client.entities("Item")] == made
        assert [found async for found in client.children()] == made
        names = [f"T{n}" for n in range(5)]
        for name in names:
            await client.set_schema({"entity_type": name, "inherit": "Item", "fields": {}})
        assert [found async for found in client.entity_types()] == ["Item", *names]

    with_store(tmp_path, work)


def test_an_update_and_a_bulk_take_effect_as_a_whole(tmp_path: Path) -> None:
    async def work(client: Client) -> None:
        one, two = [await client.create_entity("Item", name) for name in ("one", "two")]
        fields = await client.update(
            [
                WriteField(one, "Count", 2, adjust_behavior="Subtract"),
                WriteField(two, "Text", "x", writer_id=one, write_time=Timestamp(5, 6)),
                ReadField(one, "Count"),
            ]
        )
        assert [each.value for each in fields] == [1, "x", 1]
        assert fields[1] == Field("Text", "x", Timestamp(5, 6), one.entity_id)
        with pytest.raises(StoreError):
            await client.update([WriteField(one, "Count", 7), WriteField(two, "Nothing", 7)])
        read = [ReadField(one, "Count"), ReadField(two, "Text")]
        for found in (await client.update(read), await client.read_fields(read)):
            assert [each.value for each in found] == [1, "x"]
        results = await client.bulk(
            [
                CreateEntity("Item", "a", one),
                CreateEntity("Item", "b", Created(0)),
                WriteField(Created(1), "Link", Created(0)),
                WriteField(Created(1), "Links", [Created(0), two]),
                ReadField(Created(1), "Parent->Name"),
                RenameEntity(Created(1), "c"),
                MoveEntity(Created(1), two),
                DeleteEntity(one),
            ]
        )
        a, b = results[:2]
        assert isinstance(a, EntityId)
        assert isinstance(b, EntityId)
        values = [each.value if isinstance(each, Field) else each for each in results[2:]]
        assert values == [a, [a, two.entity_id], "a", None, None, None]
        assert await client.find_by_path("two/c") == b
        assert not await client.entity_exists(a)

    with_store(tmp_path, work)


def test_types_and_the_whole_state(tmp_path: Path) -> None:
    async def work(client: Client) -> None:
        await client.set_schema({"entity_type": "Sub", "inherit": "Item", "fields": {}})
        own, whole = await client.get_schema("Sub"), await client.get_schema("Sub", complete=True)
        assert own is not None
        assert whole is not None
        assert (own["fields"], list(whole["fields"])) == ({}, list(FIELDS))
        assert await client.get_schema("Nothing") is None
        await client.set_field_schema("Sub", "More", field("Int", "More", 1))
        found = await client.get_field_schema("Sub", "More")
        assert found is not None
        assert found["Int"]["default_value"] == 1
        assert await client.get_field_schema("Sub", "Nothing") is None
        page = await client.get_entity_types(limit=1)
        assert (page.items, page.total) == (["Item"], 2)
        assert (await client.get_entity_types(limit=1, cursor=page.next_cursor)).items == ["Sub"]
        await client.create_entity("Sub", "kept")
        snapshot = await client.take_snapshot()
        await client.create_entity("Sub", "gone")
        await client.restore_snapshot(snapshot)
        assert await client.take_snapshot() == snapshot

    with_store(tmp_path, work)


def test_reads_take_a_consistency(tmp_path: Path) -> None:
    async def work(client: Client) -> None:
        root = await client.create_entity("Item", "root")
        for consistency in ("linearizable", "lease", "follower", Stale(60_000), {"stale": 60_000}):
            value = await client.read(root, "Name", consistency=consistency)  # type: ignore[arg-type]  # a union
            assert value == "root"
        with pytest.raises(ConfigError, match="'eventual' is unknown: give 'linearizable'"):
            await client.read(root, "Name", consistency="eventual")  # type: ignore[arg-type]  # as a program without type checks may do

    with_store(tmp_path, work)


def test_one_execute_has_one_result_type_in_every_mode(tmp_path: Path) -> None:
    async def scenario() -> None:
        application = TextApplication(RegisterMachine())
        async with (
            running(tmp_path, application) as world,
            Client([world.address]) as client,
            await client.open_session() as session,
        ):
            results = [
                await client.execute('{"op": "set", "key": "k", "value": 1}'),
                await client.execute('{"op": "set", "key": "k", "value": 1}', session=session),
            ]
            query = '{"op": "get", "key": "k"}'
            results += [
                await client.execute(query, read=True),
                await client.execute(query, read=True, consistency="follower"),
                await client.execute(query, read=True, consistency=Stale(60_000)),
            ]
            assert all(isinstance(result, str) for result in results)
            assert len(set(results[2:])) == 1
            with pytest.raises(ConfigError, match="give read=True"):
                await client.execute(query, consistency="lease")
            with pytest.raises(ConfigError, match="needs no session"):
                await client.execute(query, read=True, session=session)

    asyncio.run(scenario())


def test_every_message_of_the_store_has_a_method() -> None:
    sent = {
        node.value
        for path in (CHECKOUT / "qcore/client").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    missing = {name for name in STORE_MESSAGES if name.startswith("Store")} - sent
    assert not missing


@pytest.mark.parametrize("text", ["", "User", "User$", "$7", "User$-7", "User$7x", "User$٧"])
def test_a_text_that_is_no_id_is_rejected(text: str) -> None:
    with pytest.raises(ConfigError, match="write type, \\$ and number"):
        parse_id(text)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (datetime(2026, 1, 1), "has no time zone"),
        (datetime(1969, 1, 1, tzinfo=UTC), "cannot be before 1970"),
        ({1, 2}, "its class is set"),
        ([5], "5 names no entity"),
    ],
)
def test_a_value_that_no_field_holds_is_rejected(value: Any, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        encode_value(value)


def test_an_entity_shows_its_values() -> None:
    item = Entity(EntityId("Item", 7), {"Text": Field("Text", "x", None, None)})
    assert (item["Text"], str(item.entity_id), parse_id("A$b$7")) == (
        "x",
        "Item$7",
        EntityId("A$b", 7),
    )


ids = st.builds(EntityId, st.text(min_size=1), st.integers(0, 2**64 - 1))
values: st.SearchStrategy[Value] = st.one_of(
    st.text(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
    st.binary(max_size=100),
    st.builds(Timestamp, st.integers(0, 2**63 - 1), st.integers(0, 10**9 - 1)),
    st.builds(Choice, st.integers(0, 2**63 - 1)),
    st.none() | ids,
    st.lists(ids),
)


@given(values)
def test_a_value_survives_the_wire(value: Value) -> None:
    encoded = encode_value(value)
    assert encoded is not None
    decoded = decode_value(encoded)
    assert (decoded, type(decoded)) == (value, type(value))


@given(ids)
def test_an_id_survives_its_text(entity_id: EntityId) -> None:
    assert parse_id(str(entity_id)) == entity_id
