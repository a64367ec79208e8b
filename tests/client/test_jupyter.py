"""The client in a Jupyter kernel: plain `await` in one cell after the other, and the client without asyncio."""

from __future__ import annotations

import os
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from tests.checkout import CHECKOUT
from tests.client.test_entity_methods import ITEM
from tests.client.test_sync_client import node
from tests.notebooks.executed_notebooks import ThisInterpreter, texts

CELLS = """
from qcore import Client, SyncClient
client = Client([ADDRESS])
await client.set_schema(ITEM)
===
item = await client.create_entity("Item", "x")
changes = client.watch(entity=item, field_type="Count")
await changes.__aenter__()
===
await client.write(item, "Count", 7)
print((await anext(changes)).current_value)
===
with SyncClient([ADDRESS]) as sync:
    print(sync.read(item, "Count"))
===
await changes.close()
name = await client.read(item, "Name")
await client.close()
name
"""


def test_cells_share_one_client(tmp_path: Path) -> None:
    with node(tmp_path / "data") as address:
        known = f"ADDRESS, ITEM = {address!r}, {ITEM!r}"
        cells = [known, *CELLS.split("===")]
        notebook = nbformat.v4.new_notebook()  # type: ignore[no-untyped-call]  # nbformat has no types
        notebook.cells = [nbformat.v4.new_code_cell(cell) for cell in cells]  # type: ignore[no-untyped-call]  # likewise
        environment = {
            **os.environ,
            "IPYTHONDIR": str(tmp_path / "ipython"),
            "PYTHONPATH": str(CHECKOUT),
        }
        NotebookClient(notebook, timeout=60, kernel_manager_class=ThisInterpreter).execute(
            env=environment
        )
    assert texts(notebook).split() == ["7", "7"]
    assert notebook.cells[-1].outputs[0]["data"]["text/plain"] == "'x'"
