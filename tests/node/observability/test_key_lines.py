"""The line that says that members must prove their keys: once, when the keys become mandatory."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from qcore.node.node import Node
from qcore.node.peers.node_key_file import load_key
from qcore.security.keys.node_key import fingerprint
from tests.node.embedded.embedded_nodes import config_of
from tests.transport.support.endpoints import async_test, until

LINE = "members must prove their public keys from now on"


@async_test
async def test_raised_rules_make_keys_mandatory_with_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "qcore.node")

    def lines() -> list[str]:
        return [text for text in caplog.messages if LINE in text]

    async with Node(config_of(1, tmp_path, max_rules=4)) as node:
        await node.client.init()
        assert (await node.client.get_metrics())["qcore"]["public_keys"] == {}
    assert lines() == []
    async with Node(config_of(1, tmp_path)) as node:
        await until(lines, "the line")
        keys = (await node.client.get_metrics())["qcore"]["public_keys"]
    key = load_key(tmp_path / "node1")
    assert key is not None
    assert keys == {"1": key.public}
    (line,) = lines()
    assert f'keys="1={fingerprint(key.public)}" members=1' in line
    async with Node(config_of(1, tmp_path)) as node:
        await node.client.get_metrics()
    assert len(lines()) == 1, "a restart changes nothing"
