"""Embedded nodes for tests: short election timeouts, free ports, a disk that can fail."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from qcore.client.client import Client
from qcore.core.effects import Write
from qcore.errors import StorageError
from qcore.node import Address, NodeConfig
from qcore.node.node import Node
from qcore.storage.sqlite.sqlite_storage import SqliteStorage

#: A single node needs no vote of others, so it may be quick.
QUICK_MS = 50
#: Several nodes share one event loop and a busy machine.
PATIENT_MS = 400


def config_of(
    node_id: int, folder: Path, election_ms: int = QUICK_MS, **settings: object
) -> NodeConfig:
    """Settings of a node with the register machine."""
    return NodeConfig.of(
        node_id,
        folder / f"node{node_id}",
        **{
            "ws_addr": Address("127.0.0.1", 0),
            "machine": "register",
            "heartbeat_ms": election_ms // 5,
            "election_timeout_min_ms": election_ms,
            "election_timeout_max_ms": 2 * election_ms,
            **settings,
        },
    )


class FailingStorage(SqliteStorage):
    """A real storage whose writes raise `failure` once it is set."""

    failure: StorageError | None = None

    def write(self, writes: Sequence[Write], commit: int | None = None) -> None:
        if self.failure is not None:
            raise self.failure
        super().write(writes, commit)


async def add(client: Client, key: str) -> str:
    """Add one to a register."""
    return await client.execute(f'{{"op":"add","key":"{key}","amount":1}}')


async def leader_of(nodes: Sequence[Node]) -> Node:
    """Wait for the node that leads."""
    while True:
        for node in nodes:
            if node.is_leader:
                return node
        await asyncio.sleep(0.01)
