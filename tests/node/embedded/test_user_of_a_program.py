"""The client of an embedded node acts as the user that the program names, without a secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from qcore.client import Client
from qcore.errors import PermissionDenied, Unauthenticated
from qcore.node.node import Node
from tests.node.embedded.embedded_nodes import add, config_of
from tests.transport.support.endpoints import async_test

PASSWORD = "correct horse battery"


@async_test
async def test_a_program_acts_as_the_user_that_it_names(tmp_path: Path) -> None:
    config = config_of(1, tmp_path)
    async with Node(config, client_user="service") as node:
        await node.client.init()
        await add(node.client, "before there are users")
        async with Client([node.address]) as first:
            await first.set_user("root", password=PASSWORD, roles=["admin"])
        async with Client([node.address], user="root", password=PASSWORD) as root:
            with pytest.raises(Unauthenticated, match='acts as the user "service", which does not'):
                await add(node.client, "a")
            await root.set_role("worker", actions=["read", "write"])
            await root.set_user("service", roles=["worker"])
            assert await add(node.client, "a") == '{"ok":true,"value":1}'
            assert (await node.client.who_am_i()).user == "service"
            with pytest.raises(PermissionDenied):
                await node.client.list_users()
            await root.revoke_tokens("service")
            assert await add(node.client, "a") == '{"ok":true,"value":2}'
            await root.delete_user("service")
            with pytest.raises(Unauthenticated, match="which does not exist"):
                await add(node.client, "a")
            await root.set_user("service", roles=["worker"])
    async with Node(config, client_user="service") as node:  # it reads the users from its log
        assert await add(node.client, "a") == '{"ok":true,"value":3}'


@async_test
async def test_a_program_without_a_user_is_refused(tmp_path: Path) -> None:
    async with Node(config_of(1, tmp_path)) as node:
        await node.client.init()
        await node.client.set_user("root", password=PASSWORD, roles=["admin"])
        with pytest.raises(Unauthenticated, match="this cluster has users"):
            await add(node.client, "a")
