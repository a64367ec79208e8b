"""Reads `/metrics` of real nodes, as Prometheus does."""

from __future__ import annotations

import asyncio
import tempfile
import urllib.request
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

from qcore.node.node import Node
from tests.node.embedded.embedded_nodes import config_of, leader_of

#: What a leader knows only after its followers have answered several messages.
LATE: Final = "qcore_peer_wall_clock_offset_seconds{"
_TIMEOUT_S: Final = 60
#: Short, because the last node that stops waits for two elections.
_ELECTION_MS: Final = 200


def leader_page() -> str:
    """The page of the leader of three nodes, once each metric of a leader has its samples."""

    async def scrape() -> str:
        with tempfile.TemporaryDirectory() as folder:
            async with AsyncExitStack() as stack, asyncio.timeout(_TIMEOUT_S):
                nodes = [
                    await stack.enter_async_context(
                        Node(config_of(number, Path(folder), _ELECTION_MS))
                    )
                    for number in (1, 2, 3)
                ]
                members = [(node.node_id, node.address) for node in nodes]
                await nodes[0].client.init(members)
                leader = await leader_of(nodes)
                while True:
                    text = await asyncio.to_thread(_read, leader.address)
                    if LATE in text:
                        await asyncio.gather(*(node.stop() for node in nodes))
                        return text

    return asyncio.run(scrape())


def _read(address: str) -> str:
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=_TIMEOUT_S) as response:
        text: str = response.read().decode()
    return text


def families(page: str) -> list[Metric]:
    """The metrics of a page."""
    return list(text_string_to_metric_families(page))
