"""docs/how-to/client.md is a session: its Python blocks run in their order, with `await` at the top level."""

from __future__ import annotations

import ast
import asyncio
import inspect
from pathlib import Path

import pytest

from tests.checkout import CHECKOUT
from tests.client.test_sync_client import node
from tests.documents import blocks

PAGE = CHECKOUT / "docs/how-to/client.md"


async def run_session(address: str) -> None:
    """Run every block in one namespace, as a notebook does."""
    namespace: dict[str, object] = {}
    for block in blocks(PAGE):
        if block.language != "python":
            continue
        first_line = block.before.count("\n") + 2
        text = "\n" * (first_line - 1) + block.text.replace("127.0.0.1:8041", address)
        code = compile(text, str(PAGE), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        waiting = eval(code, namespace)  # the way to run code with `await` at the top level
        if inspect.isawaitable(waiting):
            await waiting


def test_the_page_runs_as_a_session(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with node(tmp_path) as address:
        asyncio.run(run_session(address))
    printed = capsys.readouterr().out
    assert "KindMismatch" in printed
    assert "Leader" in printed
