"""Wrong arguments of the client's methods are rejected before anything is sent, with advice."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from qcore.client import Client, Entity, EntityId, Field, SyncClient
from qcore.errors import ConfigError, KindMismatch
from tests.client.test_entity_methods import with_store

Call = Callable[[Client], Awaitable[object]]

#: Nothing listens there: a call that is sent fails otherwise.
NOWHERE = "127.0.0.1:1"


def rejected(call: Callable[[Any], Awaitable[object]]) -> BaseException:
    """The error of a call at a client of a node that does not exist."""

    async def scenario() -> BaseException:
        async with Client([NOWHERE], timeout_s=0.2) as client:
            with pytest.raises((ConfigError, TypeError)) as raised:
                await call(client)
            return raised.value

    return asyncio.run(scenario())


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda c: c.write("A$1", "N", 1, sesion=3), "'sesion': did you mean session?"),
        (lambda c: c.write("A$1", "N", 1, consistency="lease"), "known: session, timeout_s"),
        (lambda c: c.read("A$1", "N", consistancy="lease"), "did you mean consistency?"),
        (lambda c: c.get_children(None, timeout=1), "did you mean timeout_s?"),
    ],
)
def test_an_unknown_option_is_a_type_error(call: Call, text: str) -> None:
    error = rejected(call)
    assert isinstance(error, TypeError)
    assert text in str(error)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda c: c.write("A$1", "N", 1, session=5), "5 is not a session: give the result of"),
        (lambda c: c.write("A$1", "N", 1, timeout_s=0), "timeout_s is 0: give a number of seconds above 0"),
        (lambda c: c.read("A$1", "N", timeout_s=-1), "give a number of seconds above 0"),
        (lambda c: c.read("A$1", "N", timeout_s=float("nan")), "nan is not a number of seconds"),
        (lambda c: c.perform({"Read": "x"}, timeout_s="5"), "'5' is not a number of seconds"),
        (lambda c: c.write("A$1", "N", float("inf")), "a Float cannot be inf"),
        (lambda c: c.write("A$1", "N", 2**63), "does not fit into an Int"),
        (lambda c: c.write("ada", "N", 1), "write type, $ and number"),
        (lambda c: c.bulk([5]), "5 is not a request: give one of CreateEntity, DeleteEntity"),
        (lambda c: c.update([5]), "give one of ReadField, WriteField"),
        (lambda c: c.set_schema("x"), "'x' is not a mapping"),
        (lambda c: c.find_by_path(5), "5 is not a path: give a text such as Root/Users"),
        (lambda c: c.execute({"a": 1}), "is not a text: encode it"),
        (lambda c: c.init({1: "a:1"}), "1 is not a pair: give the id and host:port"),
        (lambda c: c.init(["a:1"]), "'a:1' is not a pair"),
    ],
)  # fmt: skip
def test_a_wrong_argument_is_rejected_with_advice(call: Call, text: str) -> None:
    error = rejected(call)
    assert isinstance(error, ConfigError)
    assert text in str(error)


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), "5", None, True])
def test_a_client_needs_positive_timeouts(seconds: Any) -> None:
    for name in ("timeout_s", "attempt_timeout_s"):
        with pytest.raises(ConfigError, match=name):
            Client([NOWHERE], **{name: seconds})
        with pytest.raises(ConfigError, match=name):
            SyncClient([NOWHERE], **{name: seconds})


def test_a_closed_client_rejects_every_call() -> None:
    async def scenario() -> None:
        client = Client([NOWHERE])
        await client.close()
        await client.close()
        calls: list[Call] = [
            lambda c: c.get_metrics(),
            lambda c: c.get_metrics(NOWHERE),
            lambda c: c.read("A$1", "N"),
            lambda c: c.write("A$1", "N", 1),
            lambda c: c.open_session(),
        ]
        for call in calls:
            with pytest.raises(ConfigError, match="this client is closed: make another one"):
                await call(client)
        with pytest.raises(ConfigError, match="this client is closed"):
            client.watch(topic="x")

    asyncio.run(scenario())


def test_a_value_of_another_kind_names_the_right_one(tmp_path: Path) -> None:
    async def work(client: Client) -> None:
        item = await client.create_entity("Item", "x")
        for field, value, advice in (
            ("Share", 1, "write a float, such as 1.0"),
            ("Mode", "on", "write Choice(index)"),
            ("Link", str(item.entity_id), "parse_id"),
            ("Count", None, "write an int"),
        ):
            with pytest.raises(KindMismatch) as raised:
                await client.write(item, field, value)
            assert advice in str(raised.value)

    with_store(tmp_path, work)


def test_entities_are_keys_of_a_mapping() -> None:
    one = Entity(EntityId("A", 1), {"N": Field("N", 1, None, None)})
    same = Entity(EntityId("A", 1), {"N": Field("N", 1, None, None)})
    assert {one: "found"}[same] == "found"
