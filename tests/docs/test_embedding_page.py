"""The Python blocks of docs/how-to/embedding.md run as they stand, apart from ports and directories."""

from __future__ import annotations

import ast
import asyncio
import inspect
from pathlib import Path
from typing import Any

from qcore import Node, NodeConfig
from qcore.node import Address
from tests.checkout import CHECKOUT
from tests.documents import blocks

START, SCHEDULE = [
    block.text
    for block in blocks(CHECKOUT / "docs/how-to/embedding.md")
    if block.language == "python"
]


GET_SCHEDULE = '{"op":"get","key":"schedule"}'


async def run(text: str) -> dict[str, Any]:
    """Run a block, with `await` at the top level; returns its names."""
    names: dict[str, Any] = {}
    code = compile(text, "embedding.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    waiting = eval(code, names)  # the way to run code with `await` at the top level
    if inspect.isawaitable(waiting):
        await waiting
    return names


def test_a_node_starts_as_the_page_shows(tmp_path: Path) -> None:
    assert "8080)" in START
    text = START.replace("8080)", "0)").replace('Path("data/1")', f"Path({str(tmp_path)!r})")

    async def scenario() -> None:
        await run(text)
        config = NodeConfig.of(1, tmp_path, ws_addr=Address("127.0.0.1", 0), machine="register")
        async with Node(config) as node:  # the data is on disk
            found = await node.client.execute('{"op":"get","key":"visits"}', read=True)
        assert "5" in found

    asyncio.run(scenario())


def test_the_leader_runs_the_schedule_of_the_page(tmp_path: Path) -> None:
    async def scenario() -> None:
        names = await run(SCHEDULE)
        config = NodeConfig.of(1, tmp_path, ws_addr=Address("127.0.0.1", 0), machine="register")
        async with Node(config, on_leader=names["run_schedule"]) as node:
            await node.client.init()
            async with asyncio.timeout(20):
                while "by" not in await node.client.execute(GET_SCHEDULE, read=True):  # noqa: ASYNC110 - in the cluster
                    await asyncio.sleep(0.02)

    asyncio.run(scenario())
