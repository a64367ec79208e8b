"""The notebooks are valid, committed without outputs and without paths of a developer's machine, and they run."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import nbformat
import pytest
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbformat import NotebookNode

from tests.checkout import CHECKOUT

NOTEBOOKS = sorted((CHECKOUT / "notebooks").glob("*.ipynb"))


class ThisInterpreter(AsyncKernelManager):
    """Starts the kernel with the interpreter of the tests, whatever is installed on the machine."""

    @property
    def kernel_spec(self) -> KernelSpec:
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=argv, display_name="tests", language="python")


def read(path: Path) -> NotebookNode:
    notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]  # nbformat has no types
    assert isinstance(notebook, NotebookNode)
    return notebook


def execute(path: Path, folder: Path, seeds: int) -> NotebookNode:
    """Run a notebook like a reader who opens it in its folder.

    Args:
        path: the notebook.
        folder: a private folder for the settings of the kernel.
        seeds: the number of runs for the statistics.
    """
    notebook = read(path)
    environment = {
        **os.environ,
        "QCORE_NOTEBOOK_SEEDS": str(seeds),
        "IPYTHONDIR": str(folder / "ipython"),
        "MPLCONFIGDIR": str(folder / "matplotlib"),
    }
    client = NotebookClient(
        notebook,
        timeout=600,
        kernel_manager_class=ThisInterpreter,
        resources={"metadata": {"path": str(path.parent)}},
    )
    client.execute(env=environment)
    return notebook


def texts(notebook: NotebookNode) -> str:
    outputs = [out for cell in notebook.cells for out in cell.get("outputs", [])]
    return "\n".join(out.text for out in outputs if out.output_type == "stream")


def pictures(notebook: NotebookNode) -> int:
    outputs = [out for cell in notebook.cells for out in cell.get("outputs", [])]
    return sum("image/png" in out.get("data", {}) for out in outputs)


def test_the_elections_notebook_exists() -> None:
    assert "elections.ipynb" in [path.name for path in NOTEBOOKS]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_is_valid_and_committed_clean(path: Path) -> None:
    notebook = read(path)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"/home/|/Users/|/root/|/tmp/|/work/|[A-Z]:\\\\", text)
    assert text.endswith("}\n")


@pytest.mark.parametrize(
    "seeds",
    [10, pytest.param(300, marks=pytest.mark.long)],
)
@pytest.mark.timeout(600)
def test_the_elections_notebook_runs(seeds: int, tmp_path: Path) -> None:
    path = next(path for path in NOTEBOOKS if path.name == "elections.ipynb")
    notebook = execute(path, tmp_path, seeds)
    seen = texts(notebook)
    assert "everything as expected: True" in seen
    assert f"{seeds} runs: shortest" in seen
    assert pictures(notebook) == 6
    assert re.search(r"node 4 leads after \d+ ms, in term 3", seen)
    median = re.search(r"median (\d+) ms", seen)
    assert median is not None
    assert 150 <= int(median[1]) <= 250  # the notebook derives this value
