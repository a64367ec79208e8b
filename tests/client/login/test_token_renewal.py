"""Tokens that expire while a client works: it renews those that it can, and its watches lose nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from qcore.client import Client, EntityId, FieldChange, Watch
from qcore.client.login import credentials
from qcore.client.login.credentials import Credentials
from qcore.errors import ConfigError, Unauthenticated
from qcore.node.access import access_gate
from qcore.node.node import Node
from tests.node.embedded.embedded_nodes import config_of
from tests.process.support.wire_client import string_schema
from tests.transport.support.endpoints import async_test

PASSWORD = "correct horse battery"


@asynccontextmanager
async def cluster(folder: Path) -> AsyncIterator[tuple[Client, EntityId]]:
    """A node with the administrator `root` and one entity; gives a client of `root`, and the entity."""
    async with Node(config_of(1, folder, machine="entity")) as node:
        await node.client.init()
        await node.client.set_schema(string_schema("Box", "Note"))
        box = await node.client.create_entity("Box", "box")
        await node.client.set_user("root", password=PASSWORD, roles=["admin"])
        async with Client([node.address], user="root", password=PASSWORD) as root:
            yield root, box.entity_id


def endpoints_of(client: Client) -> list[str]:
    return [str(each) for each in client._sender.endpoints.configured]


async def write(client: Client, box: EntityId, *notes: str) -> None:
    for note in notes:
        await client.write(box, "Note", note)


async def take(changes: Watch[FieldChange], *notes: str) -> None:
    """The next changes are these, and come soon."""
    async with asyncio.timeout(20):
        assert [(await anext(changes)).current_value for _ in notes] == [*notes]


async def until_expired(client: Client) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                await client.get_metrics()
            except Unauthenticated as error:
                assert "the token has expired" in str(error)  # noqa: PT017 - it ends the loop
                return
            await asyncio.sleep(0.05)


@async_test
async def test_watches_of_expiring_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One with a fixed token ends. One with a file takes the next token, and one with a password gets it in time."""
    file = tmp_path / "token"
    async with cluster(tmp_path) as (root, box):
        monkeypatch.setattr(access_gate, "LOGIN_TTL_S", 1)
        endpoints = endpoints_of(root)
        by_password = Client(endpoints, user="root", password=PASSWORD)
        await by_password.get_metrics()
        short = (await root.create_token(ttl_s=1)).token  # it expires after that of the password
        file.write_text(short + "\n")
        by_file = Client(endpoints, token_file=file)
        fixed = Client(endpoints, token=short)
        async with by_password, by_file, fixed:
            clients = (by_password, by_file, fixed)
            watches = [each.watch(entity=box, field_type="Note") for each in clients]
            async with watches[0], watches[1], watches[2]:
                await write(root, box, "1", "2")
                for watch in watches:
                    await take(watch, "1", "2")
                before = watches[0]._registered
                await until_expired(fixed)
                file.write_text((await root.create_token(ttl_s=3600)).token)
                await write(root, box, "3", "4")
                for watch in watches[:2]:
                    await take(watch, "3", "4")
                with pytest.raises(Unauthenticated, match="the token has expired"):
                    await take(watches[2], "3")
                assert watches[0]._registered is before, "it was renewed in time"
                for client in clients[:2]:
                    assert (await client.who_am_i()).user == "root"
                file.unlink()
                await root.revoke_tokens("root")
                with pytest.raises(ConfigError, match="No such file"):
                    await by_file.get_metrics()


@async_test
async def test_a_watch_that_ended_with_its_token_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a token could not be renewed in time, the node ends the watch. It goes on after the last change."""
    async with cluster(tmp_path) as (root, box):
        monkeypatch.setattr(credentials, "_RENEW_AFTER", 1000.0)
        async with (
            Client(endpoints_of(root), user="root", password=PASSWORD) as client,
            client.watch(entity=box, field_type="Note") as changes,
        ):
            await write(root, box, "1")
            await take(changes, "1")
            await root.revoke_tokens("root")
            await write(root, box, "2", "3")
            await take(changes, "2", "3")
            await root.set_user("root", password=PASSWORD + "2")
            async with Client(endpoints_of(root), user="root", password=PASSWORD + "2") as new:
                await write(new, box, "4")
            with pytest.raises(Unauthenticated, match="password is wrong"):
                await take(changes, "4")


def test_a_file_without_a_token_is_named(tmp_path: Path) -> None:
    file = tmp_path / "token"
    for content, text in (("", "first line is empty"), ("\n x", "first line is empty")):
        file.write_text(content)
        with pytest.raises(ConfigError, match=text):
            Credentials(token_file=file).current_token()
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not UTF-8"):
        Credentials(token_file=file).current_token()
    file.unlink()
    with pytest.raises(ConfigError, match="token: No such file"):
        Credentials(token_file=file).current_token()
    with pytest.raises(ConfigError, match="give one of"):
        Credentials(token="x", token_file=file)
