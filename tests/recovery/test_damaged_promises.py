"""A damaged `founding.json` is never read as "nothing was promised": the check reports it, and no node starts on it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from qcore.errors import StorageError
from qcore.node.application import application_of
from qcore.node.config import NodeConfig
from qcore.node.discovery.promise_file import FILE_NAME, MAX_FILE_BYTES, PromiseFile
from qcore.node.observability.logs import NodeLog
from qcore.node.peers.node_key_file import load_or_create_key
from qcore.node.replica_node import ReplicaNode
from qcore.recovery.checks.data_dir_check import check_data_dir
from qcore.transport.address import Address
from tests.node.discovery.test_promise_file import PROMISES
from tests.recovery.directories import NODE_ID, make, open_storage, unchanged


@pytest.fixture
def founder(tmp_path: Path) -> Path:
    """The data directory of a founder that has accepted a founding, and belongs to no cluster yet."""
    path = tmp_path / "founder"
    open_storage(path).close()
    load_or_create_key(path, lambda size: bytes([NODE_ID]) * size)
    PromiseFile(path).save(PROMISES)
    return path


def test_check_finds_each_damage_of_the_promises(founder: Path) -> None:
    assert check_data_dir(founder).findings == []
    sound = (founder / FILE_NAME).read_bytes()
    flipped = [bytearray(sound) for _ in range(0, len(sound), 16)]
    for number, content in enumerate(flipped):
        content[16 * number] ^= 1 << number % 8
    cut = [sound[:size] for size in (0, 1, len(sound) // 2, len(sound) - 1)]
    for damaged in (
        *map(bytes, flipped),
        *cut,
        sound + b"\n",
        bytes(len(sound)),
        b" " * (MAX_FILE_BYTES + 1),
    ):
        (founder / FILE_NAME).write_bytes(damaged)
        with unchanged(founder):
            (found,) = check_data_dir(founder).findings
        assert (found.severity, found.where) == ("fault", FILE_NAME), damaged


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def _directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (_cut, "is damaged. It holds what this node has promised"),
        (_directory, "cannot be read: "),
    ],
)
def test_no_node_starts_on_damaged_promises(
    founder: Path, change: Callable[[Path], object], text: str
) -> None:
    """Also without --auto-init: the node may be bound to a founding that it has accepted."""
    change(founder / FILE_NAME)

    async def begin() -> None:
        config = NodeConfig.of(
            NODE_ID, founder, ws_addr=Address("127.0.0.1", 0), machine="register"
        )
        storage = open_storage(founder)
        try:
            ReplicaNode(config, application_of("register"), storage, NodeLog(NODE_ID))
        finally:
            storage.close()

    with pytest.raises(StorageError, match=re.escape(f"{founder / FILE_NAME} {text}")):
        asyncio.run(begin())


def test_a_member_does_not_need_its_promises(tmp_path: Path) -> None:
    path = make(tmp_path / "member").path
    (path / FILE_NAME).write_bytes(b"")
    assert check_data_dir(path).findings == []
